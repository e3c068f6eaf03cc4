package api

import (
	"strings"
	"testing"
)

func TestVerdict(t *testing.T) {
	current, newest := strings.Repeat("a", 40), strings.Repeat("b", 40)
	well := func(change func(s *Status)) Status {
		s := Status{Phase: "idle", Revisions: Revisions{Newest: newest, Current: current, Good: current}, Wanted: Wanted{Revision: newest},
			Layers: []Layer{{Name: "system", InSync: true}}}
		change(&s)
		return s
	}
	failed := Failed{Revision: newest, Outcome: OutcomeRejected, Reason: "service web died\nlast line: no"}
	ill := Problem{Subject: "pod web", Says: "exited with 1"}
	for _, row := range []struct {
		name   string
		status Status
		want   Verdict
		why    string
	}{
		{"well", well(func(*Status) {}), OK, "aaaaaaaaaaaa runs"},
		{"nothing yet", Status{Phase: "idle"}, OK, "nothing was deployed yet"},
		{"held", well(func(s *Status) { s.Held = "no window is open" }), OK, "aaaaaaaaaaaa runs; bbbbbbbbbbbb waits: no window is open"},
		{"suspended", well(func(s *Status) { s.Suspended = &Suspended{Why: "holidays"} }), Paused, "aaaaaaaaaaaa runs: holidays"},
		{"ill", well(func(s *Status) { s.Problems = []Problem{ill, ill} }), Degraded, "pod web: exited with 1; and 1 more"},
		{"ill and suspended", well(func(s *Status) { s.Problems, s.Suspended = []Problem{ill}, &Suspended{} }), Degraded, "pod web: exited with 1; suspended"},
		{"out of sync", well(func(s *Status) { s.Layers[0].InSync = false }), Degraded, "system differs from its target"},
		{"the repository is away", well(func(s *Status) { s.Source.Error = "no route\nto host" }), Degraded, "source: no route"},
		{"prepared later", well(func(s *Status) { s.Preparing = &Preparing{Revision: "b", Error: "no space"} }), Degraded, "b can't be prepared for now: no space"},
		{"preparing", well(func(s *Status) { s.Preparing, s.Problems = &Preparing{Revision: "b"}, []Problem{ill} }), Deploying, "b: preparing"},
		{"soaking", well(func(s *Status) { s.Phase = "soaking" }), Deploying, "bbbbbbbbbbbb: soaking"},
		{"rolling back", well(func(s *Status) { s.Phase, s.Failed = PhaseRollingBack, []Failed{failed} }), Deploying, "rolling back to aaaaaaaaaaaa"},
		{"rejected", well(func(s *Status) { s.Failed = []Failed{failed} }), Rejected, "bbbbbbbbbbbb: service web died; aaaaaaaaaaaa runs"},
		{"rolled back", well(func(s *Status) { failed.Outcome = OutcomeRolledBack; s.Failed = []Failed{failed} }), RolledBack, "bbbbbbbbbbbb: service web died; aaaaaaaaaaaa runs"},
		{"stuck", well(func(s *Status) {
			s.Phase, s.Problems = "stuck", []Problem{ill, {Subject: "collie", Says: "stuck: no\nway"}}
		}), Stuck, "no"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got, why := row.status.Verdict(); got != row.want || why != row.why {
				t.Errorf("%s: %s; want %s: %s", got, why, row.want, row.why)
			}
		})
	}
}
