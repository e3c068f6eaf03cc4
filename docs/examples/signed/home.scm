;;; Collie: a GitOps pull agent for Guix System
;;; Copyright © 2026 The authors of Collie
;;;
;;; Copying and distribution of this file, with or without modification, are
;;; permitted in any medium without royalty, provided the copyright notice and
;;; this notice are preserved.  This file is offered as-is, without any
;;; warranty.

;;; Commentary:
;;;
;;; The home of the pod user: images of registry.example.org run only if they
;;; are signed with this key, all others as they are.  To sign one:
;;;
;;; skopeo generate-sigstore-key --output-prefix signer
;;; skopeo copy --sign-by-sigstore-private-key signer.private \
;;;   docker://… docker://registry.example.org/…
;;;
;;; Code:

(use-modules (gnu home)
             (gnu home services)
             (gnu services)
             (guix gexp))

(define policy.json
  (plain-file "policy.json" "{
  \"default\": [{\"type\": \"insecureAcceptAnything\"}],
  \"transports\": {
    \"docker\": {
      \"registry.example.org\": [{
        \"type\": \"sigstoreSigned\",
        \"keyPath\": \"/home/podman/.config/containers/signer.pub\",
        \"signedIdentity\": {\"type\": \"matchRepository\"}
      }]
    }
  }
}
"))

;; The signatures are beside the images.
(define attachments.yaml
  (plain-file "attachments.yaml"
              "default-docker: {use-sigstore-attachments: true}\n"))

(home-environment
 (services
  (list (simple-service 'signed home-xdg-configuration-files-service-type
                        `(("containers/policy.json" ,policy.json)
                          ("containers/signer.pub" ,(local-file "signer.pub"))
                          ("containers/registries.d/attachments.yaml"
                           ,attachments.yaml))))))
