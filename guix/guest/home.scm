;;; Collie: a GitOps pull agent for Guix System
;;; Copyright © 2026 The authors of Collie
;;;
;;; This file is part of Collie, which is free software: you can redistribute
;;; it and/or modify it under the terms of the GNU General Public License as
;;; published by the Free Software Foundation, either version 3 of the
;;; License, or (at your option) any later version.  See the file LICENSE.

;;; Commentary:
;;;
;;; The home of the user who runs the pods.
;;;
;;; Code:

(use-modules (gnu home)
             (gnu home services shells)
             (gnu services))

(home-environment
 (services
  (list (service home-bash-service-type))))
