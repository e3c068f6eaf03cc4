package rollout

// movedAside is what layers moved since the last verdict, in one line each.
func movedAside(parts []Part) []string {
	var all []string
	for _, p := range parts {
		if l, is := p.Layer.(displacing); is {
			for _, says := range l.MovedAside() {
				all = append(all, p.Name+": "+says)
			}
		}
	}
	return boundedLines(all)
}

// tellMoved records, for a rollout that ends, the files that it moved: the status shows them until the next one begins.
func (c *Conductor) tellMoved() []string {
	c.state.Moved = movedAside(c.Parts)
	for _, says := range c.state.Moved {
		c.Log.Warn("files of a user's own were moved", "says", says)
	}
	return c.state.Moved
}

// settleMoved forgets it in the layers, once journal and state have it.
func (c *Conductor) settleMoved() {
	for _, p := range c.Parts {
		if l, is := p.Layer.(displacing); is {
			if err := l.Settle(); err != nil {
				c.Log.Warn("what was moved is shown again after the next rollout", "layer", p.Name, "err", err)
			}
		}
	}
}
