package manifests

import (
	"fmt"
	"maps"
	"regexp"
	"slices"

	"example.org/collie/agent/mistake"
)

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
	if u.binder.claims[name] == nil && !u.unsure("PersistentVolumeClaim") {
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
		if !ref.Optional && !u.unsure(kind) && !(kind == "Secret" && u.closed) {
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
		_, hint := mistake.Guess(key, slices.Sorted(maps.Keys(o.keys)))
		if u.sealed[o.doc.file] {
			hint = ""
		}
		u.wrong(at, hint, "%s %q has no key %q (%s:%d)", o.doc.kind, o.doc.name, shorten(key), o.doc.file, o.doc.line)
	case variable && !isText:
		u.wrong(at, "move it to data", "the key %q is in binaryData, which no variable can hold", shorten(key))
	}
}

func howToHave(kind, name string, names []string) string {
	slices.Sort(names)
	if _, hint := mistake.Guess(name, names); hint != "" {
		return hint
	}
	return "add the " + kind + " to the repository, in this file or another"
}
