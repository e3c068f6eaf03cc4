package podman

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"example.org/collie/manifests"
)

const scaled = `apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME}
spec:
  replicas: N
  template:
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: c, image: 127.0.0.1:5000/web:1, command: [/bin/sleep, "1000"]}]
`

// Of replicas: 0 the guard wants no more words: the file says it.
func TestAPodWithoutAReplicaIsStoppedAndComesBack(t *testing.T) {
	w := newWorld(t)
	load := func(replicas string) *manifests.Manifests {
		all := fstest.MapFS{}
		for _, name := range []string{"web", "api"} {
			all[name+".yaml"] = &fstest.MapFile{Data: []byte(strings.NewReplacer("NAME", name, "N", replicas).Replace(scaled))}
		}
		m, err := manifests.Load(all, ".")
		w.must(err)
		return m
	}
	to := func(m *manifests.Manifests) Rendered {
		w.must(w.Guard(t.Context(), m, nil))
		r, err := w.Prepare(t.Context(), m, "r", func(string) {})
		w.must(err)
		w.switchTo(r)
		w.must(w.Keep(t.Context(), []Rendered{r}))
		return r
	}
	r := to(load("1"))
	id := of(r, "web").id()
	if r = to(load("0")); len(r.Pods) != 0 {
		t.Fatalf("%d pods, want none", len(r.Pods))
	}
	all, err := w.listContainers(t.Context())
	w.must(err)
	for _, c := range all {
		if strings.HasPrefix(c.PodName, "web-") || strings.HasPrefix(c.PodName, "api-") {
			t.Errorf("pod %s is still there", c.PodName)
		}
	}
	r = to(load("1"))
	if of(r, "web").id() != id {
		t.Errorf("it came back as %s, want %s", of(r, "web").id(), id)
	}
	w.same("problems", w.problems(r, time.Time{}), nil)
}
