package rollout

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"example.org/collie/agent/api"
	"example.org/collie/agent/crash"
)

// judge decides once every layer is at its target.
func (c *Conductor) judge(set Set, because string, now time.Time) error {
	r := c.state.Rollout
	switch {
	case r == nil && c.state.Current.Revision == set.Revision:
		return c.exitIfDue(now)
	case r == nil, r.Phase == soaking && r.To.Revision != set.Revision:
		return c.rename(set, because)
	case r.Phase == switching:
		return c.soakNow(now)
	case r.Phase == rollingBack:
		return c.rolledBack(now)
	}
	return c.verdict(now)
}

// rename takes a revision none of whose targets differs from what is there already.
func (c *Conductor) rename(set Set, because string) error {
	if err := c.begin(set, because); err != nil {
		return err
	}
	if set.same(c.state.Good) {
		return c.good()
	}
	return c.soakNow(time.Now())
}

func (c *Conductor) soakNow(now time.Time) error {
	r := c.state.Rollout
	if err := c.write(entry{Event: evSoaking, Revision: r.To.Revision}); err != nil {
		return err
	}
	r.Phase = soaking
	c.beginSoak(now)
	crash.At("soaking.begun")
	if err := c.save(); err != nil {
		return err
	}
	return c.orderAll()
}

func (c *Conductor) beginSoak(now time.Time) {
	c.from, c.well, c.soaking, c.dark = now, now, now, time.Time{}
}

// verdict looks whether all was well for the soak: then the revision is good. A problem that counts ends it.
func (c *Conductor) verdict(now time.Time) error {
	r := c.state.Rollout
	if c.well.IsZero() { // a restart: the soak begins again
		c.beginSoak(now)
		return c.orderAll()
	}
	last, unseen, passing := now, false, false
	for _, p := range c.Parts {
		id, current := c.state.Current.Targets[p.Name]
		if !current || !c.judges(p.Name, id) || c.state.leftOut(p.Name) {
			continue
		}
		seen := c.seen[p.Name]
		if seen.target != id {
			last = time.Time{} // not checked yet
			continue
		}
		if seen.err != nil {
			since := c.unseen[p.Name]
			switch waited := now.Sub(since) > c.patience(); {
			case waited && (ofUser(p.Name) || seen.hangs) && id == c.state.Good.Targets[p.Name] && CommitOf(r.To.Revision) == CommitOf(c.state.Prepared.Revision):
				return c.leaveOut(p.Name, fmt.Sprintf("it can't be checked since %s: %v", since.UTC().Format(time.RFC3339), seen.err), now)
			case waited:
				err := fmt.Errorf("%s could not be checked for %v: %w", p.Name, now.Sub(since).Round(time.Second), seen.err)
				return c.failFor(p.Name, err.Error(), &TransientError{err})
			}
			unseen = true
			continue
		}
		if !seen.since.Equal(c.from) {
			last = time.Time{} // a look that was made for the switch
			continue
		}
		_, drifted := c.state.Drift[p.Name]
		for _, problem := range seen.problems {
			switch {
			case drifted || !r.counts(p.Name, problem):
			case !problem.Transient || now.Sub(c.soaking) > c.patience():
				return c.fail(problem.String(), nil)
			default:
				passing = true
			}
		}
		if seen.at.Before(last) {
			last = seen.at
		}
	}
	switch { // what nobody could see doesn't count against a problem that may pass
	case unseen && c.dark.IsZero():
		c.dark = now
	case !unseen && !c.dark.IsZero():
		c.soaking, c.dark = c.soaking.Add(now.Sub(c.dark)), time.Time{}
	}
	if blind := unseen || passing; blind || c.blind { // the soak begins again with the first looks that all succeed
		c.well, c.blind = now, blind
	}
	if last.Sub(c.well) < c.Soak {
		c.wakeAt(c.well.Add(c.Soak))
		return nil
	}
	return c.good()
}

// patience is how long in a soak the live state may be unknown, or a transient problem may last, counted from its beginning.
func (c *Conductor) patience() time.Duration { return Patience(c.Soak) }

// patience is as long as what is silent is waited for, also within a switch.
func Patience(soak time.Duration) time.Duration { return 5*soak + time.Minute }

// counts reports whether a problem that a layer sees is held against the revision: it wasn't there before, or concerns what was
// changed.
func (r *rollout) counts(layer string, p Problem) bool {
	if r.changes(layer, p.Subject) {
		return true
	}
	for layer := range r.Changes {
		if slices.ContainsFunc(p.Stands, func(subject string) bool { return r.changes(layer, subject) }) {
			return true
		}
	}
	return !p.Unrelated && !r.illBefore(p)
}

func (r *rollout) changes(layer, subject string) bool {
	return slices.ContainsFunc(r.Changes[layer], func(c Change) bool { return c.Subject == subject && !c.Waits })
}

// made is what the rollout changed, for the history: of each layer not more than a person would read.
func (r *rollout) made() map[string][]Change {
	const most = 50
	made := map[string][]Change{}
	for layer, changes := range r.Changes {
		changes = slices.DeleteFunc(slices.Clone(changes), func(c Change) bool { return c.Waits })
		if more := len(changes) - most; more > 0 {
			changes = append(changes[:most], Change{Does: "change", Subject: fmt.Sprintf("%d more", more)})
		}
		if len(changes) > 0 {
			made[layer] = changes
		}
	}
	return made
}

// good ends a rollout well.
func (c *Conductor) good() error {
	r := c.state.Rollout
	good := c.state.Current.over(c.state.Good)
	if err := c.write(entry{Event: evGood, Revision: r.To.Revision, Because: r.wentBack(), Changes: r.made(), Items: c.items(good), Moved: c.tellMoved(), Without: c.state.withouts()}); err != nil {
		return err
	}
	c.state.Former = retire(c.state.Former, c.state.Good, good, time.Now())
	c.state.Good, c.state.Incomplete = good, nil // what was ill at the good revision before has a problem of its own
	c.state.Rollout, c.state.Lost, c.state.Failed = nil, nil, nil
	c.state.Later, c.state.Cut = nil, 0
	maps.DeleteFunc(c.state.Without, func(layer string, _ exclusion) bool { return !c.state.leftOut(layer) })
	c.Log.Info("good", "revision", c.state.Good.Revision)
	c.untidy = true
	if err := c.save(); err != nil {
		return err
	}
	c.settleMoved()
	crash.At("soaking.good")
	return c.orderAll()
}

// fail ends a rollout badly: the revision is remembered, unless the failure was nobody's fault, and every layer returns.
func (c *Conductor) fail(reason string, err error) error {
	r := c.state.Rollout
	if transient := new(TransientError); errors.As(err, &transient) {
		if err := c.rollBack(r.To.Revision, reason); err != nil {
			return err
		}
		if taken := new(TakenError); errors.As(err, &taken) && c.state.Later != nil {
			c.state.Later.Taken = true
		}
		return c.save()
	}
	if err := c.write(entry{Event: evFailed, Revision: r.To.Revision, Because: reason, Changes: r.made()}); err != nil {
		return err
	}
	c.Log.Error("failed", "revision", r.To.Revision, "reason", reason)
	c.blame(r.To, reason)
	return c.rollBack(r.To.Revision, reason)
}

// failFor is fail for what a layer did, or couldn't: if no commit is to blame, that layer mustn't hold the others for long. A port
// that it needs may be held by a program that isn't a user's: that is waited for.
func (c *Conductor) failFor(layer, reason string, err error) error {
	taken := new(TakenError)
	if failed := c.fail(reason, err); failed != nil || c.state.Later == nil || !ofUser(layer) || errors.As(err, &taken) {
		return failed
	}
	c.state.Later.suspect(layer, time.Now())
	return c.save()
}

// rollBack turns the rollout round: all layers go to good.
func (c *Conductor) rollBack(failed, reason string) error {
	if c.state.bad(failed) == nil {
		c.state.Later = c.state.Later.again(failed, reason)
	}
	because := "the last good: " + reason
	if err := c.write(entry{Event: evRollingBack, Revision: failed, Because: because}); err != nil {
		return err
	}
	c.state.Rollout = &rollout{Phase: rollingBack, To: c.state.Good, Because: because, Failed: failed, From: c.state.Rollout.To, Since: time.Now(), Before: c.state.Rollout.Before}
	c.state.Current.Revision = c.state.Good.Revision
	c.state.Cut = 0
	c.revival = revival{}
	crash.At("rollback.begun")
	return c.save()
}

func (c *Conductor) markBad(revision, reason string) {
	if c.state.Bad == nil {
		c.state.Bad = map[string]failure{}
	}
	c.state.Bad[revision] = failure{Reason: reason, At: time.Now()}
	for len(c.state.Bad) > 100 { // the oldest are forgotten
		oldest := ""
		for id, b := range c.state.Bad {
			if oldest == "" || b.At.Before(c.state.Bad[oldest].At) {
				oldest = id
			}
		}
		delete(c.state.Bad, oldest)
	}
}

// rolledBack ends a return: the machine is at good again, or stuck.
func (c *Conductor) rolledBack(now time.Time) error {
	r := c.state.Rollout
	if now.Before(c.retryAt) {
		c.wakeAt(c.retryAt)
		return nil
	}
	if len(r.Refused) > 0 {
		return c.rollBackAgain(now)
	}
	ill, over, err := c.recovered(now)
	if err != nil || !over {
		return err
	}
	c.afterReturn(r)
	done := entry{Event: evRolledBack, Revision: r.Failed, Because: c.notRolledBack(r), Items: c.items(c.state.Good), Moved: c.tellMoved()}
	c.state.Incomplete = nil
	if len(ill) > 0 {
		c.state.Incomplete = &incompleteReturn{Revision: r.Failed, Good: c.state.Good.Revision, Ill: ill, At: now}
		done.Because = strings.TrimPrefix(done.Because+"; "+c.state.Incomplete.String(), "; ")
	}
	if done.Because != "" {
		done.Event = evIncomplete
	}
	if err := c.write(done); err != nil {
		return err
	}
	crash.At("rollback.done")
	c.state.putAside(r.From)
	c.state.Rollout = nil
	c.untidy = true
	if done.Event == evIncomplete {
		c.Log.Error("the roll-back is incomplete", "to", c.state.Good.Revision, "why", done.Because)
	} else {
		c.Log.Info("rolled back", "to", c.state.Good.Revision)
	}
	if err := c.save(); err != nil {
		return err
	}
	c.settleMoved()
	return c.orderAll()
}

// afterReturn lets layers do what the commit has for its failure. Whatever becomes of that, the return is done.
func (c *Conductor) afterReturn(r *rollout) {
	for _, p := range c.Parts {
		l, is := p.Layer.(hooked)
		id := r.From.Targets[p.Name]
		if !is || id == "" {
			continue
		}
		t, err := c.target(p.Name, id)
		if err == nil {
			err = l.Failed(t, r.Since.UTC().Format(time.RFC3339Nano))
		}
		if err != nil {
			c.Log.Warn("what is to be done when a commit failed isn't", "layer", p.Name, "revision", r.Failed, "err", err)
		}
	}
}

// rollBackAgain asks the layers that wouldn't return once more, after a while; at last it says so loudly.
func (c *Conductor) rollBackAgain(now time.Time) error {
	r := c.state.Rollout
	var whys []string
	for _, layer := range slices.Sorted(maps.Keys(r.Refused)) {
		whys = append(whys, layer+": "+r.Refused[layer])
	}
	r.Attempts++
	if r.Attempts < rollBackAttempts || !r.Blamed {
		c.Log.Warn("a layer wasn't rolled back; it is tried again", "reasons", whys)
		r.Refused, r.Released = nil, nil
		c.retryAt = now.Add(min(time.Duration(r.Attempts)*5*time.Second, retryMost))
		c.wakeAt(c.retryAt)
		return c.save()
	}
	why := fmt.Sprintf("revision %s failed, and the roll-back to %s did too: %v", api.Short(r.Failed), api.Short(r.To.Revision), whys)
	if err := c.write(entry{Event: evStuck, Revision: r.Failed, Because: why, Moved: movedAside(c.Parts)}); err != nil {
		return err
	}
	c.Log.Error("stuck: push a commit that repairs it, or repair it by hand and run `collie retry`", "why", why)
	c.state.Stuck = &deadEnd{Prepared: c.state.Prepared.Revision, Why: why, At: now}
	c.state.Rollout = nil
	return c.save()
}

// problems are those of the last looks that succeeded, in one line each.
func (c *Conductor) problems() []Problem {
	var all []Problem
	for _, p := range c.Parts {
		for _, problem := range c.ill[p.Name] {
			problem.Details = nil
			all = append(all, problem)
		}
	}
	return all
}

// again is the next try of a revision, later each time.
func (l *backoff) again(revision, why string) *backoff {
	next := backoff{Revision: revision, Why: why, Since: time.Now(), Attempts: 1}
	if l != nil {
		next.Layers = maps.Clone(l.Layers)
	}
	if l != nil && l.Revision == revision {
		next.Since, next.Attempts, next.Taken = l.Since, l.Attempts+1, l.Taken
	}
	next.Next = time.Now().Add(min(retryFirst<<min(next.Attempts-1, 10), retryMost))
	return &next
}

// wentBack returns the channels that a rollout takes to earlier commits, for the history.
func (r *rollout) wentBack() string {
	var says []string
	for _, c := range r.Changes["system"] {
		if c.Back {
			says = append(says, c.Does+" of "+c.Subject+", "+c.Says)
		}
	}
	return strings.Join(says, "; ")
}
