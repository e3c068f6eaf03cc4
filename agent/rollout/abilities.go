package rollout

import (
	"context"
	"time"

	"example.org/collie/agent/api"
)

// The abilities that a [Layer] can have. The caller finds out by a type assertion.
//
//	ability      caller                                        which layers have it
//	planner      a person who asks for a plan                  system, home, pods
//	checker      a preparation that found a mistake            secrets, pods
//	sharing      a look before a rollout                       pods
//	releasing    a rollout, before its first switch            home, pods
//	hooked       the keeper, around a switch; a return         pods
//	displacing   the keeper, on the way back; a verdict        home
//	reviving     a return, once all layers are back            system, home, pods
//	healer       a look that heals                             system, home, pods
//	repairer     a look, before it heals                       pods
//	stopping     a look that finds changes                     home
//	switchable   a look that finds changes                     system, home
//	mover        the conductor, from time to time              pods
//	optional     a person who asks for the status              secrets
//	lister       a person who asks for the status              pods
//	looker       a look                                        pods
//	busyLayer    the keeper, as long as it runs                home, pods
//	selfUpdater  a look                                        system, home
//	stored       a person; the verdict; the tidying            system, home
//	describer    the agent, as it leaves                       system, home, pods
//	restarter    a person                                      system, home

// A planner is a layer that can show more of a switch than Diff does, for a person who reads it beforehand. now is the target that
// the layer was last switched to, if there is one.
type planner interface {
	Plan(ctx context.Context, now, t Target) ([]Change, error)
}

// A checker finds all mistakes in a revision's files that it would read, and makes nothing of them. Its error has a mistake.List, unless
// something else is in the way.
type checker interface {
	Check(ctx context.Context, rev Revision) error
}

// A sharing layer needs things that programs unknown to Collie may hold. Vacant names such a program, in a *TakenError, so that a
// revision waits before anything of it is switched to.
type sharing interface {
	Vacant(ctx context.Context, t Target) error
}

// A releasing layer can give up things that other layers may take.
type releasing interface {
	// Release stops what isn't in t and may hold something that another layer takes. now is the current target, if that is
	// known; left is the rest of it to keep until the switch to t, if there is one. A switch to now starts again what was stopped.
	Release(ctx context.Context, now, t Target) (left Target, err error)
}

// A hooked layer runs work of the commit around a rollout. rollout identifies the rollout: another one to the same target does the
// work again.
type hooked interface {
	// Before is done before Switch, and After when that succeeded. The agent may end meanwhile; its next life calls again.
	Before(ctx context.Context, t Target, rollout string) error
	After(ctx context.Context, t Target, rollout string) error
	// Failed begins what is to be done once all layers returned from t, and doesn't wait for it.
	Failed(t Target, rollout string) error
}

// A displacing layer's switch moves files of a user's own out of the way of what a revision has in their place.
type displacing interface {
	// PutBack is for the way back from a revision, after each Switch.
	PutBack(ctx context.Context) error
	// MovedAside says what was moved since the last verdict, and where it is now.
	MovedAside() []string
	// Settle forgets that, once a verdict has told it.
	Settle() error
}

// A reviving layer can start again what was given up.
type reviving interface {
	// Revive starts what t has run and doesn't, as if it had never failed.
	Revive(ctx context.Context, t Target) error
}

// A healer is a layer that is healed otherwise than by a switch to where it is.
type healer interface {
	Heal(ctx context.Context, t Target) error
}

// A repairer is a layer that stands on something that is in no commit, and that may break though nothing differs.
type repairer interface {
	Broken() string // as the last Diff saw it; nothing, if it isn't, or can't be repaired now
	Repair(ctx context.Context) error
}

// A stopping layer has something that runs for it and that a boot, or a death, ends. To start that again takes back what
// nobody decided, so it is healed in any case.
type stopping interface {
	Stopped(changes []Change) bool
}

// A switchable layer can be switched by others, who leave it so.
type switchable interface {
	// SwitchedByOthers says what is live in place of t, and since when.
	SwitchedByOthers(t Target) (Drift, bool)
}

// A mover is a layer of which a revision has another target by now, perhaps, though nobody committed.
type mover interface {
	Moves(t Target) bool
	Images(t Target) map[string]string // the digests of its images, by name
}

// An optional layer is in each revision, and may have nothing in it.
type optional interface {
	Empty(t Target) bool
}

// A lister names the existing parts of a target, for the status.
type lister interface {
	Pods(ctx context.Context, t Target) ([]api.Pod, error)
	Jobs(t Target) ([]api.Job, []api.CronJob, error)
}

// A looker learns from looks, as whom to ask whether it is ready: its Diff and Problems learn nothing. Look returns what these do.
type looker interface {
	Look(ctx context.Context, t Target, since time.Time) ([]Change, []Problem, error)
}

// A busyLayer has work of its own between two looks, and knows when one is due before its time.
type busyLayer interface {
	Run(ctx context.Context)
	Woken() <-chan struct{}
	Sees() error // why not all that happens to it wakes; nil: it does
}

// A selfUpdater is the layer that has the agent's own service. Note keeps on disk from which files services run, as nobody could
// know that after somebody else's reconfigure, and says what is due for the own one where t is wanted; nothing if Does is empty.
type selfUpdater interface {
	Note(ctx context.Context, t Target) (Change, error)
}

// A stored layer's targets are items of Guix's store.
type stored interface {
	All() ([]api.Generation, error)       // that there are, the newest first
	Generations() (map[string]int, error) // the number of each item
	ID(item string) string                // of the target that an item is
	Stored(t Target) (Stored, error)
}

// Stored is what there is to know of a target in Guix's store.
type Stored struct {
	Item     string
	Leaves   bool     // it takes Collie off the machine
	Unpinned bool     // the guix on PATH made it, whichever that is
	Work     api.Work // what there was to build and download for it
}

// A describer says in a few words what a target is, and what becomes of it without Collie.
type describer interface {
	Describe(t Target) string
}

// A restarter is a layer that has services.
type restarter interface {
	Restart(ctx context.Context, service string) (api.Restarted, error)
}
