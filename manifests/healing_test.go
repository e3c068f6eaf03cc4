package manifests

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestHealingTakesItsTimeWithAPodThatIsTakenDownEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &healings{}
		begun := time.Now()
		var at []time.Duration
		for len(at) < 12 { // somebody stops it at once, whenever it runs
			if h.waits("web-1", time.Now()) == "" {
				h.note("web-1", "container c ended with exit code 137", time.Now())
				at = append(at, time.Since(begun))
			}
			time.Sleep(time.Second)
		}
		want := []time.Duration{0, 1, 2, 12, 32, 72, 152, 312, 612, 912, 1212, 1512}
		for i := range want {
			want[i] *= time.Second
		}
		if !slices.Equal(at, want) {
			t.Errorf("healed after\n%v, want\n%v", at, want)
		}
		const says = "it had to be healed 12 times in 25m12s, by whose doing Collie doesn't know; it is healed again in 4m59s; " +
			"the last time it was found so: container c ended with exit code 137"
		if got := h.waits("web-1", time.Now()); got != says {
			t.Errorf("got  %s\nwant %s", got, says)
		}
		if h.waits("web-2", time.Now()) != "" {
			t.Error("another pod waits with it")
		}
		time.Sleep(healMemory)
		if h.waits("web-1", time.Now()) != "" {
			t.Error("it is remembered for ever")
		}
		h.note("web-1", "", time.Now())
		if n := len(h.of["web-1"].times); n != 1 {
			t.Errorf("after that it was healed %d times", n)
		}
	})
}

func TestAPodThatIsTakenDownEachTimeIsAProblem(t *testing.T) {
	w := newWorld(t)
	r := w.deploy("1", newPod("web"), newPod("other"))
	stop := func() {
		w.t.Helper()
		w.must(w.stopPod(t.Context(), of(r, "web").id()))
	}
	for range healFree {
		stop()
		w.same("it is to be healed", w.diff(r), []string{"start pod web"})
		w.must(w.Heal(t.Context(), r))
		w.same("and is", w.diff(r), nil)
	}
	stop()
	changes, err := w.Diff(t.Context(), r)
	w.must(err)
	if len(changes) != 1 || !changes[0].Waits {
		t.Errorf("it doesn't wait: %+v", changes)
	}
	w.must(w.Heal(t.Context(), r))
	w.same("it isn't healed at once", w.running(), []string{of(r, "other").id()})
	problems := w.problems(r, time.Time{})
	if len(problems) != 1 || !strings.HasPrefix(problems[0], "pod web: it had to be healed 3 times in ") || !strings.Contains(problems[0], "the last time it was found so: container c ended with exit code 137 (pods/web.yaml:1)") {
		t.Errorf("the problems: %q", problems)
	}
	w.switchTo(r) // somebody wants it now
	w.same("nothing is left of it", w.problems(r, time.Time{}), nil)
}

func TestAPodThatCannotBeHealedKeepsNoOtherDown(t *testing.T) {
	w := newWorld(t)
	r := w.deploy("1", newPod("a", hostPort(8096)), newPod("b"))
	for _, name := range []string{"a", "b"} {
		w.must(w.stopPod(t.Context(), of(r, name).id()))
	}
	w.byHand("theirs", hostPort(8096))
	if err := w.Heal(t.Context(), r); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("error: %v", err)
	}
	w.same("the other is well", w.running(), []string{of(r, "b").id(), "theirs"})
}
