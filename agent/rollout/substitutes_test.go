package rollout

import (
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestSubstitutesAreWaitedFor(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		w.push("b", "system=large", "home=1", "pods=2")
		pass(time.Second)
		later := func(attempts int) {
			t.Helper()
			l := w.state().Later
			if l == nil || l.Revision != "b" || l.Attempts != attempts || !slices.Equal(l.WaitsFor, []string{"linux", "gcc"}) || len(w.state().Bad) != 0 {
				t.Errorf("later: %+v; bad: %+v", l, w.state().Bad)
			}
		}
		later(1)
		w.is("1", "1", "1")
		pass(35 * time.Second)
		later(2)
		w.stop()
		w.start() // neither what waits is forgotten, nor for how long
		pass(time.Second)
		later(2)
		pass(time.Hour)
		later(7)
		w.is("1", "1", "1")

		if err := w.c.ask(t.Context(), w.c.mayBuild); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		w.is("large", "1", "2")
		w.good("b")
		w.push("c", "system=larger", "home=1", "pods=2")
		pass(time.Minute)
		if l := w.state().Later; l == nil || l.Revision != "c" {
			t.Errorf("what was allowed for one revision is for another: %+v", l)
		}
	})
}

// What is allowed stays so, whatever comes between.
func TestMayBuildSurvives(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		block := make(chan struct{})
		w.layers[0].set(func(l *fakeLayer) { l.block = block })
		w.push("b", "system=large", "home=unreachable", "pods=1")
		pass(time.Second)
		if err := w.c.ask(t.Context(), w.c.mayBuild); err != nil { // as it is prepared
			t.Fatal(err)
		}
		close(block)
		pass(time.Hour)
		if l := w.state().Later; l == nil || l.Why != "unreachable" || l.WaitsFor != nil {
			t.Errorf("later: %+v", l)
		}
		w.stop()
		w.start()
		w.mu.Lock()
		w.commits["b"]["home"].Data = []byte("2")
		w.mu.Unlock()
		pass(time.Hour)
		w.is("large", "2", "1")
		w.good("b")
		entries, err := readJournal(filepath.Join(w.dir, "journal"), journalLimit)
		if err != nil || !slices.ContainsFunc(entries, func(e entry) bool { return e.Event == evMayBuild && e.Revision == "b" }) {
			t.Errorf("the journal doesn't say that it was allowed (%v)", err)
		}
	})
}

func TestAllowedAsItIsPreparedIsBuiltAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		block := make(chan struct{})
		w.layers[0].set(func(l *fakeLayer) { l.block = block })
		w.push("b", "system=large", "home=1", "pods=1")
		pass(time.Second)
		if err := w.c.ask(t.Context(), w.c.mayBuild); err != nil {
			t.Fatal(err)
		}
		close(block)
		pass(10 * time.Second)
		w.is("large", "1", "1")
	})
}
