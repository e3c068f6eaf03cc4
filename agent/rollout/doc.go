// Package rollout decides what the machine should be, and brings it there: one commit, one verdict over all layers.
//
// A conductor decides, a preparer makes the targets of a revision, and one keeper for each layer does all writes to it. One
// pure function of the state decides what is wanted ([wanted]). Everything else compares that with what is live, so a lost event or a
// restart at any point needs no code path of its own.
//
// It knows neither Guix, nor Podman, nor Shepherd: each [Layer] knows its own, and package layers has the layers.
package rollout
