package guix

import (
	"maps"
	"path/filepath"
	"regexp"
	"slices"
)

// How Guix 1.5 writes a variable into setup-environment; those before are of search paths, which packages bring.
var export = regexp.MustCompile(`(?m)^export ([A-Za-z_][A-Za-z0-9_]*)=(.*)$`)

// variables compares the environment that two homes give to a login shell. One item may be missing.
func variables(live, item string) []Detail {
	was, is := exportsOf(live), exportsOf(item)
	both := maps.Clone(was)
	maps.Copy(both, is)
	var all []Detail
	for _, name := range slices.Sorted(maps.Keys(both)) {
		old, had := was[name]
		next, has := is[name]
		d := Detail{Change: Change{Does: "update", Subject: "variable " + name}, Old: old, New: next}
		switch {
		case old == next && had == has:
			continue
		case !had:
			d.Does = "add"
		case !has:
			d.Does = "remove"
		}
		all = append(all, d)
	}
	return all
}

func exportsOf(item string) map[string]string {
	all := map[string]string{}
	if item == "" {
		return all
	}
	text, err := readBounded(filepath.Join(item, "setup-environment"))
	if err != nil {
		return all
	}
	for _, match := range export.FindAllSubmatch(text, -1) {
		value := string(match[2])
		if len(value) > 200 {
			value = value[:200] + "…"
		}
		all[string(match[1])] = storeName(value)
	}
	return all
}
