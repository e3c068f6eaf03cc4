;;; Collie: a GitOps pull agent for Guix System
;;; Copyright © 2026 The authors of Collie
;;;
;;; This file is part of Collie, which is free software: you can redistribute
;;; it and/or modify it under the terms of the GNU General Public License as
;;; published by the Free Software Foundation, either version 3 of the
;;; License, or (at your option) any later version.  See the file LICENSE.

;;; Commentary:
;;;
;;; A swap file.  It is made at the first boot, once the file system is as
;;; large as the disk allows.
;;;
;;; Code:

(define-module (swap-file)
  #:use-module (gnu packages linux)
  #:use-module (gnu services)
  #:use-module (gnu services configuration)
  #:use-module (gnu services shepherd)
  #:use-module (guix gexp)
  #:export (swap-file-configuration
            swap-file-configuration?
            swap-file-configuration-file
            swap-file-configuration-mebibytes
            swap-file-configuration-requirement
            swap-file-service-type
            make-swap-file))

(define (mebibytes? value)
  "Return whether VALUE is a size that a swap file can have."
  (and (exact-integer? value) (positive? value)))

(define-configuration/no-serialization swap-file-configuration
  (file
   (string "/swapfile")
   "Name of the file.")
  (mebibytes
   (mebibytes)
   "Size in MiB.")
  (requirement
   (list '(resize-file-system))
   "Shepherd services that come first, a list of symbols."))

(define (make-swap-file file mebibytes)
  "Return a program that makes the swap file FILE of so many MEBIBYTES, unless
it is there.  What it can't finish, as on a full disk, it removes."
  (program-file
   "make-swap-file"
   #~(begin
       (use-modules (ice-9 binary-ports) (rnrs bytevectors))

       (define file #$file)
       (define new (string-append file ".new"))

       (define (write-zeros port)
         ;; Written out: the kernel swaps to no file with holes.
         (chmod port #o600)
         (let ((zeros (make-bytevector (expt 2 20) 0)))
           (let loop ((left #$mebibytes))
             (unless (zero? left)
               (put-bytevector port zeros)
               (loop (1- left)))))
         (force-output port)
         (fsync port))

       (define (remove-new)
         (when (file-exists? new)
           (delete-file new)))

       (unless (file-exists? file)
         (catch #t
           (lambda ()
             (remove-new)               ;of a run that was cut short
             (call-with-output-file new write-zeros #:binary #t)
             (unless (zero? (system* #$(file-append util-linux "/sbin/mkswap")
                                     new))
               (error "mkswap failed"))
             (rename-file new file))
           (lambda (key . arguments)
             (remove-new)
             (format (current-error-port)
                     "~a: no swap file of ~a MiB could be made: ~s~%"
                     file #$mebibytes arguments)
             (exit 1)))))))

(define (swap-file-shepherd-services config)
  "Return the Shepherd service that makes CONFIG's swap file and swaps to it."
  (define file (swap-file-configuration-file config))

  (define (swap command)
    #~(spawn-command
       (list #$(file-append util-linux "/sbin/" command) #$file)))

  (list (shepherd-service
         (documentation "Make a swap file, unless it is there, and use it.")
         (provision '(swap-file))
         (requirement `(user-processes
                        ,@(swap-file-configuration-requirement config)))
         (start #~(lambda _
                    (and (zero? (spawn-command
                                 (list #$(make-swap-file
                                          file
                                          (swap-file-configuration-mebibytes
                                           config)))))
                         (zero? #$(swap "swapon")))))
         (stop #~(lambda _
                   #$(swap "swapoff")
                   #f)))))

(define swap-file-service-type
  (service-type
   (name 'swap-file)
   (extensions
    (list (service-extension shepherd-root-service-type
                             swap-file-shepherd-services)))
   (description "Make a swap file once the file system has its size, and swap
to it.  The value is a @code{swap-file-configuration}.")))
