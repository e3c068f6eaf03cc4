package guix

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"example.org/collie/shepherd"
)

// A forecast knows what happens to each service in a switch. That is more than the steps, because Shepherd 1.0.9 does more.
//
//	to stop a service      stops first what requires it: as it runs now, not as it will be defined
//	to restart a service   starts all that was stopped again, each in its new definition
//	to start a service     first starts what its new definition requires, and runs each one-shot among that once more,
//	                       also those that only what runs already requires
//	to unload a service    stops what requires it; Collie restarts those that remain
//	guix, forward          starts all that Shepherd starts by itself and doesn't run: all one-shots run once more
//	guix, home, both ways  likewise
type forecast struct {
	nodes map[string]*node // by each name
	fates map[string]Detail
}

// A node is a service as it will be once all is registered.
type node struct {
	name     string
	requires []string
	oneShot  bool
	running  bool
	disabled bool
}

// details is diff for a person. again reports whether guix starts services, too.
func (s *services) details(ctx context.Context, item string, again bool) ([]Detail, error) {
	files, all, kept, err := s.survey(ctx, item)
	if err != nil {
		return nil, err
	}
	return s.tell(files, all, kept, again), nil
}

// tell is details, of services that were asked for.
func (s *services) tell(files []ServiceFile, all []shepherd.Service, kept started, again bool) []Detail {
	steps := s.plan(files, all, kept)
	programs := map[string]program{}
	for _, f := range files {
		live, known := find(all, f)
		if e, _ := kept.of(live.Name); known && e.File == f.File {
			continue // Shepherd says the same
		}
		if p, ok := s.store.programOf(f.File); ok {
			programs[f.File] = p
		}
	}
	details := foresee(all, files, programs, steps, again)
	s.store.explain(details, steps, programs, kept)
	return append(plain(kept.unfinished()), details...)
}

// explain adds what changed in the definitions of the steps' services.
func (s Store) explain(details []Detail, steps []step, programs map[string]program, kept started) {
	why := texts{store: s}
	for i, d := range details {
		j := slices.IndexFunc(steps, func(st step) bool { return st.Subject == d.Subject })
		if j < 0 || steps[j].name == "user-homes" { // it names all accounts with their passwords
			continue
		}
		is, ok := programs[steps[j].file]
		if steps[j].file != "" && !ok {
			details[i].Says += "; what it will require isn't known, as its file is written otherwise than Guix 1.5 does"
		}
		e, _ := kept.of(steps[j].name)
		was, ok2 := s.programOf(e.File)
		if !ok || !ok2 {
			continue
		}
		says := ""
		if details[i].Diff, says = why.explain([]form{was.form}, []form{is.form}); says != "" {
			details[i].Says += "; " + says
		}
	}
}

// foresee does nothing and asks nobody. It is sorted.
func foresee(all []shepherd.Service, files []ServiceFile, programs map[string]program, steps []step, again bool) []Detail {
	f := forecast{fates: map[string]Detail{}}
	f.know(all, files, programs, steps)
	for _, st := range steps {
		f.step(st)
	}
	index := byName(all)
	for _, st := range steps {
		if live, known := index[st.name]; known && (st.Does == "stop" || st.Does == "restart") && live.Status == "running" {
			f.below(st, dependents(live, all))
		}
	}
	for _, file := range files {
		n := f.nodes[file.Name]
		switch {
		case !file.Starts || !again || n == nil:
		case n.disabled:
		case n.oneShot:
			f.fate(n, "run", "as Guix does each time")
		case !n.running:
			f.fate(n, "start", "it doesn't run; Guix tries again")
		}
	}
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(f.fates)) {
		n, does := f.nodes[name], f.fates[name].Does
		if n != nil && (does == "start" || does == "restart" || does == "run") {
			f.above(n, seen)
		}
	}
	own := map[string]int{}
	for i := range steps {
		own[steps[i].Subject] = -1 // before those that another causes
	}
	return slices.SortedFunc(maps.Values(f.fates), func(a, b Detail) int {
		return cmp.Or(slices.Index(order, a.Does)-slices.Index(order, b.Does), own[a.Subject]-own[b.Subject], strings.Compare(a.Subject, b.Subject))
	})
}

// order of what is done, in a plan.
var order = []string{"stop", "restart", OwnExit, "start", "run", "load", "unload", deferred, nextBoot, needsReboot, Leaves}

// know makes the nodes.
func (f *forecast) know(all []shepherd.Service, files []ServiceFile, programs map[string]program, steps []step) {
	f.nodes = map[string]*node{}
	add := func(n *node, names ...string) {
		for _, name := range append(names, n.name) {
			f.nodes[name] = n
		}
	}
	waits := map[string]bool{}
	for _, st := range steps {
		waits[st.name] = st.Waits()
	}
	for _, live := range all {
		n := &node{live.Name, live.Requires, live.OneShot, live.Status == "running" || live.Status == "starting", !live.Enabled}
		names := live.Provides
		if p, ok := programs[fileOf(files, live)]; ok && !waits[live.Name] {
			n.requires, n.oneShot = p.requires, p.oneShot
			names = append(slices.Clone(names), p.provides...)
		}
		add(n, names...)
	}
	for _, file := range files {
		if _, known := find(all, file); known {
			continue
		}
		n := &node{name: file.Name}
		names := append([]string{file.Name}, file.Provides...)
		if p, ok := programs[file.File]; ok {
			n.name, n.requires, n.oneShot = p.provides[0], p.requires, p.oneShot
			names = append(names, p.provides...)
		}
		add(n, names...)
		if !file.Starts {
			f.fate(n, "load", "new; it isn't started by itself")
		}
	}
}

// fate records what happens to a service. The first record counts, unless it was only "load".
func (f *forecast) fate(n *node, does, says string) {
	if old, known := f.fates[n.name]; known && old.Does != "load" {
		return
	}
	d := Detail{Change: Change{does, "service " + n.name, says}, Cost: Running}
	switch does {
	case deferred, nextBoot, needsReboot:
		d.Cost = AtBoot
	case "load", "unload":
		d.Cost = ""
	}
	f.fates[n.name] = d
}

// step is what is done to a service for its own sake.
func (f *forecast) step(st step) {
	n, known := f.nodes[st.name]
	if !known {
		n = &node{name: st.name}
	}
	switch {
	case st.Does == "stop" && !n.running:
		f.fate(n, "unload", st.Says)
	case st.Does == "start" && n.oneShot:
		f.fate(n, "run", st.Says)
	default:
		f.fate(n, st.Does, st.Says)
	}
}

// below are the services that stop because another does, and start again.
func (f *forecast) below(st step, stopped []shepherd.Service) {
	why := "because of " + st.name
	if st.Does == "stop" {
		why += ", which leaves"
	}
	for _, s := range stopped {
		switch n := f.nodes[s.Name]; {
		case s.Transient:
			f.fate(n, "stop", why)
		case n.disabled && len(s.Respawns) == 0:
			f.fate(n, "stop", why+"; somebody disabled it, so it isn't started again")
		default:
			f.fate(n, "restart", why)
		}
	}
}

// above are the services that start because one that requires them does.
func (f *forecast) above(n *node, seen map[string]bool) {
	for _, name := range n.requires {
		other, known := f.nodes[name]
		if !known || seen[other.name] {
			continue
		}
		seen[other.name] = true
		switch {
		case other.oneShot:
			f.fate(other, "run", "for "+n.name)
		case !other.running:
			f.fate(other, "start", "for "+n.name)
		}
		f.above(other, seen)
	}
}
