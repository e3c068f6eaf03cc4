;;; Collie: a GitOps pull agent for Guix System
;;; Copyright © 2026 The authors of Collie
;;;
;;; This file is part of Collie, which is free software: you can redistribute
;;; it and/or modify it under the terms of the GNU General Public License as
;;; published by the Free Software Foundation, either version 3 of the
;;; License, or (at your option) any later version.  See the file LICENSE.

;;; Commentary:
;;;
;;; Sanitizers of configuration records that say what a field takes, and where
;;; the value is that isn't that.
;;;
;;; Code:

(define-module (collie sanitizers)
  #:use-module (guix diagnostics)
  #:use-module (guix i18n)
  #:use-module (srfi srfi-34)
  #:use-module (srfi srfi-35)
  #:export (check
            define-sanitizers))

;; Guix's own sanitizers say that a value is invalid, but not what is
;; expected.
(define* (check field value properties valid? expected
                #:optional (convert identity))
  "Return VALUE, of FIELD, as CONVERT makes it, if that is VALID?.  Otherwise
raise an error that says what is EXPECTED, and where PROPERTIES has VALUE."
  (let ((converted (convert value)))
    (if (valid? converted)
        converted
        (raise
         (apply make-compound-condition
                (formatted-message
                 (G_ "invalid value ~s for field '~a': expected ~a")
                 value field expected)
                (if properties
                    (list (condition
                           (&error-location
                            (location
                             (source-properties->location properties)))))
                    '()))))))

(define-syntax-rule (define-sanitizer name field arguments ...)
  "Define NAME as the sanitizer of FIELD, by `check' with ARGUMENTS."
  (define-syntax name
    (lambda (s)
      (syntax-case s ()
        ((_ value)
         #`(check 'field value
                  '#,(datum->syntax s (syntax-source #'value))
                  arguments ...))
        (_
         (identifier? s)
         #'(lambda (value)
             (check 'field value #f arguments ...)))))))

(define-syntax-rule (define-sanitizers (name field arguments ...) ...)
  (begin
    (define-sanitizer name field arguments ...) ...))
