package rollout

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"example.org/collie/agent/source"
)

// A conductorConfig has all settings of a conductor, and the functions that it calls. They are given at once, so that none is forgotten.
type Config struct {
	Parts         []Part
	Soak          time.Duration
	WaitForOthers time.Duration // for so long guixes of others are waited for
	Images        time.Duration // between two questions whether a tag has moved; 0: that isn't asked
	Windows       []Window
	Reboots       bool      // the machine, where a good system takes one
	Retention     Retention // of former good revisions
	Removal       string    // the command that removes what Collie kept, once it left
	Closed        error     // why no call is taken; nil: calls are

	Log *slog.Logger
	Dir string // of the state

	Open      func(ctx context.Context, revision, host string) (Files, error)
	Mark      func(ctx context.Context, revision string) context.Context // says for which revision a layer works, as in the names of its logs
	Drop      func(ts []Target)                                          // removes the files of all revisions but these
	Others    func() []Other                                             // the guixes that others run
	Describe  func(revision string) (source.Revision, error)             // its author and subject
	Present   func() (again bool, err error)                             // makes the state folder again, if somebody removed it; nil: nobody does
	Advise    adviser                                                    // on what can't be prepared or checked; nil: nobody knows more
	Collector collector                                                  // of the store; nil: it isn't collected
}

// A conductor decides what the machine should be and the next step there. It is the only writer of state and journal,
// and never waits for the work it hands out.
type Conductor struct {
	Config

	store   store
	journal *journal

	source   chan source.Revision // a mailbox of one: the latest wins
	preparer *preparer
	keepers  map[string]*keeper // by layer
	reports  chan report
	calls    chan func()   // of the control socket, run here
	answers  []func()      // to calls, given once the status shows their effect
	gone     chan struct{} // closed when no call is taken any more

	state    State
	busy     string            // the layer that is being switched
	seen     map[string]report // the last look at each layer
	well     time.Time         // soaking: since when all is well
	soaking  time.Time         // since when it soaks
	from     time.Time         // when the last soak began: what died before that, and was started again, is no problem
	blind    bool              // soaking: a layer can't be checked
	due      time.Time         // since when the agent is to end for its own service
	boots    time.Time         // since when the machine is to be booted
	retryAt  time.Time         // returning: when what refused is asked again
	next     time.Time         // when to look again, though nothing was heard
	untidy   bool              // something may be there that no set needs
	restsAt  time.Time         // when memory is given back
	giveBack func() error      // that memory
	asked    time.Time         // before a rollout: since when each layer is to be checked
	about    Set               // then: to what
	waiting  time.Time         // since when a rollout waits for others
	garbage  garbage
	inputs   []func() error    // what came and isn't written down yet
	writing  writing           // whether state and journal can be written
	held     map[string]Target // by ID: of current and good, should their files be lost
	checked  time.Time         // when those were last looked for
	absent   map[string]bool   // layers of which there was nothing to take as it is
	aside    map[string]bool   // files of the state that were set aside, as the log says
	recordAt time.Time         // when it is tried again to take the machine as it is
	asksAt   time.Time         // when it is asked next whether a tag has moved

	begun   time.Time     // of this life
	sighted chan struct{} // closed once each layer that something was deployed to was checked

	planning hangs // layers whose plan doesn't end

	revival revival              // returning, and all layers did: of what should run
	unseen  map[string]time.Time // since when a layer can't be checked
	ill     map[string][]Problem // of each layer, when it was last seen
	tidied  bool                 // since the last rollout began, or during it
	tidying map[string][]Target  // layers that have yet to drop all but these,
	epoch   int                  // unless something was prepared since
	dark    time.Time            // soaking: since when not all layers can be checked

	unrecorded map[string]time.Time // since when layers can't be taken as they are, for reasons that lie with a user

	mu       sync.Mutex // guards the copy that status reads
	snapshot snapshot
}

// A snapshot is what the conductor last knew.
type snapshot struct {
	state   State
	wanted  Set
	because string
	seen    map[string]report
	writing writing
}

const (
	rollBackAttempts = 3
	restsAfter       = 5 * time.Second
	retryFirst       = 30 * time.Second
	retryMost        = 30 * time.Minute
)

// New makes a conductor of what the state says.
func New(cfg Config, state State) *Conductor {
	journal, err := openJournal(filepath.Join(cfg.Dir, journalName))
	if err != nil {
		cfg.Log.Error("the journal can't be written for now", "err", err)
	}
	return newConductor(cfg, store{dir: cfg.Dir}, journal, state)
}

func newConductor(cfg Config, st store, j *journal, state State) *Conductor {
	c := &Conductor{
		Config: cfg, store: st, journal: j, state: state, asksAt: time.Now().Add(cfg.Images),
		source: make(chan source.Revision, 1), reports: make(chan report), calls: make(chan func()), gone: make(chan struct{}), sighted: make(chan struct{}),
		keepers: map[string]*keeper{}, seen: map[string]report{}, unseen: map[string]time.Time{}, ill: map[string][]Problem{}, held: map[string]Target{}, absent: map[string]bool{}, unrecorded: map[string]time.Time{}, aside: map[string]bool{},
		preparer: &preparer{
			parts: cfg.Parts, host: state.Host, open: cfg.Open, advise: cfg.Advise, results: make(chan prepared), mayBuild: state.MayBuild,
		},
		garbage: garbage{collector: cfg.Collector, results: make(chan error, 1)}, giveBack: giveBack,
	}
	for _, p := range cfg.Parts {
		c.keepers[p.Name] = &keeper{
			Part: p, log: cfg.Log, orders: make(chan order, 1), asked: make(chan func(context.Context)), reports: c.reports, unlessPreparing: c.preparer.unlessPreparing, mark: cfg.Mark, advise: cfg.Advise, every: restless,
		}
	}
	c.writing.unsaved = true
	c.publish()
	return c
}

// close ends the journal, after run.
func (c *Conductor) Close() error { return c.journal.close() }

// Begin is called before Run, and before anybody can ask: whoever asks for the status from then on waits for the first looks.
func (c *Conductor) Begin() { c.begun = time.Now() }

// Host is the name under which the machine is known.
func (c *Conductor) Host() string { return c.preparer.host }

// run decides and delegates until ctx ends. A lost or doubled wake costs one look: the step follows from the state, not from the wake.
func (c *Conductor) Run(ctx context.Context) error {
	var keepers sync.WaitGroup
	hands, dismiss := context.WithCancel(ctx) // preparations and keepers end before the conductor does
	defer func() {
		close(c.gone)
		dismiss()
		c.drain(&keepers)
	}()
	for _, k := range c.keepers {
		keepers.Go(func() { k.run(hands) })
	}
	alarm := time.NewTimer(0)
	defer alarm.Stop()
	c.untidy = true // the last life may have ended before it tidied up
	if err := c.resume(); err != nil {
		return err
	}
	for {
		c.next = time.Now().Add(time.Minute)
		if err := c.advance(hands, time.Now()); err != nil {
			return err
		}
		c.publish()
		for _, answer := range c.answers {
			answer()
		}
		c.answers = nil
		alarm.Reset(time.Until(c.next))
		select {
		case <-ctx.Done():
			return nil
		case rev := <-c.source:
			c.newest(rev)
		case p := <-c.preparer.results:
			c.inputs = append(c.inputs, func() error {
				if err := c.take(p); err != nil {
					return err
				}
				c.preparer.finished(p) // until it is taken, the status shows it as being prepared
				return nil
			})
		case r := <-c.reports:
			if err := c.hear(r); err != nil {
				return err
			}
		case err := <-c.garbage.results:
			c.collected(err)
		case call := <-c.calls:
			call()
		case <-alarm.C:
		}
	}
}

// drain waits for the keepers to finish, and records their results.
func (c *Conductor) drain(keepers *sync.WaitGroup) {
	gone := make(chan struct{})
	go func() {
		keepers.Wait()
		c.preparer.done.Wait()
		c.garbage.done.Wait()
		close(gone)
	}()
	for {
		select {
		case r := <-c.reports:
			if err := c.try(func() error { return c.note(r) }); err != nil {
				c.Log.Error("the last switch isn't recorded; it is checked again", "err", err)
			}
		case <-c.preparer.results:
		case <-gone:
			return
		}
	}
}

// resume gives the keepers what they keep. The phase follows from the state; a layer in mid-switch has no current target.
func (c *Conductor) resume() error {
	if r := c.state.Rollout; r != nil {
		c.Log.Info("resuming", "phase", r.Phase, "revision", r.To.Revision)
	}
	c.hold()
	return c.orderAll()
}

// step takes the next step towards what is wanted, or none.
func (c *Conductor) step(ctx context.Context, now time.Time) error {
	if err := c.prepareNewest(ctx, now); err != nil {
		return err
	}
	if err := c.completes(); err != nil {
		return err
	}
	if c.busy != "" {
		return nil // its keeper will report
	}
	if c.recordUnknown(ctx, now) {
		return nil // before anything is switched
	}
	if err := c.tidy(); err != nil {
		return err
	}
	c.rest(now)
	if l := c.state.Later; l != nil {
		c.wakeAt(l.Next)
	}
	c.state.WaitsFor = ""
	if err := c.rejoin(now); err != nil {
		return err
	}
	var opens time.Time
	if c.state.Outside, opens = outside(c.Windows, now); c.state.Outside != "" {
		c.wakeAt(opens)
	}
	set, because := wanted(c.state, now)
	if c.state.Stuck != nil || set.Revision == "" {
		return c.exitIfDue(now)
	}
	if late := c.behind(set, now); len(late) > 0 {
		if p := c.state.phase(); p == idle || p == soaking {
			if clear, err := c.clear(set, now); !clear {
				return err
			}
		}
		return c.switchTo(late, set, because)
	}
	c.asked = time.Time{}
	return c.judge(set, because, now)
}

// behind are the layers, in order, that aren't at their targets in set.
func (c *Conductor) behind(set Set, now time.Time) []Part {
	r := c.state.Rollout
	var late []Part
	for _, p := range c.sequence(set) {
		id, named := set.Targets[p.Name]
		if !named || c.state.Current.Targets[p.Name] == id {
			continue
		}
		if r != nil && r.Phase == rollingBack && (r.Refused[p.Name] != "" || now.Before(c.retryAt)) {
			continue
		}
		late = append(late, p)
	}
	return late
}

// switchTo orders the first of the layers that are late to its target, once those after it let go; the intent is on disk before.
func (c *Conductor) switchTo(late []Part, set Set, because string) error {
	targets := make([]Target, len(late))
	for i, p := range late {
		var err error
		if targets[i], err = c.target(p.Name, set.Targets[p.Name]); err != nil {
			return c.dropTarget(set, p.Name, err)
		}
	}
	if r := c.state.Rollout; r == nil || r.Phase == soaking {
		if err := c.begin(set, because); err != nil {
			return err
		}
	}
	if i := c.holder(late); i > 0 {
		return c.release(late, targets, i)
	}
	layer, target := late[0].Name, targets[0]
	c.held[target.ID] = target
	if err := c.write(entry{Event: evLayer, Revision: set.Revision, Layer: layer, Because: c.takeBack(layer, target.ID)}); err != nil {
		return err
	}
	delete(c.state.Current.Targets, layer)
	if err := c.save(); err != nil {
		return err
	}
	c.busy = layer
	c.seen[layer] = report{layer: layer}
	delete(c.ill, layer)
	delete(c.unseen, layer)
	r := c.state.Rollout
	c.send(layer, order{switchTo: true, target: target, revision: r.whose(), rollout: r.forward(), since: r.Since, every: c.lookInterval(layer)})
	return nil
}

// begin starts a rollout to set: forward, or back to good.
func (c *Conductor) begin(set Set, because string) error {
	r := &rollout{Phase: switching, To: set, Because: because, Since: time.Now(), Before: c.problems()}
	ev := evSwitching
	if failed := c.state.Current.Revision; c.state.bad(failed) != nil {
		r.Phase, r.Failed, r.From, ev = rollingBack, failed, c.state.Current.clone(), evRollingBack
		c.revival = revival{}
	}
	was := c.state.Rollout
	cuts := was != nil && r.Phase == switching
	if cuts { // what came with a revision that isn't judged counts against this one
		r.Before = was.Before
	}
	entry := entry{Event: ev, Revision: set.Revision, Because: because, Before: r.Before}
	if r.Phase == rollingBack {
		entry.Revision = r.Failed
	}
	if err := c.write(entry); err != nil {
		return err
	}
	c.state.Rollout, c.state.Moved = r, nil
	if cuts {
		c.state.Cut++
	}
	c.untidy, c.tidied, c.tidying = c.untidy || len(c.tidying) > 0, false, nil
	if c.state.Current.Targets == nil {
		c.state.Current.Targets = map[string]string{}
	}
	c.state.Current.Revision = set.Revision
	c.Log.Info(string(r.Phase), "revision", set.Revision, "because", because)
	return nil
}

// orderAll orders all keepers to hold their targets, and names the targets that are still needed, if that is known.
func (c *Conductor) orderAll() error {
	for _, p := range c.Parts {
		if err := c.order(p.Name); err != nil {
			return err
		}
	}
	return nil
}

func (c *Conductor) order(layer string) error {
	o := order{every: c.lookInterval(layer), only: c.tidying[layer], epoch: c.epoch, heal: c.state.Drift[layer].Retried, settled: c.from}
	if r := c.state.Rollout; r != nil {
		o.since = r.Since
		if r.Phase == soaking && !c.from.IsZero() {
			o.since = c.from // a service that died in the switch, and was restarted, now shows whether it keeps running
		}
		if r.Phase == rollingBack && !c.revival.round.IsZero() {
			o.since, o.revival, o.revision = c.revival.round, c.revival.round, r.whose()
		}
	}
	if id := c.state.Current.Targets[layer]; id != "" {
		var err error
		if o.target, err = c.target(layer, id); err != nil {
			return c.dropTarget(c.state.Current, layer, err)
		}
	}
	if id := c.about.Targets[layer]; id != "" && !c.asked.IsZero() {
		var err error
		if o.about, err = c.target(layer, id); err != nil {
			o.about = Target{Layer: layer, ID: id} // the switch says what is wrong with it
		}
	}
	c.send(layer, o)
	return nil
}

// pace is the time between two looks at a layer.
func (c *Conductor) lookInterval(layer string) time.Duration {
	switch {
	case c.state.Rollout != nil:
		return min(max(c.Soak/4, wakeBounce), 2*time.Second)
	case c.keepers[layer].Heals:
		return 5 * time.Second
	}
	return 30 * time.Second // it is only reported
}

// send puts o into the keeper's mailbox; the latest wins.
func (c *Conductor) send(layer string, o order) {
	box := c.keepers[layer].orders
	select {
	case <-box:
	default:
	}
	box <- o
}

// see takes what a keeper saw, or couldn't.
func (c *Conductor) see(r report) {
	c.seen[r.layer] = r
	switch {
	case r.err == nil:
		c.ill[r.layer] = r.problems
		delete(c.unseen, r.layer)
	case c.unseen[r.layer].IsZero():
		c.unseen[r.layer] = r.at
	}
}

// note takes a keeper's report.
func (c *Conductor) note(r report) error {
	switch {
	case r.tidied:
		delete(c.tidying, r.layer)
		return nil
	case r.released:
		return c.noteReleased(r)
	}
	if !r.switched {
		if c.busy != r.layer && c.state.Current.Targets[r.layer] == r.target {
			c.see(r)
			return c.noteDrift(r)
		}
		return nil
	}
	c.busy = ""
	ro := c.state.Rollout
	if ro == nil {
		return fmt.Errorf("layer %s was switched without a rollout", r.layer)
	}
	if ro.Changes == nil {
		ro.Changes = map[string][]Change{}
	}
	ro.Changes[r.layer] = r.changes
	if r.err == nil {
		c.state.Current.Targets[r.layer] = r.target
		c.Log.Info("switched", "layer", r.layer, "revision", ro.To.Revision)
		return c.save()
	}
	if ro.Phase == rollingBack {
		c.refuse(r)
		return c.save()
	}
	return c.failFor(r.layer, r.err.Error(), r.err)
}

func (c *Conductor) write(e entry) error {
	e.At = time.Now()
	return c.journal.write(e)
}

func (c *Conductor) save() error {
	if err := c.store.save(c.state); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return nil
}

// wakeAt asks for a step at t, unless one is due before. A step that is due already waits for news, not for the time.
func (c *Conductor) wakeAt(t time.Time) {
	if t.Before(c.next) && t.After(time.Now()) {
		c.next = t
	}
}
