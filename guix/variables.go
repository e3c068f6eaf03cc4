package guix

import (
	"cmp"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
)

// How Guix 1.5 writes a variable into setup-environment; those before are of search paths, which packages bring.
var export = regexp.MustCompile(`(?m)^export ([A-Za-z_][A-Za-z0-9_]*)=(.*)$`)

// variables compares the environment that two homes give to a login shell. One item may be missing.
func (s Store) variables(live, item string) []Detail {
	was, err := s.exportsOf(live)
	is, err2 := s.exportsOf(item)
	if err != nil || err2 != nil {
		return []Detail{{Change: Change{"update", "variables", "not known: " + oneLine(cmp.Or(err, err2).Error())}}}
	}
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

// exportsOf are those of a home; no item has none.
func (s Store) exportsOf(item string) (map[string]string, error) {
	if item == "" {
		return map[string]string{}, nil
	}
	text, err := s.read(filepath.Join(item, "setup-environment"))
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]string{}, nil
	}
	return readExports(text), err
}

func readExports(text []byte) map[string]string {
	all := map[string]string{}
	for _, match := range export.FindAllSubmatch(text, -1) {
		value := string(match[2])
		if len(value) > 200 {
			value = value[:200] + "…"
		}
		all[string(match[1])] = storeName(value)
	}
	return all
}
