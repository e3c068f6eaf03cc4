package rollout

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// A return ends when good is well. The failed revision may have blocked a service of good until its supervisor gave
// it up, also in a layer that didn't change. So all of good is checked, and what should run and doesn't is started again. If
// something isn't well after that, the return is incomplete.

const (
	reviveWatch = 5 * time.Second // what was started again is watched so long, or for the soak: a service may die after it started
	reviveAgain = 5 * time.Second // and after this long what is still not well is started once more
)

// A revival is the state of that, in one life of the agent.
type revival struct {
	begun time.Time // of the first round
	round time.Time // names the looks that count
	n     int
}

// revive starts again what should run, if the order says so. The next looks report what doesn't start.
func (k *keeper) revive(ctx context.Context, o order) {
	if o.revival.IsZero() {
		return
	}
	k.revival = o.revival
	l, can := k.Layer.(reviving)
	if !can || o.target.ID == "" {
		return
	}
	if err := l.Revive(k.mark(ctx, o.revision), o.target); err != nil {
		k.log.Warn("not all that should run was started again", "layer", k.Name, "err", err)
	}
}

// recovered has what should run started again, once all layers are at good, and says what isn't well after that.
func (c *Conductor) recovered(now time.Time) (ill []Problem, over bool, err error) {
	if c.revival.round.IsZero() {
		over, err = c.reviveAll(now)
		return nil, over, err
	}
	watched := c.revival.round.Add(min(reviveWatch, c.Soak))
	if now.Before(watched) {
		c.wakeAt(watched)
		return nil, false, nil
	}
	ill, waits := c.unwell(watched)
	switch {
	case waits && now.Sub(c.revival.begun) < c.patience():
		c.wakeAt(c.revival.begun.Add(c.patience()))
		return nil, false, nil
	case len(ill) > 0 && c.revival.n < rollBackAttempts && !waits:
		c.retryAt = now.Add(reviveAgain)
		c.wakeAt(c.retryAt)
		c.revival.round = time.Time{}
		return nil, false, nil
	}
	return ill, true, nil
}

// reviveAll orders it of all layers. It is over if there are none.
func (c *Conductor) reviveAll(now time.Time) (over bool, err error) {
	if c.revival.begun.IsZero() {
		c.revival.begun = now
	}
	c.revival.round = now
	c.revival.n++
	none := true
	for _, p := range c.Parts {
		if c.state.Current.Targets[p.Name] == "" {
			continue // nothing was deployed to it
		}
		none = false
		if err := c.order(p.Name); err != nil {
			return false, err
		}
	}
	return none, nil
}

// unwell is what isn't well since the last round, and wasn't ill before the revision that failed. Looks count that are no older
// than watched. waits: some of it isn't known yet.
func (c *Conductor) unwell(watched time.Time) (ill []Problem, waits bool) {
	r := c.state.Rollout
	for _, p := range c.Parts {
		id := c.state.Current.Targets[p.Name]
		_, drifted := c.state.Drift[p.Name]
		if id == "" || drifted {
			continue
		}
		switch seen := c.seen[p.Name]; {
		case seen.target != id || !seen.revival.Equal(c.revival.round) || seen.at.Before(watched):
			waits = true
			ill = append(ill, Problem{Layer: p.Name, Subject: p.Name, Says: "was not checked since"})
		case seen.err != nil:
			waits = true
			ill = append(ill, Problem{Layer: p.Name, Subject: p.Name, Says: fmt.Sprintf("can't be checked: %v", seen.err)})
		default:
			for _, problem := range seen.problems {
				if problem.Unrelated || r.illBefore(problem) {
					continue
				}
				problem.Details = nil
				waits = waits || problem.Transient
				ill = append(ill, problem)
			}
		}
	}
	return ill, waits
}

// illBefore reports whether a problem was there before the rollout, or another of the same subject.
func (r *rollout) illBefore(p Problem) bool {
	return slices.ContainsFunc(r.Before, func(b Problem) bool { return b.Layer == p.Layer && b.Subject == p.Subject })
}

// completes ends the word of an incomplete return, once nothing of what was ill is.
func (c *Conductor) completes() error {
	i := c.state.Incomplete
	if i == nil || c.state.Rollout != nil {
		return nil
	}
	for _, p := range c.Parts {
		id := c.state.Current.Targets[p.Name]
		seen := c.seen[p.Name]
		if id != "" && (seen.target != id || seen.err != nil || !seen.at.After(i.At)) {
			return nil
		}
		for _, problem := range seen.problems {
			if slices.ContainsFunc(i.Ill, func(ill Problem) bool { return ill.Layer == problem.Layer && ill.Subject == problem.Subject }) {
				return nil
			}
		}
	}
	c.Log.Info("the problems after the roll-back are gone", "revision", i.Good)
	c.state.Incomplete = nil
	return c.save()
}
