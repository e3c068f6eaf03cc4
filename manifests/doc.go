// Package manifests reads the YAML of a revision: Kubernetes' objects, as far as they have a meaning on one machine.
//
// It knows Kubernetes' YAML, and the annotations that are Collie's own. It doesn't know git, Podman, or what runs: it gets a
// folder of files, and makes no connection, starts nothing and uses no clock.
//
// [Load] reads and checks. It is strict where Kubernetes' tools and Podman are not: a key that nobody would read is
// a mistake, and all mistakes of all files come at once, each with its file, line and field. Its result is
// canonical: equal pods have equal hashes, however their YAML is written.
package manifests
