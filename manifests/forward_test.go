package manifests

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"example.org/collie/agent/mistake"
)

func TestWhatCanBeForwarded(t *testing.T) {
	const pod = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  annotations:\n    %s\nspec:\n  %s\n  containers:\n  - name: c\n    image: i:1\n    ports:\n    %s\n"
	tests := []struct{ name, annotation, spec, ports, want string }{
		{"a port", "collie.io/handover: forward", "", "- {containerPort: 80, hostPort: 8080}", ""},
		{"a port that says its client", "{collie.io/handover: forward, collie.io/proxy-protocol: v1}", "", "- {containerPort: 80, hostPort: 8080}", ""},
		{"no port", "collie.io/handover: forward", "", "- {containerPort: 80}",
			"f.yaml:6: metadata.annotations[collie.io/handover]: no port of this pod is published: there is nothing to forward\n    leave it out, or add a hostPort\n"},
		{"the machine's network", "collie.io/handover: forward", "hostNetwork: true", "- {containerPort: 80}",
			"f.yaml:6: metadata.annotations[collie.io/handover]: a pod with hostNetwork listens on the machine itself: there is nothing to forward\n    leave it out, or publish ports with hostPort\n"},
		{"another protocol", "collie.io/handover: forward", "", "- {containerPort: 80, hostPort: 8080}\n    - {containerPort: 53, hostPort: 53, protocol: UDP}",
			"f.yaml:14: spec.containers[0].ports[1].hostPort: UDP can't be forwarded (collie.io/handover): only TCP can\n    publish it from another pod, or leave collie.io/handover out\n"},
		{"a header for Podman", "collie.io/proxy-protocol: v2", "", "- {containerPort: 80, hostPort: 8080}",
			"f.yaml:6: metadata.annotations[collie.io/proxy-protocol]: only forwarded connections can begin with it: Podman doesn't know it\n    add collie.io/handover: forward\n"},
		{"another version", "{collie.io/handover: forward, collie.io/proxy-protocol: v3}", "", "- {containerPort: 80, hostPort: 8080}",
			"f.yaml:7: metadata.annotations[collie.io/proxy-protocol]: \"v3\" is not supported\n    write proxy-protocol: v2, or v1\n"},
		{"another way", "collie.io/handover: magic", "", "- {containerPort: 80, hostPort: 8080}",
			"f.yaml:6: metadata.annotations[collie.io/handover]: \"magic\" is not supported\n    write handover: forward\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			annotation := strings.TrimPrefix(tt.annotation, "{")
			annotation = strings.ReplaceAll(strings.TrimSuffix(annotation, "}"), ", ", "\n    ")
			_, err := Load(fstest.MapFS{"f.yaml": {Data: fmt.Appendf(nil, pod, annotation, tt.spec, tt.ports)}}, ".")
			var mistakes mistake.List
			if errors.As(err, &mistakes); !strings.HasPrefix(told(mistakes), tt.want) || (tt.want == "") != (err == nil) {
				t.Errorf("got %q, want %q", told(mistakes), tt.want)
			}
		})
	}
}
