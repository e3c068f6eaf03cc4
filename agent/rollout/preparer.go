package rollout

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"example.org/collie/agent/api"
	"example.org/collie/agent/crash"
	"example.org/collie/agent/mistake"
	"example.org/collie/agent/source"
)

// A preparer makes the targets of one revision at a time. It disturbs nothing that runs.
type preparer struct {
	parts   []Part
	host    string // as whom the repository is seen
	open    func(ctx context.Context, revision, host string) (Files, error)
	results chan prepared
	advise  adviser // of layers that can't be prepared; may be nil

	mu        sync.Mutex // guards what follows, which status reads
	underway  *job
	since     time.Time
	progress  progress
	mayBuild  string // a revision of which all may be built here
	cancel    context.CancelFunc
	cancelled int // preparations in a row that a newer revision ended
	epoch     int // preparations so far
	done      sync.WaitGroup
	hangs     hangs

	gate sync.RWMutex // held by a preparation, or shared by those who drop what isn't needed
}

// A job is what is to be prepared.
type job struct {
	source.Revision
	unknown map[string]bool // layers to record as they are
	plan    string          // the name of the proposal; empty: the newest revision
	missing string          // the layer that the newest revision is deployed without, and that is prepared for itself
	again   bool            // it was prepared before, and what it lacked, or its images, may be others now
	parts   []Part          // of these layers alone; nil: of all
	good    []string        // systems in the store that were good

	evaluate bool // though it is known what comes of it
}

// beside reports whether a job yields to the newest revision.
func (j job) beside() bool { return j.plan != "" || j.again || j.ID == Baseline }

// prepared is what came of a preparation.
type prepared struct {
	revision source.Revision
	plan     string
	again    bool
	missing  string
	evaluate bool
	targets  map[string]Target
	baseline map[string]Target // layers that good had no target for, as they were
	without  map[string]error  // layers that can't be prepared for now, for reasons that lie with a user
	notes    []string          // on files that are left out, or do nothing yet
	err      error
}

// prepareLimit ends a preparation that hangs: even a whole system is built within hours.
const prepareLimit = 12 * time.Hour

// ready reports whether the preparation of j can start: nothing else is being prepared. A newer revision cancels an older
// one, but after two cancellations in a row one may finish, so that a stream of commits starves nothing; it always cancels a
// proposal.
func (p *preparer) ready(j job) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.underway == nil {
		return true
	}
	if p.underway.ID != j.ID && p.cancel != nil && (p.cancelled < 2 || p.underway.beside()) {
		p.cancel()
		p.cancel = nil
		if !p.underway.beside() {
			p.cancelled++
		}
	}
	return false // the result will come, then is the time
}

// start begins to prepare j. Nothing else is being prepared.
func (p *preparer) start(ctx context.Context, j job) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ctx, p.cancel = context.WithTimeoutCause(ctx, prepareLimit, fmt.Errorf("it took longer than %v", prepareLimit))
	p.underway, p.since, p.progress = &j, time.Now(), progress{}
	p.epoch++
	p.done.Go(func() {
		result := p.prepare(ctx, j)
		result.plan, result.again, result.missing, result.evaluate, result.err = j.plan, j.again, j.missing, j.evaluate, boundedError(result.err)
		p.results <- result
		debug.FreeOSMemory() // a repository may have many thousand files; all that is known of them is garbage now
	})
}

// restart ends the preparation of a revision, so that it begins once more.
func (p *preparer) restart(revision string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.underway != nil && p.underway.ID == revision && p.cancel != nil {
		p.cancel()
		p.cancel = nil
	}
}

// giveUp ends the preparation of a proposal that nobody wants any more.
func (p *preparer) giveUp(plan string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.underway != nil && p.underway.plan == plan && p.cancel != nil {
		p.cancel()
		p.cancel = nil
	}
}

// finished reports to the preparer that its result was taken.
func (p *preparer) finished(result prepared) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cancel != nil {
		p.cancel()
	}
	p.underway, p.cancel = nil, nil
	if !errors.Is(result.err, context.Canceled) {
		p.cancelled = 0
	}
}

func (p *preparer) busy() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.underway != nil
}

func (p *preparer) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.epoch
}

// unlessPreparing does what drops things that no set needs, unless a preparation began after the epoch: what that makes isn't in a set yet.
func (p *preparer) unlessPreparing(epoch int, do func() error) error {
	if !p.gate.TryRLock() {
		return nil // the conductor asks again once the preparation is done
	}
	defer p.gate.RUnlock()
	if p.busy() || p.count() != epoch {
		return nil
	}
	return do()
}

// allow lets all of a revision be built here.
func (p *preparer) allow(revision string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mayBuild = revision
}

func (p *preparer) allowed(revision string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mayBuild == revision
}

func (p *preparer) prepare(ctx context.Context, j job) prepared {
	p.gate.Lock()
	defer p.gate.Unlock()
	rev := j.Revision
	result := prepared{revision: rev, baseline: map[string]Target{}, without: map[string]error{}}
	files, err := p.open(ctx, rev.ID, p.host)
	if err != nil {
		result.err = unreadable(rev, err)
		return result
	}
	for _, part := range p.parts {
		if !j.unknown[part.Name] {
			continue
		}
		now := Revision{Revision: source.Revision{ID: Baseline}, Files: files, MayBuild: p.allowed(rev.ID)}
		t, err := p.attempt(ctx, part, now)
		switch {
		case errors.Is(err, ErrAbsent):
		case liesWithUser(err) && ctx.Err() == nil:
			result.without[part.Name] = fmt.Errorf("%s, as it is now: %w", part.Name, boundedError(p.advised(ctx, part.Name, err)))
		case err != nil:
			result.err = fmt.Errorf("%s, as it is now: %w", part.Name, err)
			return result
		default:
			result.baseline[part.Name] = t
		}
	}
	if rev.ID == Baseline {
		return result // that was all
	}
	if result.notes, err = files.Check(); err != nil {
		result.err = p.complete(ctx, p.of(j, result.without), Revision{Revision: rev, Files: files}, &BadError{Err: err})
		return result
	}
	tree, err := files.Export()
	if err != nil {
		result.err = unreadable(rev, err)
		return result
	}
	crash.At("preparing.exported")
	parts := p.of(j, result.without)
	of := Revision{Revision: rev, Files: files, Tree: tree, Good: j.good, MayBuild: p.allowed(rev.ID), Evaluate: j.evaluate, Plan: j.plan != ""}
	result.targets, err = p.targets(ctx, parts, result.without, of)
	if err != nil {
		result.err = p.complete(ctx, parts, of, files.Place(err))
		return result
	}
	if len(result.targets) == 0 && len(result.without) == 0 && j.parts == nil {
		result.err = &BadError{Err: errors.New("the revision names no layer that this machine follows: no system.scm, no home, no pods/")}
	}
	return result
}

// of are the parts that a job prepares.
func (p *preparer) of(j job, without map[string]error) []Part {
	parts := p.parts
	if j.parts != nil {
		parts = j.parts
	}
	return slices.DeleteFunc(slices.Clone(parts), func(part Part) bool { return without[part.Name] != nil })
}

// complete adds to the mistakes that err reports those that the layers find in the files: a person mends all of them at once.
func (p *preparer) complete(ctx context.Context, parts []Part, rev Revision, err error) error {
	wrong := slices.Clone(mistake.Of(err))
	if wrong == nil {
		return err
	}
	for _, part := range parts {
		if l, is := part.Layer.(checker); is {
			wrong = append(wrong, mistake.Of(l.Check(ctx, rev))...) // what else is in the way is reported when the layer is prepared
		}
	}
	return &BadError{Err: wrong.Sorted()}
}

// targets prepares all layers in parallel: a mistake in the YAML of pods is reported at once, not after an hour of
// building. The first that fails ends the others, unless that lies with a user: then it is noted in without.
func (p *preparer) targets(ctx context.Context, parts []Part, without map[string]error, rev Revision) (map[string]Target, error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	made, theirs := make([]Target, len(parts)), make([]error, len(parts))
	var layers sync.WaitGroup
	for i, part := range parts {
		layers.Go(func() {
			t, err := p.attempt(ctx, part, rev)
			p.ended(part.Name)
			switch {
			case errors.Is(err, ErrAbsent):
			case liesWithUser(err) && ctx.Err() == nil:
				theirs[i] = p.advised(ctx, part.Name, err)
			case err != nil:
				fail(p.advised(ctx, part.Name, err))
			default:
				made[i] = t
			}
			crash.At("preparing." + part.Name)
		})
	}
	layers.Wait()
	targets := map[string]Target{}
	for i, part := range parts {
		if made[i].ID != "" {
			targets[part.Name] = made[i]
		}
		if theirs[i] != nil {
			without[part.Name] = theirs[i]
		}
	}
	return targets, context.Cause(ctx)
}

// advised adds to an error that blames the machine what is known of that.
func (p *preparer) advised(ctx context.Context, layer string, err error) error {
	if blamed := new(BadError); p.advise == nil || errors.As(err, &blamed) || ctx.Err() != nil || awaited(err) != nil {
		return err
	}
	return p.advise(ctx, layer, err)
}

// unreadable sorts the errors of reading a revision's files: some are the commit's fault.
func unreadable(rev source.Revision, err error) error {
	if blamed := new(source.TreeError); errors.As(err, &blamed) {
		return &BadError{Err: err}
	}
	return fmt.Errorf("revision %s: %w", api.Short(rev.ID), err)
}
