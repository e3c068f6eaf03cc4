;;; Collie: a GitOps pull agent for Guix System
;;; Copyright © 2026 The authors of Collie
;;;
;;; This file is part of Collie, which is free software: you can redistribute
;;; it and/or modify it under the terms of the GNU General Public License as
;;; published by the Free Software Foundation, either version 3 of the
;;; License, or (at your option) any later version.  See the file LICENSE.

;;; Commentary:
;;;
;;; The services of Collie and of the Podman user that it works for.  They are
;;; made for Guix 1.5.0 and Shepherd 1.0.9.
;;;
;;; Code:

(define-module (collie services)
  #:use-module (collie packages)
  #:use-module (collie sanitizers)
  #:autoload   (gnu build linux-container) (%namespaces)
  #:use-module (gnu packages admin)
  #:use-module (gnu packages base)
  #:use-module (gnu packages bash)
  #:use-module (gnu packages containers)
  #:use-module (gnu packages nss)
  #:use-module (gnu packages version-control)
  #:use-module (gnu services)
  #:use-module (gnu services configuration)
  #:use-module (gnu services containers)
  #:use-module (gnu services desktop)
  #:use-module (gnu services networking)
  #:use-module (gnu services shepherd)
  #:use-module (gnu system accounts)
  #:use-module (gnu system shadow)
  #:use-module (guix diagnostics)
  #:use-module (guix gexp)
  #:use-module (guix i18n)
  #:autoload   (guix least-authority)
  (least-authority-wrapper %default-preserved-environment-variables)
  #:use-module (ice-9 match)
  #:use-module (srfi srfi-1)
  #:use-module (srfi srfi-34)
  #:use-module (srfi srfi-35)
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
            collie-configuration-home-service?
            collie-configuration-fields

            collie-extension
            collie-extension?
            collie-extension-services
            collie-extension-homes
            collie-extension-mirrors
            collie-extension-windows
            collie-extension-environment-variables
            collie-extension-fields

            collie.yaml
            %agent-memory
            %collie-containers.conf
            %forwarder-memory

            collie-service-type
            collie-system-service-type))


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

(define (string-or-false? value)
  (or (not value) (string? value)))

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
         (days (string-append day "(-" day ")?"))
         (hour "([01][0-9]|2[0-3]):[0-5][0-9]"))
    (make-regexp (string-append "^(daily|" days "(," days ")*) "
                                hour "-(" hour "|24:00)$")
                 regexp/icase)))

(define (windows? value)
  (and (list-of-strings? value)
       (every (lambda (window)
                (regexp-exec %window window))
              value)))

(define-maybe/no-serialization string)
(define-maybe/no-serialization file)

(define %seconds "a whole number of seconds, at least 1, as in 30")
(define %seconds-or-none "a whole number of seconds, or 0")
(define %number "a whole number, or 0")
(define %environment "a list of \"NAME=VALUE\" strings")
(define %policies "an alist of services and 'restart, 'defer, 'never or \
'reboot, as in '((nginx . defer))")
(define %windows "a list of windows, as in '(\"daily 03:00-05:00\" \
\"Sat,Sun 22:00-02:00\")")

(define-sanitizers
  (sanitize-poll-interval interval seconds? %seconds)
  (sanitize-image-interval interval limit? %seconds-or-none)
  (sanitize-revisions revisions limit? %number)
  (sanitize-age age limit? %seconds-or-none)
  (sanitize-user user string-or-false?
                 "the name of a user, or #f for a machine without pods")
  (sanitize-subordinate-ids subordinate-ids count?
                            "a whole number, at least 1, as in 65536")
  (sanitize-max-builds max-builds limit? %number)
  (sanitize-services services policies? %policies)
  (sanitize-service-timeout service-timeout seconds? %seconds)
  (sanitize-others-timeout others-timeout seconds? %seconds)
  (sanitize-drift drift drift-policy? "'report or 'heal")
  (sanitize-windows windows windows? %windows)
  (sanitize-soak soak seconds? %seconds)
  (sanitize-grace-period grace-period seconds? %seconds)
  (sanitize-pod-grace-period pod-grace-period seconds? %seconds)
  (sanitize-respawn-delay respawn-delay seconds? %seconds)
  (sanitize-environment environment-variables environment-variables?
                        %environment))

(define-configuration/no-serialization collie-mirror
  (url
   (string)
   "URL of the Git repository.")
  (owner
   (maybe-string)
   "As in @code{collie-source}, like all the fields below.")
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

(define (strings->mirrors value)
  "Return VALUE with a mirror for each string in it."
  (if (list? value)
      (map (lambda (mirror)
             (if (string? mirror)
                 (collie-mirror (url mirror))
                 mirror))
           value)
      value))

(define-sanitizers
  (sanitize-mirrors mirrors list-of-collie-mirrors?
                    "a list of URLs and collie-mirror records"
                    strings->mirrors))

(define-configuration/no-serialization collie-source
  (url
   (string)
   "URL of the Git repository to follow.")
  (branch
   (string "main")
   "Branch to follow.")
  (interval
   (seconds 30)
   "Seconds between two polls.  Collie notices a push to a repository on this
machine at once."
   (sanitizer sanitize-poll-interval))
  (owner
   (maybe-string)
   "User that owns a repository on this machine.  Collie refuses a local
repository that anyone but this user and root can write.  By default only root
may.")
  (token-file
   (maybe-string)
   "File with the token for an @code{https} repository, which only root can
read, and not in the store.  It is read at each poll.  By default no token is
sent.")
  (token-user
   (maybe-string)
   "User name to send with the token.  By default @code{x-access-token}.")
  (ca-file
   (maybe-file)
   "File with the certificates of the authorities to trust for an @code{https}
repository, a name or a file-like object.  By default those of the system.")
  (key-file
   (maybe-string)
   "File with the private key for a repository over @code{ssh}, which only
root can read, and not in the store.")
  (known-hosts
   (maybe-file)
   "File with the host keys to trust for a repository over @code{ssh}, a name
or a file-like object.")
  (mirrors
   (list-of-collie-mirrors '())
   "Repositories with the same branch, each a URL or a @code{collie-mirror}.
Collie asks them in this order when the repository doesn't answer or lags."
   (sanitizer sanitize-mirrors)))

(define (string->source value)
  "Return VALUE, or the source whose URL it is if it is a string."
  (if (string? value)
      (collie-source (url value))
      value))

(define-sanitizers
  (sanitize-source source collie-source?
                   "the URL of a Git repository, or a collie-source"
                   string->source))

(define-configuration/no-serialization collie-keep
  (revisions
   (limit 5)
   "Number of former good revisions whose systems and homes are kept, however
old they are.  A commit that leads back to one of them needs no network and no
Guix.  At most 100."
   (sanitizer sanitize-revisions))
  (age
   (limit 0)
   "Seconds for which additional ones are kept after another revision became
good."
   (sanitizer sanitize-age))
  (free
   (maybe-string)
   "Free space in the store, like @code{\"5GiB\"}.  If there is less, Collie
runs @command{guix gc} to free that much, when nothing is in progress and at
most once an hour.  By default it never does."))

(define-configuration/no-serialization collie-images
  (interval
   (limit 3600)
   "Seconds between two checks whether a tag leads to another image now, for
images with @code{imagePullPolicy: Always}.  With 0 Collie checks only when
there is a commit."
   (sanitizer sanitize-image-interval))
  (require-digest?
   (boolean #f)
   "Whether to refuse an image without a digest in its name.")
  (auth-file
   (maybe-string)
   "File with credentials for registries, as @command{podman login --authfile}
writes it, which only root can read, and not in the store.  By default Collie
uses the pod user's credentials."))

;; The default of `homes' is known by its identity: it follows `user'.
(define %home-of-pod-user (list "podman"))

(define-configuration/no-serialization collie-configuration
  (collie
   (file-like collie)
   "Package that provides the agent.")
  (podman
   (file-like podman)
   "Package of the Podman that serves its API to Collie and runs the pods.")
  (source
   (collie-source)
   "The Git repository to follow: its URL, or a @code{collie-source}."
   (sanitizer sanitize-source))
  (host
   (maybe-string)
   "Name of this host in the repository.  By default the host name at Collie's
first run, which is then kept.")
  (system?
   (boolean #t)
   "Whether Collie follows the repository's @file{system.scm}.")
  (homes
   (list-of-strings %home-of-pod-user)
   "Users whose @file{home.scm} (of the pod user) or @file{home/USER.scm}
Collie follows.  By default the pod user, if there is one.")
  (user
   (string-or-false "podman")
   "Unprivileged user that runs the pods.  With @code{#f} there are no pods:
@code{collie-system-service-type} adds nothing that only pods need."
   (sanitizer sanitize-user))
  (create-user?
   (boolean #t)
   "Whether to create the account and the group of @code{user}.")
  (subordinate-ids
   (count 65536)
   "Number of subordinate user and group IDs for the containers of
@code{user}."
   (sanitizer sanitize-subordinate-ids))
  (downgrades?
   (boolean #f)
   "Whether a commit may take channels back to any earlier commit.  If not,
they go back only to where they were in a good revision that is kept, as
@command{git revert} of an update does.")
  (max-builds
   (limit 20)
   "Number of derivations that may be built on this machine for one layer of a
commit.  Derivations that Guix always builds locally, such as profiles and
generated files, don't count.  If there are more, Collie waits for their
substitutes, or for @command{collie sync --build}."
   (sanitizer sanitize-max-builds))
  (services
   (policies '())
   "What happens to a running service whose definition changed, an alist like
@code{'((nginx . defer) (podman/syncthing . never))}, with
@var{user}/@var{service} for one of a home.  @code{restart}, the default for
most, restarts it in the switch.  With @code{defer} the new definition takes
effect at @command{collie restart} or at the next boot, with @code{never} only
at the next boot.  @code{reboot} is like @code{never}, but the status also
shows that the machine needs a reboot."
   (sanitizer sanitize-services))
  (service-timeout
   (seconds 120)
   "Seconds within which a service has to stop, or to start.  A service that
takes longer is a problem, and nothing waits for it."
   (sanitizer sanitize-service-timeout))
  (others-timeout
   (seconds 1200)
   "Seconds for which a switch waits for a @command{guix} that someone else
runs, for example @command{guix system reconfigure}.  Then Collie tries again
later."
   (sanitizer sanitize-others-timeout))
  (drift
   (drift-policy 'report)
   "What to do when someone else switched the system or a home, for example
with @command{guix system reconfigure}.  @code{'report} shows it and leaves it
until the next commit.  @code{'heal} switches back at once."
   (sanitizer sanitize-drift))
  (windows
   (windows '())
   "When Collie may switch to new commits, in the machine's time zone:
@code{daily 03:00-05:00}, @code{Sat,Sun 01:00-06:00}, @code{Mon-Fri
22:00-02:00}.  It prepares them before.  A roll-back ignores windows, and so
does @command{collie sync --now}.  Without any window, Collie may switch at
all times."
   (sanitizer sanitize-windows))
  (reboots?
   (boolean #f)
   "Whether to reboot the machine, once a commit is good, for changes that
only a boot activates: kernel, initrd, boot arguments, Shepherd, and services
whose policy is @code{reboot}.  If there are @code{windows}, only in one of
them.")
  (soak
   (seconds 30)
   "Seconds for which everything must be well after a switch before a revision
counts as good.  A commit can only lengthen it."
   (sanitizer sanitize-soak))
  (keep
   (collie-keep (collie-keep))
   "What to keep of former revisions, a @code{collie-keep}.")
  (images
   (collie-images (collie-images))
   "Where the images of pods come from, a @code{collie-images}.")
  (state
   (string "/var/lib/collie")
   "Directory of the clone, the state, the journal, the logs and the trees for
Guix.")
  (grace-period
   (seconds 120)
   "Seconds that the agent has to finish its current step when it is stopped,
before it is killed."
   (sanitizer sanitize-grace-period))
  (pod-grace-period
   (seconds 30)
   "Seconds that the pods have to stop when the machine goes down."
   (sanitizer sanitize-pod-grace-period))
  (respawn-delay
   (seconds 5)
   "Seconds before an agent that ended is started again."
   (sanitizer sanitize-respawn-delay))
  (environment-variables
   (environment-variables '())
   "Additional environment variables of the agent, as @code{\"NAME=VALUE\"}
strings, for instance @code{\"https_proxy=http://proxy.example.org:3128\"}.
They override the agent's own ones, such as @code{GOMEMLIMIT=512MiB}, which
limits its memory."
   (sanitizer sanitize-environment))
  (home-service?
   (boolean for-home?)
   "Whether this is the Collie of a home.  @code{home-collie-service-type}
sets it."))

;; Other services extend Collie's with this.
(define-configuration/no-serialization collie-extension
  (services
   (policies '())
   "Policies for services that have none in the configuration."
   (sanitizer sanitize-services))
  (homes
   (list-of-strings '())
   "More users whose homes Collie follows.")
  (mirrors
   (list-of-collie-mirrors '())
   "More mirrors, after those of the configuration."
   (sanitizer sanitize-mirrors))
  (windows
   (windows '())
   "More windows in which Collie may switch to new commits."
   (sanitizer sanitize-windows))
  (environment-variables
   (environment-variables '())
   "Additional environment variables of the agent.  Those of the configuration
override them."
   (sanitizer sanitize-environment)))

(define (followed-homes config)
  "Return the users whose homes CONFIG has followed."
  (let ((homes (collie-configuration-homes config))
        (user (collie-configuration-user config)))
    (cond ((not (eq? homes %home-of-pod-user)) homes)
          (user (list user))
          (else '()))))

(define (without-pods config)
  "Return CONFIG without a user that runs pods."
  (let ((podless (collie-configuration (inherit config) (user #f))))
    (collie-configuration
     (inherit podless)
     (homes (followed-homes podless)))))

(define (merge-policies policies)
  "Return POLICIES, an alist, with one policy for each service; raise an error
where services disagree."
  (let ((policies (delete-duplicates policies)))
    (for-each
     (match-lambda
       ((service . policy)
        (unless (eq? policy (assq-ref policies service))
          (raise
           (formatted-message
            (G_ "services add two policies for '~a' to Collie: ~a and ~a")
            service (assq-ref policies service) policy)))))
     policies)
    policies))

(define (collie-extension-merge a b)
  "Return the extension that adds what A and B add."
  (define (both field)
    (delete-duplicates (append (field a) (field b))))

  (collie-extension
   (services (merge-policies (both collie-extension-services)))
   (homes (both collie-extension-homes))
   (mirrors (both collie-extension-mirrors))
   (windows (both collie-extension-windows))
   (environment-variables (both collie-extension-environment-variables))))

(define (collie-configuration-extend config extension)
  "Return CONFIG with what EXTENSION adds to it."
  (define (both field added)
    (append (field config) (added extension)))
  (define source (collie-configuration-source config))
  (define policies (collie-configuration-services config))

  (collie-configuration
   (inherit config)
   (source
    (collie-source
     (inherit source)
     (mirrors (append (collie-source-mirrors source)
                      (collie-extension-mirrors extension)))))
   (homes
    (delete-duplicates (append (followed-homes config)
                               (collie-extension-homes extension))))
   (services
    (append policies
            (remove (match-lambda
                      ((service . _) (assq service policies)))
                    (collie-extension-services extension))))
   (windows
    (delete-duplicates (both collie-configuration-windows
                             collie-extension-windows)))
   (environment-variables
    (both collie-configuration-environment-variables
          collie-extension-environment-variables))))

(define (extended config extension)
  "Return CONFIG with what EXTENSION adds to it.  Without one it is CONFIG
itself, which knows where it is written."
  (if extension
      (collie-configuration-extend config extension)
      config))

(define (yaml-string str)
  "Return STR as a double-quoted YAML scalar, whatever characters it has."
  (define (escape chr)
    (cond ((memv chr '(#\" #\\))
           (string #\\ chr))
          ((char-set-contains? char-set:iso-control chr)
           (format #f "\\u~4,'0x" (char->integer chr)))
          (else
           (string chr))))
  (string-append "\""
                 (string-concatenate (map escape (string->list str)))
                 "\""))

(define (collie.yaml config)
  "Return the agent's configuration file: the fields of CONFIG, under the same
names.  What CONFIG says of the pod user has no meaning in a home; no homes
are none there, and any are that of whoever runs the agent."
  (define (entry name value)
    (if (maybe-value-set? value)
        (list name ": " value "\n")
        '()))
  (define (quoted value)
    (cond ((string? value) (yaml-string value))
          ((maybe-value-set? value)     ;a file-like object
           #~(string-append "\"" #$value "\""))
          (else value)))
  (define (boolean value)
    (if value "true" "false"))
  (define (duration seconds)
    (format #f "~as" seconds))
  (define (strings list)
    (format #f "[~{~a~^, ~}]" (map yaml-string list)))
  (define (policies alist)
    (format #f "{~{~a~^, ~}}"
            (map (match-lambda
                   ((service . policy)
                    (format #f "~a: ~a"
                            (yaml-string (symbol->string service)) policy)))
                 alist)))
  (define (repository record first-indent indent . accessors)
    (append-map (lambda (indent name accessor)
                  (entry (string-append indent name)
                         (quoted (accessor record))))
                (cons first-indent (make-list (length accessors) indent))
                '("url" "owner" "tokenFile" "tokenUser" "caFile" "keyFile"
                  "knownHosts")
                accessors))
  (define (mirror record)
    (repository record "    - " "      "
                collie-mirror-url
                collie-mirror-owner
                collie-mirror-token-file
                collie-mirror-token-user
                collie-mirror-ca-file
                collie-mirror-key-file
                collie-mirror-known-hosts))
  (define source (collie-configuration-source config))
  (define mirrors (collie-source-mirrors source))
  (define keep (collie-configuration-keep config))
  (define images (collie-configuration-images config))
  (define home? (collie-configuration-home-service? config))

  (let ((text
         (append
          '("source:\n")
          (repository source "  " "  "
                      collie-source-url
                      collie-source-owner
                      collie-source-token-file
                      collie-source-token-user
                      collie-source-ca-file
                      collie-source-key-file
                      collie-source-known-hosts)
          (entry "  branch" (quoted (collie-source-branch source)))
          (entry "  interval" (duration (collie-source-interval source)))
          (if (null? mirrors)
              '()
              (cons "  mirrors:\n" (append-map mirror mirrors)))
          (entry "host" (quoted (collie-configuration-host config)))
          (entry "system" (boolean (collie-configuration-system? config)))
          (entry "homes"
                 (cond ((not home?) (strings (followed-homes config)))
                       ((null? (collie-configuration-homes config)) "[]")
                       (else %unset-value)))
          (entry "user"
                 (quoted (or (and (not home?)
                                  (collie-configuration-user config))
                             "")))
          (entry "downgrades"
                 (boolean (collie-configuration-downgrades? config)))
          (entry "maxBuilds"
                 (number->string (collie-configuration-max-builds config)))
          (entry "services"
                 (policies (collie-configuration-services config)))
          (entry "serviceTimeout"
                 (duration (collie-configuration-service-timeout config)))
          (entry "othersTimeout"
                 (duration (collie-configuration-others-timeout config)))
          (entry "drift"
                 (symbol->string (collie-configuration-drift config)))
          (entry "reboots" (boolean (collie-configuration-reboots? config)))
          (entry "windows" (strings (collie-configuration-windows config)))
          (entry "soak" (duration (collie-configuration-soak config)))
          '("keep:\n")
          (entry "  revisions" (number->string (collie-keep-revisions keep)))
          (entry "  age" (duration (collie-keep-age keep)))
          (entry "  free" (collie-keep-free keep))
          '("images:\n")
          (entry "  interval" (duration (collie-images-interval images)))
          (entry "  requireDigest"
                 (boolean (collie-images-require-digest? images)))
          (entry "  authFile" (quoted (collie-images-auth-file images)))
          (entry "state" (quoted (collie-configuration-state config))))))
    (if (every string? text)
        (plain-file "collie.yaml" (string-concatenate text))
        (apply mixed-text-file "collie.yaml" text))))

;; What Go's garbage collector keeps to.  Where the kernel controls memory,
;; the agent has a control group with a limit of twice that.
(define %agent-memory "GOMEMLIMIT=512MiB")
(define %forwarder-memory "GOMEMLIMIT=256MiB")

;; Files that the forwarder may have open: a connection takes six at most.
(define %forwarder-files 65536)

;; In a container root may not raise that limit, and the start would fail.
(define %may-raise-files
  #~(zero? (spawn-command
            (list #$(file-append bash-minimal "/bin/sh") "-c"
                  #$(format #f "ulimit -n ~a 2>/dev/null"
                            %forwarder-files)))))

;; /etc/containers is a link into the store that
;; `rootless-podman-service-type' makes, and nothing fits beside its files.
;; Podman reads this one last, by CONTAINERS_CONF_OVERRIDE.
(define %collie-containers.conf
  (plain-file "containers.conf" "[containers]
# With a keyring each container takes a kernel key, and a user's quota of \
200 ends at some 98 pods.
keyring = false
log_size_max = 10485760
[engine]
cgroup_manager = \"cgroupfs\"
events_logger = \"file\"
"))


;;;
;;; Accounts and activation.
;;;

(define (evaluation-account name comment)
  "Return the account NAME, for which the agent makes a home as it needs one."
  (user-account
   (name name)
   (group "collie-build")
   (system? #t)
   (comment comment)
   (home-directory "/var/empty")
   (create-home-directory? #f)
   (shell (file-append shadow "/sbin/nologin"))))

(define (collie-accounts config)
  "Return the group that may talk to the agent, and the account of the pod
user if CONFIG has one and wants it."
  (let ((user (collie-configuration-user config)))
    ;; Members of the group can do almost as much as root.
    (cons* (user-group (name "collie") (system? #t))
           ;; Scheme that is only prepared runs as these, not as root.
           (user-group (name "collie-build") (system? #t))
           (evaluation-account "collie-build" "Collie evaluates the branch")
           (evaluation-account "collie-plan" "Collie evaluates plans")
           (if (and user (collie-configuration-create-user? config))
              (list (user-group (name user))
                    (user-account
                     (name user)
                     (group user)
                     ;; The group is of `rootless-podman-service-type'.
                     (supplementary-groups '("cgroup"))
                     (comment "Rootless Podman")))
              '()))))

(define (pod-user config)
  "Return the user of CONFIG that runs pods; raise an error if there is none."
  (or (collie-configuration-user config)
      (raise
       (apply make-compound-condition
              (formatted-message
               (G_ "collie-service-type brings Podman: without a user for \
pods, use collie-system-service-type"))
              (match (collie-configuration-source-location config)
                ((? location? location)
                 (list (condition (&error-location (location location)))))
                (_ '()))))))

(define (collie-subids config)
  "Return the subordinate IDs for the containers of CONFIG's user."
  (let ((range (subid-range
                (name (pod-user config))
                (count (collie-configuration-subordinate-ids config)))))
    (subids-extension (subuids (list range))
                      (subgids (list range)))))

(define (collie-activation config)
  "Return a gexp that makes the agent's directories, and keeps the run-time
directory of CONFIG's user."
  (define state (collie-configuration-state config))
  (define user (collie-configuration-user config))

  (with-imported-modules '((guix build utils))
    #~(begin
        (use-modules (guix build utils))
        (mkdir-p "/run/collie")
        ;; Else Shepherd makes it 0700, and group collie can't get in.
        (chmod "/run/collie" #o755)
        (mkdir-p #$state)
        ;; All below is 0700, but trees/, which home users read.
        (chmod #$state #o711)
        #$@(if user
               ;; Like `loginctl enable-linger': elogind then keeps
               ;; /run/user/UID after the user's last logout.
               (list #~(mkdir-p "/var/lib/elogind/linger")
                     #~(call-with-output-file
                           (string-append "/var/lib/elogind/linger/" #$user)
                         (const #t)))
               '()))))

(define (collie-etc config)
  "Return the agent's configuration file for /etc."
  `(("collie.yaml" ,(collie.yaml config))))

(define (collie-profile config)
  "Return the packages of CONFIG for the profile."
  (list (collie-configuration-collie config)))


;;;
;;; Podman, as its user.
;;;

(define (runtime-directory user)
  "Return a gexp of the run-time directory of USER."
  #~(string-append "/run/user/"
                   (number->string (passwd:uid (getpwnam #$user)))))

(define* (as-user user #:optional (variables '()))
  "Return a gexp of the keyword arguments with which Shepherd's procedures run
a program as USER with the environment VARIABLES beside those of Podman.  Its
supplementary groups aren't among them: 'spawn-command' takes none."
  #~(let ((account (getpwnam #$user)))
      (list #:user #$user
            ;; Without it the program keeps root's.
            #:group (group:name (getgrgid (passwd:gid account)))
            #:directory (passwd:dir account)
            #:environment-variables
            (user-environment-variables
             #$user
             (list #$@variables
                   (string-append "XDG_RUNTIME_DIR="
                                  #$(runtime-directory user))
                   (string-append "CONTAINERS_CONF_OVERRIDE="
                                  #$%collie-containers.conf)
                   (string-append "PATH=/run/privileged/bin"
                                  ":/run/current-system/profile/bin"
                                  ":/run/current-system/profile/sbin")
                   (string-append "SSL_CERT_DIR="
                                  #$(file-append nss-certs
                                                 "/etc/ssl/certs")))))))

(define (podman-runtime-directory user)
  "Return the service that makes the run-time directory of USER."
  (shepherd-service
   (documentation
    "Make the run-time directory of the Podman user, unless elogind did.")
   (provision '(podman-runtime-directory))
   (requirement '(user-processes elogind))
   (one-shot? #t)
   (start #~(lambda _
              (let ((account (getpwnam #$user))
                    (directory #$(runtime-directory user)))
                (mkdir-p "/run/user")
                (unless (file-exists? directory)
                  (mkdir directory #o700)
                  (chown directory
                         (passwd:uid account) (passwd:gid account)))
                #t)))))

(define %podman-requirement
  '(podman-runtime-directory cgroups2-fs-owner networking))

(define (podman-api user podman)
  "Return the service that serves the API of PODMAN, run as USER."
  (shepherd-service
   (documentation "Serve the API of rootless Podman to Collie.")
   (provision '(podman-api))
   (requirement %podman-requirement)
   (modules `((shepherd endpoints) ,@%default-modules))
   ;; The socket is there as soon as the service runs; Podman starts at the
   ;; first connection and leaves when nobody asked for ten seconds.  The
   ;; socket is root's, in a directory of root: one in the user's run-time
   ;; directory could be swapped for a link to another.
   (start #~(lambda args
              (apply (apply make-systemd-constructor
                            (list #$(file-append podman "/bin/podman")
                                  "system" "service" "--time=10")
                            (list (endpoint
                                   (make-socket-address
                                    AF_UNIX
                                    #$(string-append "/run/collie/podman/"
                                                     user ".sock"))
                                   #:name "podman"
                                   #:socket-directory-permissions #o700))
                            #:log-file "/var/log/podman-api.log"
                            #:supplementary-groups '("cgroup")
                            #$(as-user user))
                     args)))
   (stop #~(make-systemd-destructor))
   ;; Between its end and its next socket nobody can connect.  The limit is
   ;; more than can happen, lest Shepherd disable it.
   (respawn-delay 0.1)
   (respawn-limit #~'(100 . 1))))

(define (confined-forwarder collie)
  "Return a program that runs COLLIE's forwarder without the machine's files:
it can open nothing but its own program.  Its socket is passed to it.  It
shares the machine's network, on whose ports it listens."
  (least-authority-wrapper
   (file-append collie "/bin/collie")
   #:name "collie-forwarder"
   ;; A namespace for processes takes a fork in a clone of a Guile that has
   ;; threads, which was seen to hang with Guile 3.0.11.
   #:namespaces (fold delq %namespaces '(net pid))
   ;; LISTEN_PID isn't the process of the forwarder, but the one that waits
   ;; for it.
   #:preserved-environment-variables
   (cons "GOMEMLIMIT"
         (lset-difference equal? %default-preserved-environment-variables
                          '("LISTEN_PID")))))

(define (collie-forward user collie)
  "Return the service that runs the forwarder of COLLIE as USER."
  (shepherd-service
   (documentation "Forward ports of the machine to pods that ask for it by \
`collie.io/handover: forward'.")
   (provision '(collie-forward))
   ;; Not `podman-api', nor the agent: connections outlive both.
   (requirement '(podman-runtime-directory user-processes networking))
   (modules `((shepherd endpoints) ,@%default-modules))
   ;; It starts when the agent first has something to tell it, and leaves when
   ;; nothing is left to forward.  Its socket is only for root; what it does,
   ;; it does as the user.
   (start #~(lambda args
              (apply (apply make-systemd-constructor
                            ;; The score by which the kernel chooses what to
                            ;; end first; there is no /proc later.
                            (list #$(file-append bash-minimal "/bin/sh") "-c"
                                  "echo 200 >/proc/self/oom_score_adj; \
exec \"$0\" forward"
                                  #$(confined-forwarder collie))
                            (list (endpoint
                                   (make-socket-address
                                    AF_UNIX "/run/collie/podman/forward.sock")
                                   #:name "forward"
                                   #:socket-directory-permissions #o700))
                            #:log-file "/var/log/collie-forward.log"
                            #:supplementary-groups '("cgroup")
                            #:resource-limits
                            (if #$%may-raise-files
                                '((nofile #$%forwarder-files
                                          #$%forwarder-files))
                                '())
                            #$(as-user
                               user
                               (list %forwarder-memory
                                     ;; For the folder that becomes its root.
                                     #~(string-append
                                        "TMPDIR="
                                        #$(runtime-directory user)))))
                     args)))
   (stop #~(make-systemd-destructor))
   ;; Each start needs somebody who asks, so it can't be in a loop.
   (respawn-limit #~'(100 . 1))))

(define (podman-pods user podman grace-period)
  "Return the service that stops the pods of USER before the machine goes
down."
  (shepherd-service
   (documentation "Stop the user's pods before the machine goes down.")
   (provision '(podman-pods))
   ;; Not `podman-api': to restart that must not stop the pods.
   ;; Shepherd stops this before `user-processes' ends all processes.
   (requirement (cons 'user-processes %podman-requirement))
   (start #~(const #t))
   ;; Without it the pods' processes get what `user-processes' gives to all:
   ;; SIGTERM, 4 seconds, SIGKILL.  A configuration without Collie unloads
   ;; this service, too, perhaps without the user: the pods go on then.
   (stop #~(lambda _
             (when (eq? 'stopping (service-status (lookup-service 'root)))
               ;; The agent would start the pods again.
               (and=> (lookup-service 'collie) stop-service)
               (apply spawn-command
                      (list #$(file-append podman "/bin/podman")
                            "stop" "--all"
                            "--time" #$(number->string grace-period))
                      #$(as-user user)))
             #f))
   (respawn? #f)))


;;;
;;; The agent.
;;;

;; Seconds that an action may take.  A command gives an agent that doesn't
;; answer up after 120.
(define %action-limit 180)

(define (collie-action name documentation config command)
  "Return the action NAME, which runs COMMAND, a list of strings, of CONFIG's
package with the action's arguments, and shows what it says."
  (define collie
    (file-append (collie-configuration-collie config) "/bin/collie"))

  (shepherd-action
   (name name)
   (documentation documentation)
   (procedure
    #~(lambda (running . arguments)
        (let* ((port (mkstemp "/run/collie/action-XXXXXX"))
               (file (port-filename port)))
          (close-port port)             ;else children inherit it
          ;; `spawn-command' suspends only this fiber of Shepherd's one
          ;; thread.  What a command of the current service writes would
          ;; become the service's own messages.
          (let* ((status
                  (parameterize ((current-service #f))
                    (spawn-command
                     (cons* #$(file-append bash-minimal "/bin/sh")
                            "-c" "exec >\"$0\" 2>&1 \"$@\"" file
                            #$(file-append coreutils "/bin/timeout")
                            "--kill-after=5"
                            #$(number->string %action-limit)
                            #$collie
                            (append '#$command arguments)))))
                 (says
                  (call-with-input-file file
                    ;; It becomes a part of Shepherd's answer.
                    (lambda (port)
                      (get-string-n port #$(expt 2 20)))
                    #:encoding "UTF-8")))
            (delete-file file)
            (when (string? says)
              (display says))
            (when (eqv? 124 (status:exit-val status))
              (display #$(format #f "collie: didn't end within ~a seconds\n"
                                 %action-limit)))
            ;; herd exits with 1 where it is false.
            (zero? status)))))))

(define (collie-agent config)
  "Return the service of the agent."
  (define collie (collie-configuration-collie config))
  (define file (collie.yaml config))

  (shepherd-service
   (documentation "Follow a Git repository: bring the system, the homes and \
the pods to what it describes.")
   ;; Two that upgrade one machine undo each other's work.  Guix refuses a
   ;; name that is provided twice, and so `unattended-upgrade-service-type'
   ;; beside this service.
   (provision '(collie unattended-upgrade))
   ;; Not `guix-daemon', `networking' or `podman-api': to restart one of them
   ;; would stop the agent in mid-switch.
   (requirement '(user-processes))
   (modules `((ice-9 textual-ports) ,@%default-modules))
   (start #~(make-forkexec-constructor
             (list #$(file-append collie "/bin/collie")
                   "run" "--config" #$file)
             #:log-file "/var/log/collie.log"
             ;; Not the state directory: the agent makes that again where
             ;; somebody removed it.
             #:directory "/"
             ;; Guix inherits it, and an activation makes /etc/hosts under it.
             #:file-creation-mask #o022
             ;; No #:pid-file: a service that ends before Shepherd has read
             ;; that isn't respawned.
             #:environment-variables
             (list
              ;; Of two of a name, Go takes the first.
              #$@(collie-configuration-environment-variables config)
              #$%agent-memory
              "HOME=/root" "USER=root" "LOGNAME=root" "LANG=C.UTF-8"
              (string-append "PATH=/run/privileged/bin"
                             ":/run/current-system/profile/bin"
                             ":/run/current-system/profile/sbin"
                             ":" #$(file-append git-minimal "/bin"))
              "GUIX_LOCPATH=/run/current-system/locale"
              (string-append "SSL_CERT_DIR="
                             #$(file-append nss-certs "/etc/ssl/certs")))))
   (stop #~(make-kill-destructor
            #:grace-period #$(collie-configuration-grace-period config)))
   ;; More than can happen, else Shepherd disables the service for good.
   (respawn-limit #~'(100 . 1))
   (respawn-delay (collie-configuration-respawn-delay config))
   (actions
    (list (shepherd-configuration-action file)
          ;; The commands' own words; but `herd status collie' is Shepherd's.
          (collie-action 'deployment
                         "Show what is deployed, as `collie status' does."
                         config '("status"))
          (collie-action 'sync
                         "Look for a new commit now."
                         config '("sync"))
          (collie-action 'plan
                         "Show what a switch would change, to the newest \
revision or to a branch plan/NAME."
                         config '("plan"))
          (collie-action 'history
                         "List deployments, with their results."
                         config '("history"))
          (collie-action 'generations
                         "List Guix's generations, with the commit and the \
verdict of each."
                         config '("generations"))
          (collie-action 'logs
                         "Show the end of Guix's output for the newest \
revision, or for a named one."
                         config '("logs" "--lines" "100"))
          (collie-action 'suspend
                         "Deploy no new revision until `resume'; arguments \
are the reason."
                         config '("suspend" "--"))
          (collie-action 'resume "Deploy again." config '("resume"))
          (collie-action 'retry
                         "Try the newest revision again after it failed."
                         config '("retry"))))))

(define (collie-secrets config)
  "Return the service that has the secrets of other services at hand."
  (shepherd-service
   (documentation "Put the secrets of services into /run/collie/secrets \
again, after a boot.")
   ;; Services that need one require this.  What a new commit brings the agent
   ;; puts there itself, before it switches.
   (provision '(collie-secrets))
   (requirement '(user-processes))
   (one-shot? #t)
   (start #~(lambda _
              (zero? (spawn-command
                      (list #$(file-append
                               (collie-configuration-collie config)
                               "/bin/collie")
                            "deliver" "--config" #$(collie.yaml config))))))))

(define (collie-push-hook config)
  "Return the service that has pushes to CONFIG's repository show their plans,
in a list; none if that is elsewhere."
  (define source (collie-configuration-source config))
  (define url (collie-source-url source))
  (define owner (maybe-value (collie-source-owner source) "root"))

  (if (or (string-prefix? "/" url) (string-prefix? "file:" url))
      (list
       (shepherd-service
        (documentation "Have a push to the repository on this machine show \
what it would change.")
        (provision '(collie-push-hook))
        (requirement '(user-processes))
        (one-shot? #t)
        ;; As the repository's owner: root would write wherever a link in
        ;; there leads.
        (start #~(lambda _
                   (false-if-exception
                    (let ((account (getpwnam #$owner)))
                      (spawn-command
                       (list #$(file-append
                                (collie-configuration-collie config)
                                "/bin/collie")
                             "add-hook" #$url)
                       #:user #$owner
                       #:group (group:name (getgrgid (passwd:gid account)))
                       #:directory "/")))
                   ;; Pushes show nothing then, that is all.
                   #t))))
      '()))

(define (collie-pod-services config)
  "Return the services that CONFIG's pods need; none without a user for them."
  (define collie (collie-configuration-collie config))
  (define podman (collie-configuration-podman config))

  (match (collie-configuration-user config)
    (#f '())
    (user
     (list (podman-runtime-directory user)
           (podman-api user podman)
           (podman-pods user podman
                        (collie-configuration-pod-grace-period config))
           (collie-forward user collie)))))

(define (collie-shepherd-services config)
  "Return the services of CONFIG for the Shepherd of the system."
  (append (collie-pod-services config)
          (list (collie-secrets config)
                (collie-agent config))
          (collie-push-hook config)))

(define collie-service-type
  (service-type
   (name 'collie)
   (extensions
    (list (service-extension account-service-type collie-accounts)
          (service-extension activation-service-type collie-activation)
          (service-extension etc-service-type collie-etc)
          (service-extension profile-service-type collie-profile)
          (service-extension shepherd-root-service-type
                             collie-shepherd-services)
          (service-extension subids-service-type collie-subids)
          ;; What pods need.  Guix instantiates those that a system hasn't
          ;; got; to those that it has, this adds nothing.
          (service-extension rootless-podman-service-type (const #t))
          (service-extension elogind-service-type (const #t))
          (service-extension iptables-service-type (const #t))))
   (compose (lambda (extensions)
              (reduce collie-extension-merge #f extensions)))
   (extend extended)
   (description "Run @command{collie}, a GitOps agent that brings the system,
the homes of users and the rootless Podman pods of one user to what a Git
repository describes.  Its value is a @code{collie-configuration}.  What the
pods need comes with it: @code{rootless-podman-service-type},
@code{elogind-service-type} and @code{iptables-service-type}, unless the
system has them, the user's account, and subordinate IDs.  Other services add
to it by a @code{collie-extension}.")))

;; Which services come along is a matter of the type: Guix instantiates them
;; before it looks at any value.
(define collie-system-service-type
  (service-type
   (inherit collie-service-type)
   (name 'collie-system)
   (extensions
    (filter-map
     (lambda (extension)
       (let ((target (service-extension-target extension)))
         (and (memq target (list account-service-type
                                 activation-service-type
                                 etc-service-type
                                 profile-service-type
                                 shepherd-root-service-type))
              (service-extension
               target
               (compose (service-extension-compute extension)
                        without-pods)))))
     (service-type-extensions collie-service-type)))
   (extend (lambda (config extension)
             (extended (without-pods config) extension)))
   (description "Run @command{collie} for the system and the homes of users
alone.  Its value is a @code{collie-configuration}, whose @code{user} has no
meaning.  Nothing comes with it that only pods need.")))
