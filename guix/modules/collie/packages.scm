;;; Collie: a GitOps pull agent for Guix System
;;; Copyright © 2026 The authors of Collie
;;;
;;; This file is part of Collie, which is free software: you can redistribute
;;; it and/or modify it under the terms of the GNU General Public License as
;;; published by the Free Software Foundation, either version 3 of the
;;; License, or (at your option) any later version.  See the file LICENSE.

;;; Commentary:
;;;
;;; Collie as a Guix package, built from the checkout that holds this file.
;;; Its libraries are in the checkout's folder `vendor', which `make dist'
;;; makes and the channel has.
;;;
;;; Code:

(define-module (collie packages)
  ;; Not #:use-module: these hundreds of packages take a second to load, and
  ;; only a build looks at them.
  #:autoload   (gnu packages golang) (go-1.25)
  #:autoload   (gnu packages version-control) (git-minimal)
  #:autoload   (guix git-download) (git-predicate)
  #:use-module (guix build-system go)
  #:use-module (guix diagnostics)
  #:use-module (guix gexp)
  #:use-module (guix i18n)
  #:use-module ((guix licenses) #:prefix license:)
  #:use-module (guix packages)
  #:use-module (guix utils)
  #:use-module ((srfi srfi-1) #:select (any))
  #:use-module (srfi srfi-34)
  #:export (collie
            install-documentation))

(define %checkout
  ;; The absolute name of Collie's sources, or #f where this module stands
  ;; alone.  The load path leads to a checkout's module, whatever was compiled
  ;; of another; a channel's is elsewhere, and its compiled module knows where
  ;; it was.  Neither name needs to be absolute, and `local-file' would look
  ;; for "../../.." below the current directory.
  (any (lambda (directory)
         (let ((root (and directory
                          (false-if-exception
                           (canonicalize-path
                            (string-append directory "/../../.."))))))
           (and root
                (file-exists? (string-append root "/cmd/collie/main.go"))
                root)))
       (list (and=> (search-path %load-path "collie/packages.scm") dirname)
             (current-source-directory))))

(define (check-checkout)
  "Raise an error unless the sources and their libraries are there."
  (unless %checkout
    (raise (formatted-message
            (G_ "package 'collie': its module is not in a checkout of \
Collie's sources; load it from guix/modules of one, or from Collie's \
channel"))))
  (unless (file-exists? (string-append %checkout "/vendor/modules.txt"))
    (raise (formatted-message
            (G_ "package 'collie': ~a has no libraries in vendor/; run \
`make dist' there") %checkout))))

(define source-file?
  (let ((tracked? (delay
                    (if (file-exists? (string-append %checkout "/.git"))
                        (or (git-predicate %checkout)
                            (raise (formatted-message
                                    (G_ "package 'collie': ~a is not a Git \
repository that you own and that has a commit") %checkout)))
                        (const #t))))     ;a channel: all of it
        (vendor (and %checkout (string-append %checkout "/vendor"))))
    (lambda (file stat)
      "Return whether FILE belongs to the source: what Git tracks, and the
libraries."
      (or (string=? file vendor)
          (string-prefix? (string-append vendor "/") file)
          ((force tracked?) file stat)))))

(define* (install-documentation manual #:optional collie)
  "Return a gexp that puts MANUAL, a page for man, and completions for the
shells beside a built Collie.  COLLIE is the program that writes these, by
default the one that was built."
  (with-imported-modules '((guix build utils))
    #~(begin
        (use-modules (guix build utils))
        (mkdir-p (string-append #$output "/share/man/man1"))
        (copy-file #$manual
                   (string-append #$output "/share/man/man1/collie.1"))
        (for-each (lambda (shell file)
                    (let ((file (string-append #$output file)))
                      (mkdir-p (dirname file))
                      (with-output-to-file file
                        (lambda ()
                          (invoke (or #+collie
                                      (string-append #$output "/bin/collie"))
                                  "completion" shell)))))
                  '("bash" "zsh" "fish")
                  '("/etc/bash_completion.d/collie"
                    "/share/zsh/site-functions/_collie"
                    "/share/fish/vendor_completions.d/collie.fish")))))

(define collie
  (package
    (name "collie")
    (version "0.1.0")
    (source (and %checkout
                 (local-file %checkout "collie-checkout"
                             #:recursive? #t #:select? source-file?)))
    (build-system go-build-system)
    (arguments
     (begin
       (check-checkout)
       (list
        #:go go-1.25
        #:install-source? #f
        #:import-path "example.org/collie/cmd/collie"
        #:unpack-path "example.org/collie"
        #:build-flags
        #~(list (string-append "-ldflags=-s -w -X main.version=" #$version))
        ;; As the build phase, whose objects it takes then.
        #:test-flags #~(list "-trimpath")
        #:phases
        #~(modify-phases %standard-phases
            (add-before 'build 'disable-cgo
              (lambda _
                (setenv "CGO_ENABLED" "0")))
            (add-after 'install 'install-documentation
              (lambda _
                #$(install-documentation
                   "src/example.org/collie/docs/collie.1"
                   ;; A program for another machine doesn't run here.
                   (and (%current-target-system)
                        (file-append this-package "/bin/collie")))))))))
    (native-inputs (list git-minimal))    ;for the tests
    (home-page "https://example.org/collie")
    (synopsis "GitOps pull agent for Guix System")
    (description
     "Collie follows a Git repository that describes a whole machine: its
operating system, the homes of its users and its rootless Podman pods.  It
keeps the machine at the newest commit, judges whether that commit is good,
and returns the whole machine to the last good one when it is not.")
    (license license:gpl3+)))
