package podman

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"example.org/collie/manifests"
	"example.org/collie/manifests/testdata"
)

// The stories run over a fake; or, in the lab, over the Podman whose socket COLLIE_TEST_PODMAN names, with a registry on
// loopback that holds these two images, which have busybox in them.
const (
	imageOne = "127.0.0.1:5000/web:1"
	imageTwo = "127.0.0.1:5000/web:2"
)

// A world is a Podman and what a story asks of it.
type world struct {
	*Podman
	t    *testing.T
	fake *fakePodman // nil where it is real
}

func newWorld(t *testing.T) *world {
	if socket := os.Getenv("COLLIE_TEST_PODMAN"); socket != "" {
		w := &world{Podman: Connect(socket), t: t}
		w.steady = 0
		w.must(w.Keep(t.Context(), nil))
		t.Cleanup(func() { _ = w.Keep(context.Background(), nil) }) // the next story would say it
		return w
	}
	f := newFake(t)
	w := &world{Podman: Connect(f.socket), t: t, fake: f}
	w.alive, w.steady = f.alive, 0
	return w
}

// newSlowWorld is for a story that waits: over the fake it runs beside others.
func newSlowWorld(t *testing.T) *world {
	if os.Getenv("COLLIE_TEST_PODMAN") == "" {
		t.Parallel()
	}
	return newWorld(t)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) prepare(revision string, pods ...*manifests.Pod) Rendered {
	w.t.Helper()
	slices.SortFunc(pods, func(a, b *manifests.Pod) int { return strings.Compare(a.Name, b.Name) })
	r, err := w.Prepare(w.t.Context(), &manifests.Manifests{Pods: pods}, revision, func(string) {})
	w.must(err)
	return r
}

// of returns the pod of r that users know by this name.
func of(r Rendered, name string) *RenderedPod {
	return &r.Pods[slices.IndexFunc(r.Pods, func(p RenderedPod) bool { return p.Name == name })]
}

// deploy prepares and switches, and sees that nothing is left to do.
func (w *world) deploy(revision string, pods ...*manifests.Pod) Rendered {
	w.t.Helper()
	r := w.prepare(revision, pods...)
	w.switchTo(r)
	return r
}

func (w *world) switchTo(r Rendered) {
	w.t.Helper()
	w.must(w.Switch(w.t.Context(), r))
	w.same("diff after the switch", w.diff(r), nil)
}

func (w *world) diff(r Rendered) []string {
	w.t.Helper()
	changes, err := w.Diff(w.t.Context(), r)
	w.must(err)
	var lines []string
	for _, c := range changes {
		lines = append(lines, c.Does+" "+c.Subject)
		w.t.Logf("%+v", c)
	}
	return lines
}

func (w *world) problems(r Rendered, since time.Time) []string {
	w.t.Helper()
	problems, err := w.Problems(w.t.Context(), r, since)
	w.must(err)
	var lines []string
	for _, p := range problems {
		lines = append(lines, p.Subject+": "+p.Says)
	}
	return lines
}

func (w *world) same(what string, got, want []string) {
	w.t.Helper()
	if !slices.Equal(got, want) {
		w.t.Fatalf("%s: got %q, want %q", what, got, want)
	}
}

// containers returns "NAME ID STATE" of all containers of the pods that users know by these names, infra aside.
func (w *world) containers(names ...string) []string {
	w.t.Helper()
	live, err := w.observe(w.t.Context())
	w.must(err)
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(live)) {
		if l := live[name]; slices.Contains(names, l.object()) {
			for _, c := range l.containers {
				lines = append(lines, strings.Join([]string{c.Names[0], c.ID, c.State}, " "))
			}
		}
	}
	return lines
}

// running returns Podman's names of all pods that run.
func (w *world) running() []string {
	w.t.Helper()
	live, err := w.observe(w.t.Context())
	w.must(err)
	var names []string
	for _, name := range slices.Sorted(maps.Keys(live)) {
		if live[name].runs() {
			names = append(names, name)
		}
	}
	return names
}

// post calls the API as somebody else would.
func (w *world) call(method, endpoint string, names ...string) {
	w.t.Helper()
	_, err := w.ask(w.t.Context(), request{method: method, endpoint: endpoint, names: names}, nil)
	w.must(err)
}

// A change makes a pod another one.
type change func(p *manifests.Pod, spec, container map[string]any)

func command(words ...string) change {
	return func(_ *manifests.Pod, _, container map[string]any) {
		var list []any
		for _, word := range words {
			list = append(list, word)
		}
		container["command"] = list
	}
}

func env(name, value string) change {
	return func(_ *manifests.Pod, _, container map[string]any) {
		container["env"] = []any{map[string]any{"name": name, "value": value}}
	}
}

func hostPort(port int) change {
	return func(p *manifests.Pod, _, container map[string]any) {
		container["ports"] = []any{map[string]any{"containerPort": int64(8080), "hostPort": int64(port)}}
		p.HostPorts = []manifests.HostPort{{Port: port, Protocol: "TCP"}}
	}
}

func restart(policy string) change {
	return func(_ *manifests.Pod, spec, _ map[string]any) { spec["restartPolicy"] = policy }
}

func image(name, policy string) change {
	return func(p *manifests.Pod, _, container map[string]any) {
		container["image"] = name
		p.Images = []manifests.Image{{Name: name, Policy: policy, Field: "spec.containers[0].image", Line: 7}}
	}
}

// newPod makes a pod that sleeps, and has a hash as a loaded one has.
func newPod(name string, changes ...change) *manifests.Pod {
	container := map[string]any{"name": "c", "command": []any{"/bin/sleep", "1000"}}
	spec := map[string]any{"containers": []any{container}, "terminationGracePeriodSeconds": int64(1)}
	p := &manifests.Pod{Name: name, Kind: "Pod", File: "pods/" + name + ".yaml", Line: 1,
		Doc: map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": name}, "spec": spec}}
	image(imageOne, "IfNotPresent")(p, spec, container)
	for _, c := range changes {
		c(p, spec, container)
	}
	raw, err := json.Marshal(p.Doc)
	if err != nil {
		panic(err)
	}
	for _, o := range slices.Concat(p.ConfigMaps, p.Secrets) {
		raw = append(raw, o.Hash...)
	}
	p.Hash = fmt.Sprintf("%x", sha256.Sum256(raw))[:8]
	return p
}

// object is a ConfigMap or a Secret as a pod that uses it has it.
func object(kind, name string, data map[string]any) *manifests.Object {
	source := map[string]string{"ConfigMap": "configMapRef", "Secret": "secretRef"}[kind]
	meta := func(name string) map[string]any { return map[string]any{"name": name} }
	raw, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": []any{
		map[string]any{"apiVersion": "v1", "kind": kind, "metadata": meta(name), "data": data},
		map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": meta("user"), "spec": map[string]any{"containers": []any{
			map[string]any{"name": "c", "image": imageOne, "envFrom": []any{map[string]any{source: meta(name)}}}}}},
	}})
	if err != nil {
		panic(err)
	}
	m, err := manifests.Load(fstest.MapFS{"all.yaml": {Data: raw}}, ".")
	if err != nil {
		panic(err)
	}
	return slices.Concat(m.Pods[0].ConfigMaps, m.Pods[0].Secrets)[0]
}

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

// ids keeps of container lines those of one Podman pod, without the state.
func ids(lines []string, pod string) []string {
	var kept []string
	for _, line := range lines {
		if f := strings.Fields(line); strings.HasPrefix(f[0], pod) {
			kept = append(kept, f[0]+" "+f[1])
		}
	}
	return kept
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

func (w *world) ensureAndPlay(pod RenderedPod) error { return w.play(w.t.Context(), pod.Kube) }

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

// vanish ends the process of a pod, and conmon before it, so that Podman doesn't learn of it.
func (w *world) vanish(id string) {
	w.t.Helper()
	if w.fake != nil {
		w.fake.pods[id].containers[1].ghost = true
		return
	}
	live, err := w.observe(w.t.Context())
	w.must(err)
	pid := live[id].containers[0].Pid
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	w.must(err)
	conmon, err := strconv.Atoi(strings.Fields(string(stat))[3])
	w.must(err)
	w.must(syscall.Kill(conmon, syscall.SIGKILL))
	w.must(syscall.Kill(pid, syscall.SIGKILL))
	w.eventually(func() bool { return !processExists(pid) })
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

// eventually waits for Podman, which learns of a death a moment later.
func (w *world) eventually(so func() bool) {
	w.t.Helper()
	for range 200 {
		if so() {
			return
		}
		if w.fake == nil {
			time.Sleep(50 * time.Millisecond) // another process's time can't be faked
		}
	}
	w.t.Fatal("it didn't come to pass")
}

func TestABaselineIsGoneBackTo(t *testing.T) {
	w := newWorld(t)
	one := w.deploy("r1", newPod("web", hostPort(18080)), newPod("api"))
	before := w.containers("web", "api")
	base, err := w.Live(t.Context())
	w.must(err)
	if base.ID() == one.ID() {
		t.Error("a baseline, which can't be made again, has the ID of what can")
	}
	if got, want := base.Pods[1].HostPorts, []manifests.HostPort{{Port: 18080, Protocol: "TCP"}}; !slices.Equal(got, want) {
		t.Errorf("ports of the baseline: %v", got)
	}
	if base.Pods[1].File != "pods/web.yaml" || base.Pods[1].Line != 1 || base.Pods[1].Kind != "Pod" {
		t.Errorf("baseline: %+v", base.Pods[1])
	}
	w.same("diff", w.diff(base), nil)
	w.deploy("r2", newPod("web", env("A", "b")))
	w.switchTo(base)
	w.same("containers", ids(w.containers("web", "api"), of(one, "web").id()), ids(before, of(one, "web").id()))
	w.same("running", w.running(), []string{of(one, "api").id(), of(one, "web").id()})

	w.must(w.removePod(t.Context(), base.Pods[1].id()))
	if err := w.Switch(t.Context(), base); err == nil || !strings.Contains(err.Error(), "isn't known") {
		t.Errorf("error: %v", err)
	}
}

// Where the state is lost, the machine is taken with its dead pods, which are then started again.
func TestWhatDiedIsTakenAsItIs(t *testing.T) {
	for name, end := range map[string]func(w *world, id string){
		"killed":        func(w *world, id string) { w.call("POST", "/pods/%s/kill", id) },
		"stopped":       func(w *world, id string) { w.call("POST", "/pods/%s/stop", id) },
		"process ended": (*world).vanish,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			r := w.deploy("r2", newPod("web", env("A", "b")), newPod("api"), newPod("done", restart("Never"), command("/bin/true")))
			end(w, of(r, "api").id())
			end(w, of(r, "web").id())
			base, err := w.Live(t.Context())
			w.must(err)
			var ids []string
			for _, pod := range base.Pods {
				ids = append(ids, pod.id())
			}
			want := []string{of(r, "api").id(), of(r, "web").id()}
			slices.Sort(ids)
			if !slices.Equal(ids, want) {
				t.Errorf("taken are %q, want %q", ids, want)
			}
			w.same("diff", w.diff(base), []string{"start pod api", "start pod web"})
			w.switchTo(base)
			w.same("running", w.running(), want)
		})
	}
}

// all is a pod that uses one of everything, and ends with an error unless it finds it.
func all(number, setting string) *manifests.Pod {
	secret := "hunter" + number
	return newPod("all", restart("Never"),
		command("/bin/sh", "-c", `[ "$PW" = hunter$N ] && [ "$pw" = hunter$N ] && [ "$(cat /s/pw)" = hunter$N ] &&
			[ "$A" = `+setting+` ] && [ "$(cat /cm/a)" = `+setting+` ] && [ "$(hostname)" = all ] && [ -x /i/bin/busybox ] && touch /e/x /p/x && exec sleep 1000`),
		func(p *manifests.Pod, spec, c map[string]any) {
			p.Secrets = []*manifests.Object{object("Secret", "db", map[string]any{"pw": base64.StdEncoding.EncodeToString([]byte(secret))})}
			p.ConfigMaps = []*manifests.Object{object("ConfigMap", "cm", map[string]any{"a": setting})}
			p.Claims = []string{"data"}
			p.Images = append(p.Images, manifests.Image{Name: imageTwo, Policy: "IfNotPresent", Field: "spec.volumes[2].image.reference", Line: 9})
			c["envFrom"] = []any{map[string]any{"secretRef": map[string]any{"name": "db"}}}
			c["env"] = []any{
				map[string]any{"name": "N", "value": number},
				map[string]any{"name": "PW", "valueFrom": map[string]any{"secretKeyRef": map[string]any{"name": "db", "key": "pw"}}},
				map[string]any{"name": "A", "valueFrom": map[string]any{"configMapKeyRef": map[string]any{"name": "cm", "key": "a"}}},
			}
			mount := func(name, path string) any { return map[string]any{"name": name, "mountPath": path} }
			c["volumeMounts"] = []any{mount("s", "/s"), mount("cm", "/cm"), mount("e", "/e"), mount("p", "/p"), mount("i", "/i")}
			spec["volumes"] = []any{
				map[string]any{"name": "s", "secret": map[string]any{"secretName": "db"}},
				map[string]any{"name": "cm", "configMap": map[string]any{"name": "cm"}},
				map[string]any{"name": "i", "image": map[string]any{"reference": imageTwo}},
				map[string]any{"name": "e", "emptyDir": map[string]any{}},
				map[string]any{"name": "p", "persistentVolumeClaim": map[string]any{"claimName": "data"}},
			}
		})
}

func TestSecretsSettingsAndVolumes(t *testing.T) {
	w := newWorld(t)
	prepare := func(pod *manifests.Pod) Rendered {
		r, err := w.Prepare(t.Context(), &manifests.Manifests{Pods: []*manifests.Pod{pod}, Claims: []*manifests.Claim{{Name: "data"}}}, "r1", func(string) {})
		w.must(err)
		return r
	}
	one := prepare(all("2", "blue"))
	saved, err := json.Marshal(one)
	w.must(err)
	for _, secret := range []string{"hunter2", base64.StdEncoding.EncodeToString([]byte("hunter2"))} {
		if strings.Contains(string(saved), secret) {
			t.Errorf("what is saved holds a secret: %s", saved)
		}
	}
	if json.Unmarshal(saved, &one) != nil { // as after a restart
		t.Fatal("what was saved can't be read")
	}
	w.switchTo(one)
	w.same("problems", w.problems(one, time.Time{}), nil)
	two := prepare(all("3", "green"))
	w.switchTo(two)
	w.same("problems", w.problems(two, time.Time{}), nil)
	w.switchTo(one)
	w.same("problems", w.problems(one, time.Time{}), nil)

	secrets := func() []string {
		all, err := w.listSecrets(t.Context())
		w.must(err)
		return slices.Sorted(maps.Keys(all))
	}
	volumes := func() []string {
		all, err := w.listVolumes(t.Context())
		w.must(err)
		var names []string
		for _, v := range all {
			names = append(names, v.Name)
		}
		slices.Sort(names)
		return names
	}
	if got := secrets(); len(got) != 4 {
		t.Errorf("secrets of both: %q", got)
	}
	w.prepare("r3") // the newest Prepare wants none
	w.must(w.Keep(t.Context(), []Rendered{one}))
	w.same("secrets", secrets(), one.Pods[0].Secrets)
	w.same("volumes", volumes(), []string{one.Pods[0].id() + "-cm", one.Pods[0].id() + "-e", one.Pods[0].id() + "-s", "data"})
	w.must(w.Keep(t.Context(), nil))
	w.same("secrets", secrets(), nil)
	w.same("the volume of a claim stays", volumes(), []string{"data"})
	w.must(w.removeVolume(t.Context(), "data"))
}

// An emptyDir is empty for each pod, and goes once no pod needs it, whatever became of the one that had it.
func TestAnEmptyDirGoes(t *testing.T) {
	w := newWorld(t)
	r := w.deploy("r1", newPod("web", command("/bin/sh", "-c", "test ! -e /e/was && touch /e/was && exec sleep 1000"), func(_ *manifests.Pod, spec, c map[string]any) {
		spec["volumes"] = []any{map[string]any{"name": "e", "emptyDir": map[string]any{}}}
		c["volumeMounts"] = []any{map[string]any{"name": "e", "mountPath": "/e"}}
	}))
	w.must(w.removePod(t.Context(), of(r, "web").id())) // as Podman does, and its service ends before the volume went
	w.switchTo(r)
	w.same("problems", w.problems(r, time.Time{}), nil)
	volumes, err := w.listVolumes(t.Context())
	w.must(err)
	if len(volumes) != 1 || volumes[0].Name != of(r, "web").id()+"-e" {
		t.Errorf("volumes: %v", volumes)
	}
	w.must(w.Keep(t.Context(), []Rendered{w.deploy("r2", newPod("other"))}))
	volumes, err = w.listVolumes(t.Context())
	w.must(err)
	if len(volumes) > 0 {
		t.Errorf("volumes that stay: %v", volumes)
	}
}

func TestWhatWasLoadedIsMadeLive(t *testing.T) {
	w := newWorld(t)
	m, err := manifests.Load(fstest.MapFS{
		"pods/web.yaml": {Data: []byte(`apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      initContainers:
      - name: before
        image: 127.0.0.1:5000/web:1
        command: [/bin/sh, -c, "echo 1 >/e/x"]
        volumeMounts: [{name: e, mountPath: /e}]
      containers:
      - name: c
        image: 127.0.0.1:5000/web:1
        command: [/bin/sh, -c, "[ $(cat /e/x)$A = 1true ] && [ \"$MOTTO\" = \"$(cat /cm/MOTTO)\" ] && exec sleep 1000"]
        env: [{name: A, value: true}]
        envFrom: [{configMapRef: {name: settings}}]
        ports: [{containerPort: 8080, hostPort: 18080, hostIP: 127.0.0.1}]
        volumeMounts: [{name: e, mountPath: /e}, {name: cm, mountPath: /cm, readOnly: true}, {name: data, mountPath: /data}]
      volumes:
      - {name: e, emptyDir: {}}
      - {name: cm, configMap: {name: settings}}
      - {name: data, persistentVolumeClaim: {claimName: data}}
`)},
		"pods/settings.yaml": {Data: []byte(`apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {MOTTO: "1e3 <yes> \u00fc \u0085 \U0001F411"}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
`)},
	}, "pods")
	w.must(err)
	r, err := w.Prepare(t.Context(), m, "r1", func(string) {})
	w.must(err)
	w.switchTo(r)
	w.same("problems", w.problems(r, time.Time{}), nil)
	w.must(w.Keep(t.Context(), nil))
	w.must(w.removeVolume(t.Context(), "data"))
}

func TestKeepSparesWhatWasJustPrepared(t *testing.T) {
	w := newWorld(t)
	r := w.prepare("r1", all("2", "blue"))
	w.must(w.Keep(t.Context(), nil)) // the keeper's, before anyone saved r
	w.switchTo(r)
	w.must(w.Keep(t.Context(), nil))
	w.must(w.removeVolume(t.Context(), "data"))
}

func TestPreparingDisturbsNothing(t *testing.T) {
	w := newWorld(t)
	w.deploy("r1", newPod("web"))
	before := w.containers("web")
	r := w.prepare("r2", newPod("web", image(imageTwo, "Always")), all("2", "blue"))
	w.same("containers", w.containers("web", "all"), before)
	if of(r, "web").Images[imageTwo] == "" {
		t.Errorf("images: %v", r.Pods)
	}
}

func TestAMissingImageBlamesTheRevision(t *testing.T) {
	w := newWorld(t)
	w.deploy("r1", newPod("web"))
	before := w.containers("web")
	for _, c := range []struct{ name, policy, says string }{
		{"127.0.0.1:5000/web:no", "IfNotPresent", `pods/api.yaml:7: spec.containers[0].image: image "127.0.0.1:5000/web:no" was not found in the registry: `},
		{"127.0.0.1:5000/none:1", "Always", `pods/api.yaml:7: spec.containers[0].image: image "127.0.0.1:5000/none:1" was not found in the registry: `},
		{"localhost/none:1", "Never", `pods/api.yaml:7: spec.containers[0].image: image "localhost/none:1" isn't on this machine`},
	} {
		_, err := w.Prepare(t.Context(), &manifests.Manifests{Pods: []*manifests.Pod{newPod("web"), newPod("api", image(c.name, c.policy))}}, "r2", func(string) {})
		if e := (*ImageError)(nil); !errors.As(err, &e) || !strings.HasPrefix(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	w.same("containers", w.containers("web"), before)
}

func TestARegistryOutOfReachBlamesNobody(t *testing.T) {
	w := newWorld(t)
	gone := "127.0.0.1:5999/web:1"
	if w.fake != nil {
		w.fake.deaf = true
	}
	_, err := w.Prepare(t.Context(), &manifests.Manifests{Pods: []*manifests.Pod{newPod("api", image(gone, "Always"))}}, "r2", func(string) {})
	if e := (*ImageError)(nil); err == nil || errors.As(err, &e) || !strings.Contains(err.Error(), "pods/api.yaml:7") {
		t.Errorf("error: %v", err)
	}
}

func TestARestartedContainerIsAProblem(t *testing.T) {
	w := newWorld(t)
	since := time.Now().Add(-time.Second)
	r := w.prepare("r1", newPod("web", command("/bin/sh", "-c", "sleep 0.2; exit 3")))
	w.must(w.Switch(t.Context(), r))
	if w.fake != nil {
		w.fake.pods[r.Pods[0].id()].containers[1].Restarts = 3
	}
	w.eventually(func() bool {
		return slices.ContainsFunc(w.problems(r, since), func(s string) bool { return strings.Contains(s, "was restarted ") })
	})
	if got := w.problems(r, time.Now().Add(time.Hour)); slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "was restarted ") }) {
		t.Errorf("restarts before the switch: %q", got)
	}
}

func TestAPodThatEndedWithAnErrorIsAProblem(t *testing.T) {
	w := newWorld(t)
	r := w.prepare("r1", newPod("job", restart("Never"), command("/bin/sh", "-c", "sleep 0.5; exit 3")))
	w.must(w.Switch(t.Context(), r))
	if w.fake != nil {
		w.fake.pods[r.Pods[0].id()].containers[1].end(3, false)
	}
	w.eventually(func() bool {
		return slices.Equal(w.problems(r, time.Time{}), []string{"pod job: container c ended with exit code 3 (pods/job.yaml:1)"})
	})
}

// What Load takes, Podman takes: the pods of each good folder are made of it, with one image for all.
func TestGoodPodsAreMade(t *testing.T) {
	revisions, err := fs.Glob(testdata.Good, "good/*")
	if err != nil || len(revisions) == 0 {
		t.Fatalf("no revisions: %v", err)
	}
	for _, dir := range revisions {
		t.Run(path.Base(dir), func(t *testing.T) {
			w := newWorld(t)
			image, err := w.fetch(t.Context(), imageOne)
			w.must(err)
			files, err := fs.Sub(testdata.Good, dir)
			w.must(err)
			m, err := manifests.Load(files, ".")
			w.must(err)
			for _, claim := range m.Claims {
				w.must(w.ensureVolume(t.Context(), volume{Name: claim.Name, Labels: map[string]string{labelOwner: owner}}))
				t.Cleanup(func() { w.must(w.removeVolume(context.Background(), claim.Name)) })
			}
			for _, pod := range m.Pods {
				images := map[string]localImage{}
				for _, i := range pod.Images {
					images[i.Name] = image
				}
				r, err := render(pod, "r1", images)
				w.must(err)
				w.must(w.makeSecrets(t.Context(), r.secrets))
				if err := w.play(t.Context(), r.Kube); err != nil {
					t.Errorf("%s: %v", r.source(), err)
				}
				w.must(w.removePod(t.Context(), r.id()))
			}
		})
	}
}
