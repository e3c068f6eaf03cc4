package podman

import (
	"context"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/collie/manifests"
)

func TestWhatARevisionMayRemove(t *testing.T) {
	pods := func(names ...string) (all []RenderedPod) {
		for _, name := range names {
			all = append(all, RenderedPod{Name: name, Kind: "Pod"})
		}
		return all
	}
	stays := RenderedPod{Name: "kept", Kind: "Pod", Options: manifests.Options{Stays: true}}
	revision := func(names ...string) *manifests.Manifests {
		m := &manifests.Manifests{}
		for _, name := range names {
			if claim, is := strings.CutPrefix(name, "claim "); is {
				m.Claims = append(m.Claims, &manifests.Claim{Name: claim, File: "pods/c.yaml", Line: 3})
				continue
			}
			m.Pods = append(m.Pods, &manifests.Pod{Name: name, Kind: "Pod", File: "pods/p.yaml", Line: 2})
		}
		return m
	}
	for _, c := range []struct {
		name string
		have inventoryState
		m    *manifests.Manifests
		may  []string
		want string
	}{
		{"one of two", inventoryState{Pods: pods("a", "b")}, revision("a"), nil, ""},
		{"a job ends anyway", inventoryState{Pods: []RenderedPod{{Name: "a", Kind: "Pod"}, {Name: "b", Kind: "Job"}}}, revision(), nil, ""},
		{"the only one", inventoryState{Pods: pods("a")}, revision(), nil, ""},
		{"all", inventoryState{Pods: pods("a", "b")}, revision(), nil,
			"it would remove all 2 pods: Pod/a, Pod/b\n  hint: if that is meant, say in collie.yaml: prune: [Pod/a, Pod/b]"},
		{"all, for another", inventoryState{Pods: pods("a", "b")}, revision("c"), nil,
			"it would remove all 2 pods: Pod/a, Pod/b\n  hint: if that is meant, say in collie.yaml: prune: [Pod/a, Pod/b]"},
		{"all, as said", inventoryState{Pods: pods("a", "b")}, revision(), []string{"Pod/b", "Pod/a"}, ""},
		{"all, half said", inventoryState{Pods: pods("a", "b")}, revision(), []string{"Pod/a"},
			"it would remove all 2 pods: Pod/a, Pod/b\n  hint: if that is meant, say in collie.yaml: prune: [Pod/a, Pod/b]"},
		{"all but one that stays anyway", inventoryState{Pods: append(pods("a", "b"), stays)}, revision(), nil,
			"it would remove all 2 pods: Pod/a, Pod/b\n  hint: if that is meant, say in collie.yaml: prune: [Pod/a, Pod/b]"},
		{"one of another kind takes its place", inventoryState{Pods: []RenderedPod{{Name: "a", Kind: "Deployment"}, {Name: "b", Kind: "Deployment"}}}, revision("a", "b"), nil, ""},
		{"a claim", inventoryState{Claims: []string{"data"}}, revision(), nil,
			"it no longer has PersistentVolumeClaim/data\n  hint: if that is meant, say in collie.yaml: prune: [PersistentVolumeClaim/data]"},
		{"a claim, as said", inventoryState{Claims: []string{"data"}}, revision(), []string{"PersistentVolumeClaim/data"}, ""},
		{"another claim was said", inventoryState{Claims: []string{"data", "other"}}, revision(), []string{"PersistentVolumeClaim/other"},
			"it no longer has PersistentVolumeClaim/data, PersistentVolumeClaim/other\n  hint: if that is meant, say in collie.yaml: prune: [PersistentVolumeClaim/data, PersistentVolumeClaim/other]"},
		{"both", inventoryState{Pods: pods("a", "b"), Claims: []string{"data"}}, revision(), nil,
			"it would remove all 2 pods: Pod/a, Pod/b, and it no longer has PersistentVolumeClaim/data\n" +
				"  hint: if that is meant, say in collie.yaml: prune: [Pod/a, Pod/b, PersistentVolumeClaim/data]"},
		{"forgotten", inventoryState{Claims: []string{"data"}}, revision("claim data"), []string{"PersistentVolumeClaim/data"},
			"collie.yaml: prune: PersistentVolumeClaim/data may go, but it is in pods/c.yaml:3\n  hint: remove the one or the other"},
		{"said of what was never there", inventoryState{}, revision(), []string{"Pod/a"}, ""},
		{"no name", inventoryState{}, revision(), []string{"data"}, "collie.yaml: prune: \"data\" names nothing\n  hint: write KIND/NAME, as Pod/web or PersistentVolumeClaim/data"},
		{"no kind", inventoryState{}, revision(), []string{"Claim/data"}, "collie.yaml: prune: \"Claim/data\" names nothing\n  hint: write KIND/NAME, as Pod/web or PersistentVolumeClaim/data"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ""
			if err := c.have.guard(c.m, c.may); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// options are what a pod asks for by annotations.
func optional(set func(o *manifests.Options)) change {
	return func(p *manifests.Pod, _, _ map[string]any) { set(&p.Options) }
}

var (
	stays = optional(func(o *manifests.Options) { o.Stays = true })
	alone = optional(func(o *manifests.Options) { o.Alone = true })
	adopt = optional(func(o *manifests.Options) { o.Adopt = true })
)

// byHand makes and starts a pod as somebody else would.
func (w *world) byHand(name string, changes ...change) {
	w.t.Helper()
	raw, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": []any{newPod(name, changes...).Doc}})
	w.must(err)
	w.prepare("0", newPod("puller")) // the image is there
	w.must(w.play(w.t.Context(), raw))
	w.must(w.startPod(w.t.Context(), name, nil))
	w.t.Cleanup(func() { _ = w.removePod(context.Background(), name) })
}

func (w *world) notes(r Rendered) []string {
	w.t.Helper()
	all, err := w.List(w.t.Context(), r)
	w.must(err)
	var lines []string
	for _, s := range all {
		lines = append(lines, s.Name+" "+s.State+": "+s.Note)
	}
	return lines
}

func TestAPodThatLeftTheRepositoryGoesOnIfItSaysSo(t *testing.T) {
	w := newWorld(t)
	w.deploy("1", newPod("kept", stays), newPod("other"))
	before := w.containers("kept")
	r := w.deploy("2", newPod("other"))
	w.must(w.Keep(t.Context(), []Rendered{r}))
	w.same("it goes on", w.containers("kept"), before)
	w.same("the status tells", w.notes(r), []string{"kept running: " + leftSays, "other running: "})
	w.must(w.stopPod(t.Context(), of(r, "kept").id()))
	w.switchTo(r)
	w.same("what stops of itself is healed", ids(w.containers("kept"), "kept"), ids(before, "kept"))
	r = w.deploy("3", newPod("other"), newPod("third"))
	w.same("and it goes on with the next revision, too", ids(w.containers("kept"), "kept"), ids(before, "kept"))
	w.must(w.removePod(t.Context(), of(r, "kept").id()))
	w.same("removed by hand, it is gone", w.diff(r), nil)
	r = w.deploy("4", newPod("other"), newPod("third"))
	w.same("and forgotten", w.notes(r), []string{"other running: ", "third running: "})
}

// Who deletes all that the agent knows doesn't remove such a pod.
func TestAPodThatLeftTheRepositoryGoesOnWithoutTheInventory(t *testing.T) {
	w := newWorld(t)
	w.deploy("1", newPod("kept", stays), newPod("other"))
	w.deploy("2", newPod("other"))
	before := w.containers("kept")
	w.inventory.state, w.inventory.known = inventoryState{}, false
	r := w.deploy("3", newPod("other"), newPod("third"))
	w.must(w.Keep(t.Context(), []Rendered{r}))
	w.same("it goes on", w.containers("kept"), before)
}

func TestAPodIsLeftAloneIfItSaysSo(t *testing.T) {
	w := newWorld(t)
	r := w.deploy("1", newPod("mine", alone))
	before := w.containers("mine")
	r2 := w.deploy("2", newPod("mine", alone, env("A", "b")))
	w.must(w.Keep(t.Context(), []Rendered{r2}))
	w.same("it is made once, and not replaced", w.containers("mine"), before)
	w.must(w.stopPod(t.Context(), of(r, "mine").id()))
	w.same("nor healed", w.diff(r2), nil)
	w.same("nor a problem", w.problems(r2, time.Time{}), nil)
	w.same("the status tells", w.notes(r2), []string{"mine stopped: left alone, as collie.io/reconcile is disabled"})
}

func TestAPodMadeByHandIsTakenOverIfItsPlaceIsAskedFor(t *testing.T) {
	w := newWorld(t)
	none := w.deploy("0", newPod("other"))
	w.byHand("web", hostPort(8097))
	prepared := func(pods ...*manifests.Pod) string {
		_, err := w.Prepare(t.Context(), &manifests.Manifests{Pods: pods}, "1", func(string) {})
		if err == nil {
			return ""
		}
		return err.Error()
	}
	if says := prepared(newPod("web")); !strings.Contains(says, "pods/web.yaml:1: metadata.name: there is a pod web that isn't Collie's") {
		t.Errorf("its name is free: %s", says)
	}
	if says := prepared(newPod("api", hostPort(8097))); !strings.Contains(says, "8097 is taken by pod web, which isn't Collie's") {
		t.Errorf("its port is free: %s", says)
	}
	w.same("it runs", w.running(), []string{of(none, "other").id(), "web"})

	taken := w.deploy("1", newPod("other"), newPod("web", hostPort(8097), adopt))
	w.same("its place is taken", w.running(), []string{of(none, "other").id(), of(taken, "web").id()})
	w.must(w.Keep(t.Context(), []Rendered{none, taken}))
	w.switchTo(none)
	w.same("a return starts it again", w.running(), []string{of(none, "other").id(), "web"})
	w.must(w.Keep(t.Context(), []Rendered{none}))
	w.same("and keeps it", w.running(), []string{of(none, "other").id(), "web"})
	w.switchTo(taken)
	w.must(w.Keep(t.Context(), []Rendered{taken}))
	if info, err := w.inspectPod(t.Context(), "web"); err != nil || info != nil {
		t.Errorf("once the revision is good it is still there: %v, %v", info, err)
	}
}

// A pod of ours of which only the infra container is left holds its port, and isn't taken for somebody else's.
func TestAPodWithoutContainersHoldsItsOwnPort(t *testing.T) {
	w := newWorld(t)
	r := w.deploy("1", newPod("web", hostPort(8095)))
	_, err := w.ask(t.Context(), request{method: "DELETE", endpoint: "/containers/%s", names: []string{of(r, "web").id() + "-c"},
		query: url.Values{"force": {"true"}, "timeout": {"0"}}}, nil)
	w.must(err)
	next := w.deploy("2", newPod("web", hostPort(8095), env("A", "b")))
	w.same("the next has it", w.running(), []string{of(next, "web").id()})
}

// Podman doesn't list it: it is found as soon as it is in the way.
func TestAPodThatLostAllContainersIsHealedAtOnce(t *testing.T) {
	w := newWorld(t)
	r := w.deploy("1", newPod("web"))
	pod := of(r, "web")
	w.must(w.removePod(t.Context(), pod.id()))
	_, err := w.ask(t.Context(), request{method: "POST", endpoint: "/pods/create",
		body: map[string]any{"name": pod.id(), "no_infra": true, "labels": map[string]string{labelOwner: owner, labelObject: "Pod/web"}}}, nil)
	if w.fake != nil {
		w.fake.pods[pod.id()], err = &fakePod{Name: pod.id(), Labels: map[string]string{labelOwner: owner, labelObject: "Pod/web"}}, nil
	}
	w.must(err)
	w.must(w.Heal(t.Context(), r))
	w.same("it runs", w.running(), []string{pod.id()})
}

func TestTheInventoryOutlivesTheAgent(t *testing.T) {
	file := filepath.Join(t.TempDir(), "inventory.json")
	w := newWorld(t)
	w.must(w.TakeInventory(file))
	r := w.prepare("1", newPod("a", stays), newPod("b", mounts("data")))
	r.Claims = []string{"data", "given-up"}
	t.Cleanup(func() {
		_ = w.Keep(context.Background(), nil)
		_ = w.removeVolume(context.Background(), "data")
		_ = w.removeVolume(context.Background(), "given-up")
	})
	w.switchTo(r)
	next := Connect(w.socket)
	w.must(next.TakeInventory(file))
	state, err := next.stock(t.Context())
	w.must(err)
	if len(state.Pods) != 2 || state.Pods[0].Kube == nil || state.Pods[1].Kube != nil || !slices.Equal(state.Claims, []string{"data", "given-up"}) {
		t.Errorf("it knows %+v", state)
	}
	info, err := os.Stat(file)
	w.must(err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("its mode is %o", info.Mode().Perm())
	}
	w.must(os.WriteFile(file, []byte("{"), 0o600))
	lost := Connect(w.socket)
	lost.alive = w.alive
	if err := lost.TakeInventory(file); err == nil || !strings.Contains(err.Error(), "makes no sense") {
		t.Errorf("one that makes no sense: %v", err)
	}
	if kept, err := os.ReadFile(file); string(kept) != "{" {
		t.Errorf("it is %q by now, %v", kept, err)
	}
	state, err = lost.stock(t.Context()) // as if somebody had moved it away
	w.must(err)
	if len(state.Pods) != 2 || !state.Pods[0].Options.Stays || state.Pods[1].Options.Stays || !slices.Equal(state.Claims, []string{"data"}) {
		t.Errorf("of what Podman has it knows %+v", state)
	}

	// A claim that no commit of this state had refuses none, whether its volume is there or not; one with its pod does.
	guard := func(m *manifests.Manifests) string {
		if err := lost.Guard(t.Context(), m, nil); err != nil {
			return err.Error()
		}
		return ""
	}
	pods := []*manifests.Pod{newPod("a", stays), newPod("b")}
	if says := guard(&manifests.Manifests{Pods: pods, Claims: []*manifests.Claim{{Name: "data"}}}); says != "" {
		t.Errorf("a claim given up long ago refuses it: %s", says)
	}
	if says := guard(&manifests.Manifests{Pods: pods}); !strings.HasPrefix(says, "it no longer has PersistentVolumeClaim/data\n") {
		t.Errorf("a claim that a pod mounts may go: %q", says)
	}
	w.must(w.stopPod(t.Context(), of(r, "b").id()))
	if says := guard(&manifests.Manifests{Pods: pods}); !strings.HasPrefix(says, "it no longer has PersistentVolumeClaim/data\n") {
		t.Errorf("a claim that a stopped pod mounts may go: %q", says)
	}

	// From the next switch on all is known again.
	w.must(lost.Switch(t.Context(), r))
	if says := guard(&manifests.Manifests{Pods: pods}); !strings.HasPrefix(says, "it no longer has PersistentVolumeClaim/data, PersistentVolumeClaim/given-up\n") {
		t.Errorf("after a switch: %q", says)
	}
}

// mounts has a pod mount the volume of a claim.
func mounts(claim string) change {
	return func(_ *manifests.Pod, spec, c map[string]any) {
		spec["volumes"] = []any{map[string]any{"name": "d", "persistentVolumeClaim": map[string]any{"claimName": claim}}}
		c["volumeMounts"] = []any{map[string]any{"name": "d", "mountPath": "/d"}}
	}
}
