;; An example: make it this machine's own.
(use-modules (gnu)
             (collie services)
             (gnu services containers))
(use-service-modules desktop networking ssh)

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
                    (password-authentication? #f)))
          (service rootless-podman-service-type)
          (service collie-service-type
                   (collie-configuration
                    (source (collie-source
                             (url "file:///srv/git/ops.git")
                             (owner "ops")))))
          %base-services)))
