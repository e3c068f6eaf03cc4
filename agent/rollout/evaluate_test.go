package rollout

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// What an evaluation comes to that somebody asked for is deployed, though nothing was committed.
func TestEvaluatingAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.images = time.Hour
		w.start()
		defer w.stop()
		ask := func() {
			t.Helper()
			if err := w.c.ask(t.Context(), w.c.evaluate); err != nil {
				t.Fatal(err)
			}
		}
		clock := func(value string) { w.layers[0].set(func(l *fakeLayer) { l.clock = value }) }
		clock("1")
		w.push("a", "system=clock", "home=1", "pods=1")
		pass(time.Minute)
		w.is("1", "1", "1")
		w.good("a")

		clock("2")
		w.push("b", "system=clock", "home=1", "pods=2") // a layer says itself what it need not evaluate
		pass(time.Minute)
		w.is("1", "1", "2")
		prepared := w.layers[2].prepares
		ask()
		pass(time.Minute)
		w.is("2", "1", "2")
		if good := w.state().Good.Revision; CommitOf(good) != "b" || good == "b" || w.state().Evaluate != "" {
			t.Errorf("good is %q, want b under a name of its own; to evaluate: %q", good, w.state().Evaluate)
		}
		if w.layers[2].prepares != prepared {
			t.Error("the pods were prepared again")
		}
		good := w.state().Good.Revision
		ask()
		pass(time.Minute)
		w.good(good) // nothing else came of it

		clock("bad")
		ask()
		pass(time.Minute)
		w.good(good)
		if s := w.state(); s.Evaluate != "" || len(s.Bad) > 0 || !slices.Equal(w.layers[0].switched(), []string{"1", "2"}) {
			t.Errorf("after an evaluation that failed: to evaluate %q, bad %v, switched to %q", s.Evaluate, s.Bad, w.layers[0].switched())
		}

		// One that fails when it is live is returned from, and what it is of stays good.
		clock("3")
		w.layers[0].set(func(l *fakeLayer) { l.ill["3"] = 0 })
		ask()
		pass(2 * time.Minute)
		w.is("2", "1", "2")
		if s := w.state(); s.Good.Revision != good || len(s.Bad) != 1 || s.phase() != idle {
			t.Errorf("good %q in %s, bad %v", s.Good.Revision, s.phase(), s.Bad)
		}

		// Before it was prepared, and in its soak.
		clock("4")
		w.push("c", "system=clock", "home=1", "pods=3")
		ask()
		pass(time.Second)
		clock("5")
		ask()
		pass(2 * time.Minute)
		w.is("5", "1", "3")
		if w.state().Evaluate != "" {
			t.Error("it isn't known that it was evaluated")
		}
	})
}
