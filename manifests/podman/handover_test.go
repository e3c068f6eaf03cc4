package podman

import (
	"slices"
	"testing"

	"example.org/collie/manifests"
	"example.org/collie/manifests/forward"
)

func livePodWith(name string, port int, labels map[string]string) *livePod {
	l := &livePod{name: name, labels: labels, infra: &container{State: "running"}}
	if port != 0 {
		l.infra.Ports = []portMapping{{HostPort: port, Protocol: "tcp"}}
	}
	return l
}

func TestWhatStopsBeforeAPodStarts(t *testing.T) {
	port := func(n int) []manifests.HostPort { return []manifests.HostPort{{Port: n, Protocol: "TCP"}} }
	for _, c := range []struct {
		what  string
		next  RenderedPod
		old   *livePod // of the same object
		other *livePod // that leaves
		cost  string
		first []string
	}{
		{"nothing is shared", RenderedPod{}, livePodWith("web-1", 0, nil), livePodWith("gone-1", 8080, nil), "no interruption", nil},
		{"its own port", RenderedPod{HostPorts: port(80)}, livePodWith("web-1", 80, nil), nil, "host port 80 closed about 0.2 s", []string{"web-1"}},
		{"another port", RenderedPod{HostPorts: port(81)}, livePodWith("web-1", 80, nil), nil, "no interruption", nil},
		{"the port of one that leaves", RenderedPod{HostPorts: port(80)}, nil, livePodWith("gone-1", 80, nil), "host port 80 closed about 0.2 s", []string{"gone-1"}},
		{"a volume to write to", RenderedPod{Writes: []string{"volume data"}}, livePodWith("web-1", 0, nil), nil, "stopped first: volume data is mounted read-write", []string{"web-1"}},
		{"a volume and a port", RenderedPod{Writes: []string{"/srv"}, HostPorts: port(80)}, livePodWith("web-1", 80, nil), nil, "stopped first: /srv is mounted read-write", []string{"web-1"}},
		{"the volume of one that leaves", RenderedPod{Writes: []string{"volume data"}}, nil, livePodWith("db-1", 0, map[string]string{labelWrites: "/x,volume data"}), "stopped first: volume data is mounted read-write", []string{"db-1"}},
		{"another volume than one that leaves", RenderedPod{Writes: []string{"volume data"}}, nil, livePodWith("db-1", 0, map[string]string{labelWrites: "volume datas"}), "no interruption", nil},
		{"a volume, and its port is forwarded", RenderedPod{Writes: []string{"volume data"}, Forwarding: &Forwarding{Listeners: []forward.Listener{{Listen: ":80", Backend: forward.Backend{Address: "127.128.0.1:61000"}}}}}, livePodWith("web-1", 0, nil), nil,
			"stopped first: volume data is mounted read-write; connections wait meanwhile", []string{"web-1"}},
		{"the machine's network", RenderedPod{HostNetwork: true}, livePodWith("web-1", 0, nil), nil, "the machine's network closed about 0.2 s", []string{"web-1"}},
		{"a port that one on the machine's network has", RenderedPod{HostPorts: port(80)}, nil, livePodWith("gone-1", 0, map[string]string{labelPorts: "79/UDP,80/TCP"}), "host port 80 closed about 0.2 s", []string{"gone-1"}},
		{"a Job's old self", RenderedPod{Job: &manifests.Job{}}, livePodWith("migrate-1", 0, nil), nil, "no interruption", []string{"migrate-1"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			todo := plan{steps: []step{{pod: c.next}}}
			if c.old != nil {
				todo.steps[0].previous = []*livePod{c.old}
			}
			if c.other != nil {
				todo.leaving = []*livePod{c.other}
			}
			todo.handOver()
			s := todo.steps[0]
			var first []string
			for _, l := range s.stopBefore {
				first = append(first, l.name)
			}
			if s.handover.String() != c.cost || !slices.Equal(first, c.first) {
				t.Errorf("%q after %q, want %q after %q", s.handover, first, c.cost, c.first)
			}
		})
	}
}

// Of two pods that swap their ports, each old one stops before either next one starts.
func TestPortsThatAreSwappedAreToldForBoth(t *testing.T) {
	todo := plan{steps: []step{
		{pod: RenderedPod{Name: "a", HostPorts: []manifests.HostPort{{Port: 1, Protocol: "TCP"}}}, previous: []*livePod{livePodWith("a-1", 2, nil)}},
		{pod: RenderedPod{Name: "b"}, previous: []*livePod{livePodWith("b-1", 1, nil)}},
	}}
	todo.handOver()
	for _, s := range todo.steps {
		if s.Handover != PortMoves || s.of != "host port 1" {
			t.Errorf("%s: %v", s.pod.Name, s.handover)
		}
	}
	if a, b := todo.steps[0].stopBefore, todo.steps[1].stopBefore; len(a) != 1 || a[0].name != "b-1" || b != nil {
		t.Errorf("first: %v, %v", a, b)
	}
}

func TestWhatAPodWritesTo(t *testing.T) {
	mount := func(name string, readOnly any) map[string]any {
		m := map[string]any{"name": name}
		if readOnly != nil {
			m["readOnly"] = readOnly
		}
		return m
	}
	spec := map[string]any{
		"volumes": []any{
			map[string]any{"name": "d", "persistentVolumeClaim": map[string]any{"claimName": "data"}},
			map[string]any{"name": "h", "hostPath": map[string]any{"path": "/srv/www"}},
			map[string]any{"name": "sock", "hostPath": map[string]any{"path": "/run/x.sock", "type": "Socket"}},
			map[string]any{"name": "dev", "hostPath": map[string]any{"path": "/dev/net/tun", "type": "CharDevice"}},
			map[string]any{"name": "scratch", "emptyDir": map[string]any{}},
			map[string]any{"name": "r", "persistentVolumeClaim": map[string]any{"claimName": "read"}},
		},
		"initContainers": []any{map[string]any{"volumeMounts": []any{mount("d", nil)}}},
		"containers": []any{map[string]any{"volumeMounts": []any{
			mount("d", true), mount("h", false), mount("sock", nil), mount("dev", nil), mount("scratch", nil), mount("r", true),
		}}},
	}
	if got, want := written(spec), []string{"/srv/www", "volume data"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
