package rollout

import (
	"errors"
	"slices"
	"strings"
	"time"
)

// This is how the agent reboots the machine for what only a boot puts into force, where its configuration allows that:
// once for each system that is good, and in a window if there are some.

var ErrReboots = errors.New("the machine reboots")

// A rebooted is one that the agent asked for.
type rebooted struct {
	Target string    `json:"target"` // the system's, for which it was
	For    string    `json:"for"`
	At     time.Time `json:"at"`
}

// bootsFor are the changes of the live system that need a boot.
func bootsFor(changes []Change) string {
	var all []string
	for _, change := range changes {
		if change.Boot {
			all = append(all, change.Subject)
		}
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// reboot ends the agent with the machine, if that is due. Nothing is underway.
func (c *Conductor) reboot(now time.Time) error {
	target, what := c.state.Current.Targets["system"], bootsFor(c.seen["system"].changes)
	before := c.state.Reboot
	if !c.Reboots || what == "" || c.state.Good.Revision == Baseline || before != nil && before.Target == target ||
		c.state.Suspended != nil || c.state.Stuck != nil || c.state.Outside != "" || c.state.Good.Targets["system"] != target {
		c.boots = time.Time{}
		return nil
	}
	if c.boots.IsZero() {
		c.boots = now
	}
	until := c.boots.Add(farewell)
	if c.preparer.busy() {
		until = c.boots.Add(longestPreparation)
	}
	if now.Before(until) {
		c.wakeAt(until)
		return nil
	}
	if err := c.write(entry{Event: evReboot, Revision: c.state.Current.Revision, Because: what}); err != nil {
		return err
	}
	c.state.Reboot = &rebooted{target, what, now}
	if err := c.save(); err != nil {
		return err
	}
	c.Log.Info("rebooting", "revision", c.state.Current.Revision, "for", what)
	return ErrReboots
}

// inVain says that the machine was rebooted for what isn't in force still.
func (s *State) inVain(changes []Change) string {
	what := bootsFor(changes)
	if s.Reboot == nil || s.Reboot.Target != s.Current.Targets["system"] || what == "" {
		return ""
	}
	return "rebooted for " + s.Reboot.For + " on " + s.Reboot.At.Format(time.DateTime) + ", and not in force: " + what + "; see what the boot loader starts"
}
