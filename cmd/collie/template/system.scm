;;; Collie: a GitOps pull agent for Guix System
;;; Copyright © 2026 The authors of Collie
;;;
;;; Copying and distribution of this file, with or without modification, are
;;; permitted in any medium without royalty, provided the copyright notice and
;;; this notice are preserved.  This file is offered as-is, without any
;;; warranty.

;;; Commentary:
;;;
;;; An example: make it this machine's own.
;;;
;;; Code:

(use-modules (gnu)
             (collie repository)
             (collie services))
(use-service-modules containers desktop networking ssh)

;; SSH keys of those who administer the machine: they log in as root, and push
;; to its repository.
(define %operator-keys
  '("ssh-ed25519 AAAAPlaceThePublicKeyOfAnOperatorHere you@example.org"))

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
          ;; It loads what Podman's networks need of the kernel.
          (service iptables-service-type)
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
