package agent

import (
	"context"
	"maps"
	"time"

	"example.org/collie/agent/api"
)

func (c *conductor) publish() {
	s := snapshot{state: c.state.clone(), seen: maps.Clone(c.seen), writing: c.writing}
	s.wanted, s.because = wanted(c.state, time.Now())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.snapshot = s
}

// ask runs f on the conductor's own goroutine, and returns once status tells what it did.
func (c *conductor) ask(ctx context.Context, f func() error) error {
	if c.closed != nil {
		return c.closed
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

func (c *conductor) suspend(why string) error {
	if err := c.write(Entry{Event: evSuspended, Because: why}); err != nil {
		return err
	}
	c.state.Suspended = &api.Suspended{Since: time.Now(), Why: why}
	return c.save()
}

func (c *conductor) resumeDeploying() error {
	if err := c.write(Entry{Event: evResumed}); err != nil {
		return err
	}
	c.state.Suspended = nil
	return c.save()
}

// retry gives the newest revision another chance.
func (c *conductor) retry() error {
	if err := c.write(Entry{Event: evRetry, Revision: c.state.Newest.ID}); err != nil {
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
			if err := c.keep(layer); err != nil {
				return err
			}
		}
	}
	return nil
}

// mayBuild lets all of the newest revision be built here, instead of waiting for substitutes.
func (c *conductor) mayBuild() error {
	rev := c.state.Newest.ID
	if err := c.write(Entry{Event: evMayBuild, Revision: rev}); err != nil {
		return err
	}
	c.state.MayBuild = rev
	c.preparer.allow(rev)
	if l := c.state.Later; l != nil && l.Revision == rev && len(l.WaitsFor) > 0 {
		c.state.Later = nil
	}
	return c.save()
}

// atOnce lets the newest revision be switched to though no window is open.
func (c *conductor) atOnce() error {
	rev := c.state.Newest.ID
	if err := c.write(Entry{Event: evAtOnce, Revision: rev}); err != nil {
		return err
	}
	c.state.AtOnce = rev
	return c.save()
}

// evaluate has Guix evaluate the newest revision, though nothing changed that an evaluation read.
func (c *conductor) evaluate() error {
	rev := c.state.Newest.ID
	if err := c.write(Entry{Event: evEvaluate, Revision: rev}); err != nil {
		return err
	}
	c.state.Evaluate = rev
	if c.state.bad(c.newestTried()) != nil {
		return c.retry()
	}
	return c.save()
}

// only has the newest revision deployed to some layers at once, whatever the others wait for. Those follow.
func (c *conductor) only(layers []string, by string, now time.Time) error {
	o := &Only{Revision: c.state.Newest.ID, Layers: layers, By: by}
	if err := c.mayOnly(o); err != nil {
		return err
	}
	if err := c.write(Entry{Event: evOnly, Revision: o.Revision, Because: o.asked()}); err != nil {
		return err
	}
	c.state.Only, c.state.Later = o, nil
	if commitOf(c.state.Prepared.Revision) != o.Revision {
		c.preparer.restart(o.Revision)
		return c.save()
	}
	return c.leaveOthersOut(o, c.state.Prepared.Targets, now)
}

// look is the conductor's last word.
func (c *conductor) look() snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.snapshot
}
