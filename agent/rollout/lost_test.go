package rollout

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// wrong are contents that a target's file may have in place of its own.
var wrong = map[string]func(t *testing.T, w *world, file string){
	"none": func(t *testing.T, _ *world, file string) {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	},
	"{}":       puts("{}"),
	"null":     puts("null"),
	"a number": puts("5"),
	"torn":     puts(`{"layer": "po`),
	"zeroes":   puts(strings.Repeat("\x00", 300)),
	"another layer's": func(t *testing.T, w *world, file string) {
		text, err := os.ReadFile(filepath.Join(w.dir, "targets", "system-1.json"))
		if err != nil {
			t.Fatal(err)
		}
		puts(string(text))(t, w, file)
	},
	"another target's": func(t *testing.T, w *world, file string) {
		other, err := Encode("pods", "pods-other", "x", "other")
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(other)
		if err != nil {
			t.Fatal(err)
		}
		puts(string(text))(t, w, file)
	},
	"no data": func(t *testing.T, w *world, file string) {
		id := strings.TrimSuffix(filepath.Base(file), ".json")
		layer, _, _ := strings.Cut(id, "-")
		puts(`{"layer": "`+layer+`", "id": "`+id+`", "revision": "a", "data": {}}`)(t, w, file)
	},
	"other data": func(t *testing.T, w *world, file string) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		puts(strings.Replace(string(text), `"data": "`, `"data": "not `, 1))(t, w, file)
	},
}

func puts(text string) func(*testing.T, *world, string) {
	return func(t *testing.T, _ *world, file string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// A target of good that is lost while the agent runs is in its memory: a bad commit is rolled back as if nothing had happened.
func TestALostTargetIsWrittenAgain(t *testing.T) {
	for _, layer := range []string{"system", "home", "pods"} {
		for name, spoil := range wrong {
			if layer != "pods" && name != "none" {
				continue // each layer is read in the same way
			}
			t.Run(layer+", "+name, func(t *testing.T) {
				inBubble(t, func(t *testing.T, w *world) {
					w.push("a", "system=1", "home=1", "pods=1")
					pass(time.Minute)
					spoil(t, w, filepath.Join(w.dir, "targets", layer+"-1.json"))
					for _, l := range w.layers {
						l.set(func(l *fakeLayer) { l.kept = nil })
					}
					w.layers[2].set(func(l *fakeLayer) { l.refuse["2"] = errors.New("no") })
					w.push("b", "system=2", "home=2", "pods=2")
					pass(2 * time.Minute)
					w.is("1", "1", "1")
					w.good("a")
					if h := w.history(); h[0].Outcome != "rolled back" {
						t.Errorf("history: %+v", h[0])
					}
					if now, err := w.c.store.target(layer, layer+"-1"); err != nil || now.Revision != "a" {
						t.Errorf("the target is %+v, %v, want the one that a was prepared with", now, err)
					}
					if lost := w.state().Lost; len(lost) > 0 {
						t.Errorf("it counts as lost: %v", lost)
					}
					w.neverPrunes(t, layer, layer+"-1")
				})
			})
		}
	}
}

// neverPrunes checks that a layer was never told to drop what isn't needed without being told that this is.
func (w *world) neverPrunes(t *testing.T, layer, needs string) {
	t.Helper()
	for _, l := range w.layers {
		l.set(func(l *fakeLayer) {
			for _, kept := range l.kept {
				if l.name == layer && !slices.Contains(kept, needs) {
					t.Errorf("%s was pruned to %q", layer, kept)
				}
			}
		})
	}
}

// Between two lives nobody knows a lost target any more. The layer is taken as it is, at once and with a problem, and keeps
// what it has until a revision is good.
func TestATargetThatWasLostWhileTheAgentWasStopped(t *testing.T) {
	for _, layer := range []string{"system", "home", "pods"} {
		for name, spoil := range wrong {
			if layer != "pods" && name != "none" {
				continue
			}
			t.Run(layer+", "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					w.start()
					w.push("a", "system=1", "home=1", "pods=1")
					pass(time.Minute)
					w.push("b", "system=1", "home=1", "pods=bad") // a mistake: what is good can't be prepared again
					pass(time.Minute)
					w.stop()
					spoil(t, w, filepath.Join(w.dir, "targets", layer+"-1.json"))
					for _, l := range w.layers {
						l.kept = nil
					}
					w.start()
					pass(time.Minute)
					a := w.c
					lost := func(p Problem) bool { return p.Layer == layer && strings.Contains(p.Says, "is lost since") }
					if s := w.status(t, a); !slices.ContainsFunc(s.Problems, lost) || len(s.Layers) != 3 {
						t.Errorf("status tells of no loss: %+v", s)
					}
					w.layers[2].set(func(l *fakeLayer) { l.live = "dead" })
					pass(time.Minute)
					w.layers[0].set(func(l *fakeLayer) { l.refuse["2"] = errors.New("no") })
					w.push("c", "system=2", "home=2", "pods=2")
					pass(2 * time.Minute)
					w.is("1", "1", "1")
					for _, l := range w.layers {
						if l.name == layer && len(l.kept) > 0 {
							t.Errorf("%s was pruned to %q", layer, l.kept)
						}
					}
					w.push("d", "system=3", "home=3", "pods=3")
					pass(2 * time.Minute)
					w.good("d")
					if s := w.status(t, a); slices.ContainsFunc(s.Problems, lost) {
						t.Errorf("a problem still: %+v", s.Problems)
					}
					w.stop()
				})
			})
		}
	}
}

// Without any state the machine is taken as it is at once, before any revision could be prepared.
func TestLostStateLeadsToAdoptionAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		w.push("a", "system=1", "pods=1")
		pass(time.Minute)
		w.stop()
		for _, name := range []string{"state.json", "journal"} {
			if err := os.Remove(filepath.Join(w.dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		w.start()
		pass(time.Second)
		w.layers[2].set(func(l *fakeLayer) { l.live = "dead" })
		pass(time.Minute)
		w.is("1", "old", "1")
		w.push("b", "system=1", "pods=bad")
		pass(time.Minute)
		if s := w.status(t, w.c); len(s.Layers) != 3 || len(s.Failed) != 1 {
			t.Errorf("status: %+v", s)
		}
		w.stop()
	})
}

// Somebody removes the whole state while the agent runs: it is all in memory, and written again.
func TestAStateFolderThatIsRemovedWhileTheAgentRuns(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=1", "pods=1")
		pass(time.Minute)
		for _, name := range []string{"state.json", "journal", "targets"} {
			if err := os.RemoveAll(filepath.Join(w.dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		pass(2 * checkEvery)
		for _, name := range []string{"state.json", "journal", "targets/system-1.json", "targets/pods-1.json"} {
			if _, err := os.Stat(filepath.Join(w.dir, name)); errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s isn't there again", name)
			}
		}
		w.push("b", "system=1", "pods=bad")
		pass(time.Minute)
		w.layers[2].set(func(l *fakeLayer) { l.live = "dead" })
		pass(time.Minute)
		w.is("1", "old", "1")
		w.layers[2].set(func(l *fakeLayer) { l.refuse["2"] = errors.New("no") })
		w.push("c", "system=2", "pods=2")
		pass(2 * time.Minute)
		w.is("1", "old", "1")
		w.good("a")
	})
}
