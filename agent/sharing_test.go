package agent

import (
	"context"
	"errors"
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
	return &TransientError{errors.New("8080 is taken by " + l.taken)}
}

func (l *portLayer) Switch(ctx context.Context, t Target) error {
	if err := l.Vacant(ctx, t); err != nil && l.value(t) != l.is() {
		return err
	}
	return l.fakeLayer.Switch(ctx, t)
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

// Another layer of the commit may be what gives it up, so the switch finds out. It is no fault of the commit's either.
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
		l.take("")
		pass(retryMost + 2*testSoak)
		w.good("c")
	})
}
