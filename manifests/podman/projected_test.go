package podman

import (
	"encoding/base64"
	"maps"
	"testing"
	"testing/fstest"

	"example.org/collie/manifests"
	"example.org/collie/manifests/internal/tree"
)

// What lies in a projected volume, by what its sources are.
func TestProjected(t *testing.T) {
	const objects = `
---
apiVersion: v1
kind: ConfigMap
metadata: {name: one}
data: {a: one's a, b: one's b}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: two}
data: {b: two's b}
binaryData: {c: Y2M=}
---
apiVersion: v1
kind: Secret
metadata: {name: hidden}
stringData: {a: hidden a}
`
	for _, row := range []struct {
		name, sources, kind string
		want                map[string]string
	}{
		{"one", "[{configMap: {name: one}}]", "ConfigMap", map[string]string{"a": "one's a", "b": "one's b"}},
		{"the later counts", "[{configMap: {name: one}}, {configMap: {name: two}}]", "ConfigMap", map[string]string{"a": "one's a", "b": "two's b", "c": "cc"}},
		{"or the other", "[{configMap: {name: two}}, {configMap: {name: one}}]", "ConfigMap", map[string]string{"a": "one's a", "b": "one's b", "c": "cc"}},
		{"binary over text", "[{configMap: {name: one}}, {configMap: {name: two, items: [{key: c, path: a}]}}]", "ConfigMap", map[string]string{"a": "cc", "b": "one's b"}},
		{"text over binary", "[{configMap: {name: two}}, {configMap: {name: one, items: [{key: a, path: c}]}}]", "ConfigMap", map[string]string{"b": "two's b", "c": "one's a"}},
		{"one key twice", "[{configMap: {name: one, items: [{key: a, path: x}, {key: a, path: y}]}}]", "ConfigMap", map[string]string{"x": "one's a", "y": "one's a"}},
		{"a Secret hides all", "[{configMap: {name: two}}, {secret: {name: hidden}}]", "Secret", map[string]string{"a": "hidden a", "b": "two's b", "c": "cc"}},
		{"optional", "[{configMap: {name: one}}, {secret: {name: none, optional: true}}, {configMap: {name: two, optional: true, items: [{key: x, path: x}]}}]",
			"Secret", map[string]string{"a": "one's a", "b": "one's b"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			m, err := manifests.Load(fstest.MapFS{"a.yaml": {Data: []byte(`apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers: [{name: web, image: "localhost/web:1"}]
  volumes:
    - name: all
      projected: {defaultMode: 0440, sources: ` + row.sources + "}" + objects)}}, ".")
			if err != nil {
				t.Fatal(err)
			}
			pod := m.Pods[0]
			for v := range objectsOf(t, pod) {
				volume, doc := project(tree.Child(v, "projected"), pod)
				if doc["kind"] != row.kind || volume["defaultMode"] == nil {
					t.Errorf("a %v, %v", doc["kind"], volume)
				}
				got := map[string]string{}
				for path, value := range tree.Section(doc, "data") {
					got[path], _ = value.(string)
					if row.kind == "Secret" {
						got[path] = decoded(t, got[path])
					}
				}
				for path, value := range tree.Section(doc, "binaryData") {
					text, _ := value.(string)
					got[path] = decoded(t, text)
				}
				if !maps.Equal(got, row.want) {
					t.Errorf("got %q, want %q", got, row.want)
				}
			}
		})
	}
}

func objectsOf(t *testing.T, pod *manifests.Pod) func(func(map[string]any) bool) {
	t.Helper()
	doc, err := deepCopy(pod.Doc)
	if err != nil {
		t.Fatal(err)
	}
	return tree.Objects(tree.Section(doc, "spec"), "volumes")
}

func decoded(t *testing.T, text string) string {
	t.Helper()
	plain, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(plain)
}
