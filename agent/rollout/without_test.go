package rollout

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.org/collie/guix"
)

// A hangingLayer hangs in what it says, like a system call: until it is let go, whatever the context.
type hangingLayer struct {
	*fakeLayer
	in string // diff, problems, prepare, switch

	mu  *sync.Mutex
	now *chan struct{} // nil: it doesn't hang
	all *int           // that hang, or did
}

func (l hangingLayer) hang(in string) {
	l.mu.Lock()
	now := *l.now
	if in == l.in && now != nil {
		*l.all++
	}
	l.mu.Unlock()
	if in == l.in && now != nil {
		<-now
	}
}

func (l hangingLayer) Diff(ctx context.Context, t Target) ([]Change, error) {
	l.hang("diff")
	return l.fakeLayer.Diff(ctx, t)
}

func (l hangingLayer) Problems(ctx context.Context, t Target, since time.Time) ([]Problem, error) {
	l.hang("problems")
	return l.fakeLayer.Problems(ctx, t, since)
}

func (l hangingLayer) Prepare(ctx context.Context, rev Revision, tell func(Progress)) (Target, error) {
	l.hang("prepare")
	return l.fakeLayer.Prepare(ctx, rev, tell)
}

// hangs makes the pods hang in what it says, from now on; the second function lets go of them.
func (w *world) hangs(in string) (begin, end func(), count func() int) {
	l := hangingLayer{fakeLayer: w.layers[2], in: in, mu: new(sync.Mutex), now: new(chan struct{}), all: new(int)}
	w.pods = func(*fakeLayer) Layer { return l }
	begin = func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		*l.now = make(chan struct{})
	}
	end = func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		close(*l.now)
		*l.now = nil
	}
	count = func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return *l.all
	}
	return begin, end, count
}

func (w *world) without() string {
	var all []string
	s := w.state()
	for layer, why := range s.withouts() {
		all = append(all, layer+": "+why)
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// A layer that hangs in a system call holds only itself, in this life of the agent and in the next.
func TestALayerThatHangsHoldsNoOther(t *testing.T) {
	patience := 5*testSoak + time.Minute
	for _, in := range []string{"diff", "problems", "prepare"} {
		t.Run(in, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				begin, end, count := w.hangs(in)
				w.start()
				w.push("a", "system=1", "home=1", "pods=1")
				pass(time.Minute)
				w.good("a")
				begin()
				pass(time.Minute)
				if seen := w.c.look().seen["pods"]; in != "prepare" && (seen.err == nil || !strings.Contains(seen.err.Error(), "hasn't ended: it hangs in the agent itself")) {
					t.Errorf("after a minute status says %v of the pods", seen.err)
				}
				w.push("b", "system=2", "home=1", "pods=1")
				pass(2*patience + 2*testSoak)
				w.is("2", "1", "1")
				w.good("b")
				if got := w.without(); !strings.HasPrefix(got, "pods: it can't be ") || strings.Contains(got, "\n") {
					t.Errorf("without %q", got)
				}
				w.push("c", "system=3", "home=2", "pods=1") // it has been waited for already
				pass(mutePreparing + 2*testSoak)
				w.is("3", "2", "1")
				w.good("c")
				if got := count(); got != 1 {
					t.Errorf("%d goroutines hang", got)
				}

				begun := time.Now()
				w.stop()
				if took := time.Since(begun); took > time.Minute {
					t.Errorf("to stop took %v", took)
				}
				w.start()
				w.push("d", "system=4", "home=2", "pods=2")
				pass(2*patience + 2*testSoak)
				w.is("4", "2", "1")
				w.good("d")

				end()
				pass(withoutMost + mutePreparing + 2*testSoak)
				w.is("4", "2", "2")
				if s := w.state(); CommitOf(s.Good.Revision) != "d" || s.Good.Targets["pods"] != "pods-2" || w.without() != "" {
					t.Errorf("good %+v, without %q", s.Good, w.without())
				}
				w.stop()
			})
		})
	}
}

// Where reasons lie with a user, as with Podman's API, the revision goes on without the layer after a while, and that follows.
func TestALayerThatCannotBePreparedFollows(t *testing.T) {
	patience := 5*testSoak + time.Minute
	for _, row := range []struct {
		name  string
		pods  string // of the commit
		then  func(w *world)
		good  string // its commit
		pods2 string // live at last
		bad   bool
	}{
		{"it follows", "pods=2", func(*world) {}, "b", "2", false},
		{"nothing of it changes", "pods=1", func(*world) {}, "b", "1", false},
		{"its switch fails", "pods=2", func(w *world) { w.layers[2].set(func(l *fakeLayer) { l.refuse["2"] = errors.New("no") }) }, "b", "1", true},
		{"it is ill", "pods=2", func(w *world) { w.layers[2].set(func(l *fakeLayer) { l.ill["2"] = time.Second }) }, "b", "1", true},
		{"it is refused", "pods=missing", func(*world) {}, "b", "1", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.push("a", "system=1", "home=1", "pods=1")
				pass(time.Minute)
				w.good("a")
				w.layers[2].set(func(l *fakeLayer) { l.breaks = true })
				w.push("b", "system=2", "home=2", row.pods)
				pass(patience - 10*time.Second)
				w.is("1", "1", "1")
				if l := w.state().Later; l == nil || l.Why != "pods: pods is broken" {
					t.Errorf("later: %+v", l)
				}
				pass(2*testSoak + 20*time.Second)
				w.is("2", "2", "1")
				w.good("b")
				if got := w.without(); got != "pods: it can't be prepared: pods is broken" {
					t.Errorf("without %q", got)
				}
				if d := w.history()[0]; d.Outcome != "good" || len(d.Without) != 1 || d.Without["pods"] != "it can't be prepared: pods is broken" {
					t.Errorf("history: %+v", d)
				}
				row.then(w)
				w.layers[2].set(func(l *fakeLayer) { l.breaks = false })
				pass(withoutMost + 3*testSoak)
				w.is("2", "2", row.pods2)
				s := w.state()
				if CommitOf(s.Good.Revision) != row.good || s.phase() != idle {
					t.Errorf("good %q in phase %s", s.Good.Revision, s.phase())
				}
				if isBad := w.history()[0].Outcome == "rolled back" || w.history()[0].Outcome == "rejected"; isBad != row.bad {
					t.Errorf("history: %+v", w.history()[0])
				}
				w.layers[2].set(func(l *fakeLayer) { l.refuse, l.ill = map[string]error{}, map[string]time.Duration{} })
				w.push("c", "system=3", "home=2", "pods=3")
				pass(3 * testSoak)
				w.is("3", "2", "3")
				w.good("c")
				if got := w.without(); got != "" {
					t.Errorf("without %q", got)
				}
			})
		})
	}
}

// What only the layer changes that can't be prepared has nothing to be deployed without it.
func TestACommitOfOneLayerWaitsForIt(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		w.layers[2].set(func(l *fakeLayer) { l.breaks = true })
		w.push("b", "system=1", "home=1", "pods=2")
		pass(time.Hour)
		w.good("a")
		if s := w.state(); s.Later == nil || len(s.Without) > 0 || len(s.Bad) > 0 {
			t.Errorf("later %+v, without %v, bad %v", s.Later, s.Without, s.Bad)
		}
		w.layers[2].set(func(l *fakeLayer) { l.breaks = false })
		pass(retryMost + 2*testSoak)
		w.is("1", "1", "2")
		w.good("b")
	})
}

// A mistake of the commit refuses it as a whole, though another layer is broken.
func TestAMistakeRefusesAllBesideABrokenLayer(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		w.layers[2].set(func(l *fakeLayer) { l.breaks = true })
		w.push("b", "system=2", "home=bad", "pods=2")
		pass(time.Hour)
		w.is("1", "1", "1")
		if b, bad := w.state().Bad["b"]; !bad || b.Reason != "home:1: bad" {
			t.Errorf("bad: %+v", w.state().Bad)
		}
	})
}

// Before the first revision nobody knows how a broken layer was: it is left as it is until that can be recorded.
func TestTheFirstRevisionGoesWithoutABrokenLayer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.layers[2].set(func(l *fakeLayer) { l.breaks = true })
		w.start()
		w.push("a", "system=1", "home=1", "pods=1")
		pass(5*testSoak + time.Minute + 3*testSoak)
		w.is("1", "1", "old")
		w.good("a")
		w.layers[2].set(func(l *fakeLayer) { l.breaks = false })
		pass(withoutMost + 2*testSoak)
		w.is("1", "1", "1")
		w.stop()
	})
}

// A user's guix holds the switch of that user's home, and nothing else.
func TestAUsersGuixHoldsThatHome(t *testing.T) {
	for _, row := range []struct {
		name  string
		home  string // of the commit
		waits bool
	}{
		{"a commit that changes the home", "home=2", true},
		{"a commit that doesn't", "home=1", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.push("a", "system=1", "home=1", "pods=1")
				pass(time.Minute)
				runs := func(all ...Other) {
					w.mu.Lock()
					defer w.mu.Unlock()
					w.others = all
				}
				runs(Other{Layer: "home", Says: "guix home reconfigure x"})
				w.push("b", "system=2", row.home, "pods=2")
				if row.waits {
					pass(guix.DefaultPatience - time.Minute)
					w.is("1", "1", "1")
					pass(time.Minute)
				}
				pass(2*testSoak + 10*time.Second)
				w.is("2", "1", "2")
				w.good("b")
				if got := w.without(); got != "home: its user runs guix home reconfigure x" {
					t.Errorf("without %q", got)
				}
				if !row.waits {
					return
				}
				w.push("c", "system=3", "home=3", "pods=2") // it has been waited for
				pass(3 * testSoak)
				w.is("3", "1", "2")
				w.good("c")
				runs()
				pass(withoutMost + 3*testSoak)
				w.is("3", "3", "2")
				if s := w.state(); CommitOf(s.Good.Revision) != "c" || w.without() != "" {
					t.Errorf("good %q, without %q", s.Good.Revision, w.without())
				}
			})
		})
	}
}

// A layer that hangs holds no plan: the others are shown, and no second goroutine waits for it.
func TestAPlanGoesWithoutALayerThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		begin, end, count := w.hangs("diff")
		w.start()
		a := w.c
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		w.good("a")
		w.propose("try b system=2 pods=2")
		pass(time.Minute)
		begin()
		before := count()
		for range 2 {
			asked := time.Now()
			p := w.plan(a, "try")
			if took := time.Since(asked); took > planLimit+2*lookMoment {
				t.Errorf("the plan took %v", took)
			}
			if len(p.Layers) != 2 || len(p.Layers[0].Changes) != 1 || p.Layers[0].Unknown != "" {
				t.Errorf("plan %+v, want that of the system", p)
			}
			if got := p.Unknown(); len(got) != 1 || got[0] != "pods" || !strings.Contains(p.Text(), "pods: what would change isn't known: a plan that began ") {
				t.Errorf("unknown %q, and the plan says:\n%s", got, p.Text())
			}
		}
		if got := count() - before; got > 2 { // of the keeper's look, and of one plan
			t.Errorf("%d goroutines hang", got)
		}
		end()
		pass(time.Minute)
		if p := w.plan(a, "try"); len(p.Unknown()) > 0 || len(p.Layers[1].Changes) != 1 {
			t.Errorf("plan %+v once nothing hangs", p)
		}
		w.stop()
	})
}

// A proposal isn't shown without the layer that can't be prepared: its plan says why it waits.
func TestAPlanWaitsForALayerThatIsBroken(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.c
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		w.layers[2].set(func(l *fakeLayer) { l.breaks = true })
		w.propose("try b system=2 pods=2")
		pass(time.Minute)
		if p := w.plan(a, "try").Preparing; p == nil || p.Error != "pods: pods is broken" {
			t.Errorf("preparing %+v", p)
		}
		w.layers[2].set(func(l *fakeLayer) { l.breaks = false })
		pass(retryMost)
		if p := w.plan(a, "try"); p.Preparing != nil || len(p.Layers) != 2 {
			t.Errorf("plan %+v once nothing is broken", p)
		}
	})
}

// Somebody has a commit deployed to the system at once, whatever the others wait for. Those follow.
func TestOnlyTheSystemAtOnce(t *testing.T) {
	for _, row := range []struct {
		name   string
		before func(w *world) (end func())
	}{
		{"nothing is wrong", func(w *world) func() {
			w.layers[2].set(func(l *fakeLayer) { l.slow = 2 * time.Second })
			return func() {}
		}},
		{"the pods can't be prepared", func(w *world) func() {
			w.layers[2].set(func(l *fakeLayer) { l.breaks = true })
			return func() { w.layers[2].set(func(l *fakeLayer) { l.breaks = false }) }
		}},
		{"the pods are prepared for long", func(w *world) func() {
			w.layers[2].set(func(l *fakeLayer) { l.slow = 10 * time.Minute })
			return func() { w.layers[2].set(func(l *fakeLayer) { l.slow = 0 }) }
		}},
		{"a guix of the user's", func(w *world) func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.others = []Other{{Layer: "home", Says: "guix home reconfigure x"}}
			return func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.others = nil
			}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.push("a", "system=1", "home=1", "pods=1")
				pass(time.Minute)
				end := row.before(w)
				w.push("b", "system=2", "home=2", "pods=2")
				pass(time.Second)
				if err := w.c.ask(t.Context(), func() error { return w.c.only([]string{"system"}, "ann", time.Now()) }); err != nil {
					t.Error(err)
				}
				pass(2*testSoak - 2*time.Second)
				if got := w.layers[0].live; got != "2" {
					t.Errorf("the system is at %q", got)
				}
				var noted bool
				for _, d := range w.history() {
					noted = noted || d.Outcome == "good" && d.Without["pods"] != "" && strings.HasPrefix(d.Without["home"], "ann asked for `collie sync --only system`")
				}
				if !noted {
					t.Errorf("history: %+v", w.history())
				}
				end()
				pass(15*time.Minute + withoutMost + 3*testSoak)
				w.is("2", "2", "2")
				if s := w.state(); CommitOf(s.Good.Revision) != "b" || w.without() != "" {
					t.Errorf("good %q, without %q", s.Good.Revision, w.without())
				}
			})
		})
	}
}

func TestWhatOnlyIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		ask := func(want string, layers ...string) {
			t.Helper()
			err := w.c.ask(t.Context(), func() error { return w.c.only(layers, "ann", time.Now()) })
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v, want %q", layers, err, want)
			}
		}
		ask("there is no revision yet", "system")
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		ask(`no layer "disk", only system, home, pods`, "system", "disk")
		ask("name system, too", "pods")
		w.push("b", "system=bad", "home=1", "pods=1")
		pass(time.Minute)
		ask("revision b is bad", "system")
	})
}
