package guix

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A Detail is a Change with what a person wants to know before it is made.
type Detail struct {
	Change
	Cost     string // what becomes of what runs: Running, AtBoot; nothing: it isn't touched
	Old, New string // versions
	Diff     string // of texts, unified
}

// The costs of a Detail.
const (
	Running = "running" // something that runs is stopped, or starts
	AtBoot  = "boot"    // the next boot makes it
)

// Plan says what a switch to item, which Build made from tree, would change. It reads the store and asks Shepherd, and
// runs no guix.
func (s *System) Plan(ctx context.Context, item, tree string) ([]Detail, error) {
	changes, err := s.differs(ctx, item)
	if err != nil {
		return nil, err
	}
	live, err := s.Live(ctx)
	if err != nil {
		return nil, err
	}
	number, _, err := s.profile().find(item)
	if err != nil {
		return nil, err
	}
	// Guix itself starts services, but only on the way forward.
	services, err := s.services().details(ctx, item, pending(changes) && number == 0 && tree != "")
	if err != nil {
		return nil, err
	}
	etc, rest := s.files(changes, live, item)
	return slices.Concat(services, plain(rest), etc, packages(live, item)), nil
}

// files makes details of those changes that concern files in /etc, and returns the others.
func (s *System) files(changes []Change, live, item string) ([]Detail, []Change) {
	all := texts{store: storeOf(item)}
	var rest []Change
	for _, c := range changes {
		name, ours := strings.CutPrefix(c.Subject, "/etc/")
		if !ours {
			rest = append(rest, c)
			continue
		}
		before, err := os.Readlink(filepath.Join(s.dir, "/etc", name))
		if err != nil { // a copy; or what isn't ours to show
			before = filepath.Join(live, "etc", name)
		}
		after := filepath.Join(item, "etc", name)
		if !all.compare(c.Subject, before, after) {
			if c.Says == "changed" {
				c.Says = "the same text, made anew"
			}
			all.add(Detail{Change: Change{"update", c.Subject, c.Says}})
		}
	}
	return all.details, rest
}

// plain are changes of which no more is known.
func plain(changes []Change) []Detail {
	var all []Detail
	for _, c := range changes {
		d := Detail{Change: c}
		if c.Does == nextBoot {
			d.Cost = AtBoot
		}
		all = append(all, d)
	}
	return all
}
