package api

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestProgressIsCounted(t *testing.T) {
	for _, row := range []struct {
		p     Progress
		says  string
		share float64
	}{
		{Progress{Item: "starting"}, "starting", 0},
		{Progress{Layer: "pods", Item: "pulling web:1"}, "pods: pulling web:1", 0},
		{Progress{Layer: "system", Item: "building etc", Builds: Count{1, 4}}, "system: building etc (built 1 of 4)", 0.25},
		{Progress{Layer: "system", Item: "x", Builds: Count{2, 2}, Downloads: Count{1, 2}}, "system: x (built 2 of 2, downloaded 1 of 2)", 0.75},
		{Progress{Item: "x", Builds: Count{0, 2}, Downloads: Count{1, 2}, Bytes: Count{45e6, 50e6}}, "x (built 0 of 2, downloaded 1 of 2, 45.0 of 50.0 MB)", 0.45},
		{Progress{Item: "x", Bytes: Count{5e5, 1e6}}, "x (0.5 of 1.0 MB)", 0.5},
		{Progress{Item: "x", Builds: Count{3, 2}}, "x (built 3 of 2)", 1},
	} {
		if row.p.String() != row.says || row.p.Share() != row.share {
			t.Errorf("%+v: %q, %v; want %q, %v", row.p, row.p.String(), row.p.Share(), row.says, row.share)
		}
	}
}

func TestPlanTellsWhatWasDone(t *testing.T) {
	p := Plan{Revision: "a", Because: "suspended", Layers: []PlanLayer{{Name: "system", Work: Work{5, 2, 50_300_000}}, {Name: "pods"}}}
	want := "Revision a waits (suspended) and would change:\nsystem: nothing\nsystem, prepared: built 5, downloaded 2, 50.3 MB\npods: nothing\n"
	if got := p.Text(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestLineFitsItsTerminal(t *testing.T) {
	s := Status{Phase: "idle", Preparing: &Preparing{Revision: strings.Repeat("1", 40),
		Progress: Progress{Layer: "system", Item: "building\x1b[2J äö\nand more", Builds: Count{1, 2}}}}
	for width := 1; width < 120; width++ {
		line := s.GoingIn(width)
		if utf8.RuneCountInString(line) > width || strings.ContainsAny(line, "\x1b\n") || !utf8.ValidString(line) {
			t.Errorf("%d: %q", width, line)
		}
	}
	if got, want := s.GoingIn(100), "preparing 111111111111: system [##########          ] built 1 of 2: building[2J äö"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if fmt.Sprint(s.GoingIn(1)) != "…" {
		t.Errorf("%q", s.GoingIn(1))
	}
}
