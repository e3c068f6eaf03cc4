;;; Collie: a GitOps pull agent for Guix System
;;; Copyright © 2026 The authors of Collie
;;;
;;; This file is part of Collie, which is free software: you can redistribute
;;; it and/or modify it under the terms of the GNU General Public License as
;;; published by the Free Software Foundation, either version 3 of the
;;; License, or (at your option) any later version.  See the file LICENSE.

;;; Commentary:
;;;
;;; Guix's module (gnu services desktop), with a stand-in for elogind and what
;;; that brings, as D-Bus: a guest has neither hardware nor the files of their
;;; packages.  Guix's own module, compiled, is /share/guix-desktop.go.
;;;
;;; Code:

(load-compiled "/share/guix-desktop.go")

(let ((desktop (resolve-module '(gnu services desktop) #f)))
  (module-set!
   desktop 'elogind-service-type
   ((@ (gnu services) service-type)
    (inherit (module-ref desktop 'elogind-service-type))
    (extensions
     (list ((@ (gnu services) service-extension)
            (@ (gnu services shepherd) shepherd-root-service-type)
            (const
             (list ((@ (gnu services shepherd) shepherd-service)
                    (provision
                     '(dbus-system elogind file-system-/sys/fs/cgroup))
                    (start ((@ (guix gexp) gexp) (const #t)))
                    (stop ((@ (guix gexp) gexp) (const #f))))))))))))
