package agent

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

// tellMoved notes, for a rollout that ends, what it moved: the status tells it until the next begins.
func (c *conductor) tellMoved() []string {
	c.state.Moved = movedAside(c.parts)
	for _, says := range c.state.Moved {
		c.log.Warn("files of a user's own were moved", "says", says)
	}
	return c.state.Moved
}

// settleMoved forgets it in the layers, once journal and state have it.
func (c *conductor) settleMoved() {
	for _, p := range c.parts {
		if l, is := p.Layer.(displacing); is {
			if err := l.Settle(); err != nil {
				c.log.Warn("what was moved is shown again after the next rollout", "layer", p.Name, "err", err)
			}
		}
	}
}
