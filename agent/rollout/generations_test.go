package rollout

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestVerdictOnAGeneration(t *testing.T) {
	set := func(revision, system string) Set {
		return Set{Revision: revision, Targets: map[string]string{"system": system}}
	}
	s := State{
		Good: set("c", "system-c"), Former: []formerSet{{Set: set("a", "system-a")}, {Set: set(Baseline, "system-0")}},
		Failed: []Set{set("d", "system-d"), set("e", "system-e")},
		Bad:    map[string]failure{"d": {Reason: "died"}, "f": {Reason: "died as well"}},
		Later:  &backoff{Revision: "e", Why: "no route"},
	}
	first := State{Good: set(Baseline, "system-0")}
	soaks, returns := s, s
	soaks.Rollout = &rollout{Phase: soaking, To: set("f", "system-f")}
	returns.Rollout = &rollout{Phase: rollingBack, To: s.Good, From: set("f", "system-f"), Failed: "f"}
	again := s
	again.Rollout = &rollout{Phase: switching, To: set("g", "system-d")} // another commit with a system that was rolled back
	renamed := s
	renamed.Rollout = &rollout{Phase: soaking, To: set("g", "system-c")}
	for _, row := range []struct {
		state         State
		id            string
		verdict, says string
	}{
		{s, "system-c", "good", ""},
		{s, "system-a", "former", ""},
		{s, "system-0", "baseline", ""},
		{s, "system-d", "rolled back", "died"},
		{s, "system-e", "rolled back", "no route"},
		{s, "system-x", "", ""},
		{first, "system-0", "baseline", ""},
		{soaks, "system-f", "underway", ""},
		{soaks, "system-c", "good", ""},
		{returns, "system-f", "rolled back", "died as well"},
		{returns, "system-c", "good", ""},
		{again, "system-d", "underway", ""},
		{renamed, "system-c", "good", ""},
	} {
		if verdict, says := row.state.verdictOn("system", row.id); verdict != row.verdict || says != row.says {
			t.Errorf("%s is %q, %q, want %q, %q", row.id, verdict, says, row.verdict, row.says)
		}
	}
}

// A commit that describes what another was good with didn't make that.
func TestWhoMadeATarget(t *testing.T) {
	c := &Conductor{store: newStore(t)}
	for _, target := range []Target{
		{Layer: "system", ID: "system-good", Revision: "a"}, {Layer: "system", ID: "system-former", Revision: "b"},
		{Layer: "system", ID: "system-bad", Revision: "c"}, {Layer: "system", ID: "system-first", Revision: Baseline},
		{Layer: "pods", ID: "pods-good", Revision: "a"},
	} {
		target.Data = []byte(`{"item":"x"}`)
		if err := c.store.saveTarget(target); err != nil {
			t.Fatal(err)
		}
	}
	for id, want := range map[string]string{"system-good": "a", "system-former": "b", "system-bad": "d", "system-first": "d", "system-new": "d", "pods-good": "d"} {
		layer := "system"
		if id == "pods-good" {
			layer = "pods"
		}
		c.state.Good = Set{Revision: "a", Targets: map[string]string{"system": "system-good", "pods": "pods-good"}}
		if id == "system-first" {
			c.state.Good.Targets["system"] = id
		}
		c.state.Former = []formerSet{{Set: Set{Revision: "b", Targets: map[string]string{"system": "system-former"}}}}
		if got := c.madeBy(Target{Layer: layer, ID: id, Revision: "d"}); got != want {
			t.Errorf("%s is made by %s, want %s", id, got, want)
		}
	}
}

func TestPutAside(t *testing.T) {
	s := State{Good: Set{Revision: "a", Targets: map[string]string{"system": "system-a", "home:me": "home-a", "pods": "pods-a"}}}
	s.putAside(Set{Revision: "b", Targets: map[string]string{"system": "system-a", "home:me": "home-a", "pods": "pods-b"}})
	if len(s.Failed) > 0 {
		t.Errorf("nothing of Guix's was rolled back: %+v", s.Failed)
	}
	for i := range mostFailed + 2 {
		s.putAside(Set{Revision: fmt.Sprint("c", i), Targets: map[string]string{"system": fmt.Sprint("system-", i), "home:me": "home-a", "pods": "pods-c"}})
	}
	s.putAside(Set{Revision: "c3", Targets: map[string]string{"system": "system-3"}}) // once more
	var revisions []string
	for _, f := range s.Failed {
		revisions = append(revisions, f.Revision)
		if len(f.Targets) != 1 || f.Targets["system"] == "" {
			t.Errorf("%+v, want the system alone", f)
		}
	}
	if want := []string{"c2", "c4", "c5", "c6", "c3"}; !slices.Equal(revisions, want) {
		t.Errorf("kept %q, want %q", revisions, want)
	}
}

// It is forgotten with the next good revision.
func TestWhatWasRolledBackIsForgotten(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=1")
		pass(time.Minute)
		w.layers[0].set(func(l *fakeLayer) { l.refuse["2"] = fmt.Errorf("no") })
		w.push("b", "system=2")
		pass(time.Minute)
		if failed := w.state().Failed; len(failed) != 1 || failed[0].Targets["system"] != "system-2" {
			t.Fatalf("failed: %+v", failed)
		}
		w.push("c", "system=3")
		pass(time.Minute)
		w.good("c")
		if failed := w.state().Failed; len(failed) != 0 {
			t.Errorf("failed: %+v", failed)
		}
	})
}
