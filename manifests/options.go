package manifests

import (
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"example.org/collie/agent/mistake"
)

// Options are what an object asks of Collie itself, by annotations under collie.io/. Podman never sees them, and none of
// them is in a pod's hash, but for those that change what Podman gets: else one that changes makes no new pod.
type Options struct {
	Alone bool `json:"alone,omitempty"` // once it is there, nothing is done to it
	Stays bool `json:"stays,omitempty"` // it isn't removed when it leaves the repository
	Adopt bool `json:"adopt,omitempty"` // it takes the place of a pod of its name that somebody made by hand

	Wave      int      `json:"wave,omitempty"`
	DependsOn []string `json:"dependsOn,omitempty"` // pods that have to be ready before
	Hook      string   `json:"hook,omitempty"`      // of a Job: when in a rollout it runs

	Handover      string `json:"handover,omitempty"`       // forward
	ProxyProtocol string `json:"proxy_protocol,omitempty"` // v1, v2
}

// optionPrefix begins the annotations that are Collie's own.
const OptionPrefix = "collie.io/"

// An option is one such annotation.
type option struct {
	key   string                              // without the prefix
	kinds []string                            // of objects that may have it
	is    string                              // its value, in the user's words
	set   func(o *Options, value string) bool // false: that isn't one
}

var (
	running    = []string{"Pod", "Deployment", "DaemonSet"}
	everything = []string{"Pod", "Deployment", "DaemonSet", "Job", "CronJob", "ConfigMap", "Secret", "PersistentVolumeClaim"}
)

// options is the table of all.
var options = slices.Concat(forwardingOptions, []option{
	{lenience, everything, "ignore", func(_ *Options, v string) bool { return v == "ignore" }}, // heeded where the object is read
	{"reconcile", running, "disabled", func(o *Options, v string) bool { o.Alone = v == "disabled"; return o.Alone }},
	{"prune", running, "disabled", func(o *Options, v string) bool { o.Stays = v == "disabled"; return o.Stays }},
	{"adopt", running, `"true"`, func(o *Options, v string) bool { o.Adopt = v == "true"; return o.Adopt }},
	waveOption, dependsOnOption, hookOption,
})

// annotationKey lets through what labelKey does, and Collie's own.
func annotationKey(k string) string {
	own, ok := strings.CutPrefix(k, OptionPrefix)
	if !ok {
		return labelKey(k)
	}
	var known []string
	for _, opt := range options {
		if opt.key == own {
			return ""
		}
		known = append(known, OptionPrefix+opt.key)
	}
	if _, hint := mistake.Guess(k, known); hint != "" {
		return "there is no such annotation: " + hint
	}
	return labelKey(k)
}

// lenience is the annotation by which what is unsupported or unknown in an object becomes a note.
const lenience = "unsupported"

// lenient reports whether an object that nobody has checked yet, or its template, has that annotation.
func lenient(n *yaml.Node) bool {
	paths := [][]string{nil}
	for _, path := range templates {
		paths = append(paths, path)
	}
	return slices.ContainsFunc(paths, func(path []string) bool {
		return scalarAt(n, append(slices.Clone(path), "metadata", "annotations", OptionPrefix+lenience)...) == "ignore"
	})
}

// options takes Collie's own annotations out of some of d's, and says what is wrong with them.
func (b *checker) options(d *document, at string, annotations map[string]any, o *Options) {
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		own, ok := strings.CutPrefix(key, OptionPrefix)
		if !ok {
			continue
		}
		value, _ := annotations[key].(string)
		delete(annotations, key)
		p := d.at(place{field: at}.key(key, 0).field)
		for _, opt := range options {
			switch {
			case opt.key != own:
			case !slices.Contains(opt.kinds, d.kind):
				b.wrong(p, "leave it out", "a %s doesn't have this annotation: it is for %s", d.kind, strings.Join(opt.kinds, ", "))
			case !opt.set(o, value):
				b.wrong(p, "write "+opt.is, "%q is not supported", shorten(value))
			}
		}
	}
}
