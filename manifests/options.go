package manifests

import (
	"maps"
	"slices"
	"strings"
)

// Options are what an object asks of Collie itself, by annotations under collie.io/. Podman never sees them, and none of
// them is in a pod's hash: one that changes makes no new pod.
type Options struct {
	Alone bool `json:"alone,omitempty"` // once it is there, nothing is done to it
	Stays bool `json:"stays,omitempty"` // it isn't removed when it leaves the repository
	Adopt bool `json:"adopt,omitempty"` // it takes the place of a pod of its name that somebody made by hand
}

// optionPrefix begins the annotations that are Collie's own.
const optionPrefix = "collie.io/"

// An option is one such annotation.
type option struct {
	key   string                              // without the prefix
	kinds []string                            // of objects that may have it
	is    string                              // its value, in the user's words
	set   func(o *Options, value string) bool // false: that isn't one
}

// options is the table of all.
var options = []option{
	{"reconcile", []string{"Pod", "Deployment"}, "disabled", func(o *Options, v string) bool { o.Alone = v == "disabled"; return o.Alone }},
	{"prune", []string{"Pod", "Deployment"}, "disabled", func(o *Options, v string) bool { o.Stays = v == "disabled"; return o.Stays }},
	{"adopt", []string{"Pod", "Deployment"}, `"true"`, func(o *Options, v string) bool { o.Adopt = v == "true"; return o.Adopt }},
}

// annotationKey lets through what labelKey does, and Collie's own.
func annotationKey(k string) string {
	own, ok := strings.CutPrefix(k, optionPrefix)
	if !ok {
		return labelKey(k)
	}
	var known []string
	for _, opt := range options {
		if opt.key == own {
			return ""
		}
		known = append(known, optionPrefix+opt.key)
	}
	if near := nearest(k, known); near != "" {
		return "there is no such annotation: did you mean " + near + "?"
	}
	return labelKey(k)
}

// options takes Collie's own annotations out of some of d's, and says what is wrong with them.
func (b *binder) options(d *document, at string, annotations map[string]any, o *Options) {
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		own, ok := strings.CutPrefix(key, optionPrefix)
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
