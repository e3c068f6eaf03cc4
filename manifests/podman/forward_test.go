package podman

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"example.org/collie/manifests"
	"example.org/collie/manifests/forward"
)

// Of a pod whose ports are forwarded Podman publishes each on loopback, and no two states of it anywhere the same.
func TestForwardedPortsArePublishedOnLoopback(t *testing.T) {
	load := func(image, annotations string) RenderedPod {
		t.Helper()
		m, err := manifests.Load(fstest.MapFS{"f.yaml": {Data: []byte("apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  annotations: {" + annotations + "}\nspec:\n  terminationGracePeriodSeconds: 7\n  containers:\n" +
			"  - name: c\n    image: " + image + "\n    ports:\n    - {containerPort: 80, hostPort: 8080}\n    - {containerPort: 80, hostPort: 81, hostIP: 192.0.2.1}\n    - {containerPort: 9}\n" +
			"  - name: d\n    image: i:1\n    ports:\n    - {containerPort: 82, hostPort: 443, hostIP: \"::\"}\n    - {containerPort: 83, hostPort: 83, hostIP: \"2001:db8::1\"}\n    - {containerPort: 84, hostPort: 84, hostIP: 0.0.0.0}\n")}}, ".")
		if err != nil {
			t.Fatal(err)
		}
		r, err := render(m.Pods[0], "r", nil)
		if err != nil {
			t.Fatal(err)
		}
		return r.RenderedPod
	}
	const forwarded = "collie.io/handover: forward"
	one, two := load("i:1", forwarded), load("i:2", forwarded)
	var listens []string
	seen := map[string]bool{}
	for _, r := range []RenderedPod{one, two} {
		if len(r.HostPorts) > 0 {
			t.Errorf("%s takes %v of the machine", r.id(), r.HostPorts)
		}
		if err := (forward.Table{Listeners: r.Forwarding.Listeners}).Check(); err != nil || r.Forwarding.Grace != 7 {
			t.Errorf("%v, and a grace of %d s", err, r.Forwarding.Grace)
		}
		var list struct {
			Items []struct {
				Metadata struct{ Labels map[string]string }
				Spec     struct {
					Containers []struct {
						Ports []struct {
							HostIP   string
							HostPort int
						}
					}
				}
			}
		}
		if err := json.Unmarshal(r.Kube, &list); err != nil {
			t.Fatal(err)
		}
		published := []string{}
		for _, c := range list.Items[0].Spec.Containers {
			for _, p := range c.Ports {
				if p.HostPort > 0 {
					published = append(published, fmt.Sprintf("%s:%d", p.HostIP, p.HostPort))
				}
			}
		}
		listens = nil
		for i, d := range r.Forwarding.Listeners {
			listens = append(listens, d.Listen)
			if seen[d.Backend.Address] || published[i] != d.Backend.Address {
				t.Errorf("%s is published on %s, but reached at %s", r.id(), published[i], d.Backend.Address)
			}
			seen[d.Backend.Address] = true
		}
		l := &livePod{name: r.id(), labels: list.Items[0].Metadata.Labels}
		if back, ok := l.rendered(); !ok || fmt.Sprint(*back.Forwarding) != fmt.Sprint(*r.Forwarding) {
			t.Errorf("read back: %+v, want %+v", back.Forwarding, r.Forwarding)
		}
	}
	if want := []string{":8080", "192.0.2.1:81", ":443", "[2001:db8::1]:83", "0.0.0.0:84"}; !slices.Equal(listens, want) {
		t.Errorf("it listens on %q, want %q", listens, want)
	}

	plain, v1 := load("i:1", ""), load("i:1", forwarded+", collie.io/proxy-protocol: v1")
	if plain.Forwarding != nil || len(plain.HostPorts) != 5 {
		t.Errorf("a pod that doesn't ask for it: %+v", plain)
	}
	if plain.Hash == one.Hash || one.Hash == v1.Hash {
		t.Errorf("hashes %s, %s, %s: Podman gets other pods", plain.Hash, one.Hash, v1.Hash)
	}
	if b := v1.Forwarding.Listeners[0].Backend; b.Proxy != "v1" {
		t.Errorf("the backend is %+v", b)
	}
}

// What the label of a pod says is checked: its user can write it.
func TestAForgedLabelForwardsNothing(t *testing.T) {
	for _, text := range []string{"", "x", `{"doors":[{"listen":":80"}]}`, `{"doors":[{"listen":":80","backend":{"address":"192.0.2.1:80"}}]}`} {
		l := &livePod{labels: map[string]string{labelOwner: owner, labelForward: text}}
		if f := l.forwarding(); f != nil {
			t.Errorf("%s is taken for %+v", text, f)
		}
	}
}

func TestWhereConnectionsGo(t *testing.T) {
	forwarded := func(hash string, listens ...string) RenderedPod {
		name, _, _ := strings.Cut(hash, "-")
		r := RenderedPod{Name: name, Hash: strings.TrimPrefix(hash, name+"-"), Forwarding: &Forwarding{}}
		for i, listen := range listens {
			r.Forwarding.Listeners = append(r.Forwarding.Listeners, forward.Listener{Listen: listen, Backend: forward.Backend{Address: fmt.Sprintf("127.%d.%d.%d:61000", r.Name[0], r.Hash[0], i)}})
		}
		return r
	}
	run := func(r RenderedPod, at int64) *livePod {
		text, _ := json.Marshal(r.Forwarding)
		labels := map[string]string{labelOwner: owner, labelObject: "Pod/" + r.Name, labelForward: string(text)}
		return &livePod{name: r.id(), labels: labels, containers: []container{{Labels: labels, State: "running", StartedAt: at}}}
	}
	one, two, api := forwarded("web-1", ":80", ":81"), forwarded("web-2", ":80"), forwarded("api-1", ":90")
	tests := []struct {
		name         string
		wanted       []RenderedPod
		live         []*livePod
		unready, end []string
		want         string
	}{
		{"it is ready", []RenderedPod{one, api}, []*livePod{run(one, 1), run(api, 1)}, nil, nil, ":80=web-1 :81=web-1 :90=api-1"},
		{"it isn't ready", []RenderedPod{one}, []*livePod{run(one, 1)}, []string{"web-1"}, nil, ":80= :81="},
		{"it isn't there", []RenderedPod{one}, nil, nil, nil, ":80= :81="},
		{"the next one isn't ready", []RenderedPod{two}, []*livePod{run(one, 1), run(two, 2)}, []string{"web-2"}, nil, ":80=web-1 :81=web-1"},
		{"the next one is", []RenderedPod{two}, []*livePod{run(one, 1), run(two, 2)}, nil, nil, ":80=web-2 :81=web-1"},
		{"and the old one ends", []RenderedPod{two}, []*livePod{run(one, 1), run(two, 2)}, nil, []string{"web-1"}, ":80=web-2"},
		{"it ends, and nothing is ready", []RenderedPod{two}, []*livePod{run(one, 1), run(two, 2)}, []string{"web-2"}, []string{"web-1"}, ":80="},
		{"the way back", []RenderedPod{one}, []*livePod{run(one, 3), run(two, 2)}, []string{"web-1"}, nil, ":80=web-2 :81="},
		{"nothing is wanted any more", nil, []*livePod{run(one, 1), run(two, 2)}, nil, nil, ":80=web-2 :81=web-1"},
		{"Podman publishes the port now", []RenderedPod{{Name: "web", Hash: "3", HostPorts: []manifests.HostPort{{Port: 80, Protocol: "TCP"}}}},
			[]*livePod{run(one, 1)}, nil, nil, ":81=web-1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			live, by := map[string]*livePod{}, map[forward.Backend]string{{}: ""}
			for _, l := range tt.live {
				live[l.name] = l
				for _, d := range l.forwarding().Listeners {
					by[d.Backend] = l.name
				}
			}
			got := map[string]string{}
			t1 := tableFor(tt.wanted, live, func(id string) bool { return !slices.Contains(tt.unready, id) }, func(id string) bool { return slices.Contains(tt.end, id) })
			for _, d := range t1.Listeners {
				got[d.Listen] = by[d.Backend]
			}
			var words []string
			for _, listen := range slices.Sorted(maps.Keys(got)) {
				words = append(words, listen+"="+got[listen])
			}
			if s := strings.Join(words, " "); s != tt.want || t1.Check() != nil {
				t.Errorf("got %s, want %s (%v)", s, tt.want, t1.Check())
			}
		})
	}
}

func TestWhoListensIsNamed(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0", ":0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Logf("%s: %v", address, err) // a machine without IPv6
			continue
		}
		port := l.Addr().(*net.TCPAddr).Port
		if got, want := listener(port), fmt.Sprintf("%s (process %d of %s)", filepath.Base(os.Args[0]), os.Getpid(), userName(os.Getuid())); got != want {
			t.Errorf("on %s: %q, want %q", l.Addr(), got, want)
		}
		l.Close()
		if got := listener(port); got != "" {
			t.Errorf("nobody listens on %d any more, but %s", port, got)
		}
	}
}
