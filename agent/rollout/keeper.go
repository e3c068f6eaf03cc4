package rollout

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"example.org/collie/agent/crash"
	"example.org/collie/agent/waits"
)

// An adviser adds to an error of a layer, for which no commit is to blame, what `collie doctor` knows. It is also
// called without an error, when the layer is well.
type adviser func(ctx context.Context, layer string, err error) error

// A keeper does all writes to its layer: switching and healing never race, and need no lock.
type keeper struct {
	Part
	log             *slog.Logger
	orders          chan order                 // a mailbox of one: the latest wins
	asked           chan func(context.Context) // by people, to be done between all else
	reports         chan<- report
	unlessPreparing func(epoch int, do func() error) error                     // preparer.quiet
	advise          adviser                                                    // of looks that fail; may be nil
	mark            func(ctx context.Context, revision string) context.Context // as conductorConfig.mark

	target  Target // what it keeps; none: nothing
	about   Target // to what it may be switched soon
	since   time.Time
	settled time.Time // as order.settled
	every   time.Duration

	waits   waits.Board // whom it waits for
	revival time.Time   // the last order to start again what should run

	heals     bool      // as ordered: drift is undone at once
	next      time.Time // healing that failed is put off till then
	failed    int       // how often in a row
	woken     bool      // something was reported since the last look
	looked    bool      // at a target, in this life
	unwatched string    // why not every event of the layer is reported
}

// An order is a target for a keeper: to switch to, or to hold.
type order struct {
	switchTo bool          // else the layer is at target already
	before   []taker       // not nil: let go, for these, of what target doesn't have
	revival  time.Time     // not zero: start again what should run of target, and name the looks after that so
	target   Target        // the zero Target: leave the layer alone
	revision string        // whose rollout it is, also on the way back from it
	rollout  string        // which; empty: it is on the way back
	since    time.Time     // from when on problems count; zero: the last minutes,
	settled  time.Time     // though none from before this
	every    time.Duration // between two looks
	heal     bool          // switch the layer back, though drift in it is only reported
	about    Target        // to what a rollout would switch it that waits for the next look; none: nothing
	only     []Target      // not nil: drop what none of these needs,
	epoch    int           // unless something is being prepared since then, whose targets aren't known
}

// A report is what a keeper did or saw.
type report struct {
	layer      string
	target     string // ID
	switched   bool   // the answer to an order to switch; err is its result
	tidied     bool   // the answer to an order to drop what isn't needed
	released   bool   // the answer to an order to let go
	left       Target // what is kept since then
	revival    time.Time
	at         time.Time
	since      time.Time // from when on problems count in it, as ordered
	selfUpdate Change    // what is due for the agent's own service, if the layer has that
	changes    []Change  // between live and target: before a switch, or the drift that a look saw and didn't heal
	problems   []Problem
	about      string // ID of the target that a rollout would switch to, which waits for this look
	taken      string // who has what that switch needs
	drift      *Drift // someone else switched the layer
	healing    string // why it is switched back: told before, and again when it was healed
	healed     bool
	hangs      bool // the work on the layer doesn't end
	err        error
}

const (
	restless   = 5 * time.Minute // how far back a look counts what happened, when no rollout is underway
	wakeBounce = 200 * time.Millisecond
	besideLook = 2 * time.Second // between two looks while hooks run
)

// calm is the interval between looks at a layer that is well and reports its events at once. Nobody reports what its user broke, and
// the status should show that within a minute: Podman takes some seconds to fail, and silence is reported after five.
const calm = 50 * time.Second

// run works until ctx ends; a switch in flight is finished first.
func (k *keeper) run(ctx context.Context) {
	look, due := time.NewTimer(0), time.Now()
	defer look.Stop()
	next := func(in time.Duration) {
		due = time.Now().Add(in)
		look.Reset(in)
	}
	var woken <-chan struct{}
	busy, is := k.Layer.(busyLayer)
	if is {
		var beside sync.WaitGroup
		defer waitFor(&beside)
		beside.Go(func() { busy.Run(ctx) })
		woken = busy.Woken()
	}
	here := k.waits.On(ctx) // parallel work has its own time
	for {
		select {
		case <-ctx.Done():
			return
		case o := <-k.orders:
			k.carryOut(here, o)
			next(0)
		case do := <-k.asked:
			target, about := k.target.ID, k.about.ID
			if h := inTime(ctx, "a restart", &k.waits, forASwitch, func() { do(context.WithoutCancel(here)) }); h != nil {
				k.goOn(here, h, target, about)
			}
			next(0)
		case <-woken:
			k.woken = true
			if time.Until(due) > wakeBounce { // else what happened is seen by the look that is due; a storm doesn't put it off
				next(wakeBounce)
			}
		case <-look.C:
			select { // what happened just now is seen by this look
			case <-woken:
				k.woken = true
			default:
			}
			pause := k.every
			if _, own := k.Layer.(selfUpdater); own || k.target.ID != "" {
				r := k.lookInTime(here)
				if is && k.since.IsZero() && r.calm() && k.sees(busy) {
					pause = max(pause, calm)
				}
			}
			k.woken = false
			next(max(pause, wakeBounce))
		}
	}
}

// calm reports whether a look found nothing that may need another soon.
func (r report) calm() bool {
	return r.err == nil && len(r.problems) == 0 && !r.healed && !differs(r.changes)
}

// sees reports whether the layer reports its events at once; the log says why not, once.
func (k *keeper) sees(busy busyLayer) bool {
	blind := ""
	if err := busy.Sees(); err != nil {
		blind = err.Error()
	}
	if blind != k.unwatched {
		k.unwatched = blind
		k.log.Debug("what happens is seen by looks only", "layer", k.Name, "every", k.every, "why", blind)
	}
	return blind == ""
}

// carryOut obeys an order, or goes on without what doesn't end of that.
func (k *keeper) carryOut(life context.Context, o order) {
	var done []report
	h := inTime(life, o.does(), &k.waits, forASwitch, func() { done = k.obey(life, o) })
	if h == nil {
		for _, r := range done {
			k.reports <- bounded(r)
		}
		return
	}
	target := o.target.ID
	if o.switchTo || o.before != nil {
		k.reports <- h.refuses(k.Name, o)
		target = ""
	}
	k.goOn(life, h, target, o.about.ID)
}

// goOn waits for work that hangs, and then obeys what was ordered meanwhile.
func (k *keeper) goOn(life context.Context, h *hang, target, about string) {
	if last := k.holdOut(life, h, target, about); last != nil && life.Err() == nil {
		k.carryOut(life, *last)
	}
}

// lookInTime looks and reports what it saw, or that the look doesn't end. It returns once it ended.
func (k *keeper) lookInTime(life context.Context) report {
	var r report
	target, about := k.target.ID, k.about.ID
	if h := inTime(life, "a look", &k.waits, forALook, func() { r = k.look(life) }); h != nil {
		k.goOn(life, h, target, about)
		return report{err: errHangs}
	}
	k.reports <- bounded(r)
	return r
}

// obey carries out an order, and returns what is to be reported.
func (k *keeper) obey(life context.Context, o order) (done []report) {
	ctx := context.WithoutCancel(life)
	k.since, k.settled, k.every, k.heals, k.about = o.since, o.settled, o.every, o.heal, o.about
	if o.only != nil {
		if err := k.unlessPreparing(o.epoch, func() error { return k.Layer.Prune(ctx, o.only) }); err != nil {
			k.log.Warn("what isn't needed any more can't be removed for now", "layer", k.Name, "err", err)
		}
		done = append(done, report{layer: k.Name, tidied: true})
	}
	switch {
	case o.before != nil:
		return append(done, k.letGo(life, o)...)
	case !o.switchTo:
		k.target = o.target
		k.revive(ctx, o)
		return done
	}
	r := report{layer: k.Name, target: o.target.ID, switched: true, at: time.Now()}
	var unseen error
	if r.changes, unseen = k.Layer.Diff(ctx, o.target); unseen != nil {
		k.log.Debug("what the switch will change isn't known", "layer", k.Name, "err", unseen)
	}
	hooks, has := k.Layer.(hooked)
	has = has && o.rollout != ""
	if has {
		r.err = k.beside(life, func() error { return hooks.Before(life, o.target, o.rollout) })
	}
	k.target, k.looked = Target{}, true // until it is live, there is nothing to keep
	if r.err == nil {
		crash.At("switching." + k.Name)
		if r.err = k.Layer.Switch(k.mark(ctx, o.revision), o.target); r.err == nil {
			k.target = o.target
		}
	}
	if l, is := k.Layer.(displacing); is && o.rollout == "" && r.err == nil {
		if err := l.PutBack(ctx); err != nil {
			k.log.Warn("a user's own files weren't all put back", "layer", k.Name, "err", err)
		}
	}
	if has && r.err == nil {
		r.err = k.beside(life, func() error { return hooks.After(life, o.target, o.rollout) })
	}
	if life.Err() != nil && r.err != nil {
		return done // what was cut short by that is done by the next life
	}
	crash.At("switched." + k.Name)
	return append(done, r)
}

// beside does work that may take long, and holds the layer at its target meanwhile.
func (k *keeper) beside(ctx context.Context, do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	for {
		select {
		case err := <-done:
			return err
		case <-time.After(besideLook):
			if k.target.ID != "" {
				k.look(context.WithoutCancel(ctx))
			}
		}
	}
}

// look compares live with the target, heals what the layer heals, and says what isn't well.
func (k *keeper) look(ctx context.Context) report {
	r := k.see(ctx)
	if k.advise != nil {
		r.err = k.advise(context.WithoutCancel(ctx), k.Name, r.err)
	}
	return r
}

func (k *keeper) see(ctx context.Context) report {
	ctx, cancel := context.WithTimeoutCause(ctx, lookLimit, fmt.Errorf("no answer within %v", lookLimit))
	defer cancel()
	r := report{layer: k.Name, target: k.target.ID, at: time.Now(), since: k.since, revival: k.revival, about: k.about.ID}
	if l, has := k.Layer.(selfUpdater); has {
		var unseen error
		if r.selfUpdate, unseen = l.Note(ctx, k.target); unseen != nil {
			k.log.Debug("whether the agent's own service changed isn't known", "err", unseen)
		}
	}
	if k.target.ID == "" {
		return r
	}
	defer func() { // healing that has to wait is still to be done, whoever is to blame then
		waits := (*TransientError)(nil)
		k.looked = k.looked || !errors.As(r.err, &waits)
	}()
	since := k.since
	if since.IsZero() {
		since = time.Now().Add(-restless)
		if k.settled.After(since) {
			since = k.settled
		}
	}
	l, learns := k.Layer.(looker)
	if learns {
		r.changes, r.problems, r.err = l.Look(ctx, k.target, since)
	} else {
		r.changes, r.err = k.Layer.Diff(ctx, k.target)
	}
	if r.err == nil {
		k.repair(ctx, &r)
	}
	if r.err == nil && differs(r.changes) {
		if m, ok := k.Layer.(switchable); ok {
			if d, yes := m.SwitchedByOthers(k.target); yes {
				r.drift = &d
			}
		}
		s, is := k.Layer.(stopping)
		stopped := is && s.Stopped(r.changes) && k.target.Revision != Baseline
		// In a rollout it is the revision's fault, unless this life of the agent, and thus perhaps the machine, only begins.
		stopped = stopped && (k.since.IsZero() || !k.looked)
		// A layer that no revision named yet isn't Collie's.
		if stopped || k.heals && k.target.Revision != Baseline || k.Heals && (r.drift == nil || k.target.Revision != Baseline) {
			k.heal(ctx, &r)
		}
	}
	if r.err != nil {
		return r
	}
	if l, is := k.Layer.(sharing); is && k.about.ID != "" {
		if taken := new(TakenError); errors.As(l.Vacant(ctx, k.about), &taken) {
			r.taken = taken.Error()
		}
	}
	switch acted := r.healing != "" || r.healed; {
	case !learns:
		r.problems, r.err = k.Layer.Problems(ctx, k.target, since)
	case acted:
		_, r.problems, r.err = l.Look(ctx, k.target, since)
	}
	k.sign(r.problems)
	return r
}

// sign says of problems whose they are, unless the layer saw that of another one.
func (k *keeper) sign(problems []Problem) {
	for i := range problems {
		problems[i].Layer = cmp.Or(problems[i].Layer, k.Name)
	}
}

// owes reports whether something that waits, as to be healed, isn't well meanwhile.
func (r report) owes() bool {
	return slices.ContainsFunc(r.changes, func(c Change) bool {
		return c.Waits && slices.ContainsFunc(r.problems, func(p Problem) bool { return p.Subject == c.Subject })
	})
}

// repair repairs what the layer depends on, and logs that before and after.
func (k *keeper) repair(ctx context.Context, r *report) {
	l, is := k.Layer.(repairer)
	if !is {
		return
	}
	if r.healing = l.Broken(); r.healing == "" {
		return
	}
	k.log.Warn("repairing", "layer", k.Name, "because", r.healing, "woken", k.woken)
	before := *r
	before.problems, _ = k.Layer.Problems(ctx, k.target, time.Time{}) // if that fails, the look continues, and reports it
	k.sign(before.problems)
	k.reports <- bounded(before)
	if err := l.Repair(context.WithoutCancel(ctx)); err != nil {
		k.log.Error("not repaired", "layer", k.Name, "err", err)
		r.healing = "" // it is a problem, until it is
		return
	}
	r.healed = true
}

// differs reports whether a switch would change anything.
func differs(changes []Change) bool {
	return slices.ContainsFunc(changes, func(c Change) bool { return !c.Waits })
}
