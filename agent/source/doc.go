// Package source follows one branch of a git repository: it polls, fetches, accepts, and reads the files of a commit.
//
// A commit is accepted when it is whole in the clone and descends from the last accepted one; it is a revision then. A
// commit that doesn't descend (a force push) is refused, and the last accepted one remains. Whoever can push is root on
// the machine, so a repository on this machine is read only while nobody but root and its configured owner can write
// it, by a git that runs as its owner. One elsewhere is trusted as its server is, by certificate or host key.
//
// Of several repositories the first that has the accepted commit, or a later one, tells the newest; poll in places.go has
// the table. Of more than eight packs in the clone one or two are made, of the last commits alone.
//
//	what happened to the clone         what the next poll does
//	nothing                            fetches what is new since the accepted commit, without depth
//	the accepted commit was deleted,   starts afresh: the newest commit alone; if it isn't the accepted one, history
//	or a pack is damaged               is fetched until it is proven to descend from it, else it is refused
//	the clone was deleted              the same, with the commit that the caller remembers (Config.Accepted); without
//	                                   one, the newest commit is accepted, as at the very first poll
//	a fetch was killed or broke off    fetches again; its leftovers were deleted when the clone was opened, or at once
//
// It knows git, its transports and file owners. It doesn't know what is in the files, nor what a machine does with them.
package source
