// Package layers makes layers of the operating system, of users' homes, of pods, and of services' secrets: each prepares its
// part of a revision, compares it with what is live, and switches to it.
//
// It also reads a repository as a host sees it: the host's own files laid over the others, collie.yaml, and encrypted files.
package layers
