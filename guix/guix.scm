;; Collie from this checkout, after `make dist':
;;
;;   guix build -f guix/guix.scm
;;   guix shell -D -f guix/guix.scm
(use-modules (guix utils))

(add-to-load-path (string-append (current-source-directory) "/modules"))

(@ (collie packages) collie)
