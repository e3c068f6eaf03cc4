package manifests

import (
	"strings"
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
			field := place{field: annotations}.key(OptionPrefix+key, 0).field
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
