package guix

import (
	"maps"
	"path/filepath"
	"slices"
)

// A pkg is one that a profile was made from.
type pkg struct{ version, path string }

// packages compares the profiles of two systems, or two homes. One item may be missing.
func packages(live, item string) []Detail {
	was, is := manifestOf(live), manifestOf(item)
	var all []Detail
	both := maps.Clone(was)
	maps.Copy(both, is)
	for _, name := range slices.Sorted(maps.Keys(both)) {
		old, had := was[name]
		next, has := is[name]
		d := Detail{Change: Change{Does: "update", Subject: "package " + name}, Old: old.version, New: next.version}
		switch {
		case old == next:
			continue
		case !had:
			d.Does = "add"
		case !has:
			d.Does = "remove"
		case old.version == next.version:
			d.Does, d.Says, d.Old, d.New = "rebuild", "the same version, built anew", "", ""
		}
		all = append(all, d)
	}
	return all
}

// manifestOf are the packages of item's profile by name, with their output if that isn't out; none if they aren't known.
func manifestOf(item string) map[string]pkg {
	all := map[string]pkg{}
	if item == "" {
		return all
	}
	text, err := readBounded(filepath.Join(item, "profile/manifest"))
	if err != nil {
		return all
	}
	for _, p := range readManifest(string(text)) {
		if _, twice := all[p.name]; twice {
			p.name += "@" + p.version
		}
		all[p.name] = p.pkg
	}
	return all
}

type namedPackage struct {
	name string
	pkg
}

// readManifest reads (manifest (version 4) (packages (("git" "2.52.0" "out" "/gnu/store/…" …) …))).
func readManifest(text string) []namedPackage {
	forms, err := readStore(text)
	if err != nil {
		return nil
	}
	list, ok := seek(forms, "packages")
	if !ok || len(list.list) != 2 {
		return nil
	}
	var all []namedPackage
	for _, entry := range list.list[1].list {
		if len(entry.list) < 4 || slices.ContainsFunc(entry.list[:4], func(f form) bool { return !f.str }) {
			continue
		}
		name, output := entry.list[0].atom, entry.list[2].atom
		if output != "out" {
			name += ":" + output
		}
		all = append(all, namedPackage{name, pkg{entry.list[1].atom, entry.list[3].atom}})
	}
	return all
}
