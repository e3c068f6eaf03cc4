package rollout

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.org/collie/agent/api"
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
	state, err := store{dir: w.dir}.load()
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
	w.c = w.conductor(parts, store{dir: w.dir}, j, state)
	ctx, cancel := context.WithCancel(w.t.Context())
	ended = make(chan error, 1)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		ended <- w.c.Run(ctx)
	}()
	w.stop = func() {
		cancel()
		<-gone
		j.close()
	}
	return ended
}

// While a layer can't be looked at, the soak doesn't count. How long that may last is counted from the moment on that it can't,
// and nobody is to blame for it: the revision is tried again.
func TestSoakOfALayerThatCannotBeLookedAt(t *testing.T) {
	patience := 5*testSoak + time.Minute
	for _, row := range []struct {
		name  string
		takes time.Duration // how long the switch takes
		after time.Duration // of soaking before it can't be looked at
		blind time.Duration
		good  bool
	}{
		{"at once, for a while", 0, 0, 2 * time.Minute, true},
		{"after a long switch", 85 * time.Second, 10 * time.Second, 31 * time.Second, true},
		{"after a switch that is longer than the patience", patience + time.Minute, 10 * time.Second, 31 * time.Second, true},
		{"for almost as long as may be", time.Minute, 10 * time.Second, patience - 4*time.Second, true},
		{"for longer", time.Minute, 10 * time.Second, patience + 10*time.Second, false},
		{"for good", 0, 0, time.Hour, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				var mu sync.Mutex
				var from, until time.Time
				w.startStrange(func(t Target) ([]Change, error) {
					mu.Lock()
					defer mu.Unlock()
					if now := time.Now(); t.Revision == "b" && !now.Before(from) && now.Before(until) {
						return nil, errors.New("Shepherd doesn't answer")
					}
					return nil, nil
				})
				defer w.stop()
				w.push("a", "system=1", "home=1", "pods=1")
				pass(time.Minute)
				w.good("a")
				w.layers[2].set(func(l *fakeLayer) {
					l.onSwitch = func(when string) {
						if when == "within" {
							time.Sleep(row.takes)
						}
					}
				})
				w.push("b", "system=2", "home=2", "pods=2")
				pass(3*time.Second + row.takes) // each layer takes a second
				w.layers[2].set(func(l *fakeLayer) { l.onSwitch = nil })
				mu.Lock()
				from = time.Now().Add(row.after)
				until = from.Add(row.blind)
				mu.Unlock()
				pass(row.after + row.blind)
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
				pass(20 * time.Second)
				w.good("a")
				if b, bad := w.state().Bad["b"]; bad {
					t.Errorf("bad, though nobody saw anything: %+v", b)
				}
				if l := w.state().Later; l == nil || l.Revision != "b" || !strings.Contains(l.Why, "system could not be checked for ") || !strings.HasSuffix(l.Why, ": Shepherd doesn't answer") {
					t.Errorf("later: %+v", l)
				}
			})
		})
	}
}

// What nobody could see isn't counted against a problem that may pass: it has its time from when it could be seen.
func TestAProblemThatMayPassAfterBlindness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var mu sync.Mutex
		var until time.Time
		w.startStrange(func(Target) ([]Change, error) {
			mu.Lock()
			defer mu.Unlock()
			if time.Now().Before(until) {
				return nil, errors.New("Shepherd doesn't answer")
			}
			return nil, nil
		})
		defer w.stop()
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		w.push("b", "system=2", "home=1", "pods=2")
		pass(5 * time.Second)
		mu.Lock()
		until = time.Now().Add(200 * time.Second)
		mu.Unlock()
		pass(200 * time.Second)
		w.layers[2].set(func(l *fakeLayer) { l.always = []Problem{{Subject: "pods", Says: "isn't ready yet", Transient: true}} })
		pass(3 * time.Minute)
		if s := w.state(); s.phase() != soaking {
			t.Errorf("%s while a problem may pass", s.phase())
		}
		w.layers[2].set(func(l *fakeLayer) { l.always = nil })
		pass(time.Minute)
		w.good("b")
	})
}

// What was ill when it could last be seen isn't held against a revision that begins while it can't be.
func TestAProblemBeforeBlindnessDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var mu sync.Mutex
		blind := false
		w.startStrange(func(t Target) ([]Change, error) {
			mu.Lock()
			defer mu.Unlock()
			if blind && t.Revision == "a" {
				return nil, errors.New("Shepherd doesn't answer")
			}
			return nil, nil
		})
		defer w.stop()
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		w.layers[0].set(func(l *fakeLayer) { l.always = []Problem{{Subject: "service old", Says: "stopped"}} })
		pass(time.Minute)
		mu.Lock()
		blind = true
		mu.Unlock()
		pass(time.Minute)
		w.push("b", "system=2", "home=1", "pods=1")
		pass(2 * time.Minute)
		w.good("b")
	})
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
					l.always = []Problem{{Subject: "pods", Says: "tries again", Transient: true, Unrelated: true}}
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
	r := &rollout{
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
		{"new, and of its own making", Problem{Layer: "pods", Subject: "job import", Unrelated: true}, false},
		{"of its own making, but changed", Problem{Layer: "pods", Subject: "pod web", Unrelated: true}, true},
	} {
		if got := r.counts(row.p.Layer, row.p); got != row.want {
			t.Errorf("%s counts: %v, want %v", row.name, got, row.want)
		}
	}
	if got := api.Short(strings.Repeat("a", 40)); got != strings.Repeat("a", 12) {
		t.Errorf("short is %q", got)
	}
	if got := api.Short(Baseline); got != Baseline {
		t.Errorf("short is %q", got)
	}
}

// A layer that can't be looked at, and that a revision leaves as it is, is a fault of the machine that was there before: nothing
// is switched, and the revision waits.
func TestNothingIsSwitchedBesideALayerThatCannotBeLookedAt(t *testing.T) {
	for _, row := range []struct {
		name   string
		layers []string
		blind  time.Duration
		waits  bool // it is tried again later
		atOnce bool
	}{
		{"for long", []string{"system=1", "home=1", "pods=2"}, 20 * time.Minute, true, false},
		{"for a moment", []string{"system=1", "home=1", "pods=2"}, time.Minute, false, false},
		{"that the revision changes", []string{"system=2", "home=1", "pods=2"}, 20 * time.Minute, false, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				var mu sync.Mutex
				var until time.Time
				w.startStrange(func(t Target) ([]Change, error) {
					mu.Lock()
					defer mu.Unlock()
					if t.ID == "system-1" && time.Now().Before(until) {
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
				pass(time.Minute - 10*time.Second)
				w.push("b", row.layers...)
				pass(5 * time.Second)
				if s := w.state(); (s.Rollout != nil) != row.atOnce {
					t.Errorf("a rollout: %+v", s.Rollout)
				}
				pass(row.blind / 2)
				s := w.state()
				if _, bad := s.Bad["b"]; bad {
					t.Errorf("bad: %+v", s.Bad["b"])
				}
				if row.waits && (s.Rollout != nil || s.Later == nil || s.Later.Revision != "b" || !strings.HasPrefix(s.Later.Why, "system can't be checked since ") || !strings.HasSuffix(s.Later.Why, "Shepherd doesn't answer")) {
					t.Errorf("later: %+v, %+v", s.Later, s.Rollout)
				}
				if row.waits {
					w.is("1", "1", "1")
				}
				pass(time.Hour)
				w.good("b")
			})
		})
	}
}

// The system has services that run as the pod user. Their failures are the pods' problems, and held only against a revision that
// changed what they stand on.
func TestWhatThePodUserCanBreakIsNotTheSystems(t *testing.T) {
	ofPods := func(subject string) Problem { // as the layer of the system has it
		p := Problem{Subject: subject, Says: "died since then and was started again, 3×"}
		switch subject {
		case "service podman-api":
			p.Layer, p.Unrelated, p.Stands = "pods", true, []string{"/etc/containers", "/etc/subuid", "/etc/subgid", "home of podman"}
		case "service collie-forward":
			p.Layer, p.Unrelated, p.Stands = "pods", true, []string{}
		}
		return p
	}
	for _, row := range []struct {
		name, subject string
		layer         string // whose problem it is
		changes       map[string][]Change
		want          bool
	}{
		{"Podman, another service changed", "service podman-api", "pods", map[string][]Change{"system": {{Does: "switch", Subject: "system"}, {Does: "start", Subject: "service first"}}}, false},
		{"Podman, pods changed", "service podman-api", "pods", map[string][]Change{"pods": {{Does: "replace", Subject: "pod web"}}}, false},
		{"Podman, it changed", "service podman-api", "pods", map[string][]Change{"system": {{Does: "restart", Subject: "service podman-api"}}}, true},
		{"Podman, its change waits", "service podman-api", "pods", map[string][]Change{"system": {{Does: "defer", Subject: "service podman-api", Waits: true}}}, false},
		{"Podman, what it reads changed", "service podman-api", "pods", map[string][]Change{"system": {{Does: "link", Subject: "/etc/containers"}}}, true},
		{"Podman, subordinate IDs changed", "service podman-api", "pods", map[string][]Change{"system": {{Does: "link", Subject: "/etc/subuid"}}}, true},
		{"Podman, its user's home changed", "service podman-api", "pods", map[string][]Change{"home:podman": {{Does: "switch", Subject: "home of podman"}}}, true},
		{"Podman, another's home changed", "service podman-api", "pods", map[string][]Change{"home:alice": {{Does: "switch", Subject: "home of alice"}}}, false},
		{"Podman, another's service of that name changed", "service podman-api", "pods", map[string][]Change{"home:alice": {{Does: "restart", Subject: "service podman-api"}}}, false},
		{"the forwarder, another service changed", "service collie-forward", "pods", map[string][]Change{"system": {{Does: "start", Subject: "service first"}}}, false},
		{"the forwarder, it changed", "service collie-forward", "pods", map[string][]Change{"system": {{Does: "restart", Subject: "service collie-forward"}}}, true},
		{"the forwarder, Podman's files changed", "service collie-forward", "pods", map[string][]Change{"system": {{Does: "link", Subject: "/etc/containers"}}}, false},
		{"a service of root's", "service nginx", "system", map[string][]Change{"system": {{Does: "start", Subject: "service first"}}}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			ill := []Problem{ofPods(row.subject)}
			k := &keeper{mark: unmarked, Part: Part{Name: "system", Layer: &fakeLayer{always: ill}}}
			seen, err := k.Layer.Problems(t.Context(), k.target, time.Time{})
			k.sign(seen)
			if err != nil || len(seen) != 1 || seen[0].Layer != row.layer {
				t.Fatalf("it is %+v, %v", seen, err)
			}
			r := &rollout{Changes: row.changes}
			if got := r.counts("system", seen[0]); got != row.want {
				t.Errorf("it counts: %v, want %v", got, row.want)
			}
		})
	}
}
