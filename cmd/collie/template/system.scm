;; An example: make it this machine's own.
(use-modules (gnu)
             (collie repository)
             (collie services))
(use-service-modules containers desktop networking ssh)

;; SSH keys of those who administer the machine: they log in as root, and push to its repository.
(define %operator-keys
  '("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPlaceThePublicKeyOfAnOperatorHereXXXXXXXXXX you@example.org"))

(define operators
  (map (lambda (key)
         (plain-file "operator.pub" (string-append key "\n")))
       %operator-keys))

(operating-system
  (host-name "guest")
  (timezone "Etc/UTC")
  (bootloader (bootloader-configuration
               (bootloader grub-bootloader)
               (targets '("/dev/vda"))))
  (file-systems (cons (file-system
                        (mount-point "/")
                        (device (file-system-label "Guix_image"))
                        (type "ext4"))
                      %base-file-systems))
  (services
   (cons* (service dhcpcd-service-type)
          (service elogind-service-type)
          (service openssh-service-type
                   (openssh-configuration
                    (permit-root-login 'prohibit-password)
                    (password-authentication? #f)
                    (authorized-keys `(("root" ,@operators)))))
          (service iptables-service-type)       ;loads what Podman's networks need of the kernel
          (service rootless-podman-service-type)
          (service collie-repository-service-type
                   (collie-repository-configuration
                    (keys operators)))
          (service collie-service-type
                   (collie-configuration
                    (source (collie-source
                             (url "file:///srv/git/ops.git")
                             (owner "ops")))))
          %base-services)))
