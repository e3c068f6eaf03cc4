package rollout

import (
	"context"
	"errors"
	"slices"
	"time"

	"example.org/collie/agent/crash"
	"example.org/collie/agent/source"
)

// newest takes a revision that the source accepted.
func (c *Conductor) newest(rev source.Revision) {
	if rev.ID == c.state.Newest.ID {
		return
	}
	c.state.Newest, c.state.Accepted = rev, time.Now()
	c.Log.Info("new revision", "revision", rev.ID, "author", rev.Author, "subject", rev.Subject)
	c.writing.unsaved = true // before the next step
}

// prepareNewest sees to it that the newest revision is being prepared, unless it is done, bad, or to be tried later.
func (c *Conductor) prepareNewest(ctx context.Context, now time.Time) error {
	rev := c.state.Newest
	if c.owesTidying() {
		return nil
	}
	if rev.ID == "" || CommitOf(c.state.Prepared.Revision) == rev.ID || c.state.bad(rev.ID) != nil {
		c.prepareAgain(ctx, now)
		return nil
	}
	if l := c.state.Later; l != nil && l.Revision == rev.ID && now.Before(l.Next) {
		return nil
	}
	j := job{Revision: rev, unknown: c.unknown(), evaluate: c.state.Evaluate == rev.ID}
	if c.state.Only.is(rev.ID) {
		j.parts = slices.DeleteFunc(slices.Clone(c.Parts), func(p Part) bool { return !c.state.Only.names(p.Name) })
	}
	if !c.preparer.ready(j) {
		return nil
	}
	if err := c.write(entry{Event: evPreparing, Revision: rev.ID, Author: rev.Author, Subject: rev.Subject}); err != nil {
		return err
	}
	c.startPreparing(ctx, j)
	crash.At("preparing.begun")
	return nil
}

// take notes what came of a preparation.
func (c *Conductor) take(p prepared) error {
	c.untidy = true
	p.notes = p.notes[:min(len(p.notes), mostNotes)]
	for _, note := range p.notes {
		c.Log.Info("a note", "revision", p.revision.ID, "says", note)
	}
	if p.plan != "" {
		return c.takeProposal(p)
	}
	if p.revision.ID == Baseline {
		return c.takeAsItIs(p)
	}
	if p.revision.ID == c.state.Newest.ID && !slices.Equal(c.state.Notes, p.notes) {
		c.state.Notes, c.writing.unsaved = p.notes, true
	}
	c.asksAt = time.Now().Add(c.Images)
	if blamed := new(BadError); p.evaluate && (p.again || p.err == nil || errors.As(p.err, &blamed)) {
		c.state.Evaluate, c.writing.unsaved = "", true
	}
	if p.again {
		return c.takeAgain(p)
	}
	if err := c.adopt(p.baseline); err != nil {
		return err
	}
	if errors.Is(p.err, context.Canceled) {
		return nil
	}
	if blamed := new(BadError); errors.As(p.err, &blamed) {
		if err := c.write(entry{Event: evFailed, Revision: p.revision.ID, Because: blamed.Error()}); err != nil {
			return err
		}
		c.Log.Error("rejected", "revision", p.revision.ID, "reason", blamed.Error())
		c.markBad(p.revision.ID, blamed.Error())
		if blamed.Retriable {
			c.state.Bad[p.revision.ID] = c.state.Bad[p.revision.ID].again()
		}
		return c.save()
	}
	if p.err != nil {
		c.state.Later = c.state.Later.again(p.revision.ID, p.err.Error())
		if c.state.Later.WaitsFor = awaited(p.err); c.state.Later.WaitsFor != nil && c.state.MayBuild == p.revision.ID {
			c.state.Later.Next = time.Now() // it was allowed meanwhile
		}
		c.Log.Warn("preparing is tried again later", "revision", p.revision.ID, "at", c.state.Later.Next, "err", p.err)
		if err := c.write(entry{Event: evLater, Revision: p.revision.ID, Because: p.err.Error()}); err != nil {
			return err
		}
		return c.save()
	}
	if waits, err := c.awaitLayers(p, time.Now()); waits || err != nil {
		return err
	}
	set, err := c.saveTargets(p)
	if err != nil {
		return err
	}
	return c.prepared(set, p)
}

// saveTargets saves what was made, and names it.
func (c *Conductor) saveTargets(p prepared) (Set, error) {
	set := Set{Revision: p.revision.ID, Targets: map[string]string{}}
	for layer, t := range p.targets {
		t.Revision = c.madeBy(t)
		if err := c.store.saveTarget(t); err != nil {
			return Set{}, err
		}
		set.Targets[layer] = t.ID
		set.Leaves = set.Leaves || c.leaves(t)
	}
	return set, nil
}

// prepared takes a set as the newest that could be prepared.
func (c *Conductor) prepared(set Set, p prepared) error {
	if err := c.write(entry{Event: evPrepared, Revision: set.Revision, Images: c.imagesOf(p.targets)}); err != nil {
		return err
	}
	crash.At("preparing.done")
	c.state.Prepared = set
	c.state.Later = nil
	c.state.Stuck = nil // a new commit: it may mend what was stuck
	if err := c.goWithout(p, time.Now()); err != nil {
		return err
	}
	return c.save()
}

// adopt takes layers that Collie hasn't switched yet as they are: that is where a return leads.
func (c *Conductor) adopt(live map[string]Target) error {
	if len(live) == 0 {
		return nil
	}
	for layer, t := range live {
		if err := c.store.saveTarget(t); err != nil {
			return err
		}
		c.held[t.ID] = t
		for _, set := range []*Set{&c.state.Good, &c.state.Current} {
			if set.Revision == "" {
				set.Revision = Baseline
			}
			if set.Targets == nil {
				set.Targets = map[string]string{}
			}
			if set.Targets[layer] == "" && (set == &c.state.Good || c.state.Rollout == nil) {
				set.Targets[layer] = t.ID
			}
		}
	}
	if err := c.write(entry{Event: evBaseline, Revision: Baseline}); err != nil {
		return err
	}
	if err := c.save(); err != nil {
		return err
	}
	return c.orderAll()
}
