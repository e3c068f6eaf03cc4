package agent

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A strangeLayer is a fakeLayer whose live state looks as strange says, while it says something.
type strangeLayer struct {
	*fakeLayer
	strange func(t Target) ([]Change, error)
}

func (l strangeLayer) Diff(ctx context.Context, t Target) ([]Change, error) {
	if changes, err := l.strange(t); changes != nil || err != nil {
		return changes, err
	}
	return l.fakeLayer.Diff(ctx, t)
}

// startStrange begins a life of an agent whose system is strange.
func (w *world) startStrange(strange func(t Target) ([]Change, error)) {
	w.startWith(strangeLayer{w.layers[0], strange})
}

// startWith begins a life of an agent with that system; ended tells how it ended.
func (w *world) startWith(system Layer) (ended chan error) {
	w.t.Helper()
	state, _, err := store{dir: w.dir}.load()
	if err != nil {
		w.t.Fatal(err)
	}
	j, err := openJournal(filepath.Join(w.dir, "journal"))
	if err != nil {
		w.t.Fatal(err)
	}
	var parts []Part
	for _, l := range w.layers {
		parts = append(parts, Part{Name: l.name, Layer: l, Heals: l.name == "pods"})
	}
	parts[0].Layer = system
	w.c = newConductor(parts, testSoak, store{dir: w.dir}, j, state, slog.New(slog.DiscardHandler))
	w.c.windows, w.c.reboots = w.windows, w.reboots
	w.c.preparer.files = func(_ context.Context, id string) (fs.FS, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.commits[id], nil
	}
	w.c.preparer.export = func(view) (string, error) { return "", nil }
	ctx, cancel := context.WithCancel(w.t.Context())
	ended = make(chan error, 1)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		ended <- w.c.run(ctx)
	}()
	w.stop = func() {
		cancel()
		<-gone
		j.close()
	}
	return ended
}

// While a layer can't be looked at, the soak doesn't count; in the end that is the revision's fault.
func TestSoakOfALayerThatCannotBeLookedAt(t *testing.T) {
	for _, row := range []struct {
		name  string
		blind time.Duration
		good  bool
	}{
		{"for a while", 2 * time.Minute, true},
		{"for good", time.Hour, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				var mu sync.Mutex
				var until time.Time
				w.startStrange(func(t Target) ([]Change, error) {
					mu.Lock()
					defer mu.Unlock()
					if t.Revision == "b" && time.Now().Before(until) {
						return nil, errors.New("Shepherd doesn't answer")
					}
					return nil, nil
				})
				defer w.stop()
				w.push("a", "system=1", "home=1", "pods=1")
				pass(time.Minute)
				w.good("a")
				mu.Lock()
				until = time.Now().Add(row.blind)
				mu.Unlock()
				w.push("b", "system=2", "home=2", "pods=2")
				pass(row.blind)
				if row.good {
					pass(testSoak - time.Second)
					if s := w.state(); s.phase() != soaking {
						t.Errorf("%s before the soak can be over", s.phase())
					}
					pass(time.Second + 4*time.Second) // two looks: the first that succeeds begins the soak, the last ends it
					w.is("2", "2", "2")
					w.good("b")
					return
				}
				w.is("1", "1", "1")
				w.good("a")
				if b := w.state().Bad["b"]; b.Reason != "system could not be looked at: Shepherd doesn't answer" {
					t.Errorf("bad: %+v", b)
				}
			})
		})
	}
}

// A problem that may pass keeps a revision from being good, but not for ever.
func TestSoakWithAProblemThatMayPass(t *testing.T) {
	for _, row := range []struct {
		name  string
		lasts time.Duration
		good  bool
	}{
		{"and does", 2 * time.Minute, true},
		{"and doesn't", time.Hour, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.push("a", "system=1", "home=1", "pods=1")
				pass(time.Minute)
				w.layers[2].set(func(l *fakeLayer) {
					l.always = []Problem{{Subject: "pods", Says: "tries again", Passing: true, Apart: true}}
				})
				w.push("b", "system=1", "home=1", "pods=2")
				pass(row.lasts)
				w.layers[2].set(func(l *fakeLayer) { l.always = nil })
				if row.good {
					if s := w.state(); s.phase() != soaking {
						t.Errorf("%s while a problem may pass", s.phase())
					}
					pass(time.Minute)
					w.is("1", "1", "2")
					w.good("b")
					return
				}
				w.is("1", "1", "1")
				w.good("a")
			})
		})
	}
}

// A target whose file is gone is made again, whichever set it is of.
func TestTargetThatIsGoneIsMadeAgain(t *testing.T) {
	gone := func(t *testing.T, w *world, ids ...string) {
		t.Helper()
		for _, id := range ids {
			if err := os.Remove(store{dir: w.dir}.targetFile(id)); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Run("of the next", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *world) {
			w.push("a", "system=1", "home=1", "pods=1")
			pass(time.Minute)
			if err := w.c.ask(t.Context(), func() error { return w.c.suspend("") }); err != nil {
				t.Fatal(err)
			}
			w.push("b", "system=2", "home=2", "pods=2")
			pass(time.Minute)
			gone(t, w, "system-2", "pods-2")
			if err := w.c.ask(t.Context(), w.c.resumeDeploying); err != nil {
				t.Fatal(err)
			}
			pass(2 * time.Minute)
			w.is("2", "2", "2")
			w.good("b")
		})
	})
	t.Run("of the good one, on the way back", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *world) {
			w.push("a", "system=1", "home=1", "pods=1")
			pass(time.Minute)
			w.layers[2].set(func(l *fakeLayer) {
				l.refuse["2"] = errors.New("no")
				l.onSwitch = func(when string) {
					if _, err := os.Stat(store{dir: w.dir}.targetFile("home-1")); when == "before" && err == nil {
						gone(t, w, "home-1")
					}
				}
			})
			w.push("b", "system=2", "home=2", "pods=2")
			pass(5 * time.Minute)
			if s := w.state(); s.phase() != idle {
				t.Errorf("phase %s, stuck %+v", s.phase(), s.Stuck)
			}
			w.layers[2].set(func(l *fakeLayer) { l.onSwitch = nil })
			w.push("c", "system=3", "home=3", "pods=3")
			pass(2 * time.Minute)
			w.is("3", "3", "3")
			w.good("c")
		})
	})
}

// What is held against a revision: what it changed, and what wasn't there before.
func TestCounts(t *testing.T) {
	r := &Rollout{
		Before:  []Problem{{Layer: "system", Subject: "service old", Says: "stopped"}, {Layer: "pods", Subject: "pod web", Says: "exited"}},
		Changes: map[string][]Change{"pods": {{Does: "replace", Subject: "pod web"}}, "system": {}},
	}
	for _, row := range []struct {
		name string
		p    Problem
		want bool
	}{
		{"new", Problem{Layer: "system", Subject: "service new"}, true},
		{"there before", Problem{Layer: "system", Subject: "service old"}, false},
		{"there before, in other words", Problem{Layer: "system", Subject: "service old", Says: "failed"}, false},
		{"there before, but changed", Problem{Layer: "pods", Subject: "pod web"}, true},
		{"of another layer", Problem{Layer: "home", Subject: "service old"}, true},
		{"new, and of its own making", Problem{Layer: "pods", Subject: "job import", Apart: true}, false},
		{"of its own making, but changed", Problem{Layer: "pods", Subject: "pod web", Apart: true}, true},
	} {
		if got := r.counts(row.p); got != row.want {
			t.Errorf("%s counts: %v, want %v", row.name, got, row.want)
		}
	}
	if got := short(strings.Repeat("a", 40)); got != strings.Repeat("a", 12) {
		t.Errorf("short is %q", got)
	}
	if got := short(baseline); got != baseline {
		t.Errorf("short is %q", got)
	}
}
