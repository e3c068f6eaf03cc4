package rollout

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A movingLayer is one whose value "tag" leads to another one: l.tag.
type movingLayer struct {
	*fakeLayer
}

func (movingLayer) Moves(t Target) bool { return strings.Contains(t.ID, "-tag") }

func (movingLayer) Images(Target) map[string]string { return nil }

func TestATagThatMovesIsDeployedWithoutACommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.images = time.Hour
		pods, system := w.layers[2], w.layers[0]
		pods.tag = "tag1"
		w.start()
		defer func() { w.stop() }()
		w.push("a", "system=a", "pods=tag")
		pass(2 * time.Minute)
		w.is("a", "old", "tag1")
		w.good("a")
		prepared := pods.prepared()

		pass(50 * time.Minute)
		if pods.prepared() != prepared {
			t.Error("asked before its time")
		}
		pass(15 * time.Minute) // nothing moved
		if pods.prepared() != prepared+1 || len(w.history()) != 1 {
			t.Errorf("asked %d times, history %+v", pods.prepared()-prepared, w.history())
		}
		builds := system.prepared()
		pods.set(func(l *fakeLayer) { l.tag = "tag2" })
		pass(time.Hour)
		w.is("a", "old", "tag2")
		if system.prepared() != builds {
			t.Error("the system was prepared for an image")
		}
		state := w.state()
		if CommitOf(state.Good.Revision) != "a" || state.Good.Revision == "a" {
			t.Errorf("good is %q", state.Good.Revision)
		}

		// A newer one that dies goes back to the one before, and the commit isn't blamed.
		pods.set(func(l *fakeLayer) { l.tag, l.ill["tag3"] = "tag3", time.Second })
		pass(65 * time.Minute)
		w.is("a", "old", "tag2")
		state = w.state()
		if state.bad("a") != nil || len(state.Bad) != 1 {
			t.Errorf("bad: %v", state.Bad)
		}
		switches := len(pods.switched())
		w.stop()
		w.start()
		pass(3 * time.Hour) // it is remembered
		if len(pods.switched()) != switches {
			t.Errorf("tried again: %q", pods.switched())
		}

		// The next that moves is tried; and a commit goes on as ever.
		pods.set(func(l *fakeLayer) { l.tag = "tag4" })
		pass(65 * time.Minute)
		w.is("a", "old", "tag4")
		w.push("b", "system=b", "pods=tag")
		pass(2 * time.Minute)
		w.is("b", "old", "tag4")
		w.good("b")
		var outcomes []string
		for _, d := range w.history() {
			outcomes = append(outcomes, CommitOf(d.Revision)+" "+d.Outcome)
		}
		if want := []string{"b good", "a good", "a rolled back", "a good", "a good"}; !slices.Equal(outcomes, want) {
			t.Errorf("history %q, want %q", outcomes, want)
		}
	})
}

// Who knows that an image was pushed needn't wait.
func TestASyncAsksForImages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.images = time.Hour
		pods := w.layers[2]
		pods.tag = "tag1"
		w.start()
		defer func() { w.stop() }()
		ask := func() {
			t.Helper()
			if err := w.c.ask(t.Context(), func() error { w.c.askNow(); return nil }); err != nil {
				t.Fatal(err)
			}
			pass(time.Minute)
		}
		w.push("a", "pods=tag")
		pass(2 * time.Minute)
		pods.set(func(l *fakeLayer) { l.tag, l.ill["tag2"] = "tag2", time.Second })
		ask()
		w.is("old", "old", "tag1")
		pods.set(func(l *fakeLayer) { l.tag = "tag3" })
		ask()
		w.is("old", "old", "tag3")
		w.push("b", "pods=missing")
		pass(2 * time.Minute)
		pods.set(func(l *fakeLayer) { l.came = true })
		ask()
		w.good("b")
	})
}

// A tag that moves back to what is good is that, and not another.
func TestATagThatMovesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.images = time.Hour
		pods := w.layers[2]
		pods.tag = "tag1"
		w.start()
		defer func() { w.stop() }()
		w.push("a", "pods=tag")
		pass(2 * time.Minute)
		pods.set(func(l *fakeLayer) { l.tag, l.ill["tag2"] = "tag2", time.Second })
		pass(65 * time.Minute)
		pods.set(func(l *fakeLayer) { l.tag = "tag1" })
		pass(65 * time.Minute)
		w.is("old", "old", "tag1")
		if s := w.state(); s.Prepared.Revision != "a" || s.Good.Revision != "a" || s.phase() != idle {
			t.Errorf("prepared %q, good %q, %s", s.Prepared.Revision, s.Good.Revision, s.phase())
		}
	})
}

// While a new commit is prepared, or nothing may move, nobody is asked.
func TestWhenNobodyIsAskedForATag(t *testing.T) {
	for name, ready := range map[string]func(w *world){
		"nothing moves": func(w *world) { w.push("b", "pods=fixed"); pass(2 * time.Minute) },
		"a bad commit":  func(w *world) { w.push("b", "pods=bad"); pass(2 * time.Minute) },
		"a failing one": func(w *world) { w.push("b", "system=ill", "pods=tag"); pass(2 * time.Minute) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.images = time.Hour
				w.images = time.Hour
				pods := w.layers[2]
				pods.tag = "tag1"
				w.layers[0].ill["ill"] = time.Second
				w.start()
				defer func() { w.stop() }()
				w.push("a", "pods=tag")
				pass(2 * time.Minute)
				ready(w)
				switches, commits := len(pods.switched()), len(w.history())
				pods.set(func(l *fakeLayer) { l.tag = "tag2" })
				if name == "a failing one" { // its images may be what failed
					pass(65 * time.Minute)
					if len(w.history()) == commits {
						t.Error("a moved image might mend it, and isn't tried")
					}
					return
				}
				pass(3 * time.Hour)
				if len(pods.switched()) != switches || len(w.history()) != commits {
					t.Errorf("switched %q, history %+v", pods.switched(), w.history())
				}
			})
		})
	}
}

// An image that comes after its commit is waited for; the history tells of one deployment that failed and one that didn't.
func TestAnImageThatComesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.images = time.Hour
		w.start()
		defer func() { w.stop() }()
		w.push("a", "pods=missing")
		pass(10 * time.Second)
		if b := w.state().Bad["a"]; b.Next.IsZero() {
			t.Fatalf("bad: %v", b)
		}
		pass(10 * time.Minute)
		if n := w.layers[2].prepared(); n < 4 || n > 8 {
			t.Errorf("asked %d times in ten minutes", n)
		}
		if h := w.history(); len(h) != 1 {
			t.Errorf("history %+v", h)
		}
		w.layers[2].set(func(l *fakeLayer) { l.came = true })
		w.stop()
		w.start() // it is remembered
		pass(30 * time.Minute)
		w.good("a")
		if bad := w.state().Bad; len(bad) > 0 {
			t.Errorf("bad: %v", bad)
		}
		if h := w.history(); len(h) != 2 || h[0].Outcome != "good" || h[0].Author != "ann" || h[1].Outcome != "rejected" {
			t.Errorf("history %+v", h)
		}
	})
}

func TestTheHistoryHasTheDigests(t *testing.T) {
	at := time.Now()
	h := history([]entry{
		{At: at, Event: evPreparing, Revision: "a"},
		{At: at, Event: evPrepared, Revision: "a", Images: map[string]string{"web:1": "sha256:1"}},
		{At: at, Event: evGood, Revision: "a"},
	}, nil, at)
	if len(h) != 1 || h[0].Images["web:1"] != "sha256:1" {
		t.Errorf("%+v", h)
	}
}
