package guix

import (
	"cmp"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
)

// A pkg is one that a profile was made from.
type pkg struct{ version, path string }

// packages compares the profiles of two systems, or two homes. One item may be missing.
func (s Store) packages(live, item string) []Detail {
	was, err := s.manifestOf(live)
	is, err2 := s.manifestOf(item)
	if outside := (*OutsideError)(nil); errors.As(cmp.Or(err, err2), &outside) {
		return []Detail{{Change: Change{"update", "packages", "not known: " + oneLine(outside.Error())}}}
	}
	if err != nil || err2 != nil {
		return []Detail{{Change: Change{"update", "packages", "not known: a manifest isn't as Guix 1.5 writes it"}}}
	}
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
			d.Does, d.Says, d.Old, d.New = "rebuild", "the same version, rebuilt", "", ""
		}
		all = append(all, d)
	}
	return all
}

// manifestOf are the packages of item's profile by name, with their output if that isn't out. No item has none.
func (s Store) manifestOf(item string) (map[string]pkg, error) {
	if item == "" {
		return map[string]pkg{}, nil
	}
	text, err := s.read(filepath.Join(item, "profile/manifest"))
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]pkg{}, nil
	}
	if err != nil {
		return nil, err
	}
	return readManifest(string(text))
}

// readManifest reads (manifest (version 4) (packages (("git" "2.52.0" "out" "/gnu/store/…" …) …))).
func readManifest(text string) (map[string]pkg, error) {
	forms, err := readStore(text)
	if err != nil {
		return nil, err
	}
	list, ok := seek(forms, "packages")
	if !ok || len(list.list) != 2 {
		return nil, errors.New("it names no packages")
	}
	all := map[string]pkg{}
	for _, entry := range list.list[1].list {
		if len(entry.list) < 4 || slices.ContainsFunc(entry.list[:4], func(f form) bool { return !f.str }) {
			return nil, errors.New("a package is written otherwise")
		}
		name, version, output := entry.list[0].atom, entry.list[1].atom, entry.list[2].atom
		if output != "out" {
			name += ":" + output
		}
		if _, twice := all[name]; twice {
			name += "@" + version
		}
		all[name] = pkg{version, entry.list[3].atom}
	}
	return all, nil
}
