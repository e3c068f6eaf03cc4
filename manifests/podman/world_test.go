package podman

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"example.org/collie/manifests"
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

func (w *world) ensureAndPlay(pod RenderedPod) error { return w.play(w.t.Context(), pod.Kube) }

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
