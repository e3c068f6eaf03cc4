;; The home of the pod user.
(use-modules (gnu home)
             (gnu home services)
             (gnu services)
             (guix gexp))

(home-environment
 (services
  (list (simple-service 'greeting home-files-service-type
                        `((".greeting" ,(plain-file "greeting" "Collie keeps this home.\n")))))))
