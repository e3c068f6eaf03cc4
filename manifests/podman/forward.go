package podman

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"example.org/collie/manifests"
	"example.org/collie/manifests/forward"
	"example.org/collie/manifests/internal/tree"
)

// A Forwarding is how connections get to a pod of which another state may run at the same time, as collie.io/handover:
// forward asks. Podman publishes the pod's ports only on loopback, at an address of its own. On the ports that the YAML
// says the forwarder listens, and connects who comes to the state that is ready.
type Forwarding struct {
	Listeners []forward.Listener `json:"doors"` // each with this pod as its backend
	Grace     int                `json:"grace"` // seconds for which connections may go on, once new ones go elsewhere
}

const (
	podmanGrace = 10 // seconds, where the YAML has no terminationGracePeriodSeconds

	// Beyond all ports that Linux gives to clients, which it takes from other addresses anyway.
	firstBackend = 61_000
)

// forward publishes the host ports of the pod's spec where only the forwarder looks for them. Two states of a pod have
// different hashes, and so their ports are never the same.
func (r *rendering) forward(spec map[string]any) error {
	if r.Options.Handover == "" {
		return nil
	}
	hash, err := hex.DecodeString(r.Hash)
	if err != nil || len(hash) < 4 {
		return fmt.Errorf("%s: %q is no hash", r.source(), r.Hash)
	}
	host := netip.AddrFrom4([4]byte{127, 128 + hash[0]%127, hash[1], hash[2]})
	port := firstBackend + uint16(hash[3])*16
	r.Forwarding = &Forwarding{Grace: podmanGrace}
	if grace, said := spec["terminationGracePeriodSeconds"].(json.Number); said {
		if n, err := grace.Int64(); err == nil {
			r.Forwarding.Grace = int(min(n, 24*3600))
		}
	}
	for c := range tree.Objects(spec, "initContainers", "containers") {
		for p := range tree.Objects(c, "ports") {
			number, _ := p["hostPort"].(json.Number)
			n, err := number.Int64()
			if err != nil || n == 0 {
				continue
			}
			ip, _ := netip.ParseAddr(tree.Str(p, "hostIP")) // none: all
			r.Forwarding.Listeners = append(r.Forwarding.Listeners, forward.Listener{
				Listen:  forward.ListenAddress(ip, uint16(n)),
				Backend: forward.Backend{Address: netip.AddrPortFrom(host, port).String(), Proxy: r.Options.ProxyProtocol},
			})
			p["hostIP"], p["hostPort"] = host.String(), port
			port++
		}
	}
	r.HostPorts = nil
	return nil
}

// forwarding is what a live pod's label says of it.
func (l *livePod) forwarding() *Forwarding {
	text := l.labels[labelForward]
	if text == "" || !l.ours() {
		return nil
	}
	var f Forwarding
	if json.Unmarshal([]byte(text), &f) != nil || (forward.Table{Listeners: f.Listeners}).Check() != nil {
		return nil // someone else wrote it
	}
	for _, d := range f.Listeners {
		if d.Backend == (forward.Backend{}) {
			return nil
		}
	}
	return &f
}

// has reports whether this state of a pod takes connections at one of the ports of the machine.
func (f *Forwarding) has(ports []manifests.HostPort) (manifests.HostPort, bool) {
	if f == nil {
		return manifests.HostPort{}, false
	}
	for _, port := range ports {
		if port.Protocol == "TCP" && slices.ContainsFunc(f.Listeners, func(d forward.Listener) bool { return d.Port() == port.Port }) {
			return port, true
		}
	}
	return manifests.HostPort{}, false
}

// tableFor is the table for what is live: connections go to the wanted state of a pod if that is ready, else to another one
// that runs, else they wait. An unwanted pod gets connections as long as it runs.
func tableFor(wanted []RenderedPod, live map[string]*livePod, ready, ends func(id string) bool) forward.Table {
	var t forward.Table
	taken := map[int]bool{}
	add := func(d forward.Listener) {
		t.Listeners = append(t.Listeners, d)
		taken[d.Port()] = true
	}
	serving := func(l *livePod) *Forwarding {
		if l == nil || ends(l.name) || !l.runs() {
			return nil
		}
		return l.forwarding()
	}
	others := map[string][]*livePod{}
	for _, l := range live {
		if serving(l) != nil {
			others[l.object()] = append(others[l.object()], l)
		}
	}
	for _, of := range others { // the latest comes first
		slices.SortFunc(of, func(a, b *livePod) int {
			if a.startedAt() != b.startedAt() {
				return int(b.startedAt() - a.startedAt())
			}
			return strings.Compare(a.name, b.name)
		})
	}
	elsewhere := func(want RenderedPod, at forward.Listener) (to forward.Backend) {
		for _, l := range others[want.Name] {
			for _, d := range l.forwarding().Listeners {
				switch {
				case l.name == want.id():
				case d.Listen == at.Listen:
					return d.Backend
				case d.Port() == at.Port() && to == (forward.Backend{}):
					to = d.Backend
				}
			}
		}
		return to
	}
	for _, want := range wanted {
		if want.Forwarding == nil {
			continue
		}
		self := live[want.id()]
		for _, d := range want.Forwarding.Listeners {
			if serving(self) == nil || !ready(want.id()) {
				d.Backend = elsewhere(want, d)
			}
			add(d)
		}
	}
	for _, want := range wanted {
		for _, port := range want.HostPorts {
			taken[port.Port] = taken[port.Port] || port.Protocol == "TCP"
		}
	}
	for _, name := range slices.Sorted(maps.Keys(others)) {
		for _, l := range others[name] {
			for _, d := range l.forwarding().Listeners {
				if !taken[d.Port()] {
					add(d)
				}
			}
		}
	}
	return t
}

// grace is for how long connections to a pod may go on once new ones go elsewhere.
func (f *Forwarding) grace() time.Duration { return time.Duration(f.Grace) * time.Second }
