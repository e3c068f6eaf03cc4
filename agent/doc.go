// Package agent keeps a machine at the newest good commit of a git repository.
//
// A conductor decides, a preparer makes the targets of a revision, and one keeper for each layer (system, homes,
// pods) does all writes to it. What is wanted is one pure function of the state ([wanted]); everything else compares
// that with what is live, so that a lost event or a restart at any point needs no path of its own.
//
// It knows neither Guix, nor Podman, nor git's wire: the adapters layer_*.go make layers of the packages that do.
package agent
