;; Collie without root: for one user, in that user's home, which it follows, with the user's pods.  For Guix 1.5.0 and Shepherd 1.0.9.
(define-module (collie home)
  #:use-module (collie services)
  #:use-module (gnu home services)
  #:use-module (gnu home services shepherd)
  #:use-module (gnu packages version-control)
  #:use-module (gnu services)
  #:use-module (gnu services shepherd)
  #:use-module (guix gexp)
  #:export (home-collie-service-type))

(define containers.conf
  (@@ (collie services) containers.conf))

(define (user.yaml config)
  "Return the agent's configuration file.  What CONFIG says of the system and of the pod user has no meaning; no homes are
none, and any are that of whoever runs it."
  ((@@ (collie services) collie.yaml)
   (collie-configuration (inherit config) (user ""))
   #:homes (and (null? (collie-configuration-homes config)) '())))

(define (podman-api config)
  (shepherd-service
   (documentation "Serve the API of rootless Podman, to Collie and to what else the user runs.")
   (provision '(podman-api))
   (modules `((shepherd support) ,@%default-modules))
   (start #~(make-forkexec-constructor
             (list #$(file-append (collie-configuration-podman config) "/bin/podman") "system" "service" "--time=0")
             #:environment-variables
             (cons (string-append "CONTAINERS_CONF_OVERRIDE=" #$containers.conf)
                   (default-environment-variables))
             #:log-file (string-append %user-log-dir "/podman-api.log")))
   (stop #~(make-kill-destructor))))

(define (collie-agent config)
  (define file (user.yaml config))

  (shepherd-service
   (documentation "Follow a Git repository: bring this home and the pods to what it describes.")
   (provision '(collie))                ;it requires nothing: to restart `podman-api' would stop it in mid-switch
   (modules `((shepherd support) ,@%default-modules))
   (start #~(make-forkexec-constructor
             (list #$(file-append (collie-configuration-collie config) "/bin/collie")
                   "--scope" "user" "run" "--config" #$file)
             #:directory "/"
             #:environment-variables
             (append (list #$@(collie-configuration-environment-variables config)       ;of two of a name, Go takes the first
                           (string-append "PATH=" (or (getenv "PATH") "/run/current-system/profile/bin") ":"
                                          #$(file-append git-minimal "/bin")))
                     (default-environment-variables))
             #:log-file (string-append %user-log-dir "/collie.log")))
   (stop #~(make-kill-destructor #:grace-period #$(collie-configuration-grace-period config)))
   (respawn-limit ''(100 . 1))
   (respawn-delay (collie-configuration-respawn-delay config))
   (actions (list (shepherd-configuration-action file)))))

;; Podman's own socket, and the forwarder's, are where the agent looks for them.
(define (collie-forward config)
  (shepherd-service
   (documentation "Forward ports of the machine to pods that ask for it by `collie.io/handover: forward'.")
   (provision '(collie-forward))
   (modules `((shepherd endpoints) (shepherd support) ,@%default-modules))
   ;; It starts when the agent first has something to tell it, and leaves when nothing is left to forward.
   (start #~(make-systemd-constructor
             (list #$(file-append (collie-configuration-collie config) "/bin/collie") "forward")
             (list (endpoint
                    (make-socket-address AF_UNIX
                                         (string-append (or (getenv "XDG_RUNTIME_DIR")
                                                            (string-append "/run/user/" (number->string (getuid))))
                                                        "/podman/forward.sock"))
                    #:name "forward" #:socket-directory-permissions #o700))
             #:log-file (string-append %user-log-dir "/collie-forward.log")))
   (stop #~(make-systemd-destructor))
   (respawn-limit ''(100 . 1))))

(define (home-collie-services config)
  (list (podman-api config) (collie-forward config) (collie-agent config)))

(define home-collie-service-type
  (service-type
   (name 'home-collie)
   (extensions
    (list (service-extension home-profile-service-type (compose list collie-configuration-collie))
          (service-extension home-shepherd-service-type home-collie-services)))
   (description "Run @command{collie} for one user and without root: it brings the user's home and rootless Podman pods
to what a Git repository describes.  Its value is a @code{collie-configuration}; what that says of the system and of the pod
user has no meaning, and with no @code{homes} it leaves the home alone.  Subordinate IDs are for the system to give.")))
