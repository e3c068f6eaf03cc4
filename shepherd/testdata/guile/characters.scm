;;; Collie: a GitOps pull agent for Guix System
;;; Copyright © 2026 The authors of Collie
;;;
;;; This file is part of Collie, which is free software: you can redistribute
;;; it and/or modify it under the terms of the GNU General Public License as
;;; published by the Free Software Foundation, either version 3 of the
;;; License, or (at your option) any later version.  See the file LICENSE.

;;; Commentary:
;;;
;;; Prints how Guile writes each character from 0 to U+FFFF, and some above:
;;; `guile -s characters.scm >characters'.  A line is WHERE HOW, and those
;;; below it say of which codes.  WHERE is string (between two letters),
;;; symbol (likewise), initial (the only character of a symbol) or character.
;;; HOW is what Guile writes, in which * stands for the character itself,
;;; %2 %4 %6 for so many hexadecimal digits of it, %x for as many as it needs,
;;; and %o for octal ones.
;;;
;;; Code:

(use-modules (ice-9 format))
(setlocale LC_ALL "C.UTF-8")
(set-port-encoding! (current-output-port) "UTF-8")
(fluid-set! %default-port-encoding "UTF-8")

(define (written datum)
  "Return what Guile writes of DATUM."
  (call-with-output-string (lambda (port) (write datum port))))

(define (splice text part word)
  "Return TEXT with WORD in place of each PART."
  (let ((at (string-contains text part)))
    (if at
        (string-append (substring text 0 at) word
                       (splice (substring text (+ at (string-length part)))
                               part word))
        text)))

(define (how where code)
  "Return HOW Guile writes the character CODE at WHERE."
  (let* ((char (integer->char code))
         (hex (number->string code 16))
         (text (case where
                 ((string) (written (string #\a char #\b)))
                 ((symbol) (written (string->symbol (string #\a char #\b))))
                 ((initial) (written (string->symbol (string char))))
                 ((character) (written char)))))
    (define (escaped before digits after word)
      (and (string-contains text (string-append before digits after))
           (splice text (string-append before digits after)
                   (string-append before word after))))
    (define (padded n) (string-pad hex n #\0))
    (or (escaped "\\x" hex ";" "%x")
        (and (< code #x100) (escaped "\\x" (padded 2) "" "%2"))
        (and (< code #x10000) (escaped "\\u" (padded 4) "" "%4"))
        (escaped "\\U" (padded 6) "" "%6")
        (and (eq? where 'character) (> code 7)
             (string=? text (string-append "#\\" (number->string code 8)))
             "#\\%o")
        (if (and (> code 32)
                 (not (memv code (map char->integer
                                      (string->list "ab*%\\\"#{}")))))
            (splice text (string char) "*")
            text))))

(define codes
  (append (iota #xd800) (iota #x2000 #xe000)
          '(#x10000 #x103ff #x1d165 #x1f600 #x1faff #x20000 #xe0001 #xe0100
            #xf0000 #xfffff #x10fffe #x10ffff)))

(define (ways where)
  "Return an alist of HOW at WHERE and the codes so written, the last first."
  (let ((table (make-hash-table)))
    (let loop ((rest codes) (order '()))
      (if (null? rest)
          (map (lambda (so) (cons so (reverse (hash-ref table so))))
               (reverse order))
          (let* ((so (how where (car rest)))
                 (seen (hash-ref table so)))
            (hash-set! table so (cons (car rest) (or seen '())))
            (loop (cdr rest) (if seen order (cons so order))))))))

(define (print-ranges all)
  "Print ALL, codes in their order, as ranges."
  (let loop ((rest (cdr all)) (first (car all)) (last (car all)) (n 1))
    (define (print)
      (format #t "~a~4,'0x" (if (zero? (modulo (- n 1) 12)) "\n  " " ")
              first)
      (unless (= first last)
        (format #t "-~4,'0x" last)))
    (cond ((null? rest) (print) (newline))
          ((= (car rest) (+ last 1)) (loop (cdr rest) first (car rest) n))
          (else
           (print)
           (loop (cdr rest) (car rest) (car rest) (+ n 1))))))

(for-each
 (lambda (where)
   (for-each (lambda (way)
               (format #t "~a ~a" where (car way))
               (print-ranges (cdr way)))
             (ways where)))
 '(string symbol initial character))
