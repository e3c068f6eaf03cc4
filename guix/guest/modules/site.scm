;; What is this machine's own: its name, and who may come in.  The rest of the guest is the same everywhere.
(define-module (site)
  #:export (%host-name
            %address
            %host-key
            %timezone
            %operator-keys
            %swap-size
            %first-port))

(define %host-name "collie-guest")

;; For `guix deploy' alone: where the machine is, and its host key as `ssh-keyscan -t ed25519' prints it.
(define %address "192.0.2.10")
(define %host-key "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPlaceTheHostKeyOfTheMachineHereXXXXXXXXXXX")

(define %timezone "Etc/UTC")

;; SSH keys of those who administer the machine: they log in as root, and push to its repository.
(define %operator-keys
  '("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPlaceThePublicKeyOfAnOperatorHereXXXXXXXXXX you@example.org"))

;; MiB of swap in a file, or #f for none.
(define %swap-size 1024)

;; The first port on which pods may listen.  1024 is Linux's own; 80 lets them serve HTTP and HTTPS.
(define %first-port 80)
