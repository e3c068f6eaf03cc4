;; A swap file that is made at the first boot.
(define-module (swap-file)
  #:use-module (gnu packages linux)
  #:use-module (gnu services)
  #:use-module (guix gexp)
  #:export (swap-file-service-type))

(define (swap-file-activation file+size)
  "Return a gexp that makes the swap file of FILE+SIZE, a pair of its name and its MiB, if it isn't there.  It runs before
the Shepherd, which turns the swap on."
  (define file (car file+size))
  (define mebibytes (cdr file+size))

  #~(unless (file-exists? #$file)
      (let ((new (string-append #$file ".new"))
            (zeros (make-bytevector (expt 2 20) 0)))
        (use-modules (ice-9 binary-ports) (rnrs bytevectors))
        ;; Written out: the kernel swaps to no file with holes.
        (call-with-output-file new
          (lambda (port)
            (chmod port #o600)
            (let loop ((left #$mebibytes))
              (unless (zero? left)
                (put-bytevector port zeros)
                (loop (1- left)))))
          #:binary #t)
        (if (zero? (system* #$(file-append util-linux "/sbin/mkswap") new))
            (rename-file new #$file)
            (delete-file new)))))

(define swap-file-service-type
  (service-type
   (name 'swap-file)
   (extensions (list (service-extension activation-service-type swap-file-activation)))
   (description "Make a swap file, named with its size in MiB as @code{(\"/swapfile\" . 1024)}, for @code{swap-devices}.")))
