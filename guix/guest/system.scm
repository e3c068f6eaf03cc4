;;; Collie: a GitOps pull agent for Guix System
;;; Copyright © 2026 The authors of Collie
;;;
;;; This file is part of Collie, which is free software: you can redistribute
;;; it and/or modify it under the terms of the GNU General Public License as
;;; published by the Free Software Foundation, either version 3 of the
;;; License, or (at your option) any later version.  See the file LICENSE.

;;; Commentary:
;;;
;;; A guest for containers that follows its own repository.  This file makes
;;; the image, is what `guix deploy' brings to a machine, and is the
;;; system.scm of the repository that the guest then follows.  Names and keys
;;; are in modules/site.scm.
;;;
;;; Code:

(use-modules (boot-disk)
             (gnu)
             (collie repository)
             (collie services)
             (site)
             (swap-file))
(use-service-modules admin containers networking ssh sysctl)
(use-package-modules ssh)

(define %root-label "Guix_image")       ;that of `guix system image'

(define root
  (file-system
    (mount-point "/")
    (device (file-system-label %root-label))
    (type "ext4")))

(define operators
  (map (lambda (key)
         (plain-file "operator.pub" (string-append key "\n")))
       %operator-keys))

(operating-system
  (host-name %host-name)
  (timezone %timezone)
  ;; `virsh console' and its like log in there.
  (kernel-arguments (cons "console=ttyS0" %default-kernel-arguments))
  (bootloader (bootloader-configuration
               (bootloader grub-bootloader)
               (targets (list (or (disk-with-label %root-label) %disk)))
               (terminal-outputs '(console serial))))
  (file-systems (cons root %base-file-systems))
  (services
   (append
    (list
     ;; The machine.  An image is smaller than the disk that it is put on.
     (service resize-file-system-service-type
              (resize-file-system-configuration (file-system root)))
     (service dhcpcd-service-type)
     (service ntp-service-type)
     (service openssh-service-type
              (openssh-configuration
               (openssh openssh-sans-x)
               (permit-root-login 'prohibit-password)
               (password-authentication? #f)
               (authorized-keys `(("root" ,@operators)
                                  ("podman" ,@operators)))))

     ;; Containers.  All else that they need comes with Collie.
     (service rootless-podman-service-type
              (rootless-podman-configuration
               (containers-registries
                (plain-file "registries.conf" "\
unqualified-search-registries = ['docker.io']\n"))))

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
        (list (service swap-file-service-type
                       (swap-file-configuration
                        (mebibytes %swap-size))))
        '())
    (modify-services %base-services
      (sysctl-service-type
       config => (sysctl-configuration
                  (inherit config)
                  (settings
                   `(("net.ipv4.ip_unprivileged_port_start"
                      . ,(number->string %first-port))
                     ;; Swap is for the worst hour.
                     ("vm.swappiness" . "10")
                     ;; What databases in containers ask for.
                     ("vm.overcommit_memory" . "1")
                     ,@(sysctl-configuration-settings config)))))))))
