package guix

import (
	"testing"
	"time"
)

// What leaves is stopped before others start something, and either switch is as good after that.
func TestRelease(t *testing.T) {
	for _, row := range []struct {
		name, to string
		stops    []string
		switches []string
	}{
		{"on", "B", []string{"stop bell one", "stop door one"}, []string{"unload bell", "unload door", "unload hand"}},
		{"back", "A", []string{"stop bell one", "stop door one"}, []string{"start door one", "start bell one"}},
	} {
		g := newGuest(t)
		g.system("A", "one web", "one door", "one bell <door", "one hand !by-hand")
		g.system("B", "two web")
		g.boots("A")
		g.starts(g.find("hand"))
		g.log = nil
		for _, want := range []bool{true, false} { // once more is nothing more
			if stopped, err := g.release(t.Context(), "B"); err != nil || stopped != want {
				t.Errorf("%s: stopped %v, %v, want %v", row.name, stopped, err, want)
			}
		}
		g.wants("release", g.log, row.stops...)
		if row.to == "A" {
			g.wants("the switch", g.returns("A"), row.switches...)
		} else if got := g.goes("B"); len(got) < 2 || g.find("door") != nil || g.find("bell") != nil {
			t.Errorf("the switch: %q", got)
		}
	}
}

func TestReleaseOfNothing(t *testing.T) {
	g := newGuest(t)
	g.system("A", "one web")
	g.system("B", "two web", "one door")
	g.boots("A")
	if stopped, err := g.release(t.Context(), "B"); stopped || err != nil {
		t.Errorf("stopped %v, %v", stopped, err)
	}
	g.wants("release", g.log)
}

// What was given up starts as if it had never failed; what a person stopped for good doesn't.
func TestRevive(t *testing.T) {
	g := newGuest(t)
	g.system("A", "one web", "one door !dies", "one bird !falls", "one once !once", "one torn !once !raises", "one hand !by-hand", "one theirs")
	g.boots("A")
	for _, f := range g.systems["A"] {
		d := g.files[f.File]
		d.dies, d.falls, d.raises = false, false, false
		g.files[f.File] = d
	}
	g.starts(g.find("theirs"))
	g.stops(g.find("theirs"))
	g.find("theirs").disabled = true
	g.log = nil
	if err := g.revive(t.Context(), "A"); err != nil {
		t.Fatal(err)
	}
	g.wants("revive", g.log, "enable door", "start door one", "start bird one", "start torn one")
	if s := g.find("door"); s.status != "running" || s.respawns != "" {
		t.Errorf("door is %s, and its deaths %q count", s.status, s.respawns)
	}
	g.log = nil
	if err := g.revive(t.Context(), "A"); err != nil {
		t.Fatal(err)
	}
	g.wants("once more", g.log)
	problems, err := g.problems(t.Context(), "A", time.Time{})
	if err != nil || len(problems) != 1 || problems[0].Subject != "service theirs" {
		t.Errorf("problems: %+v, %v", problems, err)
	}
}
