package podman

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestAPodIsReadyBeforeTheOneThatItReplacesStops(t *testing.T) {
	w := newSlowWorld(t)
	w.steady = 1200 * time.Millisecond
	one := w.prepare("r1", newPod("web"))
	w.must(w.Switch(t.Context(), one))
	two := w.prepare("r2", newPod("web", env("A", "b")))
	changes, err := w.Diff(t.Context(), two)
	w.must(err)
	if len(changes) != 1 || !strings.HasSuffix(changes[0].Says, ", no interruption") {
		t.Errorf("the plan: %+v", changes)
	}
	together := make(chan bool)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		both := false
		for ctx.Err() == nil {
			live, err := w.observe(ctx)
			both = both || err == nil && live[one.Pods[0].id()].runs() && live[two.Pods[0].id()] != nil && live[two.Pods[0].id()].runs()
			time.Sleep(50 * time.Millisecond)
		}
		together <- both
	}()
	w.must(w.Switch(t.Context(), two))
	cancel()
	if !<-together {
		t.Error("they were never seen together")
	}
	w.same("running", w.running(), []string{two.Pods[0].id()})
}

func TestAPodThatIsNotReadyInTimeGivesWayToTheOld(t *testing.T) {
	w := newSlowWorld(t)
	w.deploy("r1", newPod("api"), newPod("web", hostPort(8095)))
	before := w.containers("api", "web")
	w.steady = time.Hour
	two := w.prepare("r2", newPod("api", env("A", "b")), newPod("web", hostPort(8095), env("A", "b")))
	for i := range two.Pods {
		two.Pods[i].Deadline = 1
	}
	err := w.Switch(t.Context(), two)
	if err == nil || !strings.Contains(err.Error(), "is not ready after 1s: it has just started") {
		t.Fatalf("error: %v", err)
	}
	w.same("all containers", w.containers("api", "web"), before)
}

// While a switch waits for one pod, another that dies comes back.
func TestASwitchThatWaitsHealsTheOthers(t *testing.T) {
	w := newSlowWorld(t)
	one := w.deploy("r1", newPod("api"), newPod("web"))
	w.steady = 6 * time.Second
	two := w.prepare("r2", newPod("api"), newPod("web", env("A", "b")))
	done := make(chan error)
	go func() { done <- w.Switch(context.WithoutCancel(t.Context()), two) }()
	api := of(one, "api").id()
	w.until("the next web runs", func() bool { return slices.Contains(w.running(), of(two, "web").id()) })
	w.must(w.stopPod(t.Context(), api))
	w.until("api is back", func() bool { return slices.Contains(w.running(), api) })
	select {
	case err := <-done:
		t.Fatalf("the switch was over before: %v", err)
	default:
	}
	w.must(<-done)
}

func (w *world) until(what string, is func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("waited 10 s until %s", what)
		}
	}
}
