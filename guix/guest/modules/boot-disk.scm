;;; Collie: a GitOps pull agent for Guix System
;;; Copyright © 2026 The authors of Collie
;;;
;;; This file is part of Collie, which is free software: you can redistribute
;;; it and/or modify it under the terms of the GNU General Public License as
;;; published by the Free Software Foundation, either version 3 of the
;;; License, or (at your option) any later version.  See the file LICENSE.

;;; Commentary:
;;;
;;; Where a boot loader for BIOS goes.  Partitions have labels, disks have
;;; none: a virtual machine's is /dev/vda or /dev/sda, as its host likes.
;;;
;;; Code:

(define-module (boot-disk)
  #:export (disk-with-label))

(define* (disk-with-label label #:optional (root ""))
  "Return the disk that holds the file system with LABEL on the machine that
evaluates this, as \"/dev/sda\", or #f where there is none.  ROOT is where
/dev and /sys are."
  (false-if-exception
   (let* ((device (canonicalize-path
                   (string-append root "/dev/disk/by-label/" label)))
          (block (canonicalize-path
                  (string-append root "/sys/class/block/"
                                 (basename device)))))
     (string-append "/dev/"
                    (basename (if (file-exists?
                                   (string-append block "/partition"))
                                  (dirname block)
                                  block))))))
