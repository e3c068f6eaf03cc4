package rollout

import (
	"slices"
	"strings"

	"example.org/collie/agent/api"
)

// generations are those of Guix that there are, with what is known of the commit that made each:
//
//	the item of the generation is                      verdict
//	in the set that is good                            good
//	in the set that is switched to, or soaks           underway
//	in a set that was good before                      former
//	in a set that was rolled back since the last good  rolled back
//	what there was before the first commit             baseline
//	in none of these                                   (none: someone else made it)
func (c *Conductor) Generations() ([]api.Generation, error) {
	s := c.look().state
	all := []api.Generation{}
	for _, p := range c.Parts {
		layer, is := p.Layer.(stored)
		if !is {
			continue
		}
		known, err := layer.All()
		if err != nil {
			return nil, err
		}
		for _, g := range known {
			id := layer.ID(g.Item)
			g.Verdict, g.Reason = s.verdictOn(p.Name, id)
			if t, err := c.store.target(p.Name, id); err == nil && t.Revision != Baseline {
				g.Revision = CommitOf(t.Revision)
				if rev, err := c.Describe(g.Revision); err == nil {
					g.Author, g.Subject = rev.Author, rev.Subject
				}
			}
			all = append(all, g)
		}
	}
	return all, nil
}

// verdictOn is what became of a target of a layer.
func (s *State) verdictOn(layer, id string) (verdict, reason string) {
	in := func(set Set) bool { return set.Targets[layer] == id }
	if r := s.Rollout; r != nil && r.Phase != rollingBack && in(r.To) && !in(s.Good) {
		return "underway", ""
	}
	if in(s.Good) && s.Good.Revision == Baseline {
		return "baseline", ""
	}
	if in(s.Good) {
		return "good", ""
	}
	if r := s.Rollout; r != nil && r.Phase == rollingBack && in(r.From) {
		return "rolled back", s.reasonOf(r.Failed)
	}
	for _, set := range slices.Backward(s.Failed) {
		if in(set) {
			return "rolled back", s.reasonOf(set.Revision)
		}
	}
	for _, f := range s.Former {
		if in(f.Set) && f.Revision == Baseline {
			return "baseline", ""
		}
		if in(f.Set) {
			return "former", ""
		}
	}
	return "", ""
}

// reasonOf is why a revision is bad, or is tried again later.
func (s *State) reasonOf(revision string) string {
	if b := s.bad(revision); b != nil {
		return b.Reason
	}
	if s.Later != nil && s.Later.Revision == revision {
		return s.Later.Why
	}
	return ""
}

// mostFailed sets that were rolled back keep their generations.
const mostFailed = 5

// putAside keeps the systems and homes of a set that was rolled back until the next revision is good, so that a person can look
// at them.
func (s *State) putAside(failed Set) {
	aside := Set{Revision: failed.Revision, Targets: map[string]string{}}
	for layer, id := range failed.Targets {
		if isGuix(layer) && id != s.Good.Targets[layer] {
			aside.Targets[layer] = id
		}
	}
	s.Failed = slices.DeleteFunc(slices.Clone(s.Failed), func(old Set) bool { return old.Revision == failed.Revision })
	if len(aside.Targets) > 0 {
		s.Failed = append(s.Failed, aside)
	}
	s.Failed = s.Failed[max(0, len(s.Failed)-mostFailed):]
}

// madeBy is the revision that made a target: of a system or home that is or was good already, the one that it was good with
// first. Another that describes the same makes no new generation.
func (c *Conductor) madeBy(t Target) string {
	was, err := c.store.target(t.Layer, t.ID)
	if err != nil || !isGuix(t.Layer) || was.Revision == Baseline {
		return t.Revision
	}
	good := c.state.Good.Targets[t.Layer] == t.ID
	good = good || slices.ContainsFunc(c.state.Former, func(f formerSet) bool { return f.Targets[t.Layer] == t.ID })
	if !good {
		return t.Revision
	}
	return was.Revision
}

// isGuix reports whether a layer is a system or a home.
func isGuix(layer string) bool { return layer == "system" || strings.HasPrefix(layer, "home:") }
