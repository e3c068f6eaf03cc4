;;; Collie: a GitOps pull agent for Guix System
;;; Copyright © 2026 The authors of Collie
;;;
;;; This file is part of Collie, which is free software: you can redistribute
;;; it and/or modify it under the terms of the GNU General Public License as
;;; published by the Free Software Foundation, either version 3 of the
;;; License, or (at your option) any later version.  See the file LICENSE.

;;; Commentary:
;;;
;;; Collie without root: for one user, in that user's home, which it follows,
;;; with the user's pods.  It is made for Guix 1.5.0 and Shepherd 1.0.9.
;;;
;;; Code:

(define-module (collie home)
  #:use-module (collie services)
  #:use-module (gnu home services)
  #:use-module (gnu home services shepherd)
  #:use-module (gnu packages version-control)
  #:use-module (gnu services shepherd)
  #:use-module (guix gexp)
  #:export (home-collie-service-type)
  #:re-export (collie-source
               collie-source?
               collie-mirror
               collie-mirror?
               collie-keep
               collie-keep?
               collie-images
               collie-images?
               collie-configuration
               collie-configuration?
               collie-extension
               collie-extension?))

(define (podman-api config)
  "Return the service that serves the API of CONFIG's Podman."
  (shepherd-service
   (documentation
    "Serve the API of rootless Podman, to Collie and to what else the user \
runs.")
   (provision '(podman-api))
   (modules `((shepherd support) ,@%default-modules))
   (start #~(make-forkexec-constructor
             (list #$(file-append (collie-configuration-podman config)
                                  "/bin/podman")
                   "system" "service" "--time=0")
             #:environment-variables
             (cons (string-append "CONTAINERS_CONF_OVERRIDE="
                                  #$%collie-containers.conf)
                   (default-environment-variables))
             #:log-file (string-append %user-log-dir "/podman-api.log")))
   (stop #~(make-kill-destructor))))

(define (collie-agent config)
  "Return the service of the agent."
  (define file (collie.yaml config))

  (shepherd-service
   (documentation
    "Follow a Git repository: bring this home and the pods to what it \
describes.")
   ;; It requires nothing: to restart `podman-api' would stop it in
   ;; mid-switch.
   (provision '(collie))
   (modules `((shepherd support) ,@%default-modules))
   (start #~(make-forkexec-constructor
             (list #$(file-append (collie-configuration-collie config)
                                  "/bin/collie")
                   "--scope" "user" "run" "--config" #$file)
             #:directory "/"
             #:environment-variables
             (append
              (list
               ;; Of two of a name, Go takes the first.
               #$@(collie-configuration-environment-variables config)
               #$%agent-memory
               (string-append "PATH="
                              (or (getenv "PATH")
                                  "/run/current-system/profile/bin")
                              ":" #$(file-append git-minimal "/bin")))
              (default-environment-variables))
             #:log-file (string-append %user-log-dir "/collie.log")))
   (stop #~(make-kill-destructor
            #:grace-period #$(collie-configuration-grace-period config)))
   (respawn-limit #~'(100 . 1))
   (respawn-delay (collie-configuration-respawn-delay config))
   (actions (list (shepherd-configuration-action file)))))

;; Podman's own socket, and the forwarder's, are where the agent looks for
;; them.  The forwarder isn't confined: some foreign distributions, where a
;; home may be, let only chosen programs make a user namespace.
(define (collie-forward config)
  "Return the service that forwards ports to CONFIG's pods."
  (shepherd-service
   (documentation "Forward ports of the machine to pods that ask for it by \
`collie.io/handover: forward'.")
   (provision '(collie-forward))
   (modules `((shepherd endpoints) (shepherd support) ,@%default-modules))
   ;; It starts when the agent first has something to tell it, and leaves when
   ;; nothing is left to forward.
   (start #~(make-systemd-constructor
             (list #$(file-append (collie-configuration-collie config)
                                  "/bin/collie")
                   "forward")
             (list (endpoint
                    (make-socket-address
                     AF_UNIX
                     (string-append (or (getenv "XDG_RUNTIME_DIR")
                                        (string-append
                                         "/run/user/"
                                         (number->string (getuid))))
                                    "/podman/forward.sock"))
                    #:name "forward"
                    #:socket-directory-permissions #o700))
             #:environment-variables
             (cons #$%forwarder-memory (default-environment-variables))
             #:log-file (string-append %user-log-dir
                                       "/collie-forward.log")))
   (stop #~(make-systemd-destructor))
   (respawn-limit #~'(100 . 1))))

(define (in-home config)
  "Return CONFIG as that of a home, even if it wasn't made by `for-home'."
  (collie-configuration (inherit config) (home-service? #t)))

(define (home-collie-services config)
  "Return the services of CONFIG for the Shepherd of the user."
  (let ((config (in-home config)))
    (append (if (collie-configuration-user config)
                (list (podman-api config) (collie-forward config))
                '())
            (list (collie-agent config)))))

(define (home-collie-profile config)
  "Return the packages of CONFIG for the profile."
  (list (collie-configuration-collie config)))

(define home-collie-service-type
  (service-type
   (inherit (system->home-service-type collie-service-type))
   (extensions
    (list (service-extension home-profile-service-type home-collie-profile)
          (service-extension home-shepherd-service-type
                             home-collie-services)))
   (description "Run @command{collie} for one user and without root: it brings
the user's home and rootless Podman pods to what a Git repository describes.
Its value is a @code{collie-configuration}; what that says of the system and
of the pod user has no meaning.  With no @code{homes} it leaves the home
alone, and with @code{user} @code{#f} nothing runs that only pods need.
Subordinate IDs are for the system to give.")))
