package manifests

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

func orderedPod(name, wave, dependsOn string) string {
	text := "apiVersion: v1\nkind: Pod\nmetadata:\n  name: " + name + "\n  annotations:\n    x: y\n"
	if wave != "" {
		text += "    collie.io/wave: \"" + wave + "\"\n"
	}
	if dependsOn != "" {
		text += "    collie.io/depends-on: " + dependsOn + "\n"
	}
	return text + "spec:\n  containers: [{name: c, image: i:1}]\n"
}

func TestMistakesInTheOrderOfPods(t *testing.T) {
	for _, c := range []struct {
		name string
		pods []string
		want string
	}{
		{"a wave that is none", []string{orderedPod("a", "soon", "")}, `a.yaml:7: metadata.annotations[collie.io/wave]: "soon" is not supported
    write a whole number from -1000 to 1000, as text: "1"
`},
		{"no such pod", []string{orderedPod("web", "", "dbb"), orderedPod("db", "", "")}, `a.yaml:7: metadata.annotations[collie.io/depends-on]: there is no pod "dbb"
    did you mean db?
`},
		{"itself", []string{orderedPod("web", "", "web")}, `a.yaml:7: metadata.annotations[collie.io/depends-on]: "web" can't depend on itself
    leave it out
`},
		{"one of a later wave", []string{orderedPod("web", "", "db"), orderedPod("db", "1", "")}, `a.yaml:7: metadata.annotations[collie.io/depends-on]: "db" comes later, in wave 1 (b.yaml:4)
    give it a wave that isn't higher
`},
		{"a circle, told once", []string{orderedPod("a", "", "b"), orderedPod("b", "", "c"), orderedPod("c", "", "a")}, `a.yaml:7: metadata.annotations[collie.io/depends-on]: pods wait for each other: a → b → c → a
    leave one of them out
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree := fstest.MapFS{}
			for i, text := range c.pods {
				tree[string(rune('a'+i))+".yaml"] = &fstest.MapFile{Data: []byte(text)}
			}
			_, err := Load(tree, ".")
			var mistakes Errors
			if !errors.As(err, &mistakes) || told(mistakes) != c.want {
				t.Errorf("got\n%swant\n%s", told(mistakes), c.want)
			}
		})
	}
}

func TestAWaveAndWhatAPodDependsOnAreRead(t *testing.T) {
	m, err := Load(files("a.yaml", orderedPod("web", "-1", "db, api,db"), "b.yaml", orderedPod("db", "-2", ""), "c.yaml", orderedPod("api", "-1", "")), ".")
	if err != nil {
		t.Fatal(err)
	}
	if o := m.Pods[2].Options; o.Wave != -1 || !slices.Equal(o.DependsOn, []string{"api", "db"}) {
		t.Errorf("got %+v", o)
	}
}

func TestRanksOfPods(t *testing.T) {
	pod := func(name string, wave int, dependsOn ...string) RenderedPod {
		return RenderedPod{Name: name, Options: Options{Wave: wave, DependsOn: dependsOn}}
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

func wave(n int) change { return func(p *Pod, _, _ map[string]any) { p.Options.Wave = n } }

func dependsOn(names ...string) change {
	return func(p *Pod, _, _ map[string]any) { p.Options.DependsOn = names }
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
	pods := func(value string) []*Pod {
		e := env("A", value)
		return []*Pod{newPod("a", wave(1), e), newPod("b", e), newPod("c", dependsOn("b"), e), newPod("d", wave(1), e)}
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
