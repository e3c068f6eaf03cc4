// Package manifests makes a user's pods equal to the YAML of a revision.
//
// It knows Kubernetes' YAML and Podman's API. It doesn't know git, Guix or when to act: it gets a folder of files,
// and a socket. It never retries; its caller looks again.
//
// [Load] reads and checks. It is strict where Kubernetes' tools and Podman are not: a key that nobody would look at is
// a mistake, and all mistakes of all files come at once, each with its file, line and field. What it hands on is
// canonical: equal pods have equal hashes, however their YAML is written.
package manifests
