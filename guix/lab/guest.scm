;;; Collie: a GitOps pull agent for Guix System
;;; Copyright © 2026 The authors of Collie
;;;
;;; This file is part of Collie, which is free software: you can redistribute
;;; it and/or modify it under the terms of the GNU General Public License as
;;; published by the Free Software Foundation, either version 3 of the
;;; License, or (at your option) any later version.  See the file LICENSE.

;;; Commentary:
;;;
;;; The guest: an operating system with Collie as a user would have it, the
;;; real services of OpenSSH and rootless Podman, a registry on loopback, and
;;; the repository on the machine as a user would have it.  A repository in
;;; the guest can build on it:
;;;
;;;   (define guest (load "/share/guest.scm"))
;;;   (operating-system
;;;     (inherit guest)
;;;     (services (cons (simple-service ...)
;;;                     (operating-system-user-services guest))))
;;;
;;; Code:

(use-modules (gnu) (gnu bootloader extlinux) (gnu packages base)
             (gnu services containers) (gnu services shepherd)
             (gnu services ssh)
             (guix build-system trivial) (guix gexp) (guix packages)
             (collie packages) (collie repository) (collie services))

;; guix-forge leaves packages alone whose version has no digit: the daemon
;; builds no-kernel and lab-collie.
(define* (lab-package name builder #:optional (version "none"))
  "Return the package NAME of VERSION, which BUILDER, a gexp, makes."
  (package
    (inherit hello) (name name) (version version) (source #f)
    (build-system trivial-build-system)
    (arguments (list #:builder builder))))

(define no-kernel
  (lab-package "no-kernel"
               #~(begin
                   (mkdir #$output)
                   (call-with-output-file
                       (string-append #$output "/bzImage")
                     (const #t)))))

;; A new binary is a new store item, as with a user's package.
(define lab-collie
  (lab-package "lab-collie"
               #~(let ((bin (string-append #$output "/bin")))
                   (mkdir #$output)
                   (mkdir bin)
                   (copy-file #$(local-file "/share/collie" #:recursive? #t)
                              (string-append bin "/collie"))
                   #$(install-documentation
                      (local-file "/share/collie.1")))))

;; Forged like Guix's own, but without the derivations of all that goes into
;; it: an evaluation takes a second less.
(define lab-podman
  (lab-package "podman" #~(mkdir #$output) "5.8.6"))

;; What these services do needs more of their packages than guix-forge gives,
;; and a guest has no hardware.
(define stubs
  (shepherd-service
   (provision '(loopback networking syslogd udev))
   (start #~(const #t))
   (stop #~(const #f))))

;; The boot script makes /var/run a directory.  Guix looks there; Debian's
;; Shepherd and sshd look in /run.
(define var-run-activation
  #~(begin
      (unless (file-exists? "/run/sshd")
        (mkdir "/run/sshd"))
      (chown "/run/sshd" 0 0)
      (unless (file-exists? "/var/run/shepherd")
        (symlink "/run/shepherd" "/var/run/shepherd"))))

(define registry.yml
  (plain-file "registry.yml" "version: 0.1
storage:
  filesystem: {rootdirectory: /var/lib/registry}
  delete: {enabled: true}
http: {addr: '127.0.0.1:5000'}
"))

(define registry
  (shepherd-service
   (provision '(registry))
   (start #~(make-forkexec-constructor
             '("/usr/bin/docker-registry" "serve" #$registry.yml)
             #:log-file "/var/log/registry.log"))
   (stop #~(make-kill-destructor))))

(define registries.conf
  (plain-file "registries.conf" "\
unqualified-search-registries = ['127.0.0.1:5000']
[[registry]]
location = '127.0.0.1:5000'
insecure = true
[[registry]]
location = '127.0.0.1:5001'
insecure = true
[[registry]]
prefix = 'registry.example.org'
location = '127.0.0.1:5000/signed'
insecure = true
# As where a mirror has what the world's registry has.
[[registry]]
prefix = 'docker.io/library'
location = '127.0.0.1:5000/library'
insecure = true
"))

(operating-system
  (host-name "guest")
  (timezone "Etc/UTC")
  (locale "C.UTF-8")
  (locale-libcs (list glibc))
  (kernel no-kernel)
  (initrd (lambda _ (plain-file "initrd" "")))
  (firmware '())
  (packages '())
  (bootloader (bootloader-configuration
               (bootloader extlinux-bootloader)
               (targets '("/dev/null"))))
  (file-systems (list (file-system
                        (mount-point "/")
                        (device "none")
                        (type "overlay")
                        (check? #f))))
  (services
   (list (service guix-service-type
                  (guix-configuration
                   (extra-options '("--disable-chroot" "--max-jobs=2"))
                   (environment '("GUIX=/share/guix-forge"))
                   (authorize-key? #f)))
         (simple-service 'var-run activation-service-type var-run-activation)
         (simple-service 'lab shepherd-root-service-type
                         (list stubs registry))
         (service openssh-service-type
                  (openssh-configuration
                   (permit-root-login 'prohibit-password)
                   (password-authentication? #f)
                   (authorized-keys
                    `(("root" ,(local-file "/share/key.pub"))))))
         (service collie-repository-service-type
                  (collie-repository-configuration
                   (keys (list (local-file "/share/key.pub")))))
         (service rootless-podman-service-type
                  (rootless-podman-configuration
                   (podman lab-podman)
                   (containers-registries registries.conf)))
         (service collie-service-type
                  (collie-configuration
                   (collie lab-collie)
                   (podman lab-podman)
                   (source (collie-source
                            (url "file:///srv/git/ops.git")
                            (owner "ops")))
                   (soak 3)
                   (respawn-delay 1)
                   ;; Named crash points for the tests: the one whose name
                   ;; this file holds kills the agent.
                   (environment-variables
                    '("COLLIE_CRASH=/run/collie-crash")))))))
