;; A guest for containers that follows its own repository.  This file makes the image, is what `guix deploy' brings to a
;; machine, and is the system.scm of the repository that the guest then follows.  Names and keys are in modules/site.scm.
(use-modules (gnu)
             (collie repository)
             (collie services)
             (site)
             (swap-file))
(use-service-modules admin containers desktop networking ssh sysctl)
(use-package-modules ssh)

(define root
  (file-system
    (mount-point "/")
    (device (file-system-label "Guix_image"))   ;as `guix system image' names it
    (type "ext4")))

(define operators
  (map (lambda (key)
         (plain-file "operator.pub" (string-append key "\n")))
       %operator-keys))

(operating-system
  (host-name %host-name)
  (timezone %timezone)
  (kernel-arguments (cons "console=ttyS0" %default-kernel-arguments))   ;`virsh console' and its like log in there
  (bootloader (bootloader-configuration
               (bootloader grub-bootloader)
               (targets '("/dev/vda"))
               (terminal-outputs '(console serial))))
  (file-systems (cons root %base-file-systems))
  (swap-devices (if %swap-size
                    (list (swap-space (target "/swapfile")))
                    '()))
  (services
   (append
    (list
     ;; The machine.
     (service resize-file-system-service-type   ;an image is smaller than the disk that it is put on
              (resize-file-system-configuration (file-system root)))
     (service dhcpcd-service-type)
     (service ntp-service-type)
     (service elogind-service-type)             ;shuts down at the power button, keeps users' run-time directories
     (service openssh-service-type
              (openssh-configuration
               (openssh openssh-sans-x)
               (permit-root-login 'prohibit-password)
               (password-authentication? #f)
               (authorized-keys `(("root" ,@operators)
                                  ("podman" ,@operators)))))

     ;; Containers.
     (service iptables-service-type)            ;loads what Podman's networks need of the kernel
     (service rootless-podman-service-type
              (rootless-podman-configuration
               (containers-registries
                (plain-file "registries.conf" "unqualified-search-registries = ['docker.io']\n"))))

     ;; Collie.
     (service collie-repository-service-type
              (collie-repository-configuration
               (keys operators)))
     (service collie-service-type
              (collie-configuration
               (source (collie-source
                        (url "file:///srv/git/ops.git")
                        (owner "ops"))))))
    (if %swap-size
        (list (service swap-file-service-type (cons "/swapfile" %swap-size)))
        '())
    (modify-services %base-services
      (sysctl-service-type
       config => (sysctl-configuration
                  (inherit config)
                  (settings
                   `(("net.ipv4.ip_unprivileged_port_start" . ,(number->string %first-port))
                     ("vm.swappiness" . "10")           ;swap is for the worst hour
                     ("vm.overcommit_memory" . "1")     ;what databases in containers ask for
                     ,@(sysctl-configuration-settings config)))))))))
