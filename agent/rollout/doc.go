// Package rollout decides what the machine should be, and brings it there: one commit, one verdict over all layers.
//
// A conductor decides, a preparer makes the targets of a revision, and one keeper for each layer does all writes to it. What
// is wanted is one pure function of the state ([wanted]); everything else compares that with what is live, so that a lost
// event or a restart at any point needs no path of its own.
//
// It knows neither Guix, nor Podman, nor Shepherd: a [Layer] does, and package layers has those that there are.
package rollout
