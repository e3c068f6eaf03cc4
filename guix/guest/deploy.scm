;;; Collie: a GitOps pull agent for Guix System
;;; Copyright © 2026 The authors of Collie
;;;
;;; This file is part of Collie, which is free software: you can redistribute
;;; it and/or modify it under the terms of the GNU General Public License as
;;; published by the Free Software Foundation, either version 3 of the
;;; License, or (at your option) any later version.  See the file LICENSE.

;;; Commentary:
;;;
;;; `guix deploy -L modules deploy.scm' brings a machine that runs Guix System
;;; to system.scm, with Collie in it; from then on it follows its own
;;; repository.
;;;
;;; Code:

(use-modules (gnu)
             (gnu machine)
             (gnu machine ssh)
             (site))

(list (machine
       (operating-system (load "system.scm"))
       (environment managed-host-environment-type)
       (configuration
        (machine-ssh-configuration
         (host-name %address)
         (host-key %host-key)
         (system "x86_64-linux")))))
