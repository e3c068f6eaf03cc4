package podman

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestAPodIsMadeOnce(t *testing.T) {
	w := newWorld(t)
	r := w.prepare("r1", newPod("web"), newPod("api"))
	w.same("diff", w.diff(r), []string{"create pod api", "create pod web"})
	w.switchTo(r)
	before := w.containers("web", "api")
	if len(before) != 2 {
		t.Fatalf("containers: %q", before)
	}
	if w.fake != nil {
		w.fake.forget()
	}
	w.switchTo(r)
	w.switchTo(w.prepare("r2", newPod("web"), newPod("api")))
	w.same("containers of an equal revision", w.containers("web", "api"), before)
	if w.fake != nil {
		w.same("writing calls", w.fake.writes(), nil)
	}
	w.same("problems", w.problems(r, time.Time{}), nil)

	pods, err := w.List(t.Context(), r)
	w.must(err)
	if want := (PodStatus{Name: "web", Ready: true, Revision: "r1", State: "running"}); pods[1] != want {
		t.Errorf("list: got %+v, want %+v", pods[1], want)
	}
}

func TestAnUnchangedRevisionCostsOneCall(t *testing.T) {
	w := newWorld(t)
	if w.fake == nil {
		t.Log("the calls are counted at the fake")
		return
	}
	r := w.deploy("r1", newPod("web"), newPod("api"))
	w.fake.forget()
	w.same("diff", w.diff(r), nil)
	w.same("calls", w.fake.log(), []string{"GET /containers/json"})
}

func TestOnlyWhatChangedIsReplaced(t *testing.T) {
	w := newWorld(t)
	one := w.deploy("r1", newPod("web"), newPod("api"))
	api, web := w.containers("api"), w.containers("web")

	two := w.prepare("r2", newPod("web", env("A", "b")), newPod("api"))
	w.same("diff", w.diff(two), []string{"replace pod web"})
	w.switchTo(two)
	w.same("the other's containers", w.containers("api"), api)
	if after := w.containers("web"); len(after) != 2 {
		t.Fatalf("the old pod should stay, stopped, beside the next: %q", after)
	}
	w.same("running", w.running(), []string{of(one, "api").id(), of(two, "web").id()})

	w.switchTo(one)
	w.same("running after the way back", w.running(), []string{of(one, "api").id(), of(one, "web").id()})
	w.same("containers after the way back", ids(w.containers("web"), of(one, "web").id()), ids(web, of(one, "web").id()))
}

func TestPodsThatLeftStopAndGoWhenNobodyKeepsThem(t *testing.T) {
	w := newWorld(t)
	one := w.deploy("r1", newPod("web"), newPod("api"))
	api := w.containers("api")
	two := w.prepare("r2", newPod("web"))
	w.same("diff", w.diff(two), []string{"remove pod api"})
	w.switchTo(two)

	w.must(w.Keep(t.Context(), []Rendered{one, two}))
	if len(w.containers("api")) != 1 {
		t.Fatalf("a pod that is kept is gone")
	}
	w.switchTo(one)
	w.same("the same containers", w.containers("api"), api)
	w.switchTo(two)
	w.must(w.Keep(t.Context(), []Rendered{two}))
	w.same("what nobody keeps", w.containers("api"), nil)
	w.same("diff", w.diff(two), nil)
}

func TestKeepStopsWhatRunsUnnamed(t *testing.T) {
	w := newWorld(t)
	w.deploy("r1", newPod("web"))
	w.must(w.Keep(t.Context(), nil))
	w.same("containers", w.containers("web"), nil)
}

func TestAPodThatCannotBeMadeLeavesTheOldAlone(t *testing.T) {
	w := newWorld(t)
	w.deploy("r1", newPod("web"), newPod("api"))
	before := w.containers("web", "api")
	two := w.prepare("r2", newPod("api", env("A", "b")), newPod("web", env("A", "b")))
	of(two, "web").Kube = json.RawMessage(strings.ReplaceAll(string(of(two, "web").Kube), of(two, "web").Images[imageOne], strings.Repeat("0", 64)))
	err := w.Switch(t.Context(), two)
	if err == nil || !strings.Contains(err.Error(), "pod web (pods/web.yaml:1)") {
		t.Fatalf("error: %v", err)
	}
	w.same("all containers, also the leftovers'", w.containers("web", "api"), before)
}

func TestAPodThatCannotStartGivesWayToTheOld(t *testing.T) {
	w := newWorld(t)
	one := w.deploy("r1", newPod("web"), newPod("api"))
	before := w.containers("web", "api")
	two := w.prepare("r2", newPod("api", env("A", "b")), newPod("web", command("/nope")))
	err := w.Switch(t.Context(), two)
	if err == nil || !strings.Contains(err.Error(), "pod web (pods/web.yaml:1)") || !strings.Contains(err.Error(), "/nope") {
		t.Fatalf("error: %v", err)
	}
	w.same("all containers", w.containers("web", "api"), before)
	w.switchTo(one)
	w.same("all containers after the way back", w.containers("web", "api"), before)
}

func TestAKeptPodThatCannotStartStaysAndTheOtherRuns(t *testing.T) {
	w := newWorld(t)
	bad := newPod("web", command("/nope"))
	two := w.prepare("r2", bad)
	w.must(w.ensureAndPlay(two.Pods[0]))
	one := w.deploy("r1", newPod("web"))
	if err := w.Switch(t.Context(), two); err == nil {
		t.Fatal("no error")
	}
	w.same("running", w.running(), []string{one.Pods[0].id()})
	if got := w.containers("web"); len(got) != 2 {
		t.Errorf("containers: %q", got)
	}
}

func TestALeftoverThatIsWholeIsStarted(t *testing.T) {
	w := newWorld(t)
	r := w.prepare("r1", newPod("web"))
	w.must(w.ensureAndPlay(r.Pods[0])) // and the agent was killed
	made := ids(w.containers("web"), r.Pods[0].id())
	w.same("diff", w.diff(r), []string{"start pod web"})
	w.switchTo(r)
	w.same("containers", ids(w.containers("web"), r.Pods[0].id()), made)
}

func TestALeftoverThatIsHalfIsMadeAnew(t *testing.T) {
	w := newWorld(t)
	r := w.prepare("r1", newPod("web"))
	w.must(w.ensureAndPlay(r.Pods[0]))
	w.call("DELETE", "/containers/%s", r.Pods[0].id()+"-c") // only the infra container is left, which bears no labels
	w.same("diff", w.diff(r), []string{"create pod web"})
	w.switchTo(r)
}

func TestPodsThatSwapTheirPorts(t *testing.T) {
	w := newWorld(t)
	w.deploy("r1", newPod("web", hostPort(18080)), newPod("api", hostPort(18081)))
	w.deploy("r2", newPod("web", hostPort(18081)), newPod("api", hostPort(18080)))
}

func TestAPortMovesToANewPod(t *testing.T) {
	w := newWorld(t)
	w.deploy("r1", newPod("web", hostPort(18080)))
	w.deploy("r2", newPod("api", hostPort(18080)))
}

func TestWhatSomebodyBrokeIsHealed(t *testing.T) {
	for _, c := range []struct {
		name    string
		somehow func(w *world, id string)
		diff    string
		same    bool // the containers are the same afterwards
	}{
		{"killed", func(w *world, id string) { w.call("POST", "/pods/%s/kill", id) }, "start pod web", true},
		{"stopped", func(w *world, id string) { w.call("POST", "/pods/%s/stop", id) }, "start pod web", true},
		{"removed", func(w *world, id string) { w.must(w.removePod(w.t.Context(), id)) }, "create pod web", false},
		{"container stopped", func(w *world, id string) { w.call("POST", "/containers/%s/stop", id+"-c") }, "start pod web", true},
		{"container paused", func(w *world, id string) { w.call("POST", "/containers/%s/pause", id+"-c") }, "start pod web", true},
		{"container removed", func(w *world, id string) {
			_, err := w.ask(w.t.Context(), request{method: "DELETE", endpoint: "/containers/%s", names: []string{id + "-c"},
				query: url.Values{"force": {"true"}}}, nil)
			w.must(err)
		}, "create pod web", false},
		{"process vanished", (*world).vanish, "start pod web", true},
		{"infra killed", func(w *world, id string) {
			live, err := w.observe(w.t.Context())
			w.must(err)
			w.call("POST", "/containers/%s/kill", live[id].infra.ID)
		}, "start pod web", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			r := w.deploy("r1", newPod("web"), newPod("api"))
			web, api := w.containers("web"), w.containers("api")
			c.somehow(w, of(r, "web").id())
			w.same("diff", w.diff(r), []string{c.diff})
			if got := w.problems(r, time.Time{}); len(got) != 1 || !strings.HasPrefix(got[0], "pod web: ") {
				t.Errorf("problems: %q", got)
			}
			w.switchTo(r)
			w.same("the other", w.containers("api"), api)
			if got := w.containers("web"); slices.Equal(got, web) != c.same {
				t.Errorf("containers were %q and are %q", web, got)
			}
			w.same("problems", w.problems(r, time.Time{}), nil)
		})
	}
}

func TestAPodWhoseProcessVanishedIsReplaced(t *testing.T) {
	w := newWorld(t)
	one := w.deploy("r1", newPod("web"))
	w.vanish(one.Pods[0].id())
	two := w.deploy("r2", newPod("web", env("A", "b")))
	w.same("running", w.running(), []string{two.Pods[0].id()})
	w.switchTo(one)
}

// Where conmon was killed too, Podman doesn't learn by itself that a container was ended: one healing is enough all the same.
func TestAPodWhoseConmonsWereKilledIsHealedOnce(t *testing.T) {
	f := newFake(t)
	w := &world{Podman: Connect(f.socket), t: t, fake: f}
	w.alive, w.steady = f.alive, 0
	r := w.deploy("r1", newPod("web"))
	pod := f.pods[r.Pods[0].id()]
	pod.containers[0].ghost, pod.containers[1].mute = true, true
	w.same("diff", w.diff(r), []string{"start pod web"})
	w.must(w.Heal(t.Context(), r))
	w.same("diff", w.diff(r), nil)
	w.same("problems", w.problems(r, time.Time{}), nil)
	if c := pod.containers[1]; c.ghost || c.State != "running" {
		t.Errorf("it is %+v", c)
	}
}

func TestAForeignPodIsRefusedAndNothingForeignIsRemoved(t *testing.T) {
	w := newWorld(t)
	pod := newPod("web")
	r := w.prepare("r1", pod)
	theirs := map[string]any{"apiVersion": "v1", "kind": "List", "items": []any{map[string]any{
		"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": r.Pods[0].id(), "labels": map[string]any{"app": "x"}},
		"spec": map[string]any{"containers": []any{map[string]any{"name": "c", "image": r.Pods[0].Images[imageOne], "imagePullPolicy": "Never"}}}}}}
	kube, err := json.Marshal(theirs)
	w.must(err)
	w.must(w.play(t.Context(), kube))
	w.must(w.ensureVolume(t.Context(), volume{"their-volume", map[string]string{"app": "x"}}))
	t.Cleanup(func() {
		for _, err := range []error{w.removePod(context.Background(), r.Pods[0].id()), w.removeVolume(context.Background(), "their-volume")} {
			if err != nil {
				t.Error(err)
			}
		}
	})

	if err := w.Switch(t.Context(), r); err == nil || !strings.Contains(err.Error(), "isn't Collie's") {
		t.Errorf("error: %v", err)
	}
	w.must(w.Keep(t.Context(), nil))
	if info, err := w.inspectPod(t.Context(), r.Pods[0].id()); err != nil || info == nil {
		t.Errorf("their pod: %v, %v", info, err)
	}
	live, err := w.Live(t.Context())
	w.must(err)
	if len(live.Pods) != 0 {
		t.Errorf("live: %+v", live)
	}
	w.call("GET", "/containers/json")
	if w.fake != nil {
		if _, ok := w.fake.volumes["their-volume"]; !ok {
			t.Error("their volume is gone")
		}
	} else {
		w.call("GET", "/volumes/%s/json", "their-volume")
	}
}

func TestAForeignPodWithoutContainersIsRefused(t *testing.T) {
	w := newWorld(t)
	r := w.prepare("r1", newPod("web"))
	_, err := w.ask(t.Context(), request{method: "POST", endpoint: "/pods/create", body: map[string]any{"name": r.Pods[0].id(), "no_infra": true}}, nil)
	if w.fake != nil {
		w.fake.pods[r.Pods[0].id()], err = &fakePod{Name: r.Pods[0].id()}, nil
	}
	w.must(err)
	t.Cleanup(func() {
		if err := w.removePod(context.Background(), r.Pods[0].id()); err != nil {
			t.Error(err)
		}
	})
	if err := w.Switch(t.Context(), r); err == nil || !strings.Contains(err.Error(), "isn't Collie's") {
		t.Errorf("error: %v", err)
	}
	if info, err := w.inspectPod(t.Context(), r.Pods[0].id()); err != nil || info == nil {
		t.Errorf("their pod: %v, %v", info, err)
	}
}

func TestAPodThatHasDoneItsWorkIsNotStartedAgain(t *testing.T) {
	w := newWorld(t)
	r := w.prepare("r1", newPod("job", restart("Never"), command("/bin/true")))
	w.must(w.Switch(t.Context(), r))
	w.eventually(func() bool { return len(w.running()) == 0 })
	w.same("diff", w.diff(r), nil)
	w.same("problems", w.problems(r, time.Time{}), nil)
	pods, err := w.List(t.Context(), r)
	w.must(err)
	if !pods[0].Ready || pods[0].State != "completed" {
		t.Errorf("list: %+v", pods)
	}
}

func TestAPodThatOnlyStoppedIsStartedAgain(t *testing.T) {
	w := newWorld(t)
	r := w.deploy("r1", newPod("job", restart("Never")))
	w.deploy("r2")
	w.same("diff", w.diff(r), []string{"start pod job"})
	w.switchTo(r)
}
