// Package secrets knows age: a machine's own keys, who may read what is encrypted, and how to encrypt and decrypt it.
//
// It knows nothing of what is in there, nor of repositories: it gets bytes. None of its errors shows any of them, nor of a
// private key. A file is for X25519 keys of age and for ssh-ed25519 keys; passphrases and plugins are refused, as an agent
// can neither type nor run what a commit names.
package secrets
