package podman

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestHealingTakesItsTimeWithAPodThatIsTakenDownEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &healBackoff{}
		ill := step{pod: RenderedPod{Name: "web", Hash: "1"}, ill: []string{"container c ended with exit code 137"}}
		begun := time.Now()
		var at []time.Duration
		for len(at) < 12 { // somebody stops it at once, whenever it runs
			if h.waits("web-1", time.Now()) == "" {
				h.note(ill, nil, time.Now())
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
		const says = "it had to be healed 12 times in 25m12s, and Collie doesn't know why; it is healed again in 4m59s; " +
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
		h.note(ill, nil, time.Now())
		if n := len(h.of["web-1"].times); n != 1 {
			t.Errorf("after that it was healed %d times", n)
		}
	})
}

// Tries that fail are no heals: they have a pause of their own, and their cause stays what is wrong with the pod.
func TestATryThatFailsIsNoHealing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &healBackoff{}
		ill := step{pod: RenderedPod{Name: "web", Hash: "1", File: "pods/web.yaml", Line: 1}, ill: []string{"is gone"}}
		cause := errors.New("pod web (pods/web.yaml:1): making web-1: image web:1 isn't here any more: connection refused\nending web-1: no such pod")
		begun := time.Now()
		var at []time.Duration
		for len(at) < 6 {
			if h.waits("web-1", time.Now()) == "" {
				h.note(ill, cause, time.Now())
				at = append(at, time.Since(begun)/time.Second)
			}
			time.Sleep(time.Second)
		}
		if want := []time.Duration{0, 1, 2, 12, 32, 72}; !slices.Equal(at, want) {
			t.Errorf("tried after %d s, want %d", at, want)
		}
		const says = "it can't be healed: making web-1: image web:1 isn't here any more: connection refused; tried 6 times in 1m12s, and again in 1m19s"
		if got := h.waits("web-1", time.Now()); got != says {
			t.Errorf("got  %s\nwant %s", got, says)
		}
		h.note(ill, &SilentError{"podman.sock", errors.New("no such file")}, time.Now())
		if n := len(h.of["web-1"].tries); n != 6 {
			t.Errorf("a Podman that doesn't answer counts: %d tries", n)
		}
		time.Sleep(2 * time.Minute)
		h.note(ill, nil, time.Now())
		if got := h.waits("web-1", time.Now()); got != "" {
			t.Errorf("it was healed, and waits: %s", got)
		}
		if n := len(h.of["web-1"].times); n != 1 {
			t.Errorf("it was healed %d times, want 1", n)
		}
	})
}

// Whatever keeps a pod from being healed is what is wrong with it, look after look, until it is healed.
func TestTheCauseStaysOfAPodThatCannotBeHealed(t *testing.T) {
	for name, tt := range map[string]struct {
		obstruct, clear func(w *world, r Rendered)
		says            string
	}{
		"its image is gone, and the registry is away": {
			func(w *world, r Rendered) { delete(w.fake.images, imageOne); w.fake.deaf = true },
			func(w *world, r Rendered) { w.fake.deaf = false },
			"connection refused",
		},
		"its Secret is gone": {
			func(w *world, r Rendered) {
				w.fake.secrets = map[string]fakeSecret{}
				w.fake.answers["POST /play/kube"] = func(rw http.ResponseWriter, _ *http.Request) {
					reject(rw, 500, "no secret with name or id \"db-1\": no such secret")
				}
			},
			func(w *world, r Rendered) { delete(w.fake.answers, "POST /play/kube") },
			"no such secret",
		},
		"the disk is full": {
			func(w *world, r Rendered) {
				w.fake.answers["POST /play/kube"] = func(rw http.ResponseWriter, _ *http.Request) {
					reject(rw, 500, "creating container storage: no space left on device")
				}
			},
			func(w *world, r Rendered) { delete(w.fake.answers, "POST /play/kube") },
			"no space left on device",
		},
		"its volume can't be made": {
			func(w *world, r Rendered) {
				w.fake.answers["POST /play/kube"] = func(rw http.ResponseWriter, _ *http.Request) {
					reject(rw, 500, "no such volume data")
				}
			},
			func(w *world, r Rendered) { delete(w.fake.answers, "POST /play/kube") },
			"no such volume data",
		},
		"its network can't be made": {
			func(w *world, r Rendered) {
				w.fake.answers["POST /pods/"+of(r, "web").id()+"/start"] = func(rw http.ResponseWriter, _ *http.Request) {
					answer(rw, 409, map[string]any{"Errs": []string{"netavark: nftables error"}})
				}
			},
			func(w *world, r Rendered) { delete(w.fake.answers, "POST /pods/"+of(r, "web").id()+"/start") },
			"nftables error",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newFakeWorld(t)
			r := w.deploy("1", newPod("web"))
			w.must(w.removePod(t.Context(), of(r, "web").id()))
			tt.obstruct(w, r)
			for range healFree {
				if err := w.Heal(t.Context(), r); err == nil || !strings.Contains(err.Error(), tt.says) {
					t.Fatalf("healing: %v", err)
				}
			}
			w.must(w.Heal(t.Context(), r)) // it waits
			problems := w.problems(r, time.Time{})
			if len(problems) != 1 || !strings.Contains(problems[0], "pod web: it can't be healed: ") || !strings.Contains(problems[0], tt.says) || strings.Contains(problems[0], "had to be healed") {
				t.Errorf("the problems: %q", problems)
			}
			changes, err := w.Diff(t.Context(), r)
			w.must(err)
			if len(changes) != 1 || !changes[0].Deferred {
				t.Errorf("the changes: %+v", changes)
			}
			tt.clear(w, r)
			for _, one := range w.healBackoff.of {
				one.tries = one.tries[:1] // as if its time had come
			}
			w.must(w.Heal(t.Context(), r))
			w.same("healed", w.problems(r, time.Time{}), nil)
		})
	}
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
	if len(changes) != 1 || !changes[0].Deferred {
		t.Errorf("it doesn't wait: %+v", changes)
	}
	w.must(w.Heal(t.Context(), r))
	w.same("it isn't healed at once", w.running(), []string{of(r, "other").id()})
	problems := w.problems(r, time.Time{})
	if len(problems) != 1 || !strings.HasPrefix(problems[0], "pod web: it had to be healed 3 times in ") || !strings.Contains(problems[0], "the last time it was found so: container c ended with exit code 137 (SIGKILL) (pods/web.yaml:1)") {
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
