package manifests

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// A Forwarding is how connections get to a pod of which another state may run at the same time, as collie.io/handover:
// forward asks. Podman publishes the pod's ports only on loopback, at an address of its own. On the ports that the YAML
// says the forwarder listens, and connects who comes to the state that is ready.
type Forwarding struct {
	Doors []door `json:"doors"` // each with this pod as its backend
	Grace int    `json:"grace"` // seconds for which connections may go on, once new ones go elsewhere
}

const (
	podmanGrace = 10 // seconds, where the YAML has no terminationGracePeriodSeconds

	// Beyond all ports that Linux gives to clients, which it takes from other addresses anyway.
	firstBackend = 61_000
)

const mostForwards = 64 // of a pod

// forwardingOptions is what asks for it.
var forwardingOptions = []option{
	{"handover", running, "handover: forward", func(o *Options, v string) bool {
		o.Handover = v
		return v == "forward"
	}},
	{"proxy-protocol", running, "proxy-protocol: v2, or v1", func(o *Options, v string) bool {
		o.ProxyProtocol = v
		return v == "v1" || v == "v2"
	}},
}

// forwarding looks whether the ports of a pod can be forwarded as it asks.
func (b *checker) forwarding(p *podDocument) {
	at := func(key string) place {
		for _, annotations := range []string{strings.TrimSuffix(p.base, "spec") + "metadata.annotations", "metadata.annotations"} {
			field := place{field: annotations}.key(optionPrefix+key, 0).field
			if _, said := p.lines.of(field); said {
				return p.at(field)
			}
		}
		return p.at("metadata")
	}
	if p.opts.Handover == "" {
		if p.opts.ProxyProtocol != "" {
			b.wrong(at("proxy-protocol"), "add collie.io/handover: forward", "only forwarded connections can begin with it: Podman doesn't know it")
		}
		return
	}
	ports := p.takes
	switch {
	case p.spec.HostNetwork:
		b.wrong(at("handover"), "leave it out, or publish ports with hostPort", "a pod with hostNetwork listens on the machine itself: there is nothing to forward")
		return
	case len(ports) == 0:
		b.wrong(at("handover"), "leave it out, or add a hostPort", "no port of this pod is published: there is nothing to forward")
	case len(ports) > mostForwards:
		b.wrong(ports[mostForwards].at, "", "at most %d ports of a pod can be forwarded", mostForwards)
	}
	for _, t := range ports {
		if t.Protocol != "TCP" {
			b.wrong(t.at, "publish it from another pod, or leave collie.io/handover out", "%s can't be forwarded (collie.io/handover): only TCP can", t.Protocol)
		}
	}
}

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
	for c := range objects(spec, "initContainers", "containers") {
		for p := range objects(c, "ports") {
			number, _ := p["hostPort"].(json.Number)
			n, err := number.Int64()
			if err != nil || n == 0 {
				continue
			}
			ip, _ := netip.ParseAddr(str(p, "hostIP")) // none: all
			r.Forwarding.Doors = append(r.Forwarding.Doors,
				door{listenAddress(ip, uint16(n)), backend{netip.AddrPortFrom(host, port).String(), r.Options.ProxyProtocol}})
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
	if json.Unmarshal([]byte(text), &f) != nil || (table{f.Doors}).check() != nil {
		return nil // someone else wrote it
	}
	for _, d := range f.Doors {
		if d.Backend == (backend{}) {
			return nil
		}
	}
	return &f
}

// has tells whether this state of a pod takes connections at one of the ports of the machine.
func (f *Forwarding) has(ports []HostPort) (HostPort, bool) {
	if f == nil {
		return HostPort{}, false
	}
	for _, port := range ports {
		if port.Protocol == "TCP" && slices.ContainsFunc(f.Doors, func(d door) bool { return d.port() == port.Port }) {
			return port, true
		}
	}
	return HostPort{}, false
}

func (d door) port() int {
	_, port, _ := splitListen(d.Listen)
	return int(port)
}

// doors is the table for what is live: connections go to the wanted state of a pod if that is ready, else to another one
// that runs, else they wait. What isn't wanted at all has them as long as it runs.
func doors(wanted []RenderedPod, live map[string]*livePod, ready, ends func(id string) bool) table {
	var t table
	taken := map[int]bool{}
	add := func(d door) {
		t.Doors = append(t.Doors, d)
		taken[d.port()] = true
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
	elsewhere := func(want RenderedPod, at door) (to backend) {
		for _, l := range others[want.Name] {
			for _, d := range l.forwarding().Doors {
				switch {
				case l.name == want.id():
				case d.Listen == at.Listen:
					return d.Backend
				case d.port() == at.port() && to == (backend{}):
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
		for _, d := range want.Forwarding.Doors {
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
			for _, d := range l.forwarding().Doors {
				if !taken[d.port()] {
					add(d)
				}
			}
		}
	}
	return t
}

// grace is for how long connections to a pod may go on once new ones go elsewhere.
func (f *Forwarding) grace() time.Duration { return time.Duration(f.Grace) * time.Second }
