package manifests

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

const hashed = `apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {app: web}
spec:
  containers:
  - name: web
    image: docker.io/library/nginx:1.27
    args: ["-d", "1"]
    env:
    - {name: A, value: "1"}
    envFrom:
    - configMapRef: {name: settings}
    - secretRef: {name: keys}
    ports:
    - containerPort: 80
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {a: "1"}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
data: {b: Mg==}
`

// The rows of the table in canonical.go.
func TestWhatChangesTheHash(t *testing.T) {
	tests := []struct {
		name     string
		old, new string
		changes  bool
	}{
		{"a comment", "  name: web\n", "  name: web # the front\n", false},
		{"the order of keys", "apiVersion: v1\nkind: Pod\n", "kind: Pod\napiVersion: v1\n", false},
		{"quotes", `value: "1"`, `value: 1`, false},
		{"other quotes", `"-d"`, `'-d'`, false},
		{"flow style", "    - containerPort: 80\n", "    - {containerPort: 80}\n", false},
		{"the same number", "containerPort: 80\n", "containerPort: 0x50\n", false},
		{"lines", "spec:\n", "\n\n\nspec:\n", false},
		{"null", "spec:\n", "spec:\n  restartPolicy: null\n", false},
		{"an empty list", "spec:\n", "spec:\n  volumes: []\n", false},
		{"an empty map", "spec:\n", "spec:\n  securityContext: {}\n", false},
		{"a map with nothing but notes", "spec:\n", "spec:\n  securityContext: {fsGroup: 1}\n", false},
		{"a noted field", "spec:\n", "spec:\n  nodeSelector: {a: b}\n", false},
		{"a probe", "    args:", "    livenessProbe: {exec: {command: [a]}}\n    args:", false},
		{"labels of a ConfigMap", "{name: settings}\ndata", "{name: settings, labels: {a: b}}\ndata", false},
		{"plain text instead of base64", "data: {b: Mg==}", `stringData: {b: "2"}`, false},
		{"base64 in two lines", "data: {b: Mg==}", "data: {b: \"Mg\\n==\"}", false},

		{"the image", "nginx:1.27", "nginx:1.28", true},
		{"a label", "{app: web}", "{app: api}", true},
		{"the order of a list", `["-d", "1"]`, `["1", "-d"]`, true},
		{"a variable", `value: "1"`, `value: "1.0"`, true},
		{"what is the default anyway", "spec:\n", "spec:\n  restartPolicy: Always\n", true},
		{"content of a ConfigMap", `{a: "1"}`, `{a: "2"}`, true},
		{"content of a Secret", "{b: Mg==}", "{b: Mw==}", true},
		{"a key of a Secret", "{b: Mg==}", "{c: Mg==}", true},
	}
	before := load(t, files("a.yaml", hashed)).Pods[0]
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(hashed, tt.old, tt.new, 1)
			if text == hashed {
				t.Fatalf("%q isn't in the file", tt.old)
			}
			after := load(t, files("b.yaml", text)).Pods[0]
			if changed := after.Hash != before.Hash; changed != tt.changes {
				t.Errorf("changed: %v, want %v", changed, tt.changes)
			}
			if !tt.changes && !reflect.DeepEqual(after.Doc, before.Doc) {
				t.Errorf("got %v, want %v", after.Doc, before.Doc)
			}
		})
	}
}

func TestLoadingTwiceIsTheSame(t *testing.T) {
	for _, dir := range folders(t, "good") {
		first, second := shown(t, load(t, os.DirFS(dir))), shown(t, load(t, os.DirFS(dir)))
		if first != second {
			t.Errorf("%s differs the second time", dir)
		}
	}
}
