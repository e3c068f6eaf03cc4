package rollout

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A portLayer needs a port that a program may have, as pods do.
type portLayer struct {
	*fakeLayer

	mu    sync.Mutex
	taken string
}

func (l *portLayer) take(by string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.taken = by
}

func (l *portLayer) Vacant(context.Context, Target) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.taken == "" {
		return nil
	}
	return &TransientError{&TakenError{errors.New("8080 is taken by " + l.taken)}}
}

func (l *portLayer) Switch(ctx context.Context, t Target) error {
	if err := l.Vacant(ctx, t); err != nil && l.value(t) != l.is() {
		return err
	}
	return l.fakeLayer.Switch(ctx, t)
}

// A way back isn't held up: what was there before comes before what anybody got since.
func TestAReturnDoesNotWaitForWhatAProgramHas(t *testing.T) {
	withPort(t, func(t *testing.T, w *world, l *portLayer) {
		w.layers[2].set(func(f *fakeLayer) { f.ill["2"] = time.Second })
		w.push("b", "system=2", "home=1", "pods=2")
		pass(3 * time.Second)
		l.take("nginx (process 9 of root)")
		pass(testSoak)
		if s := w.state(); s.bad("b") == nil || s.Rollout == nil || s.Rollout.Phase != rollingBack {
			t.Errorf("bad: %v, rollout: %+v", s.bad("b"), s.Rollout)
		}
		l.take("")
		pass(time.Minute)
		w.good("a")
		w.is("1", "1", "1")
	})
}

func withPort(t *testing.T, do func(t *testing.T, w *world, l *portLayer)) {
	synctest.Test(t, func(t *testing.T) {
		w, l := newWorld(t), &portLayer{}
		w.pods = func(f *fakeLayer) Layer {
			l.fakeLayer = f
			return l
		}
		w.start()
		w.push("a", "system=1", "home=1", "pods=1")
		pass(2 * testSoak)
		w.good("a")
		do(t, w, l)
		w.stop()
	})
}

// What no other layer can give up makes a commit wait before anything of it is switched to.
func TestACommitWaitsForWhatAProgramHas(t *testing.T) {
	withPort(t, func(t *testing.T, w *world, l *portLayer) {
		l.take("nginx (process 7 of root)")
		switches := len(l.switched())
		w.push("b", "system=1", "home=1", "pods=2")
		pass(2 * time.Minute)
		s := w.state()
		if s.bad("b") != nil || s.Later == nil || !strings.Contains(s.Later.Why, "nginx (process 7 of root)") {
			t.Errorf("bad: %v, later: %+v", s.bad("b"), s.Later)
		}
		if n := len(l.switched()); n != switches || s.Rollout != nil {
			t.Errorf("%d switches, rollout %+v", n-switches, s.Rollout)
		}
		w.good("a")
		l.take("")
		pass(retryMost + 2*testSoak)
		w.good("b")
		w.is("1", "1", "2")
	})
}

// Another layer of the commit may be what gives it up, so the switch finds out, once. It is no fault of the commit's either.
func TestACommitThatChangesMoreIsSwitchedToAndReturned(t *testing.T) {
	withPort(t, func(t *testing.T, w *world, l *portLayer) {
		l.take("nginx (process 7 of root)")
		w.layers[0].set(func(f *fakeLayer) {
			f.onSwitch = func(when string) {
				if when == "within" { // the service has the port in one system, and not in the other
					l.take("")
				}
			}
		})
		w.push("b", "system=2", "home=1", "pods=2")
		pass(time.Minute + 2*testSoak)
		w.good("b")
		w.is("2", "1", "2")
		w.layers[0].set(func(f *fakeLayer) { f.onSwitch = nil })
		l.take("nginx (process 8 of root)")
		w.push("c", "system=3", "home=1", "pods=3")
		pass(time.Minute)
		if s := w.state(); s.bad("c") != nil || s.Later == nil || !strings.Contains(s.Later.Why, "process 8") {
			t.Errorf("bad: %v, later: %+v", s.bad("c"), s.Later)
		}
		w.good("b")
		w.is("2", "1", "2")
		switches := w.layers[0].switched() // no layer gives it up: that is known from now on
		w.stop()
		w.start()
		pass(3 * retryMost)
		if now := w.layers[0].switched(); len(now) != len(switches) || w.state().Later.Attempts < 5 {
			t.Errorf("the system was switched to %q meanwhile, later: %+v", now[len(switches):], w.state().Later)
		}
		w.good("b")
		l.take("")
		pass(retryMost + 2*testSoak)
		w.good("c")
	})
}

// A look that was due anyway may come between the question and its answer: it doesn't know to what the layer would be switched.
func TestALookThatDoesNotKnowTheSwitchDoesNotCount(t *testing.T) {
	asked, next := time.Now(), Set{Revision: "b", Targets: map[string]string{"pods": "pods-2"}}
	for _, row := range []struct {
		name  string
		seen  report
		about Set
		want  bool
	}{
		{"it was due anyway", report{target: "pods-1", at: asked.Add(time.Second)}, next, false},
		{"it was about another commit", report{target: "pods-1", at: asked.Add(time.Second), about: "pods-2"}, Set{Targets: map[string]string{"pods": "pods-3"}}, false},
		{"it was before", report{target: "pods-1", at: asked.Add(-time.Second), about: "pods-2"}, next, false},
		{"it was asked for", report{target: "pods-1", at: asked.Add(time.Second), about: "pods-2"}, next, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := &Conductor{asked: asked, about: row.about, seen: map[string]report{"pods": row.seen}, Config: Config{Others: func() []Other { return nil }}}
			c.state.Current.Targets = map[string]string{"pods": "pods-1"}
			c.Parts = []Part{{Name: "pods"}}
			c.keepers = map[string]*keeper{"pods": {orders: make(chan order, 1)}}
			c.store = store{dir: t.TempDir()}
			c.Log = slog.New(slog.DiscardHandler)
			c.held = map[string]Target{"pods-1": {Layer: "pods", ID: "pods-1"}, "pods-2": {Layer: "pods", ID: "pods-2"}}
			c.preparer = &preparer{}
			if clear, err := c.clear(next, asked.Add(2*time.Second)); err != nil || clear != row.want {
				t.Errorf("clear: %v, %v", clear, err)
			}
		})
	}
}
