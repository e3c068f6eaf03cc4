package rollout

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"example.org/collie/agent/api"
	"example.org/collie/agent/source"
)

func (c *Conductor) publish() {
	s := snapshot{state: c.state.clone(), seen: maps.Clone(c.seen), writing: c.writing}
	s.wanted, s.because = wanted(c.state, time.Now())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.snapshot = s
	if c.begun.IsZero() || c.unsighted() {
		return
	}
	select {
	case <-c.sighted:
	default:
		close(c.sighted)
	}
}

// unsighted reports whether a layer that something was deployed to wasn't checked yet in this life.
func (c *Conductor) unsighted() bool {
	return slices.ContainsFunc(c.Parts, func(p Part) bool {
		return c.state.Current.Targets[p.Name] != "" && c.seen[p.Name].at.IsZero()
	})
}

// sightLimit is how long who asks a new life for the status waits for its first looks.
const sightLimit = 5 * time.Second

// sight waits for the first looks of a life that has just begun: an agent that replaced itself after a commit would else know
// nothing of the layers when somebody asks what became of it.
func (c *Conductor) sight(ctx context.Context) {
	left := sightLimit - time.Since(c.begun)
	if c.begun.IsZero() || left <= 0 {
		return
	}
	select {
	case <-c.sighted:
	case <-time.After(left):
	case <-ctx.Done():
	}
}

// ask runs f on the conductor's own goroutine, and returns once the status shows its effect.
func (c *Conductor) ask(ctx context.Context, f func() error) error {
	if c.Closed != nil {
		return c.Closed
	}
	done := make(chan error, 1)
	call := func() {
		err := c.try(f)
		_ = c.forgiven(err)
		c.answers = append(c.answers, func() { done <- err })
	}
	select {
	case c.calls <- call:
	case <-c.gone:
		return api.ErrStopping
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-done:
		return err
	case <-c.gone:
		return api.ErrStopping
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Suspend keeps newer revisions from being switched to, until Resume.
func (c *Conductor) Suspend(ctx context.Context, why string) error {
	return c.ask(ctx, func() error { return c.suspend(why) })
}

// Resume ends that.
func (c *Conductor) Resume(ctx context.Context) error { return c.ask(ctx, c.resumeDeploying) }

// AtOnce has the newest revision switched to though no window is open.
func (c *Conductor) AtOnce(ctx context.Context) error { return c.ask(ctx, c.atOnce) }

// MayBuild lets all of the newest revision be built here, instead of waiting for substitutes.
func (c *Conductor) MayBuild(ctx context.Context) error { return c.ask(ctx, c.mayBuild) }

// Evaluate has Guix evaluate the newest revision, though nothing changed that an evaluation read.
func (c *Conductor) Evaluate(ctx context.Context) error { return c.ask(ctx, c.evaluate) }

// Only has the newest revision deployed to some layers at once, whatever the others wait for. Those follow.
func (c *Conductor) Only(ctx context.Context, layers []string, by string) error {
	return c.ask(ctx, func() error { return c.only(layers, by, time.Now()) })
}

// Retry gives the newest revision another chance.
func (c *Conductor) Retry(ctx context.Context) error { return c.ask(ctx, c.retry) }

func (c *Conductor) suspend(why string) error {
	if err := c.write(entry{Event: evSuspended, Because: why}); err != nil {
		return err
	}
	c.state.Suspended = &api.Suspended{Since: time.Now(), Why: why}
	return c.save()
}

func (c *Conductor) resumeDeploying() error {
	if err := c.write(entry{Event: evResumed}); err != nil {
		return err
	}
	c.state.Suspended = nil
	return c.save()
}

func (c *Conductor) retry() error {
	if err := c.write(entry{Event: evRetry, Revision: c.state.Newest.ID}); err != nil {
		return err
	}
	if c.state.bad(c.state.Prepared.Revision) != nil {
		delete(c.state.Bad, c.state.Prepared.Revision)
		c.state.Prepared = Set{} // its targets may be gone
	}
	delete(c.state.Bad, c.state.Newest.ID)
	c.state.Later, c.state.Stuck, c.state.Reboot = nil, nil, nil
	c.retryProposals()
	c.state.overrule()
	for layer, w := range c.state.Without {
		w.Next, w.Attempts = time.Now(), 0
		c.state.Without[layer] = w
	}
	if err := c.save(); err != nil {
		return err
	}
	for layer, d := range c.state.Drift {
		if d.Retried && c.busy == "" {
			if err := c.order(layer); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Conductor) mayBuild() error {
	rev := c.state.Newest.ID
	if err := c.write(entry{Event: evMayBuild, Revision: rev}); err != nil {
		return err
	}
	c.state.MayBuild = rev
	c.preparer.allow(rev)
	if l := c.state.Later; l != nil && l.Revision == rev && len(l.WaitsFor) > 0 {
		c.state.Later = nil
	}
	return c.save()
}

func (c *Conductor) atOnce() error {
	rev := c.state.Newest.ID
	if err := c.write(entry{Event: evAtOnce, Revision: rev}); err != nil {
		return err
	}
	c.state.AtOnce = rev
	return c.save()
}

func (c *Conductor) evaluate() error {
	rev := c.state.Newest.ID
	if err := c.write(entry{Event: evEvaluate, Revision: rev}); err != nil {
		return err
	}
	c.state.Evaluate = rev
	if c.state.bad(c.newestTried()) != nil {
		return c.retry()
	}
	return c.save()
}

func (c *Conductor) only(layers []string, by string, now time.Time) error {
	o := &selection{Revision: c.state.Newest.ID, Layers: layers, By: by}
	if err := c.mayOnly(o); err != nil {
		return err
	}
	if err := c.write(entry{Event: evOnly, Revision: o.Revision, Because: o.asked()}); err != nil {
		return err
	}
	c.state.Only, c.state.Later = o, nil
	if CommitOf(c.state.Prepared.Revision) != o.Revision {
		c.preparer.restart(o.Revision)
		return c.save()
	}
	return c.leaveOthersOut(o, c.state.Prepared.Targets, now)
}

// look is the conductor's last word.
func (c *Conductor) look() snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.snapshot
}

// restart restarts one service of a layer on a person's word. The layer's keeper does it, between its switches and looks.
func (c *Conductor) Restart(ctx context.Context, layer, service string) (api.Restarted, error) {
	keeper := c.keepers[layer]
	if keeper == nil {
		return api.Restarted{}, fmt.Errorf("the %s isn't followed here", layer)
	}
	err := c.ask(ctx, func() error {
		return c.write(entry{Event: evRestart, Layer: layer, Because: "asked to restart service " + service})
	})
	if err != nil {
		return api.Restarted{}, err
	}
	var done api.Restarted
	var refused error
	err = keeper.ask(ctx, c.gone, func(ctx context.Context) {
		done, refused = keeper.Layer.(restarter).Restart(ctx, service)
	})
	if err = cmp.Or(err, refused); err != nil {
		return api.Restarted{}, err
	}
	c.Log.Info("restarted, as somebody asked", "layer", layer, "service", done.Service, "with", done.With, "problems", done.Problems)
	return done, nil
}

// ask has f run by the keeper, once that has time: only then has nobody else a hand on the layer.
func (k *keeper) ask(ctx context.Context, gone <-chan struct{}, f func(context.Context)) error {
	done := make(chan struct{})
	call := func(ctx context.Context) {
		defer close(done)
		f(ctx)
	}
	select {
	case k.asked <- call:
	case <-gone:
		return api.ErrStopping
	case <-ctx.Done():
		return fmt.Errorf("a switch or a look is in progress and takes long: %w", ctx.Err())
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("it takes long, and continues: see `collie status`: %w", ctx.Err())
	}
}

// accept takes a commit that doesn't descend from the accepted one: step does that. It is written into the journal and done, or
// neither.
func (c *Conductor) Accept(ctx context.Context, rev, instead source.Revision, step func() error) error {
	return c.ask(ctx, func() error {
		err := c.write(entry{
			Event: evAccepted, Revision: rev.ID, Author: rev.Author, Subject: rev.Subject,
			Because: "by hand, in place of " + instead.ID + ", from which it doesn't descend",
		})
		if err != nil {
			return err
		}
		if err := step(); err != nil {
			return &UnwrittenError{err}
		}
		return nil
	})
}

// offer puts a new revision into the mailbox; the latest wins.
func (c *Conductor) Offer(rev source.Revision) {
	for {
		select {
		case c.source <- rev:
			return
		default:
		}
		select {
		case <-c.source:
		default:
		}
	}
}

// follow takes what the source has by now. The revision that was accepted comes before the plans: what was prepared for a plan
// that it merged is still there, then.
func (c *Conductor) Follow(ctx context.Context, rev source.Revision, plans []source.Plan) error {
	return c.ask(ctx, func() error {
		c.newest(rev)
		return c.propose(plans)
	})
}

// synced is follow for a person, who wants to know now whether a tag moved.
func (c *Conductor) Synced(ctx context.Context, rev source.Revision, plans []source.Plan) error {
	return c.ask(ctx, func() error {
		c.newest(rev)
		c.askNow()
		return c.propose(plans)
	})
}

// knows reports whether a commit is the newest revision of a plan, or with no name that of the branch.
func (c *Conductor) knows(plan, commit string) bool {
	s := c.look().state
	if plan != "" {
		return s.Plans[plan].Revision.ID == commit
	}
	return s.Newest.ID == commit
}

// deployments are the newest of the history.
func (c *Conductor) Deployments() ([]api.Deployment, error) {
	entries, err := readJournal(filepath.Join(c.store.dir, journalName), historyLimit)
	if err != nil {
		return nil, err
	}
	generations, err := numbers(c.Parts)
	if err != nil {
		return nil, err
	}
	return history(entries, generations, time.Now()), nil
}
