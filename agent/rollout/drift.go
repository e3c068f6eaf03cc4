package rollout

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"example.org/collie/agent/api"
)

// Drift is that someone else switched a system or a home: a person at three in the morning, a `guix deploy`.
//
//	what comes next                              what happens to it
//	nothing; the agent is restarted or replaced  it is shown, and left
//	an older commit is tried again by itself     that waits
//	a commit that leaves the layer alone         it is left
//	a commit that changes the layer              that wins; plan, log and journal say what it takes back
//	`collie retry`                               the newest commit wins; where that is deployed already, the layer is switched back
//	whatever, with `drift: heal`                 the layer is switched back at once
//
// Problems in such a layer don't count against any revision.
type Drift struct {
	api.Drift
	Live   string `json:"live"`   // the ID that a target of what is live has
	Newest string `json:"newest"` // the newest revision when it happened: a later one wins

	Retried bool `json:"retried,omitempty"` // somebody asked to take it back, though no revision is to be switched to
}

// held says why next isn't switched to: it would take back what someone else did since next was pushed, or no window is open.
func (s *State) held(next Set) string {
	for _, layer := range slices.Sorted(maps.Keys(s.Drift)) {
		d, id := s.Drift[layer], next.Targets[layer]
		if id == s.Current.Targets[layer] || id == d.Live || s.wins(d) {
			continue
		}
		return layer + " is " + d.String() + "; it is left so until the next commit, or `collie retry`"
	}
	if s.Outside != "" && s.AtOnce != CommitOf(s.Prepared.Revision) && !next.same(s.Current.over(s.Good)) {
		return s.Outside
	}
	return ""
}

// wins reports whether what is prepared was pushed after d.
func (s *State) wins(d Drift) bool {
	return CommitOf(s.Prepared.Revision) == s.Newest.ID && s.Newest.ID != d.Newest
}

// noteDrift records what a look at a layer saw of the work of others.
func (c *Conductor) noteDrift(r report) error {
	was, known := c.state.Drift[r.layer]
	switch {
	case c.keepers[r.layer].Heals:
		return c.noteHealing(r)
	case r.healing != "" && !r.healed:
		return c.noteHealing(r)
	case r.err != nil || r.drift == nil && !known:
		return nil
	case r.drift == nil:
		c.Log.Info("as deployed again", "layer", r.layer)
		if err := c.noteHealing(r); err != nil {
			return err
		}
		delete(c.state.Drift, r.layer)
		if err := c.save(); err != nil {
			return err
		}
		return c.order(r.layer)
	case known && was.Live == r.drift.Live && was.Since.Equal(r.drift.Since) && was.Where == r.drift.Where:
		return nil
	}
	if c.state.Drift == nil {
		c.state.Drift = map[string]Drift{}
	}
	d := *r.drift
	if d.Since.After(c.state.Accepted) { // else the newest was pushed after it, though nobody had looked yet
		d.Newest = c.state.Newest.ID
	}
	c.state.Drift[r.layer] = d
	c.Log.Warn("someone else switched a layer; it is left until the next commit", "layer", r.layer, "generation", d.Generation, "item", d.Item, "since", d.Since)
	if err := c.write(entry{Event: evDrift, Revision: c.state.Current.Revision, Layer: r.layer, Because: d.String()}); err != nil {
		return err
	}
	if err := c.save(); err != nil || !was.Retried {
		return err
	}
	return c.order(r.layer) // nobody asked to take this one back
}

// noteHealing writes down that a layer is switched back, or was.
func (c *Conductor) noteHealing(r report) error {
	if r.healing == "" {
		return nil
	}
	e := entry{Event: evHealing, Revision: r.target, Layer: r.layer, Because: r.healing}
	e.Revision = c.state.Current.Revision
	if r.healed {
		e.Event = evHealed
	}
	return c.write(e)
}

// overrule lets what waits win over what others did. A layer for which nothing waits is switched back.
func (s *State) overrule() {
	for layer, d := range s.Drift {
		d.Newest, d.Retried = "", !s.waits(layer)
		s.Drift[layer] = d
	}
}

// waits reports whether what was prepared last changes a layer, and is yet to be switched to.
func (s *State) waits(layer string) bool {
	if s.Prepared.Revision == "" || s.bad(s.Prepared.Revision) != nil {
		return false
	}
	return s.next().Targets[layer] != s.Current.Targets[layer]
}

// takesBack is what a switch of a layer would take back of what someone else did.
func (s *State) takesBack(layer, id string) []Change {
	d, known := s.Drift[layer]
	if !known || id == d.Live || id == s.Current.Targets[layer] {
		return []Change{}
	}
	return []Change{d.takeBack(layer)}
}

func (d Drift) takeBack(layer string) Change {
	return Change{Does: "take back", Subject: layer, Says: "it is " + d.String()}
}

// takeBack reports that a switch of a layer undoes what someone else did, if it does.
func (c *Conductor) takeBack(layer, id string) string {
	d, known := c.state.Drift[layer]
	delete(c.state.Drift, layer)
	if !known || d.Live == id {
		return ""
	}
	c.Log.Warn("this takes back what someone else did", "layer", layer, "generation", d.Generation, "item", d.Item)
	return "takes back: " + d.String()
}

// clear reports whether a rollout may begin now. Each layer is checked once more: existing problems aren't the
// revision's fault, and what someone else did since is left alone. Nobody else may be doing the same work.
func (c *Conductor) clear(set Set, now time.Time) (bool, error) {
	if c.asked.IsZero() || !c.about.equal(set) {
		c.asked, c.about = now, set
		return false, c.orderAll()
	}
	for _, p := range c.Parts {
		id, seen := c.state.Current.Targets[p.Name], c.seen[p.Name]
		if id != "" && !c.state.leftOut(p.Name) && (seen.target != id || seen.at.Before(c.asked) || seen.about != set.Targets[p.Name]) { // one that was due anyway may come first
			return false, nil
		}
	}
	if layer, why := c.tooLong(set, now); layer != "" {
		return false, c.leaveOut(layer, why, now)
	}
	if unseen := c.unseenBeside(set); unseen != "" {
		return false, c.awaitSight(set, unseen, now)
	}
	others := slices.DeleteFunc(slices.Clone(c.Others()), func(o Other) bool { return o.Layer != "" && c.state.leftOut(o.Layer) })
	if len(others) == 0 && !c.waiting.IsZero() { // what they changed is to be seen
		c.waiting, c.asked, c.about = time.Time{}, now, set
		return false, c.orderAll()
	}
	if len(others) == 0 {
		c.asked = time.Time{}
		if why := c.taken(set); why != "" {
			return false, c.putOff(set.Revision, why)
		}
		return true, nil
	}
	if c.waiting.IsZero() {
		c.waiting = now
		c.Log.Info("waiting for someone else", "runs", others[0].Says)
	}
	for _, o := range others {
		_, before := c.state.Without[o.Layer]
		stays := set.Targets[o.Layer] == c.state.Current.Targets[o.Layer]
		if o.Layer != "" && (stays || before || now.Sub(c.waiting) >= c.WaitForOthers) && c.deploys(set, o.Layer) {
			return false, c.leaveOut(o.Layer, "its user runs "+o.Says, now)
		}
	}
	c.state.WaitsFor = strings.Join(asText(others), ", ")
	c.wakeAt(now.Add(time.Second))
	if now.Sub(c.waiting) < c.WaitForOthers {
		return false, nil
	}
	c.waiting = time.Time{}
	why := fmt.Sprintf("waited %v for %s: end it, or wait for it", c.WaitForOthers, c.state.WaitsFor)
	return false, c.putOff(set.Revision, why)
}

// tooLong names a layer that has held set for long enough, for reasons that lie with a user, or as the work on it hangs.
func (c *Conductor) tooLong(set Set, now time.Time) (layer, why string) {
	for _, p := range c.Parts {
		seen, id := c.seen[p.Name], c.state.Current.Targets[p.Name]
		if c.state.leftOut(p.Name) || !c.deploys(set, p.Name) || !ofUser(p.Name) && !seen.hangs {
			continue
		}
		to, named := set.Targets[p.Name]
		stays := id != "" && (!named || to == id)
		if since := c.unseen[p.Name]; seen.err != nil && (stays || seen.hangs) && c.outwaited(p.Name, since, now) {
			return p.Name, fmt.Sprintf("it can't be checked since %s: %v", since.UTC().Format(time.RFC3339), seen.err)
		}
		l := c.state.Later
		if l != nil && l.Revision == set.Revision && !stays && !l.Layers[p.Name].IsZero() && now.Sub(l.Layers[p.Name]) > c.patience() {
			return p.Name, l.Why
		}
	}
	return "", ""
}

// unseenBeside names a layer that set leaves unchanged and that can't be checked. Nobody could say whether it is well with set, and that
// isn't set's fault. A layer that set changes may be repaired by that, unless the work on it hangs. Nothing delays a way back.
func (c *Conductor) unseenBeside(set Set) string {
	if set.same(c.state.Good) {
		return ""
	}
	for _, p := range c.Parts {
		id, seen := c.state.Current.Targets[p.Name], c.seen[p.Name]
		if to, named := set.Targets[p.Name]; id != "" && seen.err != nil && (!named || to == id || seen.hangs) && !c.state.leftOut(p.Name) {
			return p.Name
		}
	}
	return ""
}

// awaitSight has the layer checked again for as long as a soak would, and then has the rollout tried again later.
func (c *Conductor) awaitSight(set Set, layer string, now time.Time) error {
	if since := c.unseen[layer]; now.Sub(since) > c.patience() {
		c.asked = time.Time{}
		return c.putOff(set.Revision, fmt.Sprintf("%s can't be checked since %s, and nothing is switched meanwhile: %v",
			layer, since.UTC().Format(time.RFC3339), c.seen[layer].err))
	}
	if next := c.asked.Add(besideLook); now.Before(next) {
		c.wakeAt(next)
		return nil
	}
	c.asked = now
	return c.orderAll()
}

// taken says who has what a layer needs to be switched to set, unless another layer of set may be what gives that up. Then
// the switch finds out; once one did, it is known that no layer does. Nothing holds up a way back.
func (c *Conductor) taken(set Set) string {
	if set.same(c.state.Good) {
		return ""
	}
	for _, p := range c.Parts {
		why := c.seen[p.Name].taken
		if why == "" {
			continue
		}
		if l := c.state.Later; l != nil && l.Revision == set.Revision && l.Taken {
			return why
		}
		others := set.clone()
		delete(others.Targets, p.Name)
		if others.same(c.state.Current) {
			return why
		}
	}
	return ""
}

// putOff has a rollout that can't begin tried again later.
func (c *Conductor) putOff(revision, why string) error {
	c.state.Later = c.state.Later.again(revision, why)
	c.Log.Warn("the switch is tried again later", "revision", revision, "at", c.state.Later.Next, "err", why)
	if err := c.write(entry{Event: evLater, Revision: revision, Because: why}); err != nil {
		return err
	}
	return c.save()
}

// heal switches the layer back to its target. A heavy switch, as of a system, is announced before, and delayed after a failure.
func (k *keeper) heal(ctx context.Context, r *report) {
	_, heavy := k.Layer.(switchable)
	if heavy && r.at.Before(k.next) {
		return
	}
	k.log.Info("healing", "layer", k.Name, "revision", k.target.Revision, "changes", bounded(*r).changes, "woken", k.woken)
	if heavy {
		r.healing = reasonOf(*r)
		k.reports <- bounded(*r)
		k.failed++
		k.next = time.Now().Add(min(retryFirst<<min(k.failed-1, 10), retryMost))
	}
	heal := k.Layer.Switch
	if l, has := k.Layer.(healer); has {
		heal = l.Heal
	}
	if r.err = heal(k.mark(context.WithoutCancel(ctx), k.target.Revision), k.target); r.err != nil {
		return
	}
	k.failed, k.next = 0, time.Time{}
	r.drift, r.healed = nil, true
	r.changes, r.err = k.Layer.Diff(ctx, k.target)
}

func reasonOf(r report) string {
	if r.drift != nil {
		return r.drift.String()
	}
	var says []string
	for _, change := range r.changes {
		if !change.Waits {
			says = append(says, change.String())
		}
	}
	return strings.Join(says, "; ")
}

// An other is a guix that someone else runs, and the layer whose switch waits for it; none: that of each.
type Other struct{ Layer, Says string }

func asText(others []Other) []string {
	var all []string
	for _, o := range others {
		all = append(all, o.Says)
	}
	return boundedLines(all)
}
