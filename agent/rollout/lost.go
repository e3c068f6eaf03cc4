package rollout

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"example.org/collie/agent/api"
	"example.org/collie/agent/statefile"
)

// Contents of the state can be lost, while the agent runs or between two lives: a target's file, the state, the whole folder.
//
//	what is lost                           what happens
//	any of it, while the agent runs        it is written again, as the conductor has in memory what it needs
//	the target of what was only prepared   it is prepared again
//	the target of current or good          the layer is taken as it is, at once; a problem says so until a revision is good
//	the state, which isn't there           the same for all layers; one that can't be read stops all (unread.go)
//
// In none of these cases is anything removed of the layer until a revision is good.

const checkEvery = time.Minute // between two looks for the files of what is held in memory

// target reads a target. One whose file is lost is written again, if the conductor has it.
func (c *Conductor) target(layer, id string) (Target, error) {
	t, err := c.store.target(layer, id)
	if err == nil {
		return t, nil
	}
	t, known := c.held[id]
	if !known || t.Layer != layer {
		return Target{}, err
	}
	c.Log.Error("a target was lost, and is written again", "layer", layer, "err", err)
	if err := c.store.saveTarget(t); err != nil {
		c.Log.Error("a target isn't written again for now", "layer", layer, "err", err)
	}
	return t, nil
}

// holding are the sets whose targets must not be lost.
func (c *Conductor) holding() []Set {
	sets := []Set{c.state.Current, c.state.Good}
	if r := c.state.Rollout; r != nil {
		sets = append(sets, r.To, r.From)
	}
	return sets
}

// hold keeps in memory the targets of what the machine is at, and of what it may have to go back to, and no others.
func (c *Conductor) hold() {
	held := map[string]Target{}
	for _, set := range c.holding() {
		for layer, id := range set.Targets {
			if t, err := c.target(layer, id); err == nil {
				held[id] = t
			}
		}
	}
	c.held = held
}

// checkFiles writes again, now and then, what somebody removed of the state. The folder itself is looked for each time.
func (c *Conductor) checkFiles(now time.Time) error {
	again := false
	if c.Present != nil {
		var err error
		if again, err = c.Present(); err != nil {
			return &UnwrittenError{fmt.Errorf("making the state folder again: %w", err)}
		}
	}
	if !again && now.Sub(c.checked) < checkEvery {
		return nil
	}
	c.checked = now
	for _, file := range statefile.Aside(c.store.dir) {
		if !c.aside[file] {
			c.Log.Error("a file of the state made no sense and was set aside", "file", file)
			c.aside[file] = true
		}
	}
	for _, set := range c.holding() {
		for layer, id := range set.Targets {
			_, _ = c.target(layer, id) // it is logged; what can't be read is dealt with where it is needed
		}
	}
	if _, err := os.Lstat(c.store.stateFile()); err != nil {
		c.Log.Error("the state was removed, and is written again", "err", err)
		c.writing.unsaved = true
	}
	return c.journal.there()
}

// forget drops a target that can't be read: what was prepared is made again, and what was current or good is taken from the
// machine as it is.
func (c *Conductor) dropTarget(set Set, layer string, why error) error {
	id := set.Targets[layer]
	c.Log.Error("a target is gone", "layer", layer, "revision", set.Revision, "err", why)
	if c.state.Good.Targets[layer] == id {
		c.state.lose(layer, c.state.Good.Revision)
	}
	if c.state.Prepared.Targets[layer] == id {
		c.state.Prepared = Set{}
	}
	for _, s := range []*Set{&c.state.Current, &c.state.Good} {
		if s.Targets[layer] == id {
			delete(s.Targets, layer)
		}
	}
	c.state.Rollout = nil
	return c.save()
}

// unknown are the layers of which nobody knows what a roll-back would lead to.
func (c *Conductor) unknown() map[string]bool {
	layers := map[string]bool{}
	for _, p := range c.Parts {
		if c.state.Good.Targets[p.Name] == "" {
			layers[p.Name] = true
		}
	}
	return layers
}

// recordUnknown takes the layers of which nothing is known as they are, before anything is switched. It reports whether that
// is underway.
func (c *Conductor) recordUnknown(ctx context.Context, now time.Time) bool {
	unknown := c.unknown()
	maps.DeleteFunc(unknown, func(layer string, _ bool) bool { return c.absent[layer] })
	if len(unknown) == 0 || c.state.Rollout != nil || c.busy != "" {
		return false
	}
	holds := false // a layer that can't be recorded for reasons that lie with its user holds only itself, after a while
	for layer := range unknown {
		holds = holds || !c.state.leftOut(layer)
	}
	if now.Before(c.recordAt) {
		c.wakeAt(c.recordAt)
		return holds
	}
	j := job{unknown: unknown}
	j.ID = Baseline
	if c.preparer.busy() {
		return holds // what is being prepared records them, too, or they are recorded after it
	}
	c.startPreparing(ctx, j)
	return holds
}

// takeAsItIs notes what was found of unknown layers.
func (c *Conductor) takeAsItIs(p prepared) error {
	if err := c.adopt(p.baseline); err != nil {
		return err
	}
	now := time.Now()
	for layer, why := range p.without {
		if c.unrecorded[layer].IsZero() {
			c.unrecorded[layer] = now
		}
		if _, named := c.state.Prepared.Targets[layer]; named && !c.state.leftOut(layer) && c.outwaited(layer, c.unrecorded[layer], now) {
			if err := c.leaveOut(layer, why.Error(), now); err != nil {
				return err
			}
		}
	}
	if p.err == nil && len(p.without) > 0 {
		p.err = errors.Join(slices.Collect(maps.Values(p.without))...)
	}
	switch {
	case errors.Is(p.err, context.Canceled):
	case p.err != nil:
		c.recordAt = time.Now().Add(retryFirst)
		c.Log.Warn("how the machine is can't be recorded yet", "at", c.recordAt, "err", p.err)
	default:
		for layer := range c.unknown() {
			c.absent[layer] = true // there is nothing, until a revision names it
		}
	}
	return nil
}

// needed are the targets of sets, by layer, and all of them. A layer of which not all is known has none, so nothing of it is
// removed; known reports whether that is so of none.
func (c *Conductor) needed(sets []Set) (only map[string][]Target, all []Target, known bool) {
	only, known = map[string][]Target{}, true
	unsure := map[string]bool{}
	for _, p := range c.Parts {
		unsure[p.Name] = (c.state.Current.Targets[p.Name] == "" || c.state.Good.Targets[p.Name] == "") && !c.absent[p.Name]
	}
	for layer := range c.state.Lost {
		unsure[layer] = true
	}
	for _, set := range sets {
		for layer, id := range set.Targets {
			t, err := c.target(layer, id)
			if err != nil {
				c.Log.Error("nothing of a layer is removed, as a target of it can't be read", "layer", layer, "revision", set.Revision, "err", err)
				unsure[layer] = true
				continue
			}
			only[layer], all = append(only[layer], t), append(all, t)
		}
	}
	for layer, is := range unsure {
		if is {
			delete(only, layer)
			known = false
		}
	}
	return only, all, known
}

// lostSays are the problems of layers of which nobody knows what they were like.
func (s *State) lostSays() []Problem {
	var all []Problem
	for _, layer := range slices.Sorted(maps.Keys(s.Lost)) {
		l := s.Lost[layer]
		all = append(all, Problem{Layer: layer, Subject: "state", Says: fmt.Sprintf("what %s was like at revision %s is lost since %s: "+
			"it was taken as it was found, and nothing of it is removed until a revision is good; push a commit, or `collie retry`",
			layer, api.Short(l.Revision), l.At.Format(time.DateTime))})
	}
	return all
}

// notRolledBack says which layers a roll-back left where they were, as nobody knows what they were like at the good revision.
func (c *Conductor) notRolledBack(r *rollout) string {
	var layers []string
	for layer := range r.From.Targets {
		if c.state.Good.Targets[layer] == "" {
			layers = append(layers, layer)
		}
	}
	if len(layers) == 0 {
		return ""
	}
	slices.Sort(layers)
	return fmt.Sprintf("not rolled back: %s, as what was there at revision %s is lost", strings.Join(layers, ", "), api.Short(c.state.Good.Revision))
}
