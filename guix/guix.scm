;;; Collie: a GitOps pull agent for Guix System
;;; Copyright © 2026 The authors of Collie
;;;
;;; This file is part of Collie, which is free software: you can redistribute
;;; it and/or modify it under the terms of the GNU General Public License as
;;; published by the Free Software Foundation, either version 3 of the
;;; License, or (at your option) any later version.  See the file LICENSE.

;;; Commentary:
;;;
;;; Collie from this checkout, after `make dist':
;;;
;;;   guix build -f guix/guix.scm
;;;   guix shell -D -f guix/guix.scm
;;;
;;; Code:

(use-modules (guix utils))

(add-to-load-path (string-append (current-source-directory) "/modules"))

(@ (collie packages) collie)
