package podman

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/collie/manifests"
	"example.org/collie/manifests/forward"
)

func TestPortsOfRootAreRefusedBeforeAnythingStops(t *testing.T) {
	pod := RenderedPod{Name: "web", File: "pods/web.yaml", Line: 3, HostPorts: []manifests.HostPort{{Port: 80, Protocol: "TCP"}}}
	forwarded := RenderedPod{Name: "web", File: "pods/web.yaml", Line: 3, Forwarding: &Forwarding{Listeners: []forward.Listener{{Listen: ":443"}}}}
	for _, c := range []struct {
		setting, says string
		step          step
	}{
		{"1024\n", "pod web (pods/web.yaml:3): port 80 of the machine is for root alone", step{pod: pod, how: absent}},
		{"1024\n", "port 443 of the machine is for root alone", step{pod: forwarded, how: absent}},
		{"81\n", "or take one from 81 on", step{pod: pod, how: absent}},
		{"80\n", "", step{pod: pod, how: absent}},
		{"1024\n", "", step{pod: pod, how: down}},
		{"nonsense", "", step{pod: pod, how: absent}},
	} {
		setting := filepath.Join(t.TempDir(), "setting")
		if err := os.WriteFile(setting, []byte(c.setting), 0o600); err != nil {
			t.Fatal(err)
		}
		err := plan{steps: []step{c.step}}.mayListen(setting)
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%q: %v", c.setting, err)
		}
	}
	if err := (plan{steps: []step{{pod: pod, how: absent}}}).mayListen(filepath.Join(t.TempDir(), "none")); err != nil {
		t.Errorf("where nothing says it: %v", err)
	}
}
