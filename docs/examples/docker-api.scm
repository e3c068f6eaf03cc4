;;; Collie: a GitOps pull agent for Guix System
;;; Copyright © 2026 The authors of Collie
;;;
;;; Copying and distribution of this file, with or without modification, are
;;; permitted in any medium without royalty, provided the copyright notice and
;;; this notice are preserved.  This file is offered as-is, without any
;;; warranty.

;;; Commentary:
;;;
;;; A service for system.scm: who has this key may speak Docker's API over
;;; SSH, and do nothing else.  It comes in as root, who alone reaches the
;;; socket; what answers there is Podman as the pod user, as powerful as all
;;; its pods together.
;;;
;;; Code:

(use-modules (gnu services)
             (gnu services ssh)
             (guix gexp))

(define key
  "ssh-ed25519 AAAA… ann@laptop")

(simple-service 'docker-api openssh-service-type
                `(("root"
                   ,(plain-file "docker-api.pub"
                                (string-append
                                 "restrict,command=\"podman"
                                 " --url"
                                 " unix:///run/collie/podman/podman.sock"
                                 " system dial-stdio\" " key "\n")))))
