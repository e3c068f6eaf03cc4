// Package podman makes a user's Podman equal to the manifests of a revision.
//
// It knows Podman's API, and what Podman and its helpers leave in /proc. It doesn't know git, Guix or when to act: it gets
// checked manifests and a socket. It never retries; its caller looks again.
package podman
