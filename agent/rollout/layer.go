package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"example.org/collie/agent/api"
	"example.org/collie/agent/source"
)

// Change, Problem and Progress are what a person reads of them; layers speak in the same words.
type (
	Change   = api.Change
	Problem  = api.Problem
	Progress = api.Progress
)

// baseline names the set that was live before Collie switched anything.
const Baseline = "baseline"

// A Revision is an accepted commit, or the baseline: then it has no Tree, and its Files are of the commit that comes next.
type Revision struct {
	source.Revision
	Files Files  // as this host sees them
	Tree  string // the folder in which Guix finds them

	Good     []string // systems in the store that were good: the channels that built them are known
	MayBuild bool     // here, however many substitutes it lacks
	Evaluate bool     // though it is known what comes of it
	Plan     bool     // it is a proposal's
}

// Files are those of a revision, as one host sees them. The layers know more of them.
type Files interface {
	// Check says what is good to know of them, and what is wrong whichever layer reads them.
	Check() (notes []string, mistakes error)
	// Export writes what Guix finds of them into a folder; none if no layer is Guix's.
	Export() (tree string, err error)
	// Place is err with files named as the repository has them.
	Place(err error) error
}

// A Target is one layer of one revision, fully made. It is saved; so it names secrets by hash, and never holds one.
type Target struct {
	Layer    string          `json:"layer"`
	ID       string          `json:"id"` // equal ID: nothing to do
	Revision string          `json:"revision"`
	Data     json.RawMessage `json:"data"`          // the layer's own
	Sum      string          `json:"sum,omitempty"` // of Data, in a file
}

// A Layer is one part of the machine that a revision describes.
type Layer interface {
	// Prepare evaluates, builds and pulls, in parallel to the keeper: it only adds. A *BadError blames the commit,
	// ErrAbsent says that the revision doesn't name this layer; any other error is worth a retry. Of the baseline it
	// makes a target of what is live, or says ErrAbsent where there is nothing and the next revision doesn't name it.
	Prepare(ctx context.Context, rev Revision, tell func(Progress)) (Target, error)
	// Diff compares t with what is live, cheaply: no guix process, one API call.
	Diff(ctx context.Context, t Target) ([]Change, error)
	// Switch makes t live, forward or back. Only its deadline ends it, never a newer revision. A *TransientError
	// doesn't blame the commit; any other does.
	Switch(ctx context.Context, t Target) error
	// Problems returns what isn't well in t, counting events after since.
	Problems(ctx context.Context, t Target, since time.Time) ([]Problem, error)
	// Prune drops what none of ts needs.
	Prune(ctx context.Context, ts []Target) error
}

// A Part is a layer with its name and its manners.
type Part struct {
	Name  string // "system", "home:USER", "pods"
	Layer Layer
	Heals bool // drift is undone at once; otherwise it is only reported
}

// plan is what a switch from now to t would change, with what it costs.
func (p Part) plan(ctx context.Context, now, t Target) ([]Change, error) {
	if planner, ok := p.Layer.(planner); ok {
		return planner.Plan(ctx, now, t)
	}
	changes, err := p.Layer.Diff(ctx, t)
	for i := range changes {
		changes[i].Cost = api.CostRunning
	}
	return changes, err
}

// A TakenError says that somebody has what a target needs. It is as transient as a [TransientError].
type TakenError struct{ Err error }

func (e *TakenError) Error() string { return e.Err.Error() }

func (e *TakenError) Unwrap() error { return e.Err }

// A waiting error says for which substitutes a preparation has to wait.
type waiting interface {
	error
	Awaited() []string
}

// awaited names the substitutes that a preparation has to wait for, by its error.
func awaited(err error) []string {
	var w waiting
	if errors.As(err, &w) {
		return w.Awaited()
	}
	return nil
}

// ErrAbsent says that a revision doesn't name a layer: that layer is left alone.
var ErrAbsent = errors.New("the revision doesn't name this layer")

// mostNotes is how many mistakes a reason names, and how many notes are logged; `collie validate` names all.
const mostNotes = 20

// A BadError blames the commit: it is remembered, and not tried again until a new commit or `collie retry`.
type BadError struct {
	Err       error
	Retriable bool // what it lacks may come, though nobody commits: it is asked for again
}

func (e *BadError) Error() string { return e.Err.Error() }

func (e *BadError) Unwrap() error { return e.Err }

// A TransientError is nobody's fault: the same switch is tried again with back-off.
type TransientError struct{ Err error }

func (e *TransientError) Error() string { return e.Err.Error() }

func (e *TransientError) Unwrap() error { return e.Err }

// A UserError lies with a user of the machine, as one whose Podman is broken, and neither with the commit nor with the machine
// itself. It holds that layer, and after a while no other.
type UserError struct{ Err error }

func (e *UserError) Error() string { return e.Err.Error() }

func (e *UserError) Unwrap() error { return e.Err }

func liesWithUser(err error) bool {
	theirs := new(UserError)
	return errors.As(err, &theirs)
}

// ofUser reports whether a layer is a user's, who may do to it as he likes.
func ofUser(layer string) bool { return layer != "system" && layer != "secrets" }

// Encode makes a target of a layer's own data.
func Encode(layer, id, revision string, data any) (Target, error) {
	b, err := json.Marshal(data)
	if err != nil {
		return Target{}, fmt.Errorf("target %s of %s: %w", id, layer, err)
	}
	return Target{Layer: layer, ID: id, Revision: revision, Data: b}, nil
}

// Decode reads a layer's own data back.
func (t Target) Decode(data any) error {
	if err := json.Unmarshal(t.Data, data); err != nil {
		return fmt.Errorf("target %s of %s: %w", t.ID, t.Layer, err)
	}
	return nil
}
