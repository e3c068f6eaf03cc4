package api

import (
	"fmt"
	"strings"
)

// A Verdict is what the machine is, in a word: the first line of `collie status`.
type Verdict string

// The verdicts, the gravest first. Of several the gravest is said.
const (
	Stuck      Verdict = "STUCK"       // the last good revision couldn't be restored
	Deploying  Verdict = "DEPLOYING"   // a revision is prepared, switched to, or has to show that it is well
	RolledBack Verdict = "ROLLED BACK" // the newest revision failed, and the last good one runs
	Rejected   Verdict = "REJECTED"    // the newest revision has a mistake, and was never switched to
	Degraded   Verdict = "DEGRADED"    // something isn't well, though no revision is to blame for it
	Paused     Verdict = "SUSPENDED"   // all is well, and nothing new is deployed
	OK         Verdict = "OK"
)

// Verdict is what the machine is, and why.
func (s Status) Verdict() (Verdict, string) {
	v, why := s.verdict()
	if s.Suspended != nil && v != Paused {
		why += "; suspended" + colon(s.Suspended.Why)
	}
	return v, why
}

func (s Status) verdict() (Verdict, string) {
	ill := s.ill()
	switch p := s.Preparing; {
	case s.Phase == "stuck":
		return Stuck, s.stuckFor()
	case s.Phase == PhaseRollingBack:
		return Deploying, "rolling back to " + Short(s.Revisions.Good)
	case s.Phase == "switching", s.Phase == "soaking":
		return Deploying, Short(s.Wanted.Revision) + ": " + s.Phase
	case len(s.Failed) > 0 && s.Failed[0].Outcome == OutcomeRolledBack:
		return RolledBack, s.Failed[0].says(s)
	case len(s.Failed) > 0:
		return Rejected, s.Failed[0].says(s)
	case p != nil && p.Error == "":
		return Deploying, Short(p.Revision) + ": preparing"
	case len(ill) > 0:
		return Degraded, first(ill)
	case s.Suspended != nil:
		return Paused, Short(s.Revisions.Current) + " runs" + colon(s.Suspended.Why)
	case s.Held != "":
		return OK, Short(s.Revisions.Current) + " runs; " + Short(s.Revisions.Newest) + " waits: " + s.Held
	}
	if s.Revisions.Current == "" {
		return OK, "nothing was deployed yet"
	}
	return OK, Short(s.Revisions.Current) + " runs"
}

func (f Failed) says(s Status) string {
	reason, _, _ := strings.Cut(f.Reason, "\n")
	return fmt.Sprintf("%s: %s; %s runs", Short(f.Revision), reason, Short(s.Revisions.Current))
}

// ill is what isn't well, in one line each.
func (s Status) ill() (all []string) {
	for _, p := range s.Problems {
		all = append(all, p.String())
	}
	if s.Source.Error != "" {
		all = append(all, "source: "+s.Source.Error)
	}
	if p := s.Preparing; p != nil && p.Error != "" {
		all = append(all, Short(p.Revision)+" can't be prepared for now: "+p.Error)
	}
	for _, l := range s.Layers {
		if !l.InSync && l.Error == "" {
			all = append(all, l.Name+" differs from its target")
		}
	}
	return all
}

func (s Status) stuckFor() string {
	for _, p := range s.Problems {
		if why, is := strings.CutPrefix(p.Says, "stuck: "); is && p.Subject == "collie" {
			return first([]string{why})
		}
	}
	return ""
}

// first is the first line of the first, and how many more there are.
func first(all []string) string {
	line, _, _ := strings.Cut(all[0], "\n")
	if len(all) > 1 {
		return fmt.Sprintf("%s; and %d more", line, len(all)-1)
	}
	return line
}
