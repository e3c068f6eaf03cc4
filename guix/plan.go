package guix

import (
	"context"
	"errors"
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
	details := slices.Concat(services, plain(rest), etc, s.store().packages(live, item))
	if pending(changes) { // else nothing is activated
		details = append(details, s.activates(live, item)...)
	}
	return append(details, growth(ctx, live, item)...), nil
}

// activates is what the scripts do that make item live.
func (s *System) activates(live, item string) []Detail {
	was, is := s.store().scriptsOf(live), s.store().scriptsOf(item)
	if !was.known || !is.known {
		return []Detail{{Change: Change{"update", "activation", "users and more aren't known: a script isn't as Guix 1.5 writes it"}}}
	}
	return slices.Concat(accounts(filepath.Join(s.dir, "/etc"), is), privileges(was, is), otherScripts(was, is, s.store()))
}

// Plan says what a switch to item would change, as System.Plan does.
func (h *Home) Plan(ctx context.Context, item string) ([]Detail, error) {
	live, err := h.Live(ctx)
	if err != nil {
		return nil, err
	}
	changes, services, err := h.changes(ctx, item)
	if err != nil {
		return nil, err
	}
	all := texts{store: h.store()}
	all.compare("~", filesOf(live), filesOf(item))
	return slices.Concat(services, plain(changes), all.details, h.store().variables(live, item), h.store().packages(live, item), growth(ctx, live, item)), nil
}

// changes are those of a home's links, and of its user's services.
func (h *Home) changes(ctx context.Context, item string) ([]Change, []Detail, error) {
	u, err := h.who()
	if missing := (*MissingUserError)(nil); errors.As(err, &missing) {
		files, err := h.store().homeDefinitions(item)
		return []Change{{"switch", "home of " + h.User, "the user doesn't exist yet"}}, h.services(u).tell(files, nil, started{}, false), err
	}
	if err != nil {
		return nil, nil, err
	}
	changes, seen, err := h.differs(ctx, u, item)
	if err != nil {
		return nil, nil, err
	}
	if !seen.Shepherd { // Guix will start it, with all
		files, err := h.store().homeDefinitions(item)
		return changes, h.services(u).tell(files, nil, started{}, false), err
	}
	// Both ways, a home's activation has Shepherd start what it starts by itself.
	services, err := h.services(u).details(ctx, item, len(changes) > 0)
	return changes, services, err
}

// filesOf are the files that a home links to; no item has none.
func filesOf(item string) string {
	if item == "" {
		return ""
	}
	return filepath.Join(item, "files")
}

// files makes details of those changes that concern files in /etc, and returns the others.
func (s *System) files(changes []Change, live, item string) ([]Detail, []Change) {
	all := texts{store: s.store()}
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
				c.Says = "the same text, rebuilt"
			}
			all.add(Detail{Change: Change{"update", c.Subject, c.Says}})
		}
	}
	slices.SortStableFunc(all.details, func(a, b Detail) int { return strings.Compare(a.Subject, b.Subject) })
	return all.details, rest
}

// plain are changes of which no more is known.
func plain(changes []Change) []Detail {
	var all []Detail
	for _, c := range changes {
		d := Detail{Change: c}
		switch c.Does {
		case nextBoot, needsReboot:
			d.Cost = AtBoot
		case "start": // of a user's Shepherd
			d.Cost = Running
		}
		all = append(all, d)
	}
	return all
}
