package podman

import (
	"slices"
	"testing"

	"example.org/collie/manifests"
	"example.org/collie/manifests/forward"
)

// What a pod holds that no next pod does, others may take.
func TestWhatAPodHoldsBeyondTheNext(t *testing.T) {
	port := func(n int, protocol string) []manifests.HostPort {
		return []manifests.HostPort{{Port: n, Protocol: protocol}}
	}
	network := livePodWith("dns-1", 0, map[string]string{labelPorts: "unknown", labelObject: "Pod/dns"})
	for _, c := range []struct {
		what string
		old  *livePod
		next []RenderedPod
		want bool
	}{
		{"nothing", livePodWith("web-1", 0, nil), nil, false},
		{"a port", livePodWith("web-1", 80, nil), nil, true},
		{"a port that its next self has", livePodWith("web-1", 80, nil), []RenderedPod{{Name: "web", HostPorts: port(80, "TCP")}}, false},
		{"a port that another has", livePodWith("web-1", 80, nil), []RenderedPod{{Name: "api", HostPorts: port(80, "TCP")}}, false},
		{"another port", livePodWith("web-1", 80, nil), []RenderedPod{{Name: "web", HostPorts: port(81, "TCP")}}, true},
		{"the port of another protocol", livePodWith("web-1", 80, nil), []RenderedPod{{Name: "web", HostPorts: port(80, "UDP")}}, true},
		{"a port that is forwarded from now on", livePodWith("web-1", 80, nil),
			[]RenderedPod{{Name: "web", Forwarding: &Forwarding{Listeners: []forward.Listener{{Listen: ":80", Backend: forward.Backend{Address: "127.128.0.1:61000"}}}}}}, false},
		{"a folder", livePodWith("db-1", 0, map[string]string{labelWrites: "/srv/db"}), nil, true},
		{"a folder that the next one has", livePodWith("db-1", 0, map[string]string{labelWrites: "/srv/db"}), []RenderedPod{{Name: "db", Writes: []string{"/srv/db"}}}, false},
		{"a volume, which nobody else sees", livePodWith("db-1", 0, map[string]string{labelWrites: "volume db"}), nil, false},
		{"the machine's network", network, nil, true},
		{"the machine's network, as its next self", network, []RenderedPod{{Name: "dns", HostNetwork: true}}, false},
		{"the machine's network, as another", network, []RenderedPod{{Name: "web", HostNetwork: true}}, true},
		{"a port of the machine's network that it won't have", livePodWith("dns-1", 0, map[string]string{labelPorts: "53/UDP,54/TCP", labelObject: "Pod/dns"}),
			[]RenderedPod{{Name: "dns", HostNetwork: true, HostPorts: port(53, "UDP")}}, true},
	} {
		if got := c.old.holdsBeyond(Rendered{Pods: c.next}); got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}

func TestOnlyHoldersAreReleased(t *testing.T) {
	w := newWorld(t)
	one := w.deploy("r1", newPod("api", hostPort(18090)), newPod("job"), newPod("old"), newPod("web", hostPort(18080)))
	before := w.containers("api", "old", "web")
	two := w.prepare("r2", newPod("job"), newPod("web", hostPort(18080), env("A", "b")))
	var left []string
	for _, pod := range one.Pods {
		if pod.Name != "api" {
			left = append(left, pod.id())
		}
	}
	for _, want := range [][]string{{of(one, "api").id()}, nil} { // once more is nothing more
		stopped, err := w.Release(t.Context(), two)
		w.must(err)
		w.same("stopped", stopped, want)
		w.same("running", w.running(), left)
	}
	rest := one.Without([]string{of(one, "api").id()})
	w.same("diff of what is left", w.diff(rest), nil)
	if len(rest.Pods) != 3 || len(one.Pods) != 4 || slices.ContainsFunc(rest.Pods, func(p RenderedPod) bool { return p.Name == "api" }) {
		t.Errorf("left of %d pods: %+v", len(one.Pods), rest.Pods)
	}
	w.switchTo(one)
	w.same("containers of the way back", w.containers("api", "old", "web"), before)
	_, err := w.Release(t.Context(), two)
	w.must(err)
	w.switchTo(two)
}
