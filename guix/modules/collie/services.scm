;; The Shepherd services of Collie and of the Podman user that it works for.  For Guix 1.5.0 and Shepherd 1.0.9.
(define-module (collie services)
  #:use-module (collie packages)
  #:use-module (gnu packages containers)
  #:use-module (gnu packages nss)
  #:use-module (gnu packages version-control)
  #:use-module (gnu services)
  #:use-module (gnu services configuration)
  #:use-module (gnu services shepherd)
  #:use-module (gnu system accounts)
  #:use-module (gnu system shadow)
  #:use-module (guix gexp)
  #:use-module (ice-9 match)
  #:use-module (srfi srfi-1)
  #:export (collie-source
            collie-source?
            collie-source-url
            collie-source-branch
            collie-source-interval
            collie-source-owner
            collie-source-token-file
            collie-source-token-user
            collie-source-ca-file
            collie-source-key-file
            collie-source-known-hosts
            collie-source-mirrors
            collie-source-fields

            collie-mirror
            collie-mirror?
            collie-mirror-url
            collie-mirror-owner
            collie-mirror-token-file
            collie-mirror-token-user
            collie-mirror-ca-file
            collie-mirror-key-file
            collie-mirror-known-hosts
            collie-mirror-fields

            collie-keep
            collie-keep?
            collie-keep-revisions
            collie-keep-age
            collie-keep-free
            collie-keep-fields

            collie-images
            collie-images?
            collie-images-interval
            collie-images-require-digest?
            collie-images-auth-file
            collie-images-fields

            collie-configuration
            collie-configuration?
            collie-configuration-collie
            collie-configuration-podman
            collie-configuration-source
            collie-configuration-host
            collie-configuration-system?
            collie-configuration-homes
            collie-configuration-user
            collie-configuration-create-user?
            collie-configuration-subordinate-ids
            collie-configuration-downgrades?
            collie-configuration-max-builds
            collie-configuration-services
            collie-configuration-service-timeout
            collie-configuration-others-timeout
            collie-configuration-drift
            collie-configuration-windows
            collie-configuration-reboots?
            collie-configuration-soak
            collie-configuration-keep
            collie-configuration-images
            collie-configuration-state
            collie-configuration-grace-period
            collie-configuration-pod-grace-period
            collie-configuration-respawn-delay
            collie-configuration-environment-variables
            collie-configuration-fields
            collie-service-type))


;;;
;;; Configuration.
;;;

(define (count? value)
  (and (exact-integer? value) (positive? value)))

(define seconds? count?)

(define (limit? value)
  (and (exact-integer? value) (>= value 0)))

(define (drift-policy? value)
  (memq value '(report heal)))

(define (environment-variables? value)
  (and (list-of-strings? value)
       (every (lambda (variable)
                (let ((name-end (string-index variable #\=)))
                  (and name-end (positive? name-end))))
              value)))

(define (file? value)
  (or (string? value) (file-like? value)))

(define (policies? value)
  (and (list? value)
       (every (match-lambda
                (((? symbol?) . (or 'restart 'defer 'never 'reboot)) #t)
                (_ #f))
              value)))

(define %window
  (let* ((day "(sun|mon|tue|wed|thu|fri|sat)")
         (days (string-append day "(-" day ")?")))
    (make-regexp (string-append "^(daily|" days "(," days ")*) "
                                "([01][0-9]|2[0-3]):[0-5][0-9]-(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$")
                 regexp/icase)))

(define (windows? value)
  (and (list-of-strings? value)
       (every (lambda (window) (regexp-exec %window window)) value)))

(define-maybe/no-serialization string)
(define-maybe/no-serialization file)

(define-configuration/no-serialization collie-mirror
  (url
   (string)
   "URL of the Git repository.")
  (owner
   (maybe-string)
   "As in @code{collie-source}, and so are all that follow.")
  (token-file
   (maybe-string)
   "File with the token.")
  (token-user
   (maybe-string)
   "User name to send with the token.")
  (ca-file
   (maybe-file)
   "File with the certificates of authorities.")
  (key-file
   (maybe-string)
   "File with the private key.")
  (known-hosts
   (maybe-file)
   "File with the host keys."))

(define (list-of-collie-mirrors? value)
  (and (list? value) (every collie-mirror? value)))

(define-configuration/no-serialization collie-source
  (url
   (string)
   "URL of the Git repository to follow.")
  (branch
   (string "main")
   "Branch to follow.")
  (interval
   (seconds 30)
   "Seconds between two polls.  A push to a repository on this machine is seen at once.")
  (owner
   (maybe-string)
   "User that owns a repository on this machine.  Collie refuses a local repository that anyone but this user and root
can write.  By default only root may.")
  (token-file
   (maybe-string)
   "File with the token for an @code{https} repository, which only root can read, and not in the store.  It is read at
each poll.  By default no token is sent.")
  (token-user
   (maybe-string)
   "User name to send with the token.  By default @code{x-access-token}.")
  (ca-file
   (maybe-file)
   "File with the certificates of the authorities to trust for an @code{https} repository, a name or a file-like object.
By default those of the system.")
  (key-file
   (maybe-string)
   "File with the private key for a repository over @code{ssh}, which only root can read, and not in the store.")
  (known-hosts
   (maybe-file)
   "File with the host keys to trust for a repository over @code{ssh}, a name or a file-like object.")
  (mirrors
   (list-of-collie-mirrors '())
   "Repositories with the same branch, each a @code{collie-mirror}.  They are asked in this order when the repository
doesn't answer or is behind."))

(define-configuration/no-serialization collie-keep
  (revisions
   (limit 5)
   "Number of former good revisions whose systems and homes stay, however old they are, so that a commit which leads back
to one needs no network and no Guix.  At most 100.")
  (age
   (limit 0)
   "Seconds for which more of them stay, after another revision became the good one.")
  (free
   (maybe-string)
   "Free space in the store, like @code{\"5GiB\"}, below which Collie runs @command{guix gc} for as much, at a quiet time
and once an hour at most.  By default it never does."))

(define-configuration/no-serialization collie-images
  (interval
   (limit 3600)
   "Seconds between two questions to registries whether a tag leads to another image by now, for images with
@code{imagePullPolicy: Always}.  With 0 that is asked only when there is a commit.")
  (require-digest?
   (boolean #f)
   "Whether to refuse an image that isn't named with its digest.")
  (auth-file
   (maybe-string)
   "File with credentials for registries, as @command{podman login --authfile} writes it, which only root can read, and not
in the store.  By default those that the pod user has are used."))

(define-configuration/no-serialization collie-configuration
  (collie
   (file-like collie)
   "Package that provides the agent.")
  (podman
   (file-like podman)
   "Package of the Podman that serves its API to Collie and runs the pods.")
  (source
   (collie-source)
   "The Git repository to follow, a @code{collie-source}.")
  (host
   (maybe-string)
   "Name of this host in the repository.  By default the host name at Collie's first run, which is then kept.")
  (system?
   (boolean #t)
   "Whether Collie follows the repository's @file{system.scm}.")
  (homes
   (list-of-strings '("podman"))
   "Users whose @file{home.scm} (of the pod user) or @file{home/USER.scm} Collie follows.")
  (user
   (string "podman")
   "Unprivileged user that runs the pods.")
  (create-user?
   (boolean #t)
   "Whether to create the account and the group of @code{user}.")
  (subordinate-ids
   (count 65536)
   "Number of subordinate user and group IDs for the containers of @code{user}.")
  (downgrades?
   (boolean #f)
   "Whether a commit may take channels back to any earlier commit.  If not, they go back only to where they were in a good
revision that is kept, as @command{git revert} of an update does.")
  (max-builds
   (limit 20)
   "Number of derivations that may be built on this machine for one layer of a commit, those aside that Guix builds
locally anyway, as profiles and generated files.  If there are more, Collie waits for their substitutes, or for
@command{collie sync --build}.")
  (services
   (policies '())
   "What happens to a running service whose definition changed, an alist like @code{'((nginx . defer) (podman/syncthing .
never))}, with @var{user}/@var{service} for one of a home.  @code{restart}, the default for most, restarts it in the
switch.  The new definition takes effect with @code{defer} at @command{collie restart} or at the next boot, with
@code{never} at the next boot, and so with @code{reboot}, which says that the machine needs one.")
  (service-timeout
   (seconds 120)
   "Seconds within which a service has to stop, or to start.  One that takes longer is a problem, and nothing waits for
it.")
  (others-timeout
   (seconds 1200)
   "Seconds for which a switch waits for a @command{guix} that someone else runs, as @command{guix system reconfigure}.
Then it is tried again later.")
  (drift
   (drift-policy 'report)
   "What to do when someone else switched the system or a home, as with @command{guix system reconfigure}:
@code{'report} it and leave it until the next commit, or @code{'heal} it: switch back at once.")
  (windows
   (windows '())
   "When new commits may be switched to, in the machine's time zone: @code{daily 03:00-05:00}, @code{Sat,Sun
01:00-06:00}, @code{Mon-Fri 22:00-02:00}.  They are prepared before.  A return needs none, and @command{collie sync
--now} overrules them.  Without any, at all times.")
  (reboots?
   (boolean #f)
   "Whether to reboot the machine, once a commit is good, for what only a boot puts into force: kernel, initrd, boot
arguments, Shepherd, and services whose policy is @code{reboot}.  In one of the @code{windows}, if there are some.")
  (soak
   (seconds 30)
   "Seconds for which all must be well after a switch before a revision counts as good.  A commit can only lengthen it.")
  (keep
   (collie-keep (collie-keep))
   "What stays of former revisions, a @code{collie-keep}.")
  (images
   (collie-images (collie-images))
   "Where the images of pods come from, a @code{collie-images}.")
  (state
   (string "/var/lib/collie")
   "Directory of the clone, the state, the journal, the logs and the trees for Guix.")
  (grace-period
   (seconds 120)
   "Seconds that the agent has to finish its current step when it is stopped, before it is killed.")
  (pod-grace-period
   (seconds 30)
   "Seconds that the pods have to stop when the machine goes down.")
  (respawn-delay
   (seconds 5)
   "Seconds before an agent that ended is started again.")
  (environment-variables
   (environment-variables '())
   "More of the agent's environment, as @code{\"NAME=VALUE\"} strings, for instance
@code{\"https_proxy=http://proxy.example.org:3128\"}.  They win over the agent's usual ones."))

(define (yaml-string str)
  "Return STR as a double-quoted YAML scalar, whatever characters it has."
  (define (escape chr)
    (cond ((memv chr '(#\" #\\))
           (string #\\ chr))
          ((char-set-contains? char-set:iso-control chr)
           (format #f "\\u~4,'0x" (char->integer chr)))
          (else
           (string chr))))
  (string-append "\"" (string-concatenate (map escape (string->list str))) "\""))

(define* (collie.yaml config #:key (homes (collie-configuration-homes config)))
  "Return the agent's configuration file: the fields of CONFIG, under the same names, with HOMES unless that is #f."
  (define (entry name value)
    (if (maybe-value-set? value)
        (list name ": " value "\n")
        '()))
  (define (quoted value)
    (cond ((string? value) (yaml-string value))
          ((maybe-value-set? value) #~(string-append "\"" #$value "\""))  ;a file-like object
          (else value)))
  (define (duration seconds)
    (format #f "~as" seconds))
  (define (repository record first-indent indent . accessors)
    (append-map (lambda (indent name accessor)
                  (entry (string-append indent name) (quoted (accessor record))))
                (cons first-indent (make-list (length accessors) indent))
                '("url" "owner" "tokenFile" "tokenUser" "caFile" "keyFile" "knownHosts")
                accessors))
  (define (mirror record)
    (repository record "    - " "      "
                collie-mirror-url collie-mirror-owner collie-mirror-token-file collie-mirror-token-user
                collie-mirror-ca-file collie-mirror-key-file collie-mirror-known-hosts))
  (define source (collie-configuration-source config))
  (define mirrors (collie-source-mirrors source))
  (define keep (collie-configuration-keep config))
  (define images (collie-configuration-images config))

  (let ((text (append
               '("source:\n")
               (repository source "  " "  "
                           collie-source-url collie-source-owner collie-source-token-file collie-source-token-user
                           collie-source-ca-file collie-source-key-file collie-source-known-hosts)
               (entry "  branch" (quoted (collie-source-branch source)))
               (entry "  interval" (duration (collie-source-interval source)))
               (if (null? mirrors) '() (cons "  mirrors:\n" (append-map mirror mirrors)))
               (entry "host" (quoted (collie-configuration-host config)))
               (entry "system" (if (collie-configuration-system? config) "true" "false"))
               (entry "homes" (if homes
                                  (format #f "[~{~a~^, ~}]" (map yaml-string homes))
                                  %unset-value))
               (entry "user" (quoted (collie-configuration-user config)))
               (entry "downgrades" (if (collie-configuration-downgrades? config) "true" "false"))
               (entry "maxBuilds" (number->string (collie-configuration-max-builds config)))
               (entry "services" (format #f "{~{~a~^, ~}}"
                                         (map (match-lambda
                                                ((service . policy)
                                                 (format #f "~a: ~a" (yaml-string (symbol->string service)) policy)))
                                              (collie-configuration-services config))))
               (entry "serviceTimeout" (duration (collie-configuration-service-timeout config)))
               (entry "othersTimeout" (duration (collie-configuration-others-timeout config)))
               (entry "drift" (symbol->string (collie-configuration-drift config)))
               (entry "reboots" (if (collie-configuration-reboots? config) "true" "false"))
               (entry "windows" (format #f "[~{~a~^, ~}]" (map yaml-string (collie-configuration-windows config))))
               (entry "soak" (duration (collie-configuration-soak config)))
               '("keep:\n")
               (entry "  revisions" (number->string (collie-keep-revisions keep)))
               (entry "  age" (duration (collie-keep-age keep)))
               (entry "  free" (collie-keep-free keep))
               '("images:\n")
               (entry "  interval" (duration (collie-images-interval images)))
               (entry "  requireDigest" (if (collie-images-require-digest? images) "true" "false"))
               (entry "  authFile" (quoted (collie-images-auth-file images)))
               (entry "state" (quoted (collie-configuration-state config))))))
    (if (every string? text)
        (plain-file "collie.yaml" (string-concatenate text))
        (apply mixed-text-file "collie.yaml" text))))

;; /etc/containers is a link into the store where `rootless-podman-service-type' is used, and nothing fits beside its
;; files: Podman reads this one last, by CONTAINERS_CONF_OVERRIDE.
(define containers.conf
  (plain-file "containers.conf" "[containers]
# With a keyring each container takes a kernel key, and a user's quota of 200 ends at some 98 pods.
keyring = false
log_size_max = 10485760
[engine]
cgroup_manager = \"cgroupfs\"
events_logger = \"file\"
"))


;;;
;;; Accounts and activation.
;;;

(define (collie-accounts config)
  "Return the group that may talk to the agent, and the account of the pod user if CONFIG wants it."
  (let ((user (collie-configuration-user config)))
    (cons (user-group (name "collie") (system? #t))     ;about as much as root
          (if (collie-configuration-create-user? config)
              (list (user-group (name user))
                    (user-account
                     (name user)
                     (group user)
                     (supplementary-groups '("cgroup"))      ;of `rootless-podman-service-type'
                     (comment "Rootless Podman")))
              '()))))

(define (collie-subids config)
  (let ((range (subid-range (name (collie-configuration-user config))
                            (count (collie-configuration-subordinate-ids config)))))
    (subids-extension (subuids (list range))
                      (subgids (list range)))))

(define (collie-activation config)
  "Return a gexp that makes the agent's directories, and keeps the run-time directory of CONFIG's user."
  (with-imported-modules '((guix build utils))
    #~(begin
        (use-modules (guix build utils))
        (mkdir-p "/run/collie")
        (chmod "/run/collie" #o755)             ;else Shepherd makes it 0700, and group collie can't get in
        (mkdir-p #$(collie-configuration-state config))
        (chmod #$(collie-configuration-state config) #o711)     ;all below is 0700, but trees/, which home users read
        ;; What `loginctl enable-linger' does: elogind then keeps /run/user/UID after the user's last logout.
        (mkdir-p "/var/lib/elogind/linger")
        (call-with-output-file (string-append "/var/lib/elogind/linger/" #$(collie-configuration-user config))
          (const #t)))))

(define (collie-etc config)
  `(("collie.yaml" ,(collie.yaml config))))


;;;
;;; Podman, as its user.
;;;

(define (runtime-directory user)
  #~(string-append "/run/user/" (number->string (passwd:uid (getpwnam #$user)))))

(define (as-user user)
  "Return a gexp of the keyword arguments with which Shepherd's procedures run a program of Podman as USER."
  #~(let ((account (getpwnam #$user)))
      (list #:user #$user
            #:group (group:name (getgrgid (passwd:gid account)))   ;else it keeps root's
            #:supplementary-groups '("cgroup")
            #:directory (passwd:dir account)
            #:environment-variables
            (user-environment-variables
             #$user
             (list (string-append "XDG_RUNTIME_DIR=" #$(runtime-directory user))
                   (string-append "CONTAINERS_CONF_OVERRIDE=" #$containers.conf)
                   "PATH=/run/privileged/bin:/run/current-system/profile/bin:/run/current-system/profile/sbin"
                   (string-append "SSL_CERT_DIR=" #$(file-append nss-certs "/etc/ssl/certs")))))))

(define (podman-runtime-directory user)
  (shepherd-service
   (documentation "Make the run-time directory of the Podman user, unless elogind did.")
   (provision '(podman-runtime-directory))
   (requirement '(user-processes elogind))
   (one-shot? #t)
   (start #~(lambda _
              (let ((account (getpwnam #$user))
                    (directory #$(runtime-directory user)))
                (mkdir-p "/run/user")
                (unless (file-exists? directory)
                  (mkdir directory #o700)
                  (chown directory (passwd:uid account) (passwd:gid account)))
                #t)))))

(define %podman-requirement
  '(podman-runtime-directory cgroups2-fs-owner networking))

(define (podman-api user podman)
  (shepherd-service
   (documentation "Serve the API of rootless Podman to Collie.")
   (provision '(podman-api))
   (requirement %podman-requirement)
   (modules `((shepherd endpoints) ,@%default-modules))
   ;; The socket is there as soon as the service runs; Podman starts at the first connection and leaves when nobody
   ;; asked for ten seconds.  The socket is root's, in a directory of root: one in the user's run-time directory could be
   ;; swapped for a link to another.
   (start #~(lambda args
              (apply (apply make-systemd-constructor
                            (list #$(file-append podman "/bin/podman") "system" "service" "--time=10")
                            (list (endpoint
                                   (make-socket-address AF_UNIX #$(string-append "/run/collie/podman/" user ".sock"))
                                   #:name "podman" #:socket-directory-permissions #o700))
                            #:log-file "/var/log/podman-api.log"
                            #$(as-user user))
                     args)))
   (stop #~(make-systemd-destructor))
   ;; Between its end and its next socket nobody can connect.  More than can happen, lest Shepherd disable it.
   (respawn-delay 0.1)
   (respawn-limit ''(100 . 1))))

(define (collie-forward user collie)
  (shepherd-service
   (documentation "Forward ports of the machine to pods that ask for it by `collie.io/handover: forward'.")
   (provision '(collie-forward))
   (requirement '(user-processes networking))   ;not `podman-api', nor the agent: connections outlive both
   (modules `((shepherd endpoints) ,@%default-modules))
   ;; It starts when the agent first has something to tell it, and leaves when nothing is left to forward.  Its socket is
   ;; only for root; what it does, it does as the user.
   (start #~(lambda args
              (apply (apply make-systemd-constructor
                            (list #$(file-append collie "/bin/collie") "forward")
                            (list (endpoint
                                   (make-socket-address AF_UNIX "/run/collie/podman/forward.sock")
                                   #:name "forward" #:socket-directory-permissions #o700))
                            #:log-file "/var/log/collie-forward.log"
                            #$(as-user user))
                     args)))
   (stop #~(make-systemd-destructor))
   ;; Each start needs somebody who asks, so it can't be in a loop.
   (respawn-limit ''(100 . 1))))

(define (podman-pods user podman grace-period)
  (shepherd-service
   (documentation "Stop the user's pods before the machine goes down.")
   (provision '(podman-pods))
   (requirement %podman-requirement)            ;not `podman-api': to restart that must not stop the pods
   (start #~(const #t))
   ;; Without it the pods' processes get what `user-processes' gives to all: SIGTERM, 4 seconds, SIGKILL.
   (stop #~(lambda _
             (apply spawn-command
                    (list #$(file-append podman "/bin/podman")
                          "stop" "--all" "--time" #$(number->string grace-period))
                    #$(as-user user))
             #f))
   (respawn? #f)))


;;;
;;; The agent.
;;;

(define %control-socket "/run/collie/collie.sock")

(define (ask request)
  "Return a gexp of the procedure of an action: send REQUEST (\"POST /v1/sync\") to the agent, show what it answers.
The action's arguments are the value of the parameter that REQUEST ends with, if it does, and otherwise the body."
  (define parameter?
    (string-suffix? "=" request))

  #~(lambda (running . arguments)
      ;; Shepherd is one thread: a socket that doesn't block suspends only this fiber.
      (let* ((agent (socket AF_UNIX (logior SOCK_STREAM SOCK_NONBLOCK SOCK_CLOEXEC) 0))
             (words (string-join arguments))
             (path (if #$parameter? (string-append #$request (uri-encode words)) #$request))
             (body (if #$parameter? "" words)))
        ;; Not `dynamic-wind': its exit guard runs each time the fiber is suspended.
        (catch #t
          (lambda ()
            (set-port-encoding! agent "UTF-8")
            (connect agent AF_UNIX #$%control-socket)
            (put-string agent (string-append path " HTTP/1.0\r\nAccept: text/plain\r\nContent-Length: "
                                             (number->string (string-utf8-length body)) "\r\n\r\n" body))
            (force-output agent)
            (let ((status (read-line agent)))
              (let skip-headers ()
                (match (read-line agent)
                  ((or "\r" "" (? eof-object?)) #t)
                  (_ (skip-headers))))
              (let show ()
                (match (read-line agent 'concat)
                  ((? eof-object?)
                   (close-port agent)
                   (and (string? status)                 ;herd exits with 1 where it is false
                        (string-contains status " 2")      ;as in "HTTP/1.0 200 OK"
                        #t))
                  (line
                   (display line)
                   (show))))))
          (lambda exception
            (close-port agent)
            (apply throw exception))))))

(define (collie-action name documentation request)
  (shepherd-action
   (name name)
   (documentation documentation)
   (procedure (ask request))))

(define (collie-agent config)
  (define file (collie.yaml config))

  (shepherd-service
   (documentation "Follow a Git repository: bring the system, the homes and the pods to what it describes.")
   ;; Two that upgrade one machine undo each other's work.  Guix refuses a name that is provided twice, and so
   ;; `unattended-upgrade-service-type' beside this service.
   (provision '(collie unattended-upgrade))
   ;; Not `guix-daemon', `networking' or `podman-api': to restart one of them would stop the agent in mid-switch.
   (requirement '(user-processes))
   (modules `((ice-9 match) (ice-9 rdelim) (ice-9 textual-ports) (web uri) ,@%default-modules))
   (start #~(make-forkexec-constructor
             (list #$(file-append (collie-configuration-collie config) "/bin/collie")
                   "run" "--config" #$file)
             #:log-file "/var/log/collie.log"
             #:directory "/"            ;not the state directory: the agent makes that again where somebody removed it
             #:file-creation-mask #o022         ;guix inherits it, and an activation makes /etc/hosts under it
             ;; No #:pid-file: a service that ends before Shepherd has read that isn't respawned.
             #:environment-variables
             (list #$@(collie-configuration-environment-variables config)       ;of two of a name, Go takes the first
                   "HOME=/root" "USER=root" "LOGNAME=root" "LANG=C.UTF-8"
                   (string-append "PATH=/run/privileged/bin:/run/current-system/profile/bin"
                                  ":/run/current-system/profile/sbin:" #$(file-append git-minimal "/bin"))
                   "GUIX_LOCPATH=/run/current-system/locale"
                   (string-append "SSL_CERT_DIR=" #$(file-append nss-certs "/etc/ssl/certs")))))
   (stop #~(make-kill-destructor #:grace-period #$(collie-configuration-grace-period config)))
   ;; More than can happen, else Shepherd disables the service for good.  Two quotes, because it is pasted unquoted.
   (respawn-limit ''(100 . 1))
   (respawn-delay (collie-configuration-respawn-delay config))
   (actions
    (list (shepherd-configuration-action file)
          ;; The commands' own words; but `herd status collie' is Shepherd's.
          (collie-action 'deployment "Show what is deployed, as `collie status' does." "GET /v1/status")
          (collie-action 'sync "Look for a new commit now." "POST /v1/sync")
          (collie-action 'plan "Show what waits, or a branch plan/NAME, and what its switch would change."
                         "GET /v1/plan?name=")
          (collie-action 'history "List what was deployed, and how it ended." "GET /v1/history")
          (collie-action 'logs "Show the last of what Guix said for the newest revision, or for the one that is named."
                         "GET /v1/logs?lines=100&revision=")
          (collie-action 'suspend "Switch to nothing new until `resume'; arguments say why." "POST /v1/suspend")
          (collie-action 'resume "Deploy again." "POST /v1/resume")
          (collie-action 'retry "Try the newest revision again, though it failed." "POST /v1/retry")))))

(define (collie-secrets config)
  (shepherd-service
   (documentation "Put the secrets of services into /run/collie/secrets again, after a boot.")
   ;; Services that need one require this.  What a new commit brings the agent puts there itself, before it switches.
   (provision '(collie-secrets))
   (requirement '(user-processes))
   (one-shot? #t)
   (start #~(lambda _
              (zero? (spawn-command
                      (list #$(file-append (collie-configuration-collie config) "/bin/collie")
                            "deliver" "--config" #$(collie.yaml config))))))))

(define (collie-push-hook config)
  "Return the service that has pushes to CONFIG's repository show their plans, in a list; none if that is elsewhere."
  (define source (collie-configuration-source config))
  (define url (collie-source-url source))
  (define owner
    (let ((owner (collie-source-owner source)))
      (if (maybe-value-set? owner) owner "root")))

  (if (or (string-prefix? "/" url) (string-prefix? "file:" url))
      (list (shepherd-service
             (documentation "Have a push to the repository on this machine show what it would change.")
             (provision '(collie-push-hook))
             (requirement '(user-processes))
             (one-shot? #t)
             ;; As the repository's owner: root would write wherever a link in there leads.
             (start #~(lambda _
                        (false-if-exception
                         (let ((account (getpwnam #$owner)))
                           (spawn-command
                            (list #$(file-append (collie-configuration-collie config) "/bin/collie")
                                  "add-hook" #$url)
                            #:user #$owner
                            #:group (group:name (getgrgid (passwd:gid account)))
                            #:directory "/")))
                        #t))))          ;pushes show nothing then, that is all
      '()))

(define (collie-shepherd-services config)
  (let ((user (collie-configuration-user config))
        (podman (collie-configuration-podman config)))
    (cons* (podman-runtime-directory user)
           (podman-api user podman)
           (podman-pods user podman (collie-configuration-pod-grace-period config))
           (collie-forward user (collie-configuration-collie config))
           (collie-secrets config)
           (collie-agent config)
           (collie-push-hook config))))

(define collie-service-type
  (service-type
   (name 'collie)
   (extensions
    (list (service-extension account-service-type collie-accounts)
          (service-extension subids-service-type collie-subids)
          (service-extension activation-service-type collie-activation)
          (service-extension etc-service-type collie-etc)
          (service-extension profile-service-type (compose list collie-configuration-collie))
          (service-extension shepherd-root-service-type collie-shepherd-services)))
   (description "Run @command{collie}, a GitOps agent that brings the system, the homes of users and the rootless
Podman pods of one user to what a Git repository describes.  It needs @code{rootless-podman-service-type} and what
that needs.")))
