package rollout

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// commitOf is the commit of a revision, whatever its images.
func CommitOf(revision string) string {
	commit, _, _ := strings.Cut(revision, "+")
	return commit
}

// imagesOf are the digests of the images in targets, by name.
func (c *Conductor) imagesOf(targets map[string]Target) map[string]string {
	images := map[string]string{}
	for _, p := range c.Parts {
		if m, has := p.Layer.(mover); has {
			maps.Copy(images, m.Images(targets[p.Name]))
		}
	}
	return images
}

// prepareAgain asks, at a calm pace, for what may change without a commit: an image that the newest revision lacked, or
// where a tag leads.
func (c *Conductor) prepareAgain(ctx context.Context, now time.Time) {
	j := job{Revision: c.state.Newest, again: true}
	if j.ID == "" || c.state.phase() != idle || c.preparer.busy() {
		return
	}
	if c.state.Evaluate == j.ID {
		j.evaluate = true
		j.parts = slices.DeleteFunc(slices.Clone(c.Parts), func(p Part) bool { _, moves := p.Layer.(mover); return moves })
		c.startPreparing(ctx, j)
		return
	}
	layer, due := c.missing(now)
	if c.state.bad(c.newestTried()) == nil && layer != "" {
		j.missing, j.unknown = layer, c.unknown()
		j.parts = slices.DeleteFunc(slices.Clone(c.Parts), func(p Part) bool { return p.Name != layer })
		c.startPreparing(ctx, j)
		return
	}
	if !due.IsZero() {
		c.wakeAt(due)
	}
	due = time.Time{}
	if bad := c.state.bad(c.newestTried()); bad != nil {
		due = bad.Next
	} else if j.parts = c.tagsMayMove(); len(j.parts) > 0 && c.Images > 0 {
		due = c.asksAt
	}
	switch {
	case due.IsZero():
	case now.Before(due):
		c.wakeAt(due)
	default:
		c.startPreparing(ctx, j)
	}
}

// askNow has what may change without a commit asked for at once.
func (c *Conductor) askNow() {
	now := time.Now()
	c.asksAt = now
	if b, bad := c.state.Bad[c.newestTried()]; bad && b.Next.After(now) {
		b.Next = now
		c.state.Bad[c.newestTried()] = b
	}
}

// newestTried is the newest revision, with the images that it was last prepared with.
func (c *Conductor) newestTried() string {
	if CommitOf(c.state.Prepared.Revision) == c.state.Newest.ID {
		return c.state.Prepared.Revision
	}
	return c.state.Newest.ID
}

// moving are the layers of which what is prepared may be another by now.
func (c *Conductor) tagsMayMove() []Part {
	var parts []Part
	for _, p := range c.Parts {
		m, is := p.Layer.(mover)
		if !is {
			continue
		}
		if t, err := c.store.target(p.Name, c.state.Prepared.Targets[p.Name]); err == nil && m.Moves(t) {
			parts = append(parts, p)
		}
	}
	return parts
}

// blame remembers a revision that failed when it was switched to, or soon after. Where its images may move, they are asked
// for again: the next ones may do better.
func (c *Conductor) blame(set Set, reason string) {
	c.markBad(set.Revision, reason)
	bad := c.state.Bad[set.Revision]
	bad.Switched = true
	c.state.Bad[set.Revision] = bad
	if CommitOf(set.Revision) != c.state.Newest.ID || c.Images == 0 || len(c.tagsMayMove()) == 0 {
		return
	}
	bad.Targets, bad.Next = c.state.Prepared.clone().Targets, time.Now().Add(c.Images)
	c.state.Bad[set.Revision] = bad
}

// takeAgain takes what came of asking again. Nothing new is no news; and whatever goes wrong is none either.
func (c *Conductor) takeAgain(p prepared) error {
	if errors.Is(p.err, context.Canceled) || p.revision.ID != c.state.Newest.ID {
		return nil
	}
	if p.missing != "" {
		if err := c.adopt(p.baseline); err != nil {
			return err
		}
		if there, err := c.takeMissing(p, time.Now()); !there || err != nil {
			return err
		}
	}
	tried := c.newestTried()
	bad := c.state.bad(tried)
	if p.err != nil && p.evaluate {
		c.Log.Error("the newest revision can't be evaluated again; its former result is kept", "revision", tried, "err", p.err)
		return nil
	}
	if p.err != nil {
		c.Log.Info("checking again failed", "revision", tried, "err", p.err)
		return c.stillBad(tried, p.err)
	}
	set, err := c.saveTargets(p)
	if err != nil {
		return err
	}
	switch {
	case bad == nil: // of some layers; the others are as they were
		set = c.movedTo(set.over(c.state.Prepared))
		if set.same(c.state.Prepared) || c.state.bad(set.Revision) != nil {
			return nil
		}
	case bad.Targets != nil:
		set = c.movedTo(set)
		if set.same(Set{Targets: bad.Targets}) || c.state.bad(set.Revision) != nil {
			return c.stillBad(tried, nil)
		}
	}
	c.Log.Info("something else is made of it by now", "revision", set.Revision)
	delete(c.state.Bad, p.revision.ID)
	if err := c.write(entry{Event: evPreparing, Revision: set.Revision, Author: p.revision.Author, Subject: p.revision.Subject}); err != nil {
		return err
	}
	return c.prepared(set, p)
}

// stillBad asks for what a bad revision lacks later again. why is what came of it this time, if anything.
func (c *Conductor) stillBad(revision string, why error) error {
	b, is := c.state.Bad[revision]
	if !is {
		return nil
	}
	blamed := new(BadError)
	switch {
	case b.Targets != nil:
		b.Next = time.Now().Add(c.Images)
	case errors.As(why, &blamed) && !blamed.Retriable:
		b.Reason, b.Next = blamed.Error(), time.Time{}
	default:
		b = b.again()
	}
	c.state.Bad[revision] = b
	return c.save()
}

// movedTo names a set of which images moved, or of which Guix makes something else by now: it fails, or becomes good, for
// itself. A set that is good already keeps its name.
func (c *Conductor) movedTo(set Set) Set {
	if CommitOf(c.state.Good.Revision) == CommitOf(set.Revision) && set.same(c.state.Good) {
		set.Revision = c.state.Good.Revision
		return set
	}
	id := strings.TrimPrefix(set.Targets["pods"], "pods-")
	if !withoutPods(set).same(c.state.Prepared) {
		id = set.sum()
	}
	set.Revision = CommitOf(set.Revision) + "+" + id[:min(8, len(id))]
	return set
}

// sum distinguishes sets that have the same pods.
func (s Set) sum() string {
	sum := sha256.New()
	for _, layer := range slices.Sorted(maps.Keys(s.Targets)) {
		fmt.Fprintf(sum, "%q %q\n", layer, s.Targets[layer])
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// again is the next time at which what a bad revision lacks is asked for, later each time.
func (b failure) again() failure {
	b.Asked++
	b.Next = time.Now().Add(min(retryFirst<<min(b.Asked-1, 10), retryMost))
	return b
}
