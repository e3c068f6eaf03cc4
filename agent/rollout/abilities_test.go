package rollout_test

import (
	"example.org/collie/agent/layers"
	"example.org/collie/agent/rollout"

	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.org/collie/guix"
	"example.org/collie/manifests/podman"
)

// The table of abilities names each interface of its file, and the layers that have it.
func TestAbilities(t *testing.T) {
	layers := []rollout.Part{{Name: "secrets", Layer: layers.Secrets("")}, {Name: "system", Layer: layers.System(&guix.System{}, nil, "")}, {Name: "home", Layer: layers.Home(&guix.Home{}, nil, false, "")}, {Name: "pods", Layer: layers.Pods(&podman.Podman{}, "")}}
	has := rollout.Abilities
	text, err := os.ReadFile("abilities.go")
	if err != nil {
		t.Fatal(err)
	}
	var table []string
	for _, row := range regexp.MustCompile(`(?m)^//\t(\w+) .*  (\S.*)$`).FindAllStringSubmatch(string(text), -1)[1:] {
		table = append(table, row[1])
		if has[row[1]] == nil {
			t.Errorf("there is no %s", row[1])
			continue
		}
		var have []string
		for _, p := range layers {
			if has[row[1]](p.Layer) {
				have = append(have, p.Name)
			}
		}
		if got := strings.Join(have, ", "); got != row[2] {
			t.Errorf("%s: the table says %q, it is %q", row[1], row[2], got)
		}
	}
	var declared []string
	for _, m := range regexp.MustCompile(`(?m)^type (\w+) interface`).FindAllStringSubmatch(string(text), -1) {
		declared = append(declared, m[1])
	}
	if !slices.Equal(declared, table) {
		t.Errorf("the table has %v, the file %v", table, declared)
	}
}
