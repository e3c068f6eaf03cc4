;; A Git repository on this machine, for Collie to follow: an account that can only be pushed to, over SSH.
(define-module (collie repository)
  #:use-module (gnu packages version-control)
  #:use-module (gnu services)
  #:use-module (gnu services configuration)
  #:use-module (gnu services shepherd)
  #:use-module (gnu services ssh)
  #:use-module (gnu system shadow)
  #:use-module (guix diagnostics)
  #:use-module (guix gexp)
  #:use-module (guix i18n)
  #:use-module (srfi srfi-34)
  #:export (collie-repository-configuration
            collie-repository-configuration?
            collie-repository-configuration-account
            collie-repository-configuration-directory
            collie-repository-configuration-branch
            collie-repository-configuration-keys
            collie-repository-configuration-git
            collie-repository-configuration-fields
            collie-repository-service-type))

(define (list-of-keys? value)
  (and (list? value)
       (and-map (lambda (key)
                  (or (string? key) (file-like? key)))
                value)))

(define-configuration/no-serialization collie-repository-configuration
  (account
   (string "ops")
   "Account that owns the repository.  It has no shell: those with a key can push and fetch.  As the repository says what
runs as root, so can they.")
  (directory
   (string "/srv/git/ops.git")
   "Directory of the repository.  The one above it is the account's home.")
  (branch
   (string "main")
   "First branch of a new repository.")
  (keys
   (list-of-keys '())
   "SSH keys of those who may push, each the text of a public key, or a file-like object that has it.")
  (git
   (file-like git-minimal)
   "Package that provides Git."))

(define (repository-accounts config)
  (list (user-account
         (name (collie-repository-configuration-account config))
         (group "users")
         (system? #t)
         (password "*")                 ;with none, sshd takes the account for a locked one
         (comment "Repository of this machine")
         (home-directory (dirname (collie-repository-configuration-directory config)))
         (shell (file-append (collie-repository-configuration-git config) "/bin/git-shell")))))

(define (check-key key)
  "Raise an error if KEY is that of the examples: whoever deploys it can neither
push nor log in."
  (when (string-contains (cond ((string? key) key)
                               ((plain-file? key) (plain-file-content key))
                               (else ""))
                         "PlaceThePublicKey")
    (raise (formatted-message
            (G_ "the key '...PlaceThePublicKey...' in \
`collie-repository-configuration' is a placeholder: write your own public key \
in its place")))))

(define (repository-keys config)
  (define (key-file key)
    (check-key key)
    (if (string? key)
        (plain-file "key.pub" (string-append key "\n"))
        key))

  (list (cons (collie-repository-configuration-account config)
              (map key-file (collie-repository-configuration-keys config)))))

(define (repository-shepherd-services config)
  (define account (collie-repository-configuration-account config))
  (define directory (collie-repository-configuration-directory config))

  (list (shepherd-service
         (documentation "Make the Git repository that Collie follows, unless it is there.")
         (provision '(collie-repository))
         (requirement '(user-processes user-homes))
         (one-shot? #t)
         ;; As its owner: root would write wherever a link in there leads.
         (start #~(lambda _
                    (or (file-exists? (string-append #$directory "/HEAD"))
                        (zero? (spawn-command
                                (list #$(file-append (collie-repository-configuration-git config) "/bin/git")
                                      "init" "--quiet" "--bare"
                                      #$(string-append "--initial-branch="
                                                       (collie-repository-configuration-branch config))
                                      #$directory)
                                #:user #$account
                                #:group "users"
                                #:directory "/"))))))))

(define collie-repository-service-type
  (service-type
   (name 'collie-repository)
   (extensions
    (list (service-extension account-service-type repository-accounts)
          (service-extension openssh-service-type repository-keys)
          (service-extension shepherd-root-service-type repository-shepherd-services)))
   (default-value (collie-repository-configuration))
   (description "Keep a Git repository on this machine, which Collie follows at @code{file:///srv/git/ops.git}, and to
which those with a key push over SSH.  It needs @code{openssh-service-type}.")))
