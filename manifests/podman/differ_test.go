package podman

import (
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"example.org/collie/manifests"
	"example.org/collie/manifests/internal/golden"
	"example.org/collie/manifests/internal/tree"
)

// rendered is the pod of a file, its images as they are in the registry of the lab.
func rendered(t *testing.T, text string, ids map[string]string) RenderedPod {
	t.Helper()
	m, err := manifests.Load(fstest.MapFS{"web.yaml": {Data: []byte(text)}}, ".")
	if err != nil {
		t.Fatal(err)
	}
	images := map[string]localImage{}
	for _, i := range m.Pods[0].Images {
		id := ids[i.Name]
		if id == "" {
			id = tree.Sum(map[string]any{"image": i.Name})
		}
		images[i.Name] = localImage{ID: id, Digest: "sha256:" + id}
	}
	r, err := render(m.Pods[0], "r1", images)
	if err != nil {
		t.Fatal(err)
	}
	return r.RenderedPod
}

// What a plan says of a pod that changed, for one change after the other in one pod.
func TestDifferences(t *testing.T) {
	const before = `apiVersion: v1
kind: ConfigMap
metadata: {name: conf}
data:
  level: info
  page: |
    one
    two
    three
---
apiVersion: v1
kind: Secret
metadata: {name: db}
stringData: {password: hunter2}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {key: hunter3}
---
apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {app: web}
spec:
  containers:
    - name: web
      image: registry.example.org/web:1
      command: [serve, --all]
      ports:
        - {containerPort: 8080, hostPort: 80}
      env:
        - {name: LEVEL, value: info}
        - {name: PASSWORD, valueFrom: {secretKeyRef: {name: db, key: password}}}
        - {name: ALSO, valueFrom: {configMapKeyRef: {name: conf, key: level}}}
      volumeMounts:
        - {name: page, mountPath: /www}
        - {name: tmp, mountPath: /tmp}
        - {name: keys, mountPath: /keys}
    - name: log
      image: registry.example.org/log:1
      livenessProbe:
        httpGet: {port: 9090}
  volumes:
    - {name: page, configMap: {name: conf}}
    - {name: tmp, emptyDir: {}}
    - {name: keys, secret: {secretName: keys}}
`
	var out strings.Builder
	for _, change := range [][]string{
		{"nothing"},
		{"a comment", "spec:\n", "spec: # the pod\n"},
		{"another image", "web:1", "web:2"},
		{"a command", "[serve, --all]", "[serve]"},
		{"a host port", "hostPort: 80", "hostPort: 81"},
		{"a variable", "value: info", "value: 'debug  '"},
		{"one more variable", "        - {name: ALSO", "        - {name: MORE, value: \"1\"}\n        - {name: ALSO"},
		{"a variable less", "        - {name: LEVEL, value: info}\n", ""},
		{"another order", "        - {name: page, mountPath: /www}\n        - {name: tmp, mountPath: /tmp}\n", "        - {name: tmp, mountPath: /tmp}\n        - {name: page, mountPath: /www}\n"},
		{"one more container", "    - name: log\n", "    - name: old-log\n      image: registry.example.org/log:0\n    - name: log\n"},
		{"a limit", "      command", "      resources: {limits: {memory: 1Gi}}\n      command"},
		{"a ConfigMap in short", "level: info\n", "level: debug\n"},
		{"a ConfigMap's page", "    two\n", "    2\n"},
		{"a key more", "  level: info\n", "  level: info\n  more: x\n"},
		{"a Secret of a variable", "hunter2", "hunter4"},
		{"a Secret of a volume", "hunter3", "hunter4"},
		{"another Secret", "secretName: keys", "secretName: db"},
		{"a probe's pace", "        httpGet: {port: 9090}", "        httpGet: {port: 9090}\n        periodSeconds: 5"},
		{"another way to ask", "httpGet: {port: 9090}", "tcpSocket: {port: 9091}"},
		{"another probe", "livenessProbe", "readinessProbe"},
		{"a label", "app: web", "app: front"},
		{"the volume's kind", "emptyDir: {}", "hostPath: {path: /tmp}"},
		{"a long value", "value: info", "value: " + strings.Repeat("long ", 40)},
	} {
		text := before
		if len(change) > 1 {
			if text = strings.Replace(before, change[1], change[2], 1); text == before {
				t.Fatalf("%s changes nothing", change[0])
			}
		}
		out.WriteString(change[0] + "\n")
		for line := range strings.Lines(differences(rendered(t, before, nil), rendered(t, text, nil))) {
			out.WriteString("    " + strings.TrimSuffix(line, "\n") + "\n")
		}
	}
	out.WriteString("a tag that moved\n    " + differences(rendered(t, before, nil), rendered(t, before, map[string]string{"registry.example.org/web:1": strings.Repeat("c", 64)})) + "\n")
	if strings.Contains(out.String(), "hunter") {
		t.Error("a secret is shown")
	}
	golden.Check(t, filepath.Join("testdata", "differences.txt"), out.String())
}

func TestMoreDifferencesThanAnyoneReads(t *testing.T) {
	pod := func(value string) RenderedPod {
		text := "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n  - name: web\n    image: i:1\n    env:\n"
		for i := range 200 {
			text += "    - {name: V" + strings.Repeat("x", i) + ", value: " + value + "}\n"
		}
		return rendered(t, text, nil)
	}
	lines := strings.Split(differences(pod("a"), pod("b")), "\n")
	if len(lines) != mostLines+1 || lines[mostLines] != "and 140 lines more" {
		t.Errorf("%d lines, the last is %q", len(lines), lines[len(lines)-1])
	}
}
