package manifests

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"example.org/collie/agent/mistake"
	"example.org/collie/manifests/internal/tree"
)

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

// podSpec has the fields that binding reads.
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
	if twice && was.line > at.line { // init containers are checked first, but may come last
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
			if _, guess := mistake.Guess(m.Name, names); guess != "" {
				hint = guess
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
