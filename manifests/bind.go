package manifests

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"example.org/collie/manifests/internal/tree"
)

// bind ties the documents of all files together: who uses what, and who wants the same as another. What it returns counts
// only if nothing was wrong.
func (c *checker) bind() *Manifests {
	b := binder{checker: c, configMaps: map[string]*bound{}, secrets: map[string]*bound{}, claims: map[string]*Claim{}}
	first := map[string]*document{}
	for _, d := range c.docs {
		if d.selector != nil || d.name == "" {
			continue
		}
		key := d.kind + " " + d.name
		if makesPod(d.kind) { // what users call a pod is one name, whatever made it
			key = "Pod " + d.name
		}
		if was := first[key]; was != nil {
			c.wrong(d.at("metadata.name"), "rename one of them", "there is a %s %q already (%s)", was.kind, d.name, was.at("metadata.name"))
			continue
		}
		first[key] = d
		b.add(d)
	}
	for _, p := range c.pods {
		if first["Pod "+p.name] == p.document {
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

// templates are where kinds other than Pod describe their pod.
var templates = map[string][]string{
	"Deployment": {"spec", "template"},
	"DaemonSet":  {"spec", "template"},
	"Job":        {"spec", "template"},
	"CronJob":    {"spec", "jobTemplate", "spec", "template"},
}

func makesPod(kind string) bool { return kind == "Pod" || templates[kind] != nil }

// A podDocument is a Pod, or what asks for one, seen as that pod.
type podDocument struct {
	*document
	base    string // of the pod's spec: spec or spec.template.spec
	meta    map[string]any
	raw     map[string]any // the spec as it is
	spec    podSpec        // the spec as it is read here
	opts    Options
	probes  []Probes
	takes   []taken
	refers  []referral
	stopped bool // it has no replica
}

// podSpec is what binding looks at.
type podSpec struct {
	HostNetwork     bool
	HostIPC         bool
	SecurityContext struct{ Sysctls []struct{ Name string } }
	RestartPolicy   string
	InitContainers  []podContainer
	Containers      []podContainer
	Volumes         []podVolume
}

type podContainer struct {
	Name, Image, ImagePullPolicy string
	Env                          []struct {
		Name      string
		ValueFrom struct {
			ConfigMapKeyRef, SecretKeyRef *reference
			FieldRef                      *struct{ FieldPath string }
			ResourceFieldRef              *struct{ ContainerName string }
		}
	}
	EnvFrom []struct{ ConfigMapRef, SecretRef *reference }
	Ports   []struct {
		ContainerPort, HostPort int
		HostIP, Protocol, Name  string
	}
	VolumeMounts []struct{ Name, MountPath string }
}

type podVolume struct {
	Name                  string
	ConfigMap, Secret     *reference
	PersistentVolumeClaim *struct {
		ClaimName string
		ReadOnly  bool
	}
	Projected *struct {
		Sources []struct{ ConfigMap, Secret *reference }
	}
	EmptyDir *struct{ Medium string }
	Image    *struct{ Reference, PullPolicy string }
}

// A reference names a ConfigMap or a Secret, and perhaps keys of it.
type reference struct {
	Name, SecretName string
	Key              string
	Items            []struct{ Key, Path string }
	Optional         bool
}

// podDocument reads and checks what makes a pod, as far as that needs no other document.
func (c *checker) podDocument(d *document) *podDocument {
	p := &podDocument{document: d, base: "spec", meta: map[string]any{"name": d.name}}
	own := tree.Section(d.body, "metadata")
	labels, annotations := tree.Section(own, "labels"), tree.Section(own, "annotations")
	c.options(d, "metadata.annotations", annotations, &p.opts)
	p.raw = tree.Section(d.body, "spec")
	if path := templates[d.kind]; path != nil {
		template := d.body
		for _, key := range path {
			template = tree.Section(template, key)
		}
		at := strings.Join(path, ".")
		p.base, p.raw = at+".spec", tree.Section(template, "spec")
		labels = tree.Section(tree.Section(template, "metadata"), "labels")
		both := map[string]any{}
		maps.Copy(both, annotations)
		closer := tree.Section(tree.Section(template, "metadata"), "annotations")
		c.options(d, at+".metadata.annotations", closer, &p.opts)
		maps.Copy(both, closer)
		annotations = both
	}
	if len(labels) > 0 {
		p.meta["labels"] = labels
	}
	if len(annotations) > 0 {
		p.meta["annotations"] = annotations
	}
	recode(p.raw, &p.spec)
	c.alone(p)
	p.readOnlyClaims()
	p.ownName()
	if c.brief {
		p.forget()
	}
	return p
}

// alone checks a pod for itself.
func (c *checker) alone(p *podDocument) {
	if p.kind == "Deployment" || p.kind == "DaemonSet" {
		c.running(p)
	}
	c.names(p)
	c.sysctls(p)
	p.probes = c.probes(p)
	p.takes = p.ports()
	c.forwarding(p)
	p.each(func(container *podContainer, field string) {
		c.mounts(p, container, field)
		c.environment(p, container, field)
	})
	for i, v := range p.spec.Volumes {
		p.volume(v, fmt.Sprintf("volumes[%d]", i))
	}
}

// forget drops of a pod what no other document is compared with.
func (p *podDocument) forget() {
	labels := tree.Section(p.meta, "labels")
	p.body, p.meta, p.raw, p.spec, p.probes = nil, nil, nil, podSpec{}, nil
	if len(labels) > 0 {
		p.meta = map[string]any{"labels": labels}
	}
}

// field is the place of a part of the pod's spec.
func (p *podDocument) field(format string, args ...any) place {
	return p.at(p.base + "." + fmt.Sprintf(format, args...))
}

// each goes through the containers, the init containers first, as they run.
func (p *podDocument) each(do func(c *podContainer, field string)) {
	for i := range p.spec.InitContainers {
		do(&p.spec.InitContainers[i], fmt.Sprintf("initContainers[%d]", i))
	}
	for i := range p.spec.Containers {
		do(&p.spec.Containers[i], fmt.Sprintf("containers[%d]", i))
	}
}

// pod checks one pod against all else. It is nil where nothing will come of it.
func (b *binder) pod(p *podDocument) *Pod {
	use := uses{binder: b, pod: p, configMaps: map[string]*Object{}, secrets: map[string]*Object{}, claims: map[string]bool{}}
	for _, r := range p.refers {
		use.look(r)
	}
	if b.brief || len(b.errs) > 0 {
		return nil
	}
	out := &Pod{
		Name: p.name, Kind: p.kind, File: p.file, Line: p.line,
		Doc:        map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": p.meta, "spec": p.raw},
		ConfigMaps: byName(use.configMaps), Secrets: byName(use.secrets),
		Claims: slices.Sorted(maps.Keys(use.claims)),
		Images: p.images(), Options: p.opts, Job: p.job(), Cron: p.cron(), Deadline: p.deadline(),
		Probes: p.probes, HostNetwork: p.spec.HostNetwork,
	}
	for _, t := range p.takes {
		out.HostPorts = append(out.HostPorts, t.HostPort)
	}
	out.Hash = podHash(out)
	return out
}

// running checks what a Deployment or DaemonSet has beyond a Pod, which always runs.
func (b *checker) running(p *podDocument) {
	spec := tree.Section(p.body, "spec")
	switch n, ok := spec["replicas"].(int64); {
	case ok && n == 0:
		p.stopped = true
		b.note(p.at("spec.replicas"), "0: no pod runs")
	case ok && n > 1 && p.lenient:
		b.note(p.at("spec.replicas"), "%d is not supported: the pod runs once", n)
	case ok && n > 1:
		b.wrong(p.at("spec.replicas"), "write replicas: 1, or a Deployment with another name for each",
			"%d is not supported: nothing here would share the work among them", n)
	}
	if p.spec.RestartPolicy != "" && p.spec.RestartPolicy != "Always" {
		b.wrong(p.field("restartPolicy"), "write a Pod, or leave restartPolicy out", "%s is not supported in a %s, whose pod always runs", p.spec.RestartPolicy, p.kind)
	}
	labels := tree.Section(tree.Section(tree.Section(spec, "template"), "metadata"), "labels")
	wanted := tree.Section(tree.Section(spec, "selector"), "matchLabels")
	for _, key := range slices.Sorted(maps.Keys(wanted)) {
		if labels[key] != wanted[key] {
			b.wrong(p.at(place{field: "spec.selector.matchLabels"}.key(key, 0).field), "make them equal", "the template doesn't have this label with this value")
		}
	}
}

// deadline is within how many seconds a Deployment wants its pod to be ready; 0: it doesn't say.
func (p *podDocument) deadline() int {
	n, _ := tree.Section(p.body, "spec")["progressDeadlineSeconds"].(int64)
	return int(n)
}

// sysctls wants kernel settings to be of the pod's own name spaces: Podman refuses the machine's.
func (b *checker) sysctls(p *podDocument) {
	for i, s := range p.spec.SecurityContext.Sysctls {
		at := p.field("securityContext.sysctls[%d].name", i)
		switch network := strings.HasPrefix(s.Name, "net."); {
		case network && p.spec.HostNetwork:
			b.wrong(at, "set it in the machine's own configuration", "a pod with hostNetwork can't change the machine's network")
		case s.Name != "" && !network && p.spec.HostIPC:
			b.wrong(at, "set it in the machine's own configuration", "a pod with hostIPC can't change the machine's settings")
		}
	}
}

// names wants the names within a pod to be unique.
func (b *checker) names(p *podDocument) {
	first := map[string]place{}
	p.each(func(c *podContainer, field string) {
		b.unique(first, "container", c.Name, p.field("%s.name", field))
		ports := map[string]place{}
		for i, port := range c.Ports {
			b.unique(ports, "port", port.Name, p.field("%s.ports[%d].name", field, i))
		}
	})
	volumes := map[string]place{}
	for i, v := range p.spec.Volumes {
		b.unique(volumes, "volume", v.Name, p.field("volumes[%d].name", i))
	}
}

func (b *checker) unique(first map[string]place, what, name string, at place) {
	if name == "" {
		return
	}
	was, twice := first[name]
	if twice && was.line > at.line { // init containers are looked at first, but may stand last
		was, at = at, was
	}
	if twice {
		b.wrong(at, "rename one of them", "there is a %s %q already (line %d)", what, name, was.line)
		at = was
	}
	first[name] = at
}

func (b *checker) mounts(p *podDocument, c *podContainer, field string) {
	var names []string
	memory := map[string]bool{}
	for _, v := range p.spec.Volumes {
		names = append(names, v.Name)
		memory[v.Name] = v.EmptyDir != nil && v.EmptyDir.Medium == "Memory"
	}
	paths := map[string]place{}
	for i, m := range c.VolumeMounts {
		at := p.field("%s.volumeMounts[%d].name", field, i)
		if m.Name != "" && !slices.Contains(names, m.Name) {
			hint := "add it to " + p.base + ".volumes"
			if near := nearest(m.Name, names); near != "" {
				hint = "did you mean " + near + "?"
			}
			b.wrong(at, hint, "there is no volume %q in this pod", m.Name)
		}
		if memory[m.Name] && p.mounting(m.Name) > 1 {
			b.wrong(at, "leave medium out", "the volume %q is in memory, which Podman doesn't share between containers", m.Name)
		}
		target, _, _ := strings.Cut(m.MountPath, ":")
		at = p.field("%s.volumeMounts[%d].mountPath", field, i)
		if was, twice := paths[target]; twice && target != "" {
			b.wrong(at, "mount one of them elsewhere", "%s is taken by another volume (line %d)", shorten(target), was.line)
			continue
		}
		paths[target] = at
	}
}

// mounting counts the containers that mount a volume.
func (p *podDocument) mounting(volume string) (n int) {
	p.each(func(c *podContainer, _ string) {
		for _, m := range c.VolumeMounts {
			if m.Name == volume {
				n++
				return
			}
		}
	})
	return n
}

// uses gathers what one pod uses.
type uses struct {
	*binder
	pod        *podDocument
	configMaps map[string]*Object
	secrets    map[string]*Object
	claims     map[string]bool
}

var fieldPath = regexp.MustCompile(`\Ametadata\.(name|uid|(labels|annotations)\['[^']+'\])\z`)

// A referral is where a part of a pod refers to another object.
type referral struct {
	kind     string
	to       *reference
	field    string
	variable bool // a variable can only hold text
}

func (p *podDocument) refer(kind string, to *reference, field string, variable bool) {
	if to != nil {
		p.refers = append(p.refers, referral{kind, to, field, variable})
	}
}

func (b *checker) environment(p *podDocument, c *podContainer, field string) {
	first := map[string]place{}
	for i, e := range c.Env {
		entry := fmt.Sprintf("%s.env[%d]", field, i)
		at := p.field("%s.name", entry)
		if was, twice := first[e.Name]; twice && e.Name != "" {
			b.note(at, "%s is given twice; this counts, and line %d does not", e.Name, was.line)
		}
		first[e.Name] = at
		from := e.ValueFrom
		p.refer("ConfigMap", from.ConfigMapKeyRef, entry+".valueFrom.configMapKeyRef", true)
		p.refer("Secret", from.SecretKeyRef, entry+".valueFrom.secretKeyRef", true)
		if ref := from.FieldRef; ref != nil && ref.FieldPath != "" && !fieldPath.MatchString(ref.FieldPath) {
			b.wrong(p.field("%s.valueFrom.fieldRef.fieldPath", entry),
				"use metadata.name, metadata.uid, metadata.labels['KEY'] or metadata.annotations['KEY']", "%q is not supported", shorten(ref.FieldPath))
		}
		if ref := from.ResourceFieldRef; ref != nil && ref.ContainerName != "" && ref.ContainerName != c.Name {
			b.wrong(p.field("%s.valueFrom.resourceFieldRef.containerName", entry), "leave it out", "a container can only ask for its own resources")
		}
	}
	for i, e := range c.EnvFrom {
		p.refer("ConfigMap", e.ConfigMapRef, fmt.Sprintf("%s.envFrom[%d].configMapRef", field, i), true)
		p.refer("Secret", e.SecretRef, fmt.Sprintf("%s.envFrom[%d].secretRef", field, i), true)
	}
}

func (p *podDocument) volume(v podVolume, field string) {
	p.refer("ConfigMap", v.ConfigMap, field+".configMap", false)
	p.refer("Secret", v.Secret, field+".secret", false)
	if v.Projected != nil {
		for i, s := range v.Projected.Sources {
			source := fmt.Sprintf("%s.projected.sources[%d]", field, i)
			p.refer("ConfigMap", s.ConfigMap, source+".configMap", false)
			p.refer("Secret", s.Secret, source+".secret", false)
		}
	}
	if claim := v.PersistentVolumeClaim; claim != nil {
		p.refer("PersistentVolumeClaim", &reference{Name: claim.ClaimName}, field+".persistentVolumeClaim", false)
	}
}

// claim looks for the claim of a volume.
func (u *uses) claim(name, field string) {
	if name == "" {
		return
	}
	u.claims[name] = true
	if u.binder.claims[name] == nil && !u.torn {
		u.wrong(u.pod.field("%s.claimName", field), howToHave("PersistentVolumeClaim", name, slices.Collect(maps.Keys(u.binder.claims))),
			"there is no PersistentVolumeClaim %q", name)
	}
}

// look looks for the object and the keys that a part of a pod refers to.
func (u *uses) look(r referral) {
	kind, ref, field, variable := r.kind, r.to, r.field, r.variable
	if kind == "PersistentVolumeClaim" {
		u.claim(ref.Name, field)
		return
	}
	all, used, name, nameField := u.binder.configMaps, u.configMaps, ref.Name, "name"
	if kind == "Secret" {
		all, used = u.binder.secrets, u.secrets
	}
	if ref.SecretName != "" {
		name, nameField = ref.SecretName, "secretName"
	}
	if name == "" {
		return
	}
	o := all[name]
	if o == nil {
		if !ref.Optional && !u.torn && !(kind == "Secret" && u.closed) {
			u.wrong(u.pod.field("%s.%s", field, nameField), howToHave(kind, name, slices.Collect(maps.Keys(all))), "there is no %s %q", kind, name)
		}
		return
	}
	o.used = true
	used[name] = o.object
	if ref.Optional {
		return
	}
	if ref.Key != "" {
		u.key(o, ref.Key, u.pod.field("%s.key", field), variable)
	}
	for i, item := range ref.Items {
		if item.Key != "" {
			u.key(o, item.Key, u.pod.field("%s.items[%d].key", field, i), variable)
		}
	}
}

func (u *uses) key(o *bound, key string, at place, variable bool) {
	isText, there := o.keys[key]
	switch {
	case !there:
		hint := ""
		if near := nearest(key, slices.Sorted(maps.Keys(o.keys))); near != "" && !u.sealed[o.doc.file] {
			hint = "did you mean " + near + "?"
		}
		u.wrong(at, hint, "%s %q has no key %q (%s:%d)", o.doc.kind, o.doc.name, shorten(key), o.doc.file, o.doc.line)
	case variable && !isText:
		u.wrong(at, "move it to data", "the key %q is in binaryData, which no variable can hold", shorten(key))
	}
}

func howToHave(kind, name string, names []string) string {
	slices.Sort(names)
	if near := nearest(name, names); near != "" {
		return "did you mean " + near + "?"
	}
	return "add the " + kind + " to the repository, in this file or another"
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
			b.wrong(t.at, "take another port of the machine", "%d is taken by pod %q (%s)", t.Port, was.pod.name, was.at)
		}
	}
}

// sameAddress says whether two can't listen on one port: an address without a name stands for all.
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
