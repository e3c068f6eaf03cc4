;;; Collie: a GitOps pull agent for Guix System
;;; Copyright © 2026 The authors of Collie
;;;
;;; This file is part of Collie, which is free software: you can redistribute
;;; it and/or modify it under the terms of the GNU General Public License as
;;; published by the Free Software Foundation, either version 3 of the
;;; License, or (at your option) any later version.  See the file LICENSE.

;;; Commentary:
;;;
;;; A system test in the way of Guix's own: a virtual machine with Collie, a
;;; commit with a pod, and a commit that is taken back.  In a checkout, after
;;; `make dist', where /dev/kvm is:
;;;
;;;   guix build -L guix/modules -L guix/tests \
;;;     -e '(lambda () ((@ (tests collie) run-collie-test)))'
;;;
;;; Code:

(define-module (tests collie)
  #:use-module (collie repository)
  #:use-module (collie services)
  #:use-module (gnu packages guile)
  #:use-module (gnu packages version-control)
  #:use-module (gnu services)
  #:use-module (gnu services networking)
  #:use-module (gnu services ssh)
  #:use-module (gnu system)
  #:use-module (gnu system vm)
  #:use-module (gnu tests)
  #:use-module (guix gexp)
  #:use-module (guix monads)
  #:use-module (guix packages)
  #:use-module (guix profiles)
  #:use-module ((guix scripts pack) #:prefix pack:)
  #:use-module (guix store)
  #:export (run-collie-test
            %test-collie))

(define %collie-os
  (simple-operating-system
   (service dhcpcd-service-type)
   (service openssh-service-type)
   (service collie-repository-service-type)
   (service collie-service-type
            (collie-configuration
             (source (collie-source
                      (url "file:///srv/git/ops.git")
                      (owner "ops")))
             (system? #f)
             (homes '())
             (soak 5)))))

(define (pod command)
  "Return a file with a pod that runs Guile's COMMAND for ever."
  (plain-file "web.yaml" (string-append "\
apiVersion: v1
kind: Pod
metadata:
  name: web
spec:
  containers:
  - name: guile
    image: localhost/guile-guest:latest
    imagePullPolicy: Never
    command: [/bin/guile, -c, '" command "']
")))

(define %good-pod
  (pod "(let loop () (sleep 1) (loop))"))

(define %bad-pod
  (pod "(exit 1)"))

(define push
  ;; A program that commits a pod, and pushes it as the repository's owner.
  (mixed-text-file "push" "\
set -e
export PATH=" (file-append git-minimal "/bin") ":$PATH HOME=/tmp
[ -e /tmp/work ] || git init --quiet --initial-branch=main /tmp/work
cd /tmp/work
mkdir -p pods
cp $1 pods/web.yaml
git add .
git -c user.name=ops -c user.email=ops@localhost commit --quiet -m \"$1\"
git push --quiet /srv/git/ops.git main
"))

(define (collie-test image)
  "Return a derivation that runs the test in a virtual machine, whose pods are
made of the file IMAGE."
  (define os
    (marionette-operating-system
     (operating-system-with-gc-roots %collie-os (list image))
     #:imported-modules '((gnu services herd)
                          (guix combinators))))

  (define vm
    (virtual-machine
     (operating-system os)
     (volatile? #f)
     (memory-size 2048)
     (disk-image-size (* 4000 (expt 2 20)))
     (port-forwardings '())))

  (define test
    (with-imported-modules '((gnu build marionette))
      #~(begin
          (use-modules (gnu build marionette)
                       (srfi srfi-64))

          (define marionette
            (make-marionette (list #$vm) #:timeout 120))

          (define (run . command)
            ;; Run COMMAND in the machine; return its exit status.
            (marionette-eval `(status:exit-val (system* ,@command))
                             marionette))

          (define (as user . words)
            (run "su" "-s" "/run/current-system/profile/bin/sh" user "-c"
                 (string-join words)))

          (test-runner-current (system-test-runner #$output))
          (test-begin "collie")

          (test-assert "the services run"
            (marionette-eval
             '(begin
                (use-modules (gnu services herd))
                (for-each wait-for-service
                          '(collie collie-repository podman-api)))
             marionette))

          (test-assert "the agent answers"
            (wait-for-unix-socket "/run/collie/collie.sock" marionette
                                  #:timeout 60))

          (test-equal "the status"
            0 (run "collie" "status"))

          (test-equal "there is an image"
            0 (as "podman" "XDG_RUNTIME_DIR=/run/user/$(id -u)"
                  "podman" "load" "-i" #$image))

          (test-equal "a good commit is pushed"
            0 (as "ops" "sh" #$push #$%good-pod))

          (test-equal "and is good"
            0 (run "collie" "sync" "--wait" "--timeout" "3m"))

          (test-equal "a bad commit is pushed"
            0 (as "ops" "sh" #$push #$%bad-pod))

          (test-equal "and is taken back"
            4 (run "collie" "sync" "--wait" "--timeout" "3m"))

          (test-equal "the pod of the good one runs"
            0 (as "podman" "XDG_RUNTIME_DIR=/run/user/$(id -u)"
                  "podman" "ps" "--filter" "status=running"
                  "--format" "'{{.PodName}}'" "|" "grep" "-qx" "web"))

          (test-end))))

  (gexp->derivation "collie-test" test))

(define (run-collie-test)
  "Return, in the store's monad, a derivation that runs the test with an image
of Guile."
  (mlet* %store-monad
      ((_ (set-grafting #f))
       (guile (set-guile-for-build (default-guile)))
       (profile (profile-derivation
                 (packages->manifest (list guile-3.0))
                 #:hooks '()
                 #:locales? #f))
       (image (pack:docker-image
               "docker-pack" profile
               #:symlinks '(("/bin/guile" -> "bin/guile"))
               #:extra-options '(#:image-tag "guile-guest")
               #:entry-point "bin/guile"
               #:localstatedir? #t)))
    (collie-test image)))

(define %test-collie
  (system-test
   (name "collie")
   (description "Run Collie in a virtual machine: a good commit, and one that
is taken back.")
   (value (run-collie-test))))
