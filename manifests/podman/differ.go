package podman

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/diff"

	"example.org/collie/agent/foreign"
	"example.org/collie/manifests"
	"example.org/collie/manifests/internal/tree"
)

// Bounds of what is shown of a pod that changed.
const (
	mostLines = 60  // of all differences
	mostWidth = 120 // of a value
)

// differences are what a person has to know of two states of a pod: a line for each field, with the old value and the new one,
// and below a ConfigMap what changed in its texts. Of a Secret it is only told that it changed.
func differences(old, next RenderedPod) string {
	was, err := old.view()
	is, err2 := next.view()
	if err != nil || err2 != nil {
		return "" // a baseline
	}
	d := differ{}
	d.compare("", was.pod, is.pod)
	for _, name := range union(was.texts, is.texts) {
		d.texts(name, was.texts[name], is.texts[name])
	}
	for _, name := range union(was.secrets, is.secrets) {
		switch before, after := was.secrets[name], is.secrets[name]; {
		case before == after:
		case before == "":
			d.line("Secret %s: used now", name)
		case after == "":
			d.line("Secret %s: not used any more", name)
		default:
			d.line("Secret %s: its content changed", name)
		}
	}
	if more := len(d.lines) - mostLines; more > 0 {
		d.lines = append(d.lines[:mostLines], fmt.Sprintf("and %d lines more", more))
	}
	return strings.Join(d.lines, "\n")
}

func union[V any](a, b map[string]V) []string {
	both := maps.Clone(a)
	if both == nil {
		both = map[string]V{}
	}
	maps.Copy(both, b)
	return slices.Sorted(maps.Keys(both))
}

// A podView is a pod as its author wrote it, as far as that follows from what Podman gets.
type podView struct {
	pod     any
	texts   map[string]map[string]string // data of ConfigMaps, by their names
	secrets map[string]string            // what tells their contents apart, by their names
}

func (r RenderedPod) view() (podView, error) {
	v := podView{texts: map[string]map[string]string{}, secrets: map[string]string{}}
	var list struct{ Items []json.RawMessage }
	if err := json.Unmarshal(r.Kube, &list); err != nil || len(list.Items) == 0 {
		return v, fmt.Errorf("pod %s can't be looked into", r.id())
	}
	var doc any
	if err := json.Unmarshal(list.Items[0], &doc); err != nil {
		return v, err
	}
	names := map[string]string{} // of images, by id
	for _, name := range slices.Sorted(maps.Keys(r.Images)) {
		id := r.Images[name]
		if names[id] = name; r.Digests[name] != "" && !isPinned(name) {
			names[id] = name + " (" + short(r.Digests[name]) + ")"
		}
	}
	own := map[string]string{} // what this pod's ConfigMaps and Secrets are called, by the names in Podman
	for used, hash := range r.Uses {
		kind, name, _ := strings.Cut(used, "/")
		own[name+"-"+hash] = name
		if kind == "Secret" {
			v.secrets[name] = hash
		}
	}
	v.pod = r.plain(doc, own, names)
	meta, _ := v.pod.(map[string]any)["metadata"].(map[string]any)
	delete(meta, "name")
	labels, _ := meta["labels"].(map[string]any)
	maps.DeleteFunc(labels, func(key string, _ any) bool { return strings.HasPrefix(key, manifests.OptionPrefix) })
	for _, raw := range list.Items[1:] {
		var cm struct {
			Kind     string
			Metadata struct{ Name string }
			Data     map[string]string
		}
		if json.Unmarshal(raw, &cm) == nil && cm.Kind == "ConfigMap" && !strings.HasPrefix(cm.Metadata.Name, r.id()+"-") {
			v.texts[cm.Metadata.Name] = cm.Data
		}
	}
	// The parts that Collie itself uses.
	settings, err := json.Marshal(map[string]any{"job": r.Job, "options": r.Options})
	if err != nil {
		return v, err
	}
	var more map[string]any
	if err := json.Unmarshal(settings, &more); err != nil {
		return v, err
	}
	maps.Copy(v.pod.(map[string]any), more)
	return v, showProbes(v.pod, r.Probes)
}

// showProbes puts probes back where their author wrote them, for a plan.
func showProbes(pod any, all []manifests.Probes) error {
	doc, _ := pod.(map[string]any)
	for _, probes := range all {
		raw, err := json.Marshal(probes.WithoutLines())
		if err != nil {
			return err
		}
		for c := range tree.Objects(tree.Section(doc, "spec"), "containers") {
			if tree.Str(c, "name") != probes.Container {
				continue
			}
			if err := json.Unmarshal(raw, &c); err != nil {
				return err
			}
		}
	}
	return nil
}

// plain takes out of a document what render put in: names with a hash, images by their ids.
func (r RenderedPod) plain(v any, own, images map[string]string) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for key, value := range v {
			id, _ := value.(string)
			name, known := images[id]
			switch {
			case known && (key == "image" || key == "reference"):
				out[key] = name
			case key == "imagePullPolicy" || key == "pullPolicy": // always Never
			default:
				out[key] = r.plain(value, own, images)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = r.plain(item, own, images)
		}
		return out
	case string:
		if name, known := own[v]; known {
			return name
		}
		return strings.TrimPrefix(v, r.id()+"-")
	}
	return v
}

// short is a digest as a person compares it.
func short(digest string) string {
	algorithm, hex, _ := strings.Cut(digest, ":")
	return algorithm + ":" + hex[:min(12, len(hex))]
}

// A differ gathers lines.
type differ struct{ lines []string }

func (d *differ) line(format string, args ...any) {
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

// compare goes through two values of a field. Items of lists are distinguished by their names, if they have one.
func (d *differ) compare(field string, was, is any) {
	wasMap, wasOK := asMap(was)
	isMap, isOK := asMap(is)
	if !wasOK && !isOK {
		if before, after := value(was), value(is); before != after {
			d.line("%s: %s → %s", field, before, after)
		}
		return
	}
	if wasOK && is != nil && !isOK || isOK && was != nil && !wasOK { // it became something else
		d.line("%s: %s → %s", field, value(was), value(is))
		return
	}
	for _, key := range union(wasMap, isMap) {
		if key == "name" && (wasMap == nil || isMap == nil) && len(wasMap)+len(isMap) > 1 {
			continue // it is in the field already
		}
		at := field + "." + key
		if strings.HasPrefix(key, "[") || field == "" {
			at = field + key
		}
		d.compare(at, wasMap[key], isMap[key])
	}
}

// asMap makes of lists what is compared: their items by name, by mount path, by port, or else by position.
func asMap(v any) (map[string]any, bool) {
	switch v := v.(type) {
	case map[string]any:
		return v, true
	case []any:
		out := map[string]any{}
		for i, item := range v {
			key := strconv.Itoa(i)
			if m, ok := item.(map[string]any); ok {
				for _, by := range []string{"mountPath", "name", "containerPort", "ip", "key"} {
					if said := value(m[by]); m[by] != nil && len(said) <= mostWidth {
						key = said
						break
					}
				}
			}
			if _, twice := out["["+key+"]"]; twice {
				key += "#" + strconv.Itoa(i)
			}
			out["["+key+"]"] = item
		}
		if scalars(v) { // as of a command: in one line
			return nil, false
		}
		return out, true
	}
	return nil, false
}

func scalars(list []any) bool {
	return !slices.ContainsFunc(list, func(v any) bool {
		switch v.(type) {
		case map[string]any, []any:
			return true
		}
		return false
	})
}

// value is a value in one line.
func value(v any) string {
	switch v := v.(type) {
	case nil:
		return "none"
	case string:
		if plain := foreign.Cut(v, mostWidth); v != "" && !strings.ContainsAny(v, "\n\r\t\"") && v == strings.TrimSpace(v) {
			return plain
		}
		return foreign.Cut(strconv.Quote(v), mostWidth)
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	return foreign.Cut(string(raw), mostWidth)
}

// texts compares the keys of a ConfigMap.
func (d *differ) texts(name string, was, is map[string]string) {
	for _, key := range union(was, is) {
		before, had := was[key]
		after, has := is[key]
		at := "ConfigMap " + name + ", " + key
		switch {
		case before == after && had == has:
		case !had:
			d.line("%s: new", at)
		case !has:
			d.line("%s: gone", at)
		case !strings.Contains(strings.TrimRight(before+after, "\n"), "\n"):
			d.line("%s: %s → %s", at, value(strings.TrimRight(before, "\n")), value(strings.TrimRight(after, "\n")))
		default:
			d.line("%s:", at)
			text := diff.Diff("a", []byte(ended(before)), "b", []byte(ended(after)))
			for line := range strings.Lines(string(text)) {
				if strings.HasPrefix(line, "diff ") || strings.HasPrefix(line, "--- ") || strings.HasPrefix(line, "+++ ") {
					continue
				}
				d.line("  %s", foreign.Cut(strings.TrimRight(line, "\n"), mostWidth))
			}
		}
	}
}

func ended(s string) string {
	if strings.HasSuffix(s, "\n") {
		return s
	}
	return s + "\n"
}
