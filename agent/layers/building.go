package layers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"example.org/collie/agent/api"
	"example.org/collie/agent/rollout"
	"example.org/collie/agent/statefile"
	"example.org/collie/guix"
)

// A Builder is how the Guix layers build: not what is known already, and not more than may be.
type Builder struct {
	Build, Plan *guix.Evaluator // who evaluates the branch that is followed, and plans; nil: the agent

	runner    *guix.Runner
	roots     guix.Roots
	maxBuilds int
	refused   *refused
	evaluated *evaluations
	settled   struct {
		sync.Mutex
		done bool
	}
}

// NewBuilder is how Guix layers build with a runner. It remembers in the folder state what Guix refused, and what
// evaluations read.
func NewBuilder(runner *guix.Runner, roots guix.Roots, maxBuilds int, state string) *Builder {
	return &Builder{runner: runner, roots: roots, maxBuilds: maxBuilds,
		refused: &refused{file: filepath.Join(state, "refused.json")}, evaluated: &evaluations{file: filepath.Join(state, "evaluated.json")}}
}

// TryAgain forgets what Guix refused.
func (b *Builder) TryAgain() error { return b.refused.forget() }

// settle waits once for the guix that a former life of the agent left running; until then no guix is run.
func (b *Builder) settle(ctx context.Context) error {
	b.settled.Lock()
	defer b.settled.Unlock()
	if b.settled.done {
		return nil
	}
	err := b.runner.Await(ctx)
	b.settled.done = err == nil
	return err
}

// evaluator is who evaluates a revision.
func (b *Builder) evaluator(rev rollout.Revision) *guix.Evaluator {
	if rev.Plan {
		return b.Plan
	}
	return b.Build
}

// planner is who makes the guix of a plan; that of the branch the agent makes.
func (b *Builder) planner(rev rollout.Revision) *guix.Evaluator {
	if rev.Plan {
		return b.Plan
	}
	return nil
}

// watch follows a build of rev for tell, and records its work in work.
func (b *Builder) watch(rev rollout.Revision, tell func(rollout.Progress), work *guix.Work) guix.Watch {
	w := guix.Watch{MaxBuilds: b.maxBuilds}
	if rev.MayBuild {
		w.MaxBuilds = guix.AnyNumber
	}
	w.Tell = func(p guix.Progress) {
		*work = p.Work()
		if p.Item == "" {
			p.Item = "evaluating" // so far guix has said nothing
		}
		tell(rollout.Progress{Item: p.Item, Builds: api.Count(p.Builds), Downloads: api.Count(p.Downloads), Bytes: api.Count(p.Bytes)})
	}
	return w
}

// make is what an evaluation comes to: what build makes, which notes what it read, unless it is there already, or was
// refused before.
func (b *Builder) make(e evaluation, build func(root string, reads *guix.Reads) (string, error)) (string, error) {
	root, files := e.root(), e.refusal()
	if !e.rev.Evaluate {
		if item, known := seen(b.roots, root); known {
			return item, nil
		}
		if item, err := b.evaluated.same(e, b.roots); err != nil || item != "" {
			return item, err
		}
		if err := b.refused.why(files); err != nil {
			return "", blame(err)
		}
	}
	var reads guix.Reads
	item, err := build(root, &reads)
	if err != nil {
		return "", blame(errors.Join(err, b.refused.note(files, err)))
	}
	return item, b.evaluated.note(e, item, reads, b.roots)
}

// refused remembers which files Guix refused to make something of, and why: another commit with the same, under the same
// guix, is refused without a try. The branch may have rights that a plan lacked. `collie retry' forgets all.
type refused struct {
	file string
	mu   sync.Mutex
}

type refusal struct {
	At  time.Time       `json:"at"`
	Why guix.BuildError `json:"why"` // as Guix named the files
}

const mostRefused = 50

func (r *refused) all() (map[string]refusal, error) {
	all, err := statefile.Load[map[string]refusal](r.file) // what isn't known is tried
	if all == nil {
		all = map[string]refusal{}
	}
	return all, err
}

// why says how files were refused, as an error; nil if they weren't.
func (r *refused) why(files string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	all, err := r.all()
	if refusal, is := all[files]; is && err == nil {
		return &refusal.Why
	}
	return err
}

// note remembers err if it blames the files.
func (r *refused) note(files string, err error) error {
	said := new(guix.BuildError)
	if !errors.As(err, &said) {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	all, err := r.all()
	if err != nil {
		return err
	}
	for len(all) >= mostRefused {
		delete(all, slices.MinFunc(slices.Collect(maps.Keys(all)), func(a, b string) int { return all[a].At.Compare(all[b].At) }))
	}
	all[files] = refusal{time.Now(), *said}
	return statefile.WriteJSON(r.file, all)
}

func (r *refused) forget() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := os.Remove(r.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("trying again what was refused: %w", err)
	}
	return nil
}
