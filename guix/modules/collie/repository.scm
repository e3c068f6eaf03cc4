;;; Collie: a GitOps pull agent for Guix System
;;; Copyright © 2026 The authors of Collie
;;;
;;; This file is part of Collie, which is free software: you can redistribute
;;; it and/or modify it under the terms of the GNU General Public License as
;;; published by the Free Software Foundation, either version 3 of the
;;; License, or (at your option) any later version.  See the file LICENSE.

;;; Commentary:
;;;
;;; A Git repository on this machine, for Collie to follow: an account that
;;; can only be pushed to, over SSH.
;;;
;;; Code:

(define-module (collie repository)
  #:use-module (collie sanitizers)
  #:use-module (gnu packages version-control)
  #:use-module (gnu services)
  #:use-module (gnu services configuration)
  #:use-module (gnu services shepherd)
  #:use-module (gnu services ssh)
  #:use-module (gnu system shadow)
  #:use-module (guix diagnostics)
  #:use-module (guix gexp)
  #:use-module (guix i18n)
  #:use-module (ice-9 regex)
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

(define (key? value)
  "Return whether VALUE is the text of a public SSH key, or a file of one."
  (or (string? value) (file-like? value)))

(define (list-of-keys? value)
  "Return whether VALUE is a list of SSH keys."
  (and (list? value) (and-map key? value)))

(define (account-name? value)
  "Return whether VALUE can be the name of an account."
  (and (string? value) (string-match "^[a-z_][a-z0-9_-]*$" value)))

(define (repository-directory? value)
  "Return whether a repository can be in the directory VALUE."
  (and (string? value)
       (string-prefix? "/" value)
       (not (member (dirname value) '("/" ".")))))

(define-sanitizers
  (sanitize-account account account-name?
                    "a name of small letters, like \"ops\"")
  (sanitize-directory directory repository-directory?
                      "an absolute name, like \"/srv/git/ops.git\", whose \
folder can be an account's home")
  (sanitize-keys keys list-of-keys?
                 "a list of public SSH keys, each its text or a file"))

(define-configuration/no-serialization collie-repository-configuration
  (account
   (string "ops")
   "Account that owns the repository.  It has no shell: those with a key can
push and fetch.  As the repository says what runs as root, so can they."
   (sanitizer sanitize-account))
  (directory
   (string "/srv/git/ops.git")
   "Directory of the repository.  The one above it is the account's home."
   (sanitizer sanitize-directory))
  (branch
   (string "main")
   "First branch of a new repository.")
  (keys
   (list-of-keys '())
   "SSH keys of those who may push, each the text of a public key, or a
file-like object that has it."
   (sanitizer sanitize-keys))
  (git
   (file-like git-minimal)
   "Package that provides Git."))

(define (repository-accounts config)
  "Return the account that owns CONFIG's repository, in a list."
  (define git-shell
    (file-append (collie-repository-configuration-git config)
                 "/bin/git-shell"))

  (list (user-account
         (name (collie-repository-configuration-account config))
         (group "users")
         (system? #t)
         (password "*")         ;with none, sshd takes it for a locked one
         (comment "Repository of this machine")
         (home-directory
          (dirname (collie-repository-configuration-directory config)))
         (shell git-shell))))

(define (check-key key)
  "Raise an error if KEY is that of the examples: whoever deploys it can
neither push nor log in."
  (when (string-contains (cond ((string? key) key)
                               ((plain-file? key) (plain-file-content key))
                               (else ""))
                         "PlaceThePublicKey")
    (raise (formatted-message
            (G_ "the key '...PlaceThePublicKey...' in \
`collie-repository-configuration' is a placeholder: write your own public \
key in its place")))))

(define (repository-keys config)
  "Return the keys that may push, as `openssh-service-type' takes them."
  (define (key-file key)
    (check-key key)
    (if (string? key)
        (plain-file "key.pub" (string-append key "\n"))
        key))

  (list (cons (collie-repository-configuration-account config)
              (map key-file (collie-repository-configuration-keys config)))))

(define (repository-shepherd-services config)
  "Return the Shepherd service that makes CONFIG's repository, in a list."
  (define account
    (collie-repository-configuration-account config))
  (define directory
    (collie-repository-configuration-directory config))
  (define git
    (file-append (collie-repository-configuration-git config) "/bin/git"))
  (define branch
    (string-append "--initial-branch="
                   (collie-repository-configuration-branch config)))

  (list (shepherd-service
         (documentation
          "Make the Git repository that Collie follows, unless it is there.")
         (provision '(collie-repository))
         (requirement '(user-processes user-homes))
         (one-shot? #t)
         ;; As its owner: root would write wherever a link in there leads.
         (start #~(lambda _
                    (or (file-exists? (string-append #$directory "/HEAD"))
                        (zero? (spawn-command
                                (list #$git "init" "--quiet" "--bare" #$branch
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
          (service-extension shepherd-root-service-type
                             repository-shepherd-services)))
   (default-value (collie-repository-configuration))
   (description "Keep a Git repository on this machine, which Collie follows
at @code{file:///srv/git/ops.git}, and to which those with a key push over
SSH.  It needs @code{openssh-service-type}.")))
