;; Collie as a Guix package, built from the checkout that holds this file: `guix build -L guix/modules collie'
;; after `make dist', which puts the libraries into its `vendor' directory.
(define-module (collie packages)
  ;; Not #:use-module: these hundreds of packages take a second to load, and only a build looks at them.
  #:autoload   (gnu packages golang) (go-1.25)
  #:use-module (guix build-system go)
  #:use-module (guix gexp)
  #:use-module ((guix licenses) #:prefix license:)
  #:use-module (guix packages)
  #:export (collie
            install-documentation))

(define (source-file? file stat)
  "Return whether FILE belongs to the source: not Git's, nor something built."
  (not (member (basename file) '(".git" "bin"))))

(define (install-documentation manual)
  "Return a gexp that puts MANUAL, a page for man, and what the shells complete beside a built Collie."
  (with-imported-modules '((guix build utils))
    #~(begin
        (use-modules (guix build utils))
        (mkdir-p (string-append #$output "/share/man/man1"))
        (copy-file #$manual (string-append #$output "/share/man/man1/collie.1"))
        (for-each (lambda (shell file)
                    (let ((file (string-append #$output file)))
                      (mkdir-p (dirname file))
                      (with-output-to-file file
                        (lambda ()
                          (invoke (string-append #$output "/bin/collie") "completion" shell)))))
                  '("bash" "zsh" "fish")
                  '("/etc/bash_completion.d/collie"
                    "/share/zsh/site-functions/_collie"
                    "/share/fish/vendor_completions.d/collie.fish")))))

(define collie
  (package
    (name "collie")
    (version "0.1.0")
    (source (local-file "../../.." "collie-checkout" #:recursive? #t #:select? source-file?))
    (build-system go-build-system)
    (arguments
     (list #:go go-1.25         ;go.mod says 1.26, for go-git, but GOPATH mode, in which this builds, doesn't look
           #:install-source? #f
           #:import-path "example.org/collie/cmd/collie"
           #:unpack-path "example.org/collie"
           #:build-flags #~(list "-trimpath" (string-append "-ldflags=-s -w -X main.version=" #$version))
           #:phases
           #~(modify-phases %standard-phases
               (add-after 'install 'install-documentation
                 (lambda _
                   #$(install-documentation "src/example.org/collie/docs/collie.1"))))))
    (home-page "https://example.org/collie")
    (synopsis "GitOps pull agent for Guix System")
    (description "Collie follows a Git repository that describes a whole machine: its operating system, the homes of
its users and its rootless Podman pods.  It keeps the machine at the newest commit, judges whether that commit is
good, and returns the whole machine to the last good one when it is not.")
    (license license:gpl3+)))
