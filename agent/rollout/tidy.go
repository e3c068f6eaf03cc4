package rollout

import (
	"slices"
	"time"
)

// owesTidying reports whether a soak that newer revisions don't cut short has yet to be used for tidying: a stream of commits
// leaves no other time for that. Nothing is prepared until it is done.
func (c *Conductor) owesTidying() bool {
	return c.state.finishes() && (c.untidy && !c.tidied || len(c.tidying) > 0)
}

// tidy drops, once nothing is underway, what no set needs that could be switched to.
func (c *Conductor) tidy() error {
	inSoak := c.state.finishes() && !c.tidied
	if !c.untidy || c.state.Rollout != nil && !inSoak || c.state.Stuck != nil || c.preparer.busy() {
		return nil
	}
	sets := append(c.state.proposed(), c.state.Current, c.state.Good)
	if c.state.bad(c.state.Prepared.Revision) == nil {
		sets = append(sets, c.state.Prepared)
	}
	former, err := c.former(time.Now())
	if err != nil {
		return err
	}
	sets = append(sets, former...)
	sets = append(sets, slices.DeleteFunc(slices.Clone(c.state.Failed), c.store.lacks)...)
	only, all, known := c.needed(sets)
	if err := c.store.dropTargets(sets...); err != nil {
		c.Log.Warn("old targets can't be removed for now", "err", err)
	}
	if known {
		c.Drop(all)
	}
	c.hold()
	c.untidy, c.tidied = false, true
	c.tidying, c.epoch = only, c.preparer.count()
	c.restsAt = time.Now().Add(restsAfter)
	return c.orderAll()
}

// rest gives back, once what came after the last work is over, the memory that it took.
func (c *Conductor) rest(now time.Time) {
	switch {
	case c.restsAt.IsZero():
	case now.Before(c.restsAt):
		c.wakeAt(c.restsAt)
	default:
		c.restsAt = time.Time{}
		if err := c.giveBack(); err != nil {
			c.Log.Warn("more memory is kept than is needed", "err", err)
		}
	}
}
