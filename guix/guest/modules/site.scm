;;; Collie: a GitOps pull agent for Guix System
;;; Copyright © 2026 The authors of Collie
;;;
;;; This file is part of Collie, which is free software: you can redistribute
;;; it and/or modify it under the terms of the GNU General Public License as
;;; published by the Free Software Foundation, either version 3 of the
;;; License, or (at your option) any later version.  See the file LICENSE.

;;; Commentary:
;;;
;;; What is this machine's own: its name, and who may come in.  The rest of
;;; the guest is the same everywhere.
;;;
;;; Code:

(define-module (site)
  #:export (%host-name
            %address
            %host-key
            %timezone
            %disk
            %operator-keys
            %swap-size
            %first-port))

(define %host-name "collie-guest")

;; For `guix deploy' alone: where the machine is, and its host key as
;; `ssh-keyscan -t ed25519' prints it.
(define %address "192.0.2.10")
(define %host-key "ssh-ed25519 AAAAPlaceTheHostKeyOfTheMachineHere")

(define %timezone "Etc/UTC")

;; The disk that boots, where the label of the root file system doesn't say.
(define %disk "/dev/vda")

;; SSH keys of those who administer the machine: they log in as root, and push
;; to its repository.
(define %operator-keys
  '("ssh-ed25519 AAAAPlaceThePublicKeyOfAnOperatorHere you@example.org"))

;; MiB of swap in a file, or #f for none.
(define %swap-size 1024)

;; The first port on which pods may listen.  1024 is Linux's own; 80 lets them
;; serve HTTP and HTTPS.
(define %first-port 80)
