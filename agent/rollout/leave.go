package rollout

import (
	"errors"
	"slices"
	"strings"
	"time"
)

// This is how the agent ends for its own sake: its service got another definition, or a commit took it off the machine.
// Both wait for a quiet point, with nothing underway that a person waits for.

var (
	// ErrReplaced ends the agent so that Shepherd starts its new definition.
	ErrReplaced = errors.New("the agent's own service has changed; Shepherd starts the new one")
	// ErrLeft ends it for good.
	ErrLeft = errors.New("the agent leaves this machine")
)

const (
	longestPreparation = 30 * time.Minute // that a replacement waits for: a stream of commits mustn't keep the old one for ever
	farewell           = 3 * time.Second  // in which whoever follows the last rollout hears of its end
)

// exitIfDue ends the agent, or with it the machine, if that is due. It is called where nothing is underway: idle, suspended, stuck, or before the
// first revision.
func (c *Conductor) exitIfDue(now time.Time) error {
	var own Change
	for _, p := range c.Parts {
		if seen := c.seen[p.Name]; seen.selfUpdate.Does != "" {
			own = seen.selfUpdate
		}
	}
	if own.Does == "" {
		c.due = time.Time{}
		return c.reboot(now)
	}
	if c.due.IsZero() {
		c.due = now
	}
	switch {
	case own.Does == Leaves && c.state.Stuck != nil:
		return nil // it isn't known how the machine is left
	case own.Does == Leaves:
		if until := c.due.Add(farewell); now.Before(until) {
			c.wakeAt(until)
			return nil
		}
		return c.leave()
	case c.preparer.busy() && now.Before(c.due.Add(longestPreparation)):
		c.wakeAt(c.due.Add(longestPreparation))
		return nil
	}
	return c.replace(own)
}

// replace ends the agent for its next definition. Whether that one comes up, nobody has tried by then: a guard of that
// begins here, by what it keeps to go back to.
func (c *Conductor) replace(own Change) error {
	if err := c.write(entry{Event: evReplaced, Revision: c.state.Current.Revision, Because: own.Says}); err != nil {
		return err
	}
	return ErrReplaced
}

// leave records how the machine is left, and ends the agent.
func (c *Conductor) leave() error {
	account := c.account()
	if err := c.write(entry{Event: evLeft, Revision: c.state.Current.Revision, Because: strings.Join(account, "; ")}); err != nil {
		return err
	}
	for _, line := range account {
		c.Log.Info("leaving: " + line)
	}
	return ErrLeft
}

// account is how Collie leaves the machine.
func (c *Conductor) account() []string {
	all := []string{"at revision " + c.state.Current.Revision + ", which has no service " + ownService}
	for _, p := range c.Parts {
		t, err := c.target(p.Name, c.state.Current.Targets[p.Name])
		if l, tells := p.Layer.(describer); tells && err == nil {
			all = append(all, p.Name+": "+l.Describe(t))
		}
	}
	return append(all,
		"nobody looks at the repository any more, restarts what changes, heals pods, or rolls back what fails",
		"what Collie kept stays in "+c.store.dir+" until `"+c.Removal+"` removes it")
}

// ownService is the agent's own.
const ownService = "collie"

// Leaves is what is due, of a [Change], for the agent's own service that a revision took off the machine.
const Leaves = "leave"

// leaves reports whether t takes Collie off the machine.
func (c *Conductor) leaves(t Target) bool {
	s, is := c.stored(t)
	return is && s.Leaves
}

// stored is what there is to know of t in Guix's store, if it is there.
func (c *Conductor) stored(t Target) (Stored, bool) {
	k := c.keepers[t.Layer]
	if k == nil {
		return Stored{}, false
	}
	l, is := k.Layer.(stored)
	if !is {
		return Stored{}, false
	}
	s, err := l.Stored(t)
	return s, err == nil
}

// sequence is the order in which the layers are switched to set. The system that takes Collie off the machine also takes
// the pod user and Podman's API: it comes last.
func (c *Conductor) sequence(set Set) []Part {
	if !set.Leaves {
		return c.Parts
	}
	last := slices.Clone(c.Parts)
	slices.Reverse(last)
	return last
}

// judges reports whether a layer at a target is checked for the verdict. Once Collie's own services are gone, only the layer that they
// left can be checked.
func (c *Conductor) judges(layer, id string) bool {
	if !c.state.Rollout.To.Leaves {
		return true
	}
	t, err := c.target(layer, id)
	return err == nil && c.leaves(t)
}
