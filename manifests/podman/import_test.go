package podman

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"example.org/collie/manifests"
)

const describedPod = `# Save the output of this file and use kubectl create -f to import
# it into Kubernetes.
---
apiVersion: v1
kind: Pod
metadata:
  annotations:
    io.kubernetes.cri-o.SandboxID/web-c: 9ea3548a
  creationTimestamp: "2026-11-25T23:13:03Z"
  labels:
    app: web
  name: web-pod
spec:
  containers:
  - env:
    - name: MOTTO
      value: 'a: b'
    image: 127.0.0.1:5000/web:1
    name: web-c
    ports:
    - containerPort: 8080
      hostPort: 8080
    volumeMounts:
    - mountPath: /data
      name: data-pvc
    - mountPath: /more
      name: data-pvc
  volumes:
  - name: data-pvc
    persistentVolumeClaim:
      claimName: data
`

func TestImportedIsWhatAPersonWouldWrite(t *testing.T) {
	for _, row := range []struct {
		name      string
		pod       bool
		has, lack []string
	}{
		{"pod", true, []string{"collie.io/adopt: \"true\"\n", "  name: web\n", "kind: PersistentVolumeClaim\nmetadata:\n  name: data\n", "value: 'a: b'"},
			[]string{"podman rm", "creationTimestamp", "SandboxID", "app: web", "kubectl"}},
		{"container", false, []string{"`podman rm -f web`", "  name: web\n"}, []string{"collie.io/adopt", "kubectl"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			text, err := imported([]byte(describedPod), "web", row.pod)
			if err != nil {
				t.Fatal(err)
			}
			for _, part := range row.has {
				if !strings.Contains(text, part) {
					t.Errorf("there is no %q in\n%s", part, text)
				}
			}
			for _, part := range row.lack {
				if strings.Contains(text, part) {
					t.Errorf("there is %q in\n%s", part, text)
				}
			}
			if _, err := manifests.Load(fstest.MapFS{"web.yaml": {Data: []byte(text)}}, "."); err != nil {
				t.Errorf("it has mistakes: %v\n%s", err, text)
			}
		})
	}
}

// FuzzImported: whatever Podman says, what comes of it is nothing, or YAML that imports the same again.
func FuzzImported(f *testing.F) {
	f.Add(describedPod)
	f.Add("kind: Pod\nmetadata: {name: x}\nspec: {volumes: [{persistentVolumeClaim: {claimName: a}}, 1]}\n")
	f.Add("kind: Pod\nmetadata: &m {name: x, labels: *m}\nspec: {}\n")
	f.Fuzz(func(t *testing.T, text string) {
		once, err := imported([]byte(text), "web", true)
		if err != nil {
			return
		}
		first, _, _ := strings.Cut(once, "\n---\n")
		twice, err := imported([]byte(first), "web", true)
		if err != nil {
			t.Fatalf("%v\n%s", err, once)
		}
		if again, _, _ := strings.Cut(twice, "\n---\n"); strings.TrimSpace(again) != strings.TrimSpace(first) {
			t.Errorf("once\n%s\nagain\n%s", first, again)
		}
	})
}

// What runs by hand is what isn't Collie's: pods by their containers, and containers that are in none.
func TestByHand(t *testing.T) {
	f := newFake(t)
	ours := map[string]string{labelOwner: owner}
	f.answers["GET /containers/json"] = func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, []container{
			{Names: []string{"lone"}, State: "running"},
			{Names: []string{"stopped"}, State: "exited"},
			{Names: []string{"web-infra"}, PodName: "web", State: "running", IsInfra: true},
			{Names: []string{"web-b"}, PodName: "web", State: "running"},
			{Names: []string{"web-a"}, PodName: "web", State: "running"},
			{Names: []string{"empty-infra"}, PodName: "empty", State: "running", IsInfra: true},
			{Names: []string{"api-1-c"}, PodName: "api-1", State: "running", Labels: ours},
			{PodName: "db", State: "running"},
			{State: "running"},
		})
	}
	pods, containers, err := Connect(f.socket).ByHand(t.Context())
	if err != nil || !slices.Equal(pods, []string{"db", "web"}) || !slices.Equal(containers, []string{"lone"}) {
		t.Errorf("%q, %q, %v", pods, containers, err)
	}
}
