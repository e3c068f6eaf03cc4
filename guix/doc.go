// Package guix makes this machine's system, and its users' homes, those that a tree of Scheme files describes.
//
// It knows the guix command, what its words and links mean (Guix 1.5), and how to make the services of a Shepherd those
// of a system or a home without touching the others. It doesn't know git, revisions, or when to act: it gets a tree and
// names of GC roots, and observes what is live each time it is asked. It never retries; its caller does.
//
//	item        a system or home in the store: /gnu/store/…-system, /gnu/store/…-home
//	generation  Guix's own: a numbered link to an item
//	live        what /run/current-system, or a user's profile, names now
//	tree        a folder with system.scm, home.scm and modules/, which all may read
//
// Build is slow, may be cancelled, and changes nothing that is live. Switch is short, goes forward and back alike, and
// does nothing where nothing differs. That guix ends with 0 doesn't say that it did its work, and that the links are
// right doesn't say that it got to its end. So both are checked, and a note of each switch is kept. Plan shows
// beforehand what a switch would change, from the store and Shepherd alone.
package guix
