package rollout

import (
	"context"
	"errors"
	"time"
)

// State and journal are on a disk that can be full, or broken. Then no step is taken, as its intent can't be written; keepers
// go on healing, requests that change something fail, and status says why. It is tried again until it works.

// writing says whether state and journal can be written.
type writing struct {
	unsaved bool      // the state in memory is newer than the one on disk, and is saved before the next step
	why     string    // it failed; empty: it works
	since   time.Time // when it failed first
	next    time.Time // when it is tried again
	failed  int       // how often in a row
}

const (
	writeAgainFirst = time.Second
	writeAgainMost  = 30 * time.Second
)

// advance writes down what came, and takes the next step.
func (c *Conductor) advance(ctx context.Context, now time.Time) error {
	if now.Before(c.writing.next) {
		c.wakeAt(c.writing.next)
		return nil
	}
	err := c.work(ctx, now)
	if !failedToWrite(err) {
		return err
	}
	c.unwritten(err)
	c.wakeAt(c.writing.next)
	return nil
}

// work is what advance does, as far as it can be written.
func (c *Conductor) work(ctx context.Context, now time.Time) error {
	if err := c.checkFiles(now); err != nil {
		return err
	}
	if c.writing.unsaved {
		if err := c.save(); err != nil {
			return err
		}
		c.written()
	}
	for len(c.inputs) > 0 {
		if err := c.try(c.inputs[0]); err != nil {
			return err
		}
		c.inputs = c.inputs[1:]
	}
	if err := c.try(func() error { return c.step(ctx, now) }); err != nil {
		return err
	}
	c.prepareProposal(ctx, now)
	return c.try(func() error { return c.collect(ctx, now) })
}

// try does f wholly or not at all: where state or journal couldn't be written, both are as they were.
func (c *Conductor) try(f func() error) error {
	if err := c.journal.shorten(); err != nil {
		c.Log.Warn("the journal can't be shortened", "err", err)
	}
	state, journal := c.state.clone(), c.journal.size()
	err := f()
	if failedToWrite(err) {
		c.state = state
		c.journal.cut(journal)
	}
	return err
}

// hear takes a keeper's report. The result of a switch is kept until it is recorded; a look can be replaced by the next one.
func (c *Conductor) hear(r report) error {
	if r.switched || r.released {
		c.inputs = append(c.inputs, func() error { return c.note(r) })
		return nil
	}
	return c.forgiven(c.try(func() error { return c.note(r) }))
}

// forgiven notes an error of writing, and returns any other.
func (c *Conductor) forgiven(err error) error {
	if !failedToWrite(err) {
		return err
	}
	c.unwritten(err)
	return nil
}

// failedToWrite reports whether err says that state or journal can't be written.
func failedToWrite(err error) bool {
	unwritten := new(UnwrittenError)
	return errors.As(err, &unwritten)
}

// unwritten notes that state or journal can't be written.
func (c *Conductor) unwritten(err error) {
	w := &c.writing
	if w.why != err.Error() {
		c.Log.Error("the state can't be written: no step is taken until it can", "dir", c.store.dir, "err", err)
	}
	if w.failed == 0 {
		w.since = time.Now()
	}
	w.unsaved, w.why = true, err.Error()
	w.next = time.Now().Add(min(writeAgainFirst<<min(w.failed, 10), writeAgainMost))
	w.failed++
}

// written notes that they can.
func (c *Conductor) written() {
	if c.writing.failed > 0 {
		c.Log.Info("the state can be written again", "dir", c.store.dir, "after", time.Since(c.writing.since))
		c.well = time.Time{} // a soak begins again, with new looks: those of the time between say what the disk did
		clear(c.seen)
		clear(c.unseen)
	}
	c.writing = writing{}
}

// problem says that nothing can be written, if that is so.
func (w writing) problem(dir string) []Problem {
	if w.why == "" {
		return nil
	}
	return []Problem{{Subject: "state", Says: "can't be written, so nothing is deployed since " + w.since.Format(time.DateTime) +
		"; what runs is kept running, and it is tried again by itself: make space in " + dir + " (" + w.why + ")"}}
}
