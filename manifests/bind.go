package manifests

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"example.org/collie/manifests/internal/tree"
)

// bind connects the documents of all files: which uses which, and which want the same thing. The result is valid only if there
// was no mistake.
func (c *checker) bind() *Manifests {
	b := binder{checker: c, configMaps: map[string]*bound{}, secrets: map[string]*bound{}, claims: map[string]*Claim{}}
	first := map[string]*document{}
	for _, d := range c.docs {
		if d.selector != nil {
			continue
		}
		key := calledKind(d.kind) + " " + d.name
		if was := first[key]; was != nil && d.name != "" {
			c.wrong(d.at("metadata.name"), "rename one of them", "there is a %s %q already (%s)", was.kind, d.name, was.at("metadata.name"))
			continue
		}
		first[key] = d
		b.add(d)
	}
	for _, p := range c.pods {
		if p.name == "" || first["Pod "+p.name] == p.document {
			b.pods = append(b.pods, p)
		}
	}
	slices.SortFunc(b.pods, func(x, y *podDocument) int {
		return cmp.Or(strings.Compare(x.file, y.file), cmp.Compare(x.line, y.line), strings.Compare(x.name, y.name))
	})
	m := &Manifests{}
	for _, p := range b.pods {
		pod := b.pod(p)
		switch {
		case pod == nil:
		case p.stopped:
			m.Stopped = append(m.Stopped, pod)
		default:
			m.Pods = append(m.Pods, pod)
		}
	}
	b.order()
	b.pods = slices.DeleteFunc(b.pods, func(p *podDocument) bool { return p.stopped })
	b.hostPorts()
	b.services()
	for _, o := range slices.Concat(slices.Collect(maps.Values(b.configMaps)), slices.Collect(maps.Values(b.secrets))) {
		if !o.used {
			c.note(o.doc.at("metadata.name"), "no pod uses this %s", o.doc.kind)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b.secrets)) {
		if s := b.secrets[name].object; !c.sealed[s.File] {
			m.Plain = append(m.Plain, s)
		}
	}
	m.Claims = slices.Collect(maps.Values(b.claims))
	slices.SortFunc(m.Pods, func(x, y *Pod) int { return strings.Compare(x.Name, y.Name) })
	slices.SortFunc(m.Stopped, func(x, y *Pod) int { return strings.Compare(x.Name, y.Name) })
	slices.SortFunc(m.Claims, func(x, y *Claim) int { return strings.Compare(x.Name, y.Name) })
	c.shutNotes()
	slices.SortFunc(c.notes, func(x, y Note) int {
		return cmp.Or(strings.Compare(x.File, y.File), cmp.Compare(x.Line, y.Line), strings.Compare(x.Field, y.Field), strings.Compare(x.Says, y.Says))
	})
	m.Notes = slices.Compact(c.notes)
	return m
}

type binder struct {
	*checker
	pods       []*podDocument
	configMaps map[string]*bound
	secrets    map[string]*bound
	claims     map[string]*Claim
}

// A bound object is one that pods may use.
type bound struct {
	doc    *document
	object *Object
	keys   map[string]bool // true: of text, that can be a variable
	used   bool
}

func (b *binder) add(d *document) {
	switch d.kind {
	case "ConfigMap":
		o := &bound{doc: d, keys: map[string]bool{}}
		for key := range tree.Section(d.body, "binaryData") {
			o.keys[key] = false
		}
		for _, key := range slices.Sorted(maps.Keys(tree.Section(d.body, "data"))) {
			if _, twice := o.keys[key]; twice {
				b.wrong(d.at(place{field: "data"}.key(key, 0).field), "leave one of them", "this key is in binaryData too")
			}
			o.keys[key] = true
		}
		b.options(d, "metadata.annotations", tree.Section(tree.Section(d.body, "metadata"), "annotations"), &Options{})
		o.object = newObject(d, b.key)
		b.configMaps[d.name] = o
	case "Secret":
		mergeStringData(d.body)
		b.options(d, "metadata.annotations", tree.Section(tree.Section(d.body, "metadata"), "annotations"), &Options{})
		o := &bound{doc: d, object: newObject(d, b.key), keys: map[string]bool{}}
		for key := range tree.Section(d.body, "data") {
			o.keys[key] = true
		}
		b.secrets[d.name] = o
	case "PersistentVolumeClaim":
		claim := &Claim{Name: d.name, File: d.file, Line: d.line, Doc: d.body}
		b.options(d, "metadata.annotations", tree.Section(tree.Section(d.body, "metadata"), "annotations"), &claim.Options)
		b.claims[d.name] = claim
	}
}

// A taken port is a host port with its pod.
type taken struct {
	HostPort
	pod *podDocument
	at  place
}

// ports are the ports of the machine that a pod takes: with hostNetwork, all that it listens on.
func (p *podDocument) ports() []taken {
	var out []taken
	p.each(func(c *podContainer, field string) {
		for i, port := range c.Ports {
			number, name := port.HostPort, "hostPort"
			if number == 0 && p.spec.HostNetwork {
				number, name = port.ContainerPort, "containerPort"
			}
			if number == 0 {
				continue
			}
			at := p.field("%s.ports[%d].%s", field, i, name)
			out = append(out, taken{HostPort{port.HostIP, number, cmp.Or(port.Protocol, "TCP"), at.field, at.line}, p, at})
		}
	})
	return out
}

// hostPorts wants each port of the machine to be taken once.
func (b *binder) hostPorts() {
	type key struct {
		port     int
		protocol string
	}
	first := map[key][]taken{}
	for _, p := range b.pods {
		for _, t := range p.takes {
			k := key{t.Port, t.Protocol}
			clash := slices.IndexFunc(first[k], func(o taken) bool { return sameAddress(o.IP, t.IP) })
			if clash < 0 {
				first[k] = append(first[k], t)
				continue
			}
			was := first[k][clash]
			by := fmt.Sprintf("pod %q", was.pod.name)
			if was.pod.name == "" {
				by = "another pod"
			}
			b.wrong(t.at, "take another port of the machine", "%d is taken by %s (%s)", t.Port, by, was.at)
		}
	}
}

// sameAddress reports whether two can't listen on one port: an address without a name means all addresses.
func sameAddress(a, b string) bool {
	x, errX := netip.ParseAddr(a)
	y, errY := netip.ParseAddr(b)
	return errX != nil || errY != nil || x.IsUnspecified() || y.IsUnspecified() || x.Unmap() == y.Unmap()
}

// services says of each Service which name answers instead.
func (b *binder) services() {
	for _, d := range b.docs {
		if d.selector == nil {
			continue
		}
		var names []string
		for _, p := range b.pods {
			if len(d.selector) > 0 && matches(tree.Section(p.meta, "labels"), d.selector) {
				names = append(names, p.name)
			}
		}
		slices.Sort(names)
		at := d.at("kind")
		switch {
		case len(names) == 0:
			b.note(at, "Service ignored: a pod answers to its own name; publish a port with hostPort in its ports")
		case len(names) == 1 && names[0] == d.name:
			b.note(at, "Service ignored: pod %q answers to that name; publish a port with hostPort in its ports", names[0])
		default:
			b.note(at, "Service ignored: nothing answers to %q, but the pod answers to %s; publish a port with hostPort in its ports", shorten(d.name), strings.Join(names, ", "))
		}
	}
}

func matches(labels map[string]any, selector map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return true
}

// images are all that must be on the machine before the pod can be made.
func (p *podDocument) images() []Image {
	var out []Image
	add := func(name, policy string, at place) {
		out = append(out, Image{name, cmp.Or(policy, usualPolicy(name)), at.field, at.line})
	}
	p.each(func(c *podContainer, field string) { add(c.Image, c.ImagePullPolicy, p.field("%s.image", field)) })
	for i, v := range p.spec.Volumes {
		if v.Image != nil {
			add(v.Image.Reference, v.Image.PullPolicy, p.field("volumes[%d].image.reference", i))
		}
	}
	return out
}

// usualPolicy is Kubernetes' rule: what may move is asked for again.
func usualPolicy(image string) string {
	if strings.Contains(image, "@") {
		return "IfNotPresent"
	}
	_, tag, tagged := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":")
	if !tagged || tag == "latest" {
		return "Always"
	}
	return "IfNotPresent"
}

func byName(objects map[string]*Object) []*Object {
	var out []*Object
	for _, name := range slices.Sorted(maps.Keys(objects)) {
		out = append(out, objects[name])
	}
	return out
}
