// Package layers makes layers of the operating system, of users' homes, of pods, and of services' secrets: each prepares its
// part of a revision, compares it with what is live, and switches to it.
//
// It also reads what a repository has for a host: the host's own files laid over the others, collie.yaml, and what is
// encrypted.
package layers
