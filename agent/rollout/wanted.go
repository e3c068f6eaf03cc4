package rollout

import (
	"time"
)

// wanted says where the machine belongs, and why. It does nothing and asks nobody.
func wanted(s State, now time.Time) (Set, string) {
	switch {
	case s.Stuck != nil:
		return s.Current, "stuck: " + s.Stuck.Why
	case s.Rollout != nil && s.Rollout.Phase != soaking:
		return s.Rollout.To, s.Rollout.Because // what was begun is finished, or fails
	case s.WaitsFor != "":
		return s.Current, "waits for " + s.WaitsFor
	case s.bad(s.Current.Revision) != nil:
		return s.Good, "the last good: " + s.bad(s.Current.Revision).Reason
	case s.Suspended != nil:
		return s.Current, "suspended" + colon(s.Suspended.Why)
	case s.finishes():
		return s.Rollout.To, "its soak ends first, as newer revisions cut short the two before"
	case s.Prepared.Revision == "":
		return s.Current, "nothing newer could be prepared"
	case s.bad(s.Prepared.Revision) != nil:
		return s.Good, "the last good: " + s.bad(s.Prepared.Revision).Reason
	case s.Later != nil && s.Later.Revision == s.Prepared.Revision && now.Before(s.Later.Next):
		return s.Current, "tried again later: " + s.Later.Why
	}
	next := s.next()
	if why := s.held(next); why != "" {
		return s.Current, why
	}
	return next, "the newest that could be prepared"
}

func (s *State) bad(revision string) *failure {
	if b, ok := s.Bad[revision]; ok {
		return &b
	}
	return nil
}

func colon(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}
