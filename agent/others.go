package agent

import (
	"slices"

	"example.org/collie/agent/rollout"
	"example.org/collie/guix"
)

// others are the guixes that others run, and that a switch of a layer of this machine would clash with.
func (a *Agent) others() []guix.Other {
	if a.runner == nil {
		return nil
	}
	all := a.runner.Others()
	if len(all) == 0 {
		return nil
	}
	homes := []*guix.User{nil}
	for _, name := range a.cfg.Homes {
		if u, err := guix.Find(name); err == nil {
			homes = append(homes, &u)
		}
	}
	return slices.DeleteFunc(all, func(o guix.Other) bool {
		return !slices.ContainsFunc(homes, o.Switches)
	})
}

// clashing lists the others, each with the layer whose switch waits for it.
func (a *Agent) clashing() []rollout.Other {
	var all []rollout.Other
	for _, o := range a.others() {
		all = append(all, rollout.Other{Layer: a.holdsUp(o), Says: o.String()})
	}
	return all
}

// holdsUp is the layer whose switch waits for o; none: each.
func (a *Agent) holdsUp(o guix.Other) string {
	if o.Switches(nil) {
		return ""
	}
	for _, name := range a.cfg.Homes {
		if u, err := guix.Find(name); err == nil && o.Switches(&u) {
			return "home:" + name
		}
	}
	return ""
}
