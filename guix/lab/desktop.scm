;; Guix's module (gnu services desktop), with a stand-in for elogind and what that brings, as D-Bus: a guest has neither
;; hardware nor the files of their packages.  Guix's own module, compiled, is /share/guix-desktop.go.
(load-compiled "/share/guix-desktop.go")

(let ((desktop (resolve-module '(gnu services desktop) #f)))
  (module-set! desktop 'elogind-service-type
               ((@ (gnu services) service-type)
                (inherit (module-ref desktop 'elogind-service-type))
                (extensions
                 (list ((@ (gnu services) service-extension)
                        (@ (gnu services shepherd) shepherd-root-service-type)
                        (const
                         (list ((@ (gnu services shepherd) shepherd-service)
                                (provision '(dbus-system elogind file-system-/sys/fs/cgroup))
                                (start ((@ (guix gexp) gexp) (const #t)))
                                (stop ((@ (guix gexp) gexp) (const #f))))))))))))
