package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.org/collie/agent/api"
	"example.org/collie/guix"
)

// A selfLayer is a system with the agent's own service: own says what is due for that. A value that begins with
// "without" takes the service off the machine.
type selfLayer struct {
	*fakeLayer
	own func(t Target) string
}

type withLeaves struct {
	Value  json.RawMessage
	Leaves bool
}

func (l selfLayer) Prepare(ctx context.Context, rev Revision, tell func(Progress)) (Target, error) {
	t, err := l.fakeLayer.Prepare(ctx, rev, tell)
	if err != nil {
		return t, err
	}
	return Encode(t.Layer, t.ID, t.Revision, withLeaves{t.Data, strings.HasPrefix(l.value(t), "without")})
}

func (l selfLayer) plain(t Target) Target {
	var w withLeaves
	if err := t.Decode(&w); err != nil {
		panic(err)
	}
	t.Data = w.Value
	return t
}

func (l selfLayer) Diff(ctx context.Context, t Target) ([]Change, error) {
	return l.fakeLayer.Diff(ctx, l.plain(t))
}

func (l selfLayer) Switch(ctx context.Context, t Target) error {
	return l.fakeLayer.Switch(ctx, l.plain(t))
}

func (l selfLayer) All() ([]api.Generation, error) { return nil, nil }

func (l selfLayer) Generations() (map[string]int, error) { return nil, nil }

func (l selfLayer) ID(item string) string { return "system-" + item }

func (l selfLayer) Stored(t Target) (Stored, error) {
	var w withLeaves
	err := t.Decode(&w)
	return Stored{Leaves: w.Leaves}, err
}

func (l selfLayer) Describe(Target) string { return "generation 7 stays" }

func (l selfLayer) Note(_ context.Context, t Target) (Change, error) {
	if does := l.own(t); does != "" {
		return Change{Does: does, Subject: "service collie", Says: "its definition changed"}, nil
	}
	return Change{}, nil
}

// selfBubble is a world with an agent's own service; ended tells how the agent ended.
func selfBubble(t *testing.T, own func(w *world, t Target) string, f func(w *world, ended func() error)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		end := w.startWith(selfLayer{w.layers[0], func(t Target) string { return own(w, t) }})
		defer w.stop()
		f(w, func() error {
			select {
			case err := <-end:
				return err
			default:
				return nil
			}
		})
	})
}

func (w *world) last() entry {
	w.t.Helper()
	entries, err := readJournal(filepath.Join(w.dir, "journal"), journalLimit)
	if err != nil || len(entries) == 0 {
		w.t.Fatalf("the journal: %v, %v", entries, err)
	}
	return entries[len(entries)-1]
}

// Each row is a time at which the new definition comes; it is told once that is past, however it came.
func TestTheAgentEndsForItsNewDefinitionOnceAllIsQuiet(t *testing.T) {
	for _, row := range []struct {
		name    string
		come    func(w *world, changed func())
		waits   time.Duration // for which the agent goes on
		good    string
		because string
	}{
		{"with a commit", func(w *world, changed func()) {
			w.push("b", "system=2", "home=2", "pods=2")
			changed()
		}, testSoak, "b", "its switches, and the soak"},
		{"in the soak", func(w *world, changed func()) {
			w.push("b", "system=2", "home=2", "pods=2")
			pass(10 * time.Second)
			changed()
		}, testSoak - 10*time.Second, "b", "the rest of the soak"},
		{"while suspended", func(w *world, changed func()) {
			_ = w.c.ask(w.t.Context(), func() error { return w.c.suspend("") })
			changed()
		}, 0, "a", "nothing"},
		{"after a return", func(w *world, changed func()) {
			w.layers[2].set(func(l *fakeLayer) { l.ill["2"] = time.Second })
			w.push("b", "system=2", "home=2", "pods=2")
			pass(30 * time.Second)
			changed()
		}, 0, "a", "nothing"},
		{"while a revision is prepared", func(w *world, changed func()) {
			w.layers[1].set(func(l *fakeLayer) { l.block = make(chan struct{}) })
			w.push("b", "system=1", "home=2", "pods=1")
			pass(time.Minute)
			changed()
		}, longestPreparation - time.Minute, "a", "the preparation, but not for ever"},
		{"stuck", func(w *world, changed func()) {
			w.layers[0].set(func(l *fakeLayer) {
				l.refuse["2"], l.refuse["1"] = errors.New("no"), errors.New("no")
			})
			w.push("b", "system=2")
			pass(10 * time.Minute)
			if w.state().Stuck == nil {
				w.t.Errorf("it isn't stuck: %+v", w.state())
			}
			changed()
		}, 0, "a", "nothing"},
	} {
		t.Run(row.name, func(t *testing.T) {
			changed := false
			own := func(w *world, _ Target) string {
				w.mu.Lock()
				defer w.mu.Unlock()
				if changed {
					return guix.OwnExit
				}
				return ""
			}
			selfBubble(t, own, func(w *world, ended func() error) {
				w.push("a", "system=1", "home=1", "pods=1")
				pass(2 * time.Minute)
				w.good("a")
				row.come(w, func() {
					w.mu.Lock()
					changed = true
					w.mu.Unlock()
				})
				pass(row.waits)
				if err := ended(); err != nil && row.waits > 0 {
					t.Fatalf("it didn't wait for %s: %v", row.because, err)
				}
				pass(2 * time.Minute)
				if err := ended(); !errors.Is(err, ErrReplaced) {
					t.Errorf("it ended with %v, state %+v", err, w.state())
				}
				s, err := store{dir: w.dir}.load()
				if err != nil || s.Good.Revision != row.good || s.Rollout != nil {
					t.Errorf("it ended with the state %+v (%v)", s, err)
				}
				if last := w.last(); last.Event != evReplaced || last.Because != "its definition changed" {
					t.Errorf("the journal ends with %+v", last)
				}
			})
		})
	}
}

// A person may reconfigure before there is any commit: to name another repository, for one.
func TestTheAgentEndsForItsNewDefinitionBeforeTheFirstRevision(t *testing.T) {
	selfBubble(t, func(*world, Target) string { return guix.OwnExit }, func(w *world, ended func() error) {
		pass(time.Minute)
		if err := ended(); !errors.Is(err, ErrReplaced) {
			t.Errorf("it ended with %v", err)
		}
	})
}

// The system goes last, as it takes Podman's API and the pod user along, and nobody can look at the others any more.
func TestTheAgentLeaves(t *testing.T) {
	own := func(w *world, t Target) string {
		if w.layers[0].is() == "without" && t.Revision == "b" {
			return guix.Leaves
		}
		return ""
	}
	selfBubble(t, own, func(w *world, ended func() error) {
		w.push("a", "system=1", "home=1", "pods=1")
		pass(2 * time.Minute)
		w.good("a")
		var order []string
		for _, l := range w.layers {
			l.set(func(l *fakeLayer) {
				l.onSwitch = func(when string) {
					if when == "before" {
						order = append(order, l.name)
					}
				}
			})
		}
		w.layers[0].set(func(l *fakeLayer) { l.ill["without"] = time.Hour })
		w.layers[2].set(func(l *fakeLayer) { l.always = []Problem{{Subject: "pods", Says: "nobody answers"}} })
		w.push("b", "system=without", "home=2", "pods=2")
		pass(10 * time.Second)
		if got, want := strings.Join(order, " "), "pods home system"; got != want {
			t.Errorf("the order was %s, want %s", got, want)
		}
		pass(testSoak - 6*time.Second)
		if err := ended(); err != nil {
			t.Fatalf("nobody could hear that it is good: %v", err)
		}
		w.good("b")
		pass(time.Minute)
		if err := ended(); !errors.Is(err, ErrLeft) {
			t.Fatalf("it ended with %v", err)
		}
		last := w.last()
		for _, part := range []string{"at revision b", "system: generation 7 stays", "nobody looks at the repository", w.dir, "collie uninstall"} {
			if last.Event != evLeft || !strings.Contains(last.Because, part) {
				t.Errorf("the journal ends with %+v, without %q", last, part)
			}
		}
	})
}

// What isn't good without Collie keeps it.
func TestTheAgentStaysIfTheLeavingRevisionFails(t *testing.T) {
	own := func(w *world, t Target) string {
		if w.layers[0].is() == "without" {
			return guix.Leaves
		}
		return ""
	}
	selfBubble(t, own, func(w *world, ended func() error) {
		w.push("a", "system=1", "home=1", "pods=1")
		pass(2 * time.Minute)
		w.layers[0].set(func(l *fakeLayer) { l.ill["without"] = time.Second })
		w.push("b", "system=without", "home=2", "pods=2")
		pass(5 * time.Minute)
		if err := ended(); err != nil {
			t.Fatalf("it ended with %v", err)
		}
		w.is("1", "1", "1")
		w.good("a")
	})
}

// A service that couldn't be stopped and left the configuration is ill in each revision after it, through no fault of theirs.
func TestWhatWaitsIsNotOfTheRevision(t *testing.T) {
	ill := Problem{Layer: "system", Subject: "service late", Says: "it left the configuration, and is starting"}
	r := &rollout{Before: []Problem{ill}, Changes: map[string][]Change{"system": {{Does: "next boot", Subject: "service late", Waits: true}}}}
	if r.counts("system", ill) {
		t.Error("it counts against the revision")
	}
	r.Changes["system"][0].Waits = false
	if !r.counts("system", ill) {
		t.Error("what is changed doesn't count")
	}
}
