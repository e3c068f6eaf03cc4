;; The home of the user who runs the pods.
(use-modules (gnu home)
             (gnu home services shells)
             (gnu services))

(home-environment
 (services
  (list (service home-bash-service-type))))
