package agent

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The table of abilities names each interface of its file, and the layers that have it.
func TestAbilities(t *testing.T) {
	layers := []Part{{Name: "secrets", Layer: secretsLayer{}}, {Name: "system", Layer: systemLayer{}}, {Name: "home", Layer: homeLayer{}}, {Name: "pods", Layer: podsLayer{}}}
	has := map[string]func(Layer) bool{
		"planner": can[planner], "sharing": can[sharing], "releasing": can[releasing], "hooked": can[hooked], "displacing": can[displacing],
		"reviving": can[reviving], "healer": can[healer], "repairer": can[repairer], "stopping": can[stopping], "movable": can[movable],
		"mover": can[mover], "busyLayer": can[busyLayer], "selfKeeper": can[selfKeeper], "numbered": can[numbered], "describer": can[describer],
		"restarter": can[restarter],
	}
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

func can[A any](l Layer) bool {
	_, is := l.(A)
	return is
}
