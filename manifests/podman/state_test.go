package podman

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"example.org/collie/manifests"
	"example.org/collie/manifests/testdata"
)

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
