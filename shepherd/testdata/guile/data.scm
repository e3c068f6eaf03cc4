;;; Collie: a GitOps pull agent for Guix System
;;; Copyright © 2026 The authors of Collie
;;;
;;; This file is part of Collie, which is free software: you can redistribute
;;; it and/or modify it under the terms of the GNU General Public License as
;;; published by the Free Software Foundation, either version 3 of the
;;; License, or (at your option) any later version.  See the file LICENSE.

;;; Commentary:
;;;
;;; Prints how Guile writes data of other kinds, a line each:
;;; `guile -s data.scm >data'.
;;;
;;; Code:

(use-modules (rnrs bytevectors) (srfi srfi-9))
(setlocale LC_ALL "C.UTF-8")
(set-port-encoding! (current-output-port) "UTF-8")
(define-record-type <odd> (odd of) odd? (of odd-of))

(for-each
 (lambda (datum) (write datum) (newline))
 (list 0 -5 1.5 -0.0 1e100 1e21 1e-7 (inf) (- (inf)) (nan)
       1/2 -1/3 +2i 1.0-2.5i
       9223372036854775807 -9223372036854775808
       123456789012345678901234567890
       #t #f '() #nil *unspecified* the-eof-object
       'plain '-a '+ '- '... '|a| 'a\b (string->symbol "")
       (string->symbol "a b") (string->symbol "1") (string->symbol ".")
       (string->symbol "-1") (string->symbol "1/2") (string->symbol "+inf.0")
       (string->symbol "+i") (string->symbol "#t")
       (string->symbol "#:a") (string->symbol "}#")
       (string->symbol "a\x00\x1b\n;(\"")
       #:key (symbol->keyword (string->symbol "a b"))
       '(quote a) '(quasiquote (a (unquote b) (unquote-splicing c)))
       '(syntax a)
       '(a . b) '(a b . 1) '(a . (b))
       #(1 "a" #(b)) #() (string->utf8 "abc") (u8-list->bytevector '())
       #u8(1) #s16(-1) #f64(1.5 -0.0) #*101 #2((1 2) (3 4))
       car string->symbol <= (lambda (x) x) (lambda args args)
       (current-output-port) (make-hash-table) (make-parameter 1) (delay 1)
       (odd 1) (odd "a\">(") (odd #\") (odd #\>) (odd 'a>b) (odd (odd car))
       <odd>
       (make-symbol "a\"b>") (make-undefined-variable) (current-module)
       '("a" . #\() (list #\a #\space #\( #\) #\" #\; "")))
