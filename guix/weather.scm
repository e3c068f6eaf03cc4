;;; Collie: a GitOps pull agent for Guix System
;;; Copyright © 2026 The authors of Collie
;;;
;;; This file is part of Collie, which is free software: you can redistribute
;;; it and/or modify it under the terms of the GNU General Public License as
;;; published by the Free Software Foundation, either version 3 of the
;;; License, or (at your option) any later version.  See the file LICENSE.

;;; Commentary:
;;;
;;; `guix repl -- weather.scm SYSTEM MANIFEST NEEDS' writes what `guix
;;; weather' can be asked of the operating system in the file SYSTEM: a
;;; MANIFEST of the derivations that it is made of and that no machine builds
;;; for itself anyway, and their items to NEEDS, with the substitute servers
;;; of guix-daemon.
;;;
;;; Code:

(use-modules (guix derivations)
             (guix gexp)
             (guix monads)
             (guix packages)
             (guix scripts system)
             (guix store)
             (ice-9 match)
             (srfi srfi-1))

(define (local? drv)
  "Return whether DRV is built here in any case: generated files, profiles."
  (define (variable name)
    (assoc-ref (derivation-builder-environment-vars drv) name))

  (or (equal? "1" (variable "preferLocalBuild"))
      (not (member (variable "allowSubstitutes") '(#f "1")))))

(define (needs drv)
  "Return the derivations that the local ones below DRV are made of, each with
the names of the outputs that it takes of them.  Sources aren't among them."
  (define outputs (make-hash-table))    ;by the name of the derivation
  (define drvs (make-hash-table))

  (let visit ((drv drv))
    (for-each
     (lambda (input)
       (let* ((drv (derivation-input-derivation input))
              (file (derivation-file-name drv))
              (known (hash-ref outputs file)))
         (unless (fixed-output-derivation? drv)
           (hash-set! outputs file
                      (lset-union equal? (or known '())
                                  (derivation-input-sub-derivations input)))
           (unless known
             (hash-set! drvs file drv)
             (when (local? drv)
               (visit drv))))))
     (derivation-inputs drv)))
  (sort (hash-fold (lambda (file drv result)
                     (if (local? drv)
                         result
                         (cons (cons drv (hash-ref outputs file)) result)))
                   '() drvs)
        (lambda (a b)
          (string<? (derivation-file-name (car a))
                    (derivation-file-name (car b))))))

(define (manifest-of all)
  "Return the text of a manifest of ALL, as 'needs' returns them."
  `(begin
     (use-modules (guix derivations) (guix profiles)
                  (ice-9 match) (srfi srfi-9 gnu))
     (manifest
      (map (match-lambda
             ((file . outputs)
              (let ((drv (read-derivation-from-file file)))
                (manifest-entry
                  (name file)
                  (version "")
                  ;; The others aren't needed.
                  (item (set-field drv (derivation-outputs)
                                   (filter (lambda (output)
                                             (member (car output) outputs))
                                           (derivation-outputs drv))))))))
           ',(map (match-lambda
                    ((drv . outputs)
                     (cons (derivation-file-name drv) outputs)))
                  all)))))

(match (command-line)
  ((_ system manifest needed)
   (let ((os (read-operating-system system)))
     (with-store store
       ;; What is grafted is built here, of what isn't.
       (let ((all (needs (parameterize ((%graft? #f))
                           (run-with-store store (lower-object os))))))
         (call-with-output-file manifest
           (lambda (port)
             (write (manifest-of all) port)))
         (call-with-output-file needed
           (lambda (port)
             (for-each (lambda (url)
                         (format port "server ~a~%" url))
                       (or (substitute-urls store)
                           %default-substitute-urls))
             (for-each
              (match-lambda
                ((drv . outputs)
                 (for-each
                  (lambda (output)
                    (let ((item (derivation->output-path drv output)))
                      (format port "~a ~a~%"
                              (if (valid-path? store item) "has" "lacks")
                              item)))
                  outputs)))
              all))))))))
