;;; Collie: a GitOps pull agent for Guix System
;;; Copyright © 2026 The authors of Collie
;;;
;;; This file is part of Collie, which is free software: you can redistribute
;;; it and/or modify it under the terms of the GNU General Public License as
;;; published by the Free Software Foundation, either version 3 of the
;;; License, or (at your option) any later version.  See the file LICENSE.

;;; Commentary:
;;;
;;; What the repositories of the tests are written with.
;;;
;;; Code:

(define-module (lab)
  #:use-module (collie services)
  #:use-module (gnu)
  #:use-module (gnu home)
  #:use-module (gnu home services)
  #:use-module (gnu home services shepherd)
  #:use-module (gnu services configuration)
  #:use-module (gnu services desktop)
  #:use-module (gnu services shepherd)
  #:use-module (guix gexp)
  #:use-module (ice-9 match)
  #:export (machine booted-with rebooting without-collie home daemon polling
            serving soaking keeping windows yielding))

;; Homes need none.
(define guest (delay (load "/share/guest.scm")))

(define* (daemon name command #:key (requirement '()))
  "Return a Shepherd service that runs the shell's COMMAND."
  (shepherd-service
   (provision (list name))
   (requirement requirement)
   (start #~(make-forkexec-constructor '("/bin/sh" "-c" #$command)))
   (stop #~(make-kill-destructor))))

(define (texts files)
  "Return FILES, an alist of names and texts (or what Guix makes files of), as
Guix wants them."
  (map (match-lambda
         ((name . (? string? text)) (list name (plain-file "text" text)))
         ((name . file) (list name file)))
       files))

(define* (machine #:key (daemons '()) (etc '()) (collie identity))
  "Return the guest with DAEMONS, the files ETC in /etc, and Collie's
configuration as the procedure COLLIE returns it."
  (operating-system
    (inherit (force guest))
    (services
     (cons* (simple-service 'daemons shepherd-root-service-type daemons)
            (simple-service 'texts etc-service-type (texts etc))
            (modify-services (operating-system-user-services (force guest))
              (collie-service-type config => (collie config)))))))

(define (booted-with arguments os)
  "Return OS with the kernel arguments ARGUMENTS, by which it takes a boot."
  (operating-system
    (inherit os)
    (kernel-arguments (append arguments %default-kernel-arguments))))

(define (rebooting config)
  "Return CONFIG, which lets a machine be rebooted where a good system takes
that: a procedure for 'machine'."
  (collie-configuration (inherit config) (reboots? #t)))

(define* (without-collie #:key (daemons '()))
  "Return the guest with DAEMONS, and the pod user, as one has them before
Collie."
  (operating-system
    (inherit (force guest))
    (groups (cons (user-group (name "podman")) %base-groups))
    (users (cons (user-account (name "podman") (group "podman")
                               (supplementary-groups '("cgroup")))
                 (operating-system-users (force guest))))
    (services
     (cons* (simple-service 'daemons shepherd-root-service-type daemons)
            (service elogind-service-type)
            (modify-services (operating-system-user-services (force guest))
              (delete collie-service-type))))))

(define* (home #:key (daemons '()) (files '()))
  "Return a home with DAEMONS of the user's Shepherd, and FILES."
  (home-environment
    (services
     (list (simple-service 'daemons home-shepherd-service-type daemons)
           (simple-service 'texts home-files-service-type (texts files))))))

(define (polling interval)
  "Return a procedure for 'machine' that sets the seconds between two polls."
  (lambda (config)
    (collie-configuration
     (inherit config)
     (source (collie-source
              (inherit (collie-configuration-source config))
              (interval interval))))))

(define (soaking soak)
  "Return a procedure for 'machine' that sets the seconds of the soak."
  (lambda (config)
    (collie-configuration (inherit config) (soak soak))))

(define* (serving policies #:key (timeout 4))
  "Return a procedure for 'machine' that sets the policies of services, and
the seconds for one to stop or start."
  (lambda (config)
    (collie-configuration
     (inherit config)
     (services policies)
     (service-timeout timeout))))

(define* (keeping revisions #:key (free %unset-value))
  "Return a procedure for 'machine' that sets how many former revisions are
kept, and how much space."
  (lambda (config)
    (collie-configuration
     (inherit config)
     (keep (collie-keep (revisions revisions) (free free))))))

(define (windows . windows)
  "Return a procedure for 'machine' that lets new commits be switched to in
WINDOWS alone."
  (lambda (config)
    (collie-configuration (inherit config) (windows windows))))

(define (yielding seconds)
  "Return a procedure for 'machine' that sets the seconds for which someone
else's guix is waited for."
  (lambda (config)
    (collie-configuration (inherit config) (others-timeout seconds))))
