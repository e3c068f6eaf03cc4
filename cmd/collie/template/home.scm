;;; Collie: a GitOps pull agent for Guix System
;;; Copyright © 2026 The authors of Collie
;;;
;;; Copying and distribution of this file, with or without modification, are
;;; permitted in any medium without royalty, provided the copyright notice and
;;; this notice are preserved.  This file is offered as-is, without any
;;; warranty.

;;; Commentary:
;;;
;;; The home of the pod user.
;;;
;;; Code:

(use-modules (gnu home)
             (gnu home services)
             (gnu services)
             (guix gexp))

(home-environment
 (services
  (list (simple-service 'greeting home-files-service-type
                        `((".greeting"
                           ,(plain-file "greeting"
                                        "Collie keeps this home.\n")))))))
