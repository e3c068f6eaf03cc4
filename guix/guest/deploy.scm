;; `guix deploy -L modules deploy.scm' brings a machine that runs Guix System to system.scm, with Collie in it; from then
;; on it follows its own repository.
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
