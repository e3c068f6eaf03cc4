package rollout

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.org/collie/agent/api"
)

// The files in testdata/former are those of an agent before `rolled back` and `rejected` were words of its own. It was killed
// on the way back from d, which the pods refused for now.
func TestAFormerAgentsStateIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.dir = filepath.Join(t.TempDir(), "state")
		if err := os.CopyFS(w.dir, os.DirFS(filepath.Join("testdata", "former"))); err != nil {
			t.Fatal(err)
		}
		for i, live := range []string{"1", "1", "half 1"} {
			w.layers[i].live = live
		}
		w.layers[2].always = []Problem{{Subject: "job import", Says: "tries again", Transient: true, Unrelated: true}}
		w.layers[2].refuse["1"] = &TransientError{os.ErrDeadlineExceeded}
		w.start()
		defer w.stop()
		a := w.c
		pass(time.Second / 2)
		s := w.status(t, a)
		if len(s.Failed) != 1 || s.Phase != api.PhaseRollingBack || s.Failed[0].Revision != "d" || s.Failed[0].Outcome != "rolling back" {
			t.Errorf("phase %s, failed %+v", s.Phase, s.Failed)
		}
		if before := w.state().Rollout.Before; len(before) != 1 || !before[0].Transient || !before[0].Unrelated {
			t.Errorf("before: %+v, want a transient, unrelated problem", before)
		}
		if text, err := os.ReadFile(w.c.store.stateFile()); err != nil || !strings.Contains(string(text), `"phase": "returning"`) {
			t.Errorf("an older agent can't read the phase in %s (%v)", text, err)
		}

		w.layers[2].set(func(l *fakeLayer) { delete(l.refuse, "1") })
		pass(2 * time.Minute)
		w.good("a")
		w.is("1", "1", "1")
		if s := w.status(t, a); len(s.Failed) != 1 || s.Failed[0].Outcome != api.OutcomeRolledBack {
			t.Errorf("failed: %+v", s.Failed)
		}
		w.push("e", "system=bad", "home=1", "pods=1")
		pass(time.Minute)
		var past []string
		for _, d := range w.history() {
			past = append(past, d.Revision+" "+d.Outcome+" "+fmt.Sprint(d.Layers))
		}
		if want := []string{"e rejected []", "d rolled back [system pods]", "c rolled back [pods]", "b rejected []", "a good [system home pods]"}; !slices.Equal(past, want) {
			t.Errorf("history %q, want %q", past, want)
		}
	})
}
