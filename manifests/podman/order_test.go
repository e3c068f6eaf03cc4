package podman

import (
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/collie/manifests"
)

func TestRanksOfPods(t *testing.T) {
	pod := func(name string, wave int, dependsOn ...string) RenderedPod {
		return RenderedPod{Name: name, Options: manifests.Options{Wave: wave, DependsOn: dependsOn}}
	}
	for _, c := range []struct {
		name string
		pods []RenderedPod
		want string // names by rank
	}{
		{"none is asked for", []RenderedPod{pod("a", 0), pod("b", 0)}, "a b"},
		{"waves", []RenderedPod{pod("a", 2), pod("b", 0), pod("c", -1), pod("d", 2)}, "c | b | a d"},
		{"what depends on what", []RenderedPod{pod("web", 0, "api", "db"), pod("api", 0, "db"), pod("db", 0), pod("x", 0)}, "db x | api | web"},
		{"within waves", []RenderedPod{pod("web", 1, "db"), pod("db", 0), pod("api", 1, "web")}, "db | web | api"},
	} {
		t.Run(c.name, func(t *testing.T) {
			of := ranks(c.pods)
			var got []string
			for rank := range len(c.pods) {
				var names []string
				for name, r := range of {
					if r == rank {
						names = append(names, name)
					}
				}
				if slices.Sort(names); names != nil {
					got = append(got, strings.Join(names, " "))
				}
			}
			if s := strings.Join(got, " | "); s != c.want {
				t.Errorf("got %s, want %s", s, c.want)
			}
		})
	}
}

func wave(n int) change { return func(p *manifests.Pod, _, _ map[string]any) { p.Options.Wave = n } }

func dependsOn(names ...string) change {
	return func(p *manifests.Pod, _, _ map[string]any) { p.Options.DependsOn = names }
}

// inOrder wants each group of running pods to have been started after those before it. Podman tells starts in whole seconds.
func (w *world) inOrder(what string, groups ...[]string) {
	w.t.Helper()
	live, err := w.observe(w.t.Context())
	w.must(err)
	at := map[string]int64{}
	for _, l := range live {
		if l.runs() {
			at[l.object()] = l.startedAt()
		}
	}
	for i, group := range groups[1:] {
		for _, later := range group {
			for _, sooner := range groups[i] {
				if at[later] <= at[sooner] {
					w.t.Errorf("%s: %s didn't start after %s: %v", what, later, sooner, at)
				}
			}
		}
	}
}

func TestPodsStartInOrderOnceThoseBeforeAreReady(t *testing.T) {
	w := newSlowWorld(t)
	w.steady = 1100 * time.Millisecond
	pods := func(value string) []*manifests.Pod {
		e := env("A", value)
		return []*manifests.Pod{newPod("a", wave(1), e), newPod("b", e), newPod("c", dependsOn("b"), e), newPod("d", wave(1), e)}
	}
	one := w.prepare("r1", pods("1")...)
	w.must(w.Switch(t.Context(), one))
	w.inOrder("started", []string{"b"}, []string{"c"}, []string{"a", "d"})

	two := w.prepare("r2", pods("2")...)
	w.must(w.Switch(t.Context(), two))
	w.inOrder("started anew", []string{"b"}, []string{"c"}, []string{"a", "d"})

	for _, pod := range two.Pods {
		w.must(w.stopPod(t.Context(), pod.id()))
	}
	w.must(w.Heal(t.Context(), two))
	w.inOrder("healed", []string{"b"}, []string{"c"}, []string{"a", "d"})
}

func TestWhatFollowsAPodThatIsNotReadyIsNotTouched(t *testing.T) {
	w := newWorld(t)
	w.deploy("r1", newPod("db"), newPod("web"))
	before := w.containers("db", "web")
	w.steady = 2 * time.Second
	two := w.prepare("r2", newPod("db", command("/bin/sh", "-c", "echo x; exit 1"), restart("Never")), newPod("web", env("A", "b"), dependsOn("db")))
	err := w.Switch(t.Context(), two)
	if err == nil || !strings.Contains(err.Error(), "pod db (pods/db.yaml:1): "+of(two, "db").id()+" is not ready: container c ended with exit code 1") {
		t.Fatalf("error: %v", err)
	}
	w.same("all containers", w.containers("db", "web"), before)
}
