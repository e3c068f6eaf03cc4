package rollout

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"example.org/collie/agent/api"
)

// One commit has one verdict over all layers. But a layer of a user's is in that user's hands, and it must not hold the machine:
//
//	what is wrong with a layer of a user's                  how long the others wait  what ends it
//	it can't be prepared, as Podman's API is broken         the patience of a soak    it can be prepared
//	the revision leaves it as it is, and it can't be seen   the patience              it can be checked
//	the work on it hangs in the agent, whosever it is       the patience              the work ends
//	its user runs a guix that changes it                    othersTimeout, or not at  that guix ends
//	                                                        all if it doesn't change
//	its switch fails, and no commit is to blame             the patience, then one    a switch of that layer alone
//	                                                        more try
//	somebody asked for `collie sync --only` others          not at all                it can be prepared
//
// Then the revision is deployed without the layer. It keeps its target and isn't checked for the verdict; status, journal and history
// say so. When the obstacle is gone, the layer follows, by a rollout of its own to COMMIT+HASH, with its own verdict. If that fails,
// only this layer returns, because the revision without it is good. A layer that was left out of the revision before, and still has
// its obstacle, doesn't delay the next revision. If a revision changes nothing else, it waits for the layer.

// An exclusion is a layer that a revision is deployed without.
type exclusion struct {
	Revision string    `json:"revision"` // the commit
	Why      string    `json:"why"`
	By       string    `json:"by,omitempty"` // who asked for it; empty: it was waited for
	Since    time.Time `json:"since"`
	Attempts int       `json:"attempts,omitempty"`
	Next     time.Time `json:"next,omitzero"` // when it is tried again; zero: with the next commit, or `collie retry`
}

// The times between two tries of a layer that was left out are shorter than others: to ask costs little.
const (
	withoutFirst = 5 * time.Second
	withoutMost  = 5 * time.Minute
)

func (w exclusion) again(revision, why string, now time.Time) exclusion {
	if w.Revision != revision {
		w = exclusion{Revision: revision, Since: now}
	}
	w.Why = why
	w.Next = now.Add(min(withoutFirst<<min(w.Attempts, 10), withoutMost))
	w.Attempts++
	return w
}

// A selection is somebody's wish to deploy a revision to some layers first.
type selection struct {
	Revision string   `json:"revision"`
	Layers   []string `json:"layers"`
	By       string   `json:"by"`
}

func (o *selection) is(revision string) bool { return o != nil && o.Revision == CommitOf(revision) }

// names reports whether a layer is to be deployed at once. Secrets are the system's: what starts there needs them.
func (o *selection) names(layer string) bool {
	return slices.Contains(o.Layers, layer) || layer == "secrets" && slices.Contains(o.Layers, "system")
}

func (o *selection) asked() string {
	return fmt.Sprintf("%s asked for `collie sync --only %s`", o.By, strings.Join(o.Layers, ","))
}

// cannotWait are the layers that have to be named as well, for they are no user's. Naming the system includes its secrets.
func (c *Conductor) cannotWait(o *selection) (layers []string) {
	for _, p := range c.Parts {
		if !ofUser(p.Name) && !o.names(p.Name) {
			layers = append(layers, p.Name)
		}
	}
	if slices.Contains(layers, "system") {
		layers = slices.DeleteFunc(layers, func(layer string) bool { return layer == "secrets" })
	}
	return layers
}

// mayOnly says why the newest revision can't be deployed to some layers first.
func (c *Conductor) mayOnly(o *selection) error {
	for _, layer := range o.Layers {
		if !slices.ContainsFunc(c.Parts, func(p Part) bool { return p.Name == layer }) {
			var all []string
			for _, p := range c.Parts {
				all = append(all, p.Name)
			}
			return fmt.Errorf("this machine has no layer %q, only %s", layer, strings.Join(all, ", "))
		}
	}
	if missing := c.cannotWait(o); len(missing) > 0 {
		return fmt.Errorf("only layers of users can wait: name %s, too", strings.Join(missing, " and "))
	}
	switch bad := c.state.bad(c.newestTried()); {
	case o.Revision == "":
		return errors.New("there is no revision yet")
	case bad != nil:
		return fmt.Errorf("revision %s is bad: push another, or ask for `collie retry` first", api.Short(o.Revision))
	case c.state.phase() != idle || c.busy != "":
		return fmt.Errorf("a switch to revision %s is underway: ask again once it has a verdict", api.Short(c.state.Prepared.Revision))
	}
	return nil
}

// leaveOthersOut leaves out the layers of a revision that nobody asked for.
func (c *Conductor) leaveOthersOut(o *selection, targets map[string]string, now time.Time) error {
	for _, p := range c.Parts {
		to, made := targets[p.Name]
		if o.names(p.Name) || made && to == c.state.Current.Targets[p.Name] {
			continue
		}
		if err := c.leaveOut(p.Name, o.asked(), now); err != nil {
			return err
		}
		w := c.state.Without[p.Name]
		w.By = o.By
		c.setWithout(p.Name, w)
	}
	c.state.Only = nil
	return c.save()
}

// leftOut reports whether what was prepared last is deployed without a layer.
func (s *State) leftOut(layer string) bool {
	w, is := s.Without[layer]
	return is && w.Revision == CommitOf(s.Prepared.Revision)
}

// next is what was prepared last, for all layers that it isn't deployed without. Others are as they are, and one that a failure
// left unknown returns.
func (s *State) next() Set {
	stays := s.Current.over(s.Good)
	next := s.Prepared.over(stays)
	for layer := range s.Without {
		if id := stays.Targets[layer]; s.leftOut(layer) && id != "" {
			next.Targets[layer] = id
		} else if s.leftOut(layer) {
			delete(next.Targets, layer)
		}
	}
	return next
}

// leaveOut has what was prepared last deployed without a layer, from the next step on.
func (c *Conductor) leaveOut(layer, why string, now time.Time) error {
	commit := CommitOf(c.state.Prepared.Revision)
	if err := c.write(entry{Event: evWithout, Revision: commit, Layer: layer, Because: why}); err != nil {
		return err
	}
	c.setWithout(layer, c.state.Without[layer].again(commit, why, now))
	c.Log.Warn("a revision is deployed without a layer", "revision", commit, "layer", layer, "because", why)
	c.asked, c.next = time.Time{}, now
	return c.save()
}

func (c *Conductor) setWithout(layer string, w exclusion) {
	if c.state.Without == nil {
		c.state.Without = map[string]exclusion{}
	}
	c.state.Without[layer] = w
}

// deploys reports whether a set changes anything but a layer.
func (c *Conductor) deploys(set Set, without string) bool {
	for layer, id := range set.Targets {
		if layer != without && !c.state.leftOut(layer) && c.state.Current.Targets[layer] != id {
			return true
		}
	}
	return false
}

// outwaited reports whether a layer was waited for long enough, or is ill since the revision before.
func (c *Conductor) outwaited(layer string, since, now time.Time) bool {
	_, before := c.state.Without[layer]
	return before || !since.IsZero() && now.Sub(since) > c.patience()
}

// suspect is a layer for which a rollout was put off, or taken back, though no commit is to blame.
func (l *backoff) suspect(layer string, now time.Time) {
	if l.Layers == nil {
		l.Layers = map[string]time.Time{}
	}
	if l.Layers[layer].IsZero() {
		l.Layers[layer] = now
	}
}

// awaitLayers reports whether what was prepared waits for the layers that it lacks.
func (c *Conductor) awaitLayers(p prepared, now time.Time) (bool, error) {
	if len(p.without) == 0 {
		return false, nil
	}
	set := Set{Targets: map[string]string{}}
	for layer, t := range p.targets {
		set.Targets[layer] = t.ID
	}
	layers := slices.DeleteFunc(slices.Sorted(maps.Keys(p.without)), func(layer string) bool {
		return c.state.Only.is(p.revision.ID) && !c.state.Only.names(layer)
	})
	if len(layers) == 0 {
		return false, nil
	}
	var whys []string
	waits := !c.deploys(set, "")
	later := c.state.Later
	for _, layer := range layers {
		whys = append(whys, layer+": "+p.without[layer].Error())
		var since time.Time
		if later != nil {
			since = later.Layers[layer]
		}
		waits = waits || !c.outwaited(layer, since, now)
	}
	if !waits {
		return false, nil
	}
	later = later.again(p.revision.ID, strings.Join(whys, "\n"))
	for _, layer := range layers {
		later.suspect(layer, now)
		if outwaited := later.Layers[layer].Add(c.patience() + time.Second); outwaited.After(now) && outwaited.Before(later.Next) {
			later.Next = outwaited
		}
	}
	c.state.Later = later
	c.Log.Warn("preparing is tried again later", "revision", p.revision.ID, "at", later.Next, "err", later.Why)
	if err := c.write(entry{Event: evLater, Revision: p.revision.ID, Because: later.Why}); err != nil {
		return true, err
	}
	return true, c.save()
}

// goWithout notes the layers that couldn't be prepared, and forgets those that could.
func (c *Conductor) goWithout(p prepared, now time.Time) error {
	commit := CommitOf(p.revision.ID)
	for layer, w := range c.state.Without {
		if _, now := p.targets[layer]; now && w.Revision == commit {
			delete(c.state.Without, layer)
		}
	}
	if o := c.state.Only; o.is(commit) {
		if err := c.leaveOthersOut(o, c.state.Prepared.Targets, now); err != nil {
			return err
		}
	}
	for _, layer := range slices.Sorted(maps.Keys(p.without)) {
		if err := c.leaveOut(layer, "it can't be prepared: "+p.without[layer].Error(), now); err != nil {
			return err
		}
	}
	return nil
}

// missing is the layer that what is deployed lacks and that is due to be prepared, or when one is.
func (c *Conductor) missing(now time.Time) (layer string, due time.Time) {
	for _, name := range slices.Sorted(maps.Keys(c.state.Without)) {
		w := c.state.Without[name]
		if !c.state.leftOut(name) || c.state.Prepared.Targets[name] != "" || w.Next.IsZero() {
			continue
		}
		if !now.Before(w.Next) {
			return name, w.Next
		}
		if due.IsZero() || w.Next.Before(due) {
			due = w.Next
		}
	}
	return "", due
}

// takeMissing takes what came of preparing a layer that the newest revision is deployed without. It reports whether there is
// something to switch to.
func (c *Conductor) takeMissing(p prepared, now time.Time) (bool, error) {
	layer := p.missing
	w, is := c.state.Without[layer]
	if !is || !c.state.leftOut(layer) {
		return false, nil
	}
	refused, commit := new(BadError), CommitOf(p.revision.ID)
	switch {
	case errors.As(p.err, &refused):
		w.Why, w.Next = "it is refused: "+refused.Error(), time.Time{}
		if refused.Retriable {
			w = w.again(commit, w.Why, now)
		}
		if err := c.write(entry{Event: evFailed, Revision: commit + "+" + layer, Because: refused.Error()}); err != nil {
			return false, err
		}
		c.Log.Error("rejected", "revision", commit, "layer", layer, "reason", refused.Error())
	case p.err != nil:
		w = w.again(commit, "it can't be prepared: "+p.err.Error(), now)
	case p.without[layer] != nil:
		w = w.again(commit, "it can't be prepared: "+p.without[layer].Error(), now)
	case p.targets[layer].ID == "":
		delete(c.state.Without, layer) // the revision doesn't name it
		return false, c.save()
	default:
		return true, nil
	}
	c.setWithout(layer, w)
	return false, c.save()
}

// rejoin has layers follow that were prepared, and are free again.
func (c *Conductor) rejoin(now time.Time) error {
	commit := CommitOf(c.state.Prepared.Revision)
	if c.state.phase() != idle || c.busy != "" || commit == "" || c.state.bad(c.state.Prepared.Revision) != nil {
		return nil
	}
	for _, layer := range slices.Sorted(maps.Keys(c.state.Without)) {
		w, id := c.state.Without[layer], c.state.Prepared.Targets[layer]
		if !c.state.leftOut(layer) || id == "" {
			continue
		}
		if now.Before(w.Next) {
			c.wakeAt(w.Next)
			continue
		}
		if why := c.hindered(layer); why != "" {
			c.setWithout(layer, w.again(commit, why, now))
			if err := c.save(); err != nil {
				return err
			}
			continue
		}
		delete(c.state.Without, layer)
		if id != c.state.Current.Targets[layer] && CommitOf(c.state.Current.Revision) == commit {
			set := c.state.Prepared.clone()
			set.Revision = commit + "+" + set.sum()[:8]
			if c.state.bad(set.Revision) != nil {
				continue
			}
			if err := c.write(entry{Event: evPreparing, Revision: set.Revision, Author: c.state.Newest.Author, Subject: c.state.Newest.Subject}); err != nil {
				return err
			}
			c.state.Prepared = set
		}
		if err := c.save(); err != nil {
			return err
		}
	}
	return nil
}

// hindered says why a layer that was left out can't follow yet.
func (c *Conductor) hindered(layer string) string {
	if err := c.seen[layer].err; err != nil {
		return fmt.Sprintf("it can't be checked: %v", err)
	}
	if c.state.Good.Targets[layer] == "" {
		return "how it was isn't known yet"
	}
	for _, o := range c.Others() {
		if o.Layer == layer {
			return "its user runs " + o.Says
		}
	}
	return ""
}

// withouts are the layers that the newest revision is deployed without, with the reasons.
func (s *State) withouts() map[string]string {
	all := map[string]string{}
	for layer, w := range s.Without {
		if s.leftOut(layer) {
			all[layer] = w.Why
		}
	}
	return all
}

// tellWithout is the same for the status.
func (s *State) tellWithout() []api.Without {
	var all []api.Without
	for _, layer := range slices.Sorted(maps.Keys(s.withouts())) {
		w := s.Without[layer]
		all = append(all, api.Without{Layer: layer, Revision: w.Revision, Why: w.Why, By: w.By, Since: w.Since, Next: w.Next})
	}
	return all
}
