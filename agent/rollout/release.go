package rollout

import (
	"context"
	"errors"
	"slices"
	"time"

	"example.org/collie/agent/crash"
)

// Layers share what only one program can have: a port of the machine, a socket, a folder that is locked. What one layer
// won't have any more, another may take, so a layer lets go before others start something:
//
//	what moves                                forward                        back
//	from a service of the system to a pod     the system is first anyway     the pod stops, then the system starts it
//	from a pod to a service of the system     the pod stops, then the system the system is first anyway
//	from a service of the system to a home's  the system is first anyway     the home's stops, then the system starts it
//	from a home's service to the system's     the home's stops, then the     the system is first anyway
//	                                          system starts it
//	between two homes, or a home and a pod    as between the system and what comes later
//
// What no next pod holds is known of a pod; of services it is not known what they hold, so only those that leave let go. None
// stops early where no other layer starts or restarts something.

// A taker is a layer that is switched before another one is.
type taker struct {
	Part
	target Target
}

// begins reports whether a change starts something, which may take what another layer has.
func begins(c Change) bool {
	return !c.Waits && slices.Contains([]string{"start", "restart", "run", "create", "replace"}, c.Does)
}

// take reports whether one of takers will start something. If a layer can't be asked, it may.
func take(ctx context.Context, takers []taker) bool {
	return slices.ContainsFunc(takers, func(t taker) bool {
		changes, err := t.Layer.Diff(ctx, t.target)
		return err != nil || slices.ContainsFunc(changes, begins)
	})
}

// holder is the place of the first of the layers that are late which has to let go, as others come before it; 0: none.
func (c *Conductor) holder(late []Part) int {
	for i, p := range late {
		if _, can := p.Layer.(releasing); i > 0 && can && !c.state.Rollout.Released[p.Name] {
			return i
		}
	}
	return 0
}

// release orders the layer at place i to let go before those in front of it take. As in a switch, nothing is known to be
// current meanwhile.
func (c *Conductor) release(late []Part, targets []Target, i int) error {
	layer, r := late[i].Name, c.state.Rollout
	if err := c.write(entry{Event: evReleasing, Revision: r.To.Revision, Layer: layer}); err != nil {
		return err
	}
	delete(c.state.Current.Targets, layer)
	if err := c.save(); err != nil {
		return err
	}
	var takers []taker
	for j := range i {
		takers = append(takers, taker{late[j], targets[j]})
	}
	c.busy = layer
	c.send(layer, order{before: takers, target: targets[i], revision: r.whose(), since: r.Since, every: c.lookInterval(layer)})
	return nil
}

// letGo has the layer let go, if others start something, and keeps what is left.
func (k *keeper) letGo(life context.Context, o order) []report {
	ctx := context.WithoutCancel(life)
	r := report{layer: k.Name, released: true, left: k.target, at: time.Now()}
	if take(ctx, o.before) {
		k.log.Debug("letting go of what others may take", "layer", k.Name, "revision", o.revision)
		r.left, r.err = k.Layer.(releasing).Release(k.mark(ctx, o.revision), k.target, o.target)
	}
	if life.Err() != nil && r.err != nil {
		return nil // what was cut short by that is done by the next life
	}
	k.target = r.left
	crash.At("released." + k.Name)
	return []report{r}
}

// noteReleased takes a keeper's word that its layer let go.
func (c *Conductor) noteReleased(r report) error {
	c.busy = ""
	ro := c.state.Rollout
	if ro.Released == nil {
		ro.Released = map[string]bool{}
	}
	ro.Released[r.layer] = true
	if r.left.ID != "" {
		if err := c.store.saveTarget(r.left); err != nil {
			return err
		}
		c.held[r.left.ID] = r.left
		c.state.Current.Targets[r.layer] = r.left.ID
	}
	if r.err == nil {
		return c.save()
	}
	if ro.Phase == rollingBack {
		c.refuse(r)
		return c.save()
	}
	return c.failFor(r.layer, r.err.Error(), r.err)
}

// refuse notes that a layer wouldn't return.
func (c *Conductor) refuse(r report) {
	ro := c.state.Rollout
	if ro.Refused == nil {
		ro.Refused, ro.Blamed = map[string]string{}, false
	}
	ro.Refused[r.layer] = r.err.Error()
	if passing := new(TransientError); !errors.As(r.err, &passing) {
		ro.Blamed = true
	}
}
