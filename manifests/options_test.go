package manifests

import (
	"errors"
	"slices"
	"testing"
	"testing/fstest"

	"example.org/collie/agent/mistake"
	"example.org/collie/manifests/internal/tree"
)

func TestAnnotationsOfCollie(t *testing.T) {
	var got []string
	was := options
	t.Cleanup(func() { options = was })
	options = slices.Concat(was, []option{{key: "test", kinds: []string{"Pod", "Deployment"}, is: "a or b", set: func(_ *Options, v string) bool {
		got = append(got, v)
		return v == "a" || v == "b"
	}}})
	const (
		pod        = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  annotations:\n    collie.io/test: a\n    other: x\nspec:\n  containers: [{name: c, image: i:1}]\n"
		deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n  annotations:\n    collie.io/test: a\nspec:\n  template:\n" +
			"    metadata:\n      annotations:\n        collie.io/test: b\n    spec:\n      containers: [{name: c, image: i:1}]\n"
		claim = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata:\n  name: data\n  annotations:\n    collie.io/test: a\nspec: {}\n"
	)
	tests := []struct {
		name, yaml string
		set        []string
		want       string
	}{
		{"of a pod", pod, []string{"a"}, ""},
		{"of a template, which comes after the Deployment's", deployment, []string{"a", "b"}, ""},
		{"another value", "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  annotations:\n    collie.io/test: c\nspec:\n  containers: [{name: c, image: i:1}]\n",
			[]string{"c"}, "f.yaml:6: metadata.annotations[collie.io/test]: \"c\" is not supported\n    write a or b\n"},
		{"of another kind", claim, nil,
			"f.yaml:6: metadata.annotations[collie.io/test]: a PersistentVolumeClaim doesn't have this annotation: it is for Pod, Deployment\n    leave it out\n"},
		{"misspelt", "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  annotations:\n    collie.io/tset: a\nspec:\n  containers: [{name: c, image: i:1}]\n",
			nil, "f.yaml:6: metadata.annotations[collie.io/tset]: there is no such annotation: did you mean collie.io/test?\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got = nil
			m, err := Load(fstest.MapFS{"f.yaml": {Data: []byte(tt.yaml)}}, ".")
			var mistakes mistake.List
			if errors.As(err, &mistakes); told(mistakes) != tt.want {
				t.Errorf("got %q, want %q", told(mistakes), tt.want)
			}
			if !slices.Equal(got, tt.set) {
				t.Errorf("set to %q, want %q", got, tt.set)
			}
			if tt.want == "" {
				for key := range tree.Section(tree.Section(m.Pods[0].Doc, "metadata"), "annotations") {
					if key != "other" {
						t.Errorf("Podman gets the annotation %s", key)
					}
				}
			}
		})
	}
}
