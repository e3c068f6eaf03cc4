package guix

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.org/collie/shepherd"
)

// Shepherd 1.0.9 starts what a service requires before the service, also through services that run, and looks for neither
// circles nor gaps. It never answers then, and the service it was asked for isn't even "starting":
//
//	what is required, at any distance                      what Shepherd does when it is to start the service
//	the service itself                                     grows by 50 MB a second, also after who asked has gone
//	the service itself, and a one-shot is among them       waits for ever
//	a service whose requirement nothing provides           waits for ever; at first hand: "could not be found"
//	a name that two services provide                       knows the second of them alone
//
// Guix refuses a requirement that nothing provides, and a name that two provide, but only where it writes the service's
// file itself, and never a circle. So they are looked for before a switch to what has one, and before each start.

// CheckServices says, as a *BuildError of file, what is wrong with how the services of a system require each other.
func (s *System) CheckServices(ctx context.Context, item, file string) error {
	return s.services().check(ctx, item, file)
}

// CheckServices says, as a *BuildError of file, what is wrong with how the services of a home require each other.
func (h *Home) CheckServices(ctx context.Context, item, file string) error {
	u, err := h.who()
	if err != nil { // the user may not exist yet, and then runs no service
		files, err := h.store().homeDefinitions(item)
		return errors.Join(err, mistaken(file, mistakes(h.store().definedBy(files))))
	}
	return h.services(u).check(ctx, item, file)
}

// check checks the services of item, and the same together with those that run when they are registered. If
// Shepherd doesn't answer, the latter is left to the look before the switch.
func (s *services) check(ctx context.Context, item, file string) error {
	files, err := s.definitions(item)
	if err != nil {
		return err
	}
	if says := mistakes(s.store.definedBy(files)); len(says) > 0 {
		return mistaken(file, says)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return s.checkClashes(ctx, item, file)
}

// checkClashes is the part of check that depends on what runs.
func (s *services) checkClashes(ctx context.Context, item, file string) error {
	files, err := s.definitions(item)
	if err != nil {
		return err
	}
	all, err := s.shepherd.Services(ctx)
	if err != nil {
		return nil
	}
	return mistaken(file, clashes(s.store.definedBy(files), files, all))
}

// mistaken is the error of these mistakes; none is none.
func mistaken(file string, says []string) error {
	if len(says) == 0 {
		return nil
	}
	return &BuildError{File: file, Says: file + ": " + strings.Join(says, "\n"+file+": ")}
}

// A defined service is what a file says of one, in Shepherd's words.
type defined struct {
	shepherd.Service
	sure bool // its names and requirements are known; else at most its names are
}

// definedBy are the services that files define.
func (s Store) definedBy(files []ServiceFile) []defined {
	var all []defined
	for _, f := range files {
		d := defined{Service: shepherd.Service{Name: f.Name, Provides: f.Provides}}
		if p, ok := s.programOf(f.File); ok && p.plain {
			d.Service, d.sure = shepherd.Service{Name: p.provides[0], Provides: p.provides, Requires: p.requires}, true
		}
		all = append(all, d)
	}
	return all
}

// mistakes says what would keep Shepherd from ever starting services that are all there are.
func mistakes(all []defined) []string {
	var says []string
	services := []shepherd.Service{{Name: "root", Provides: []string{"root", "shepherd"}}}
	by := map[string]string{"root": "Shepherd itself", "shepherd": "Shepherd itself"}
	for _, d := range all {
		for _, name := range d.Provides {
			if other, twice := by[name]; twice {
				says = append(says, fmt.Sprintf("service %s provides %s, and so does %s\nhint: Shepherd would know only one of them: give each a name of its own in `provision`", d.Name, name, other))
				continue
			}
			by[name] = d.Name
		}
		services = append(services, d.Service)
	}
	for _, d := range all {
		for _, name := range d.Requires {
			if by[name] == "" && !slices.ContainsFunc(all, func(other defined) bool { return other.mayProvide(name) }) {
				says = append(says, fmt.Sprintf("service %s requires %s, which no service provides\nhint: Shepherd would wait for it for ever: add a service that provides %s, or remove it from `requirement`", d.Name, name, name))
			}
		}
	}
	for _, c := range circles(services) {
		says = append(says, c.String()+"\nhint: Shepherd would never end starting them: remove one of these from `requirement`")
	}
	return says
}

// mayProvide reports whether a service of which only the file is known, whose name is made of all that it provides, may
// provide one.
func (d defined) mayProvide(name string) bool {
	return !d.sure && len(d.Provides) == 0 && strings.Contains(d.Name, fileName([]string{name}))
}

// clashes says in which circles services that are about to start would be together with those that run: what runs keeps
// its definition until it stops, and guix starts what doesn't run before that.
func clashes(defined []defined, files []ServiceFile, all []shepherd.Service) []string {
	w := newWalk(mixture(defined, files, all))
	for _, f := range files {
		if live, known := find(all, f); f.Starts && (!known || !runs(live)) {
			w.from(w.index[f.Name].Name)
		}
	}
	var says []string
	for _, c := range w.circles {
		var old []string
		for _, name := range c.names() {
			if i := slices.IndexFunc(all, func(live shepherd.Service) bool { return live.Name == name }); i >= 0 && runs(all[i]) {
				old = append(old, name)
			}
		}
		says = append(says, fmt.Sprintf("%s, as long as %s runs as it did before\nhint: Shepherd would never end starting them: make two commits of it, and take the requirement away in the first",
			c, strings.Join(old, ", ")))
	}
	return says
}

func runs(live shepherd.Service) bool { return live.Status != "stopped" }

// mixture is what Shepherd knows once files are registered: what runs as it is, all else as the files say.
func mixture(defined []defined, files []ServiceFile, all []shepherd.Service) []shepherd.Service {
	var mixed []shepherd.Service
	for _, live := range all {
		if runs(live) || fileOf(files, live) == "" {
			mixed = append(mixed, live)
		}
	}
	for i, f := range files {
		switch live, known := find(all, f); {
		case !known || !runs(live) && defined[i].sure:
			mixed = append(mixed, defined[i].Service)
		case !runs(live):
			mixed = append(mixed, live)
		}
	}
	return mixed
}

// A link is a requirement: that of a service, by the name of another, which may be one of several.
type link struct{ from, name, to string }

// A circle is a chain of requirements that ends where it begins.
type circle []link

func (c circle) names() []string {
	var names []string
	for _, l := range c {
		names = append(names, l.from)
	}
	return names
}

func (c circle) String() string {
	says := ""
	switch names := c.names(); len(names) {
	case 1:
		says = "service " + names[0] + " requires itself"
	case 2:
		says = "services " + names[0] + " and " + names[1] + " require each other"
	default:
		says = "services " + strings.Join(names, ", ") + " require each other in a circle"
	}
	var how []string
	for _, l := range c {
		if l.name != l.to {
			how = append(how, l.from+" requires "+l.name+", which is "+l.to)
		} else if len(c) > 2 {
			how = append(how, l.from+" requires "+l.to)
		}
	}
	if len(how) > 0 {
		says += ": " + strings.Join(how, ", ")
	}
	return says
}

// circles are those among services, at least one for each group of services that require each other.
func circles(all []shepherd.Service) []circle {
	w := newWalk(all)
	for _, s := range all {
		w.from(s.Name)
	}
	return w.circles
}

// unstartable says why Shepherd would never end starting a service; nothing if it would.
func unstartable(all []shepherd.Service, name string) string {
	w := newWalk(all)
	s, known := w.index[name]
	if !known {
		return "" // Shepherd says so itself
	}
	w.from(s.Name)
	switch {
	case len(w.circles) > 0:
		return w.circles[0].String() + ", and Shepherd would never end starting it"
	case len(w.gaps) > 0:
		return fmt.Sprintf("%s requires %s, which no service provides", w.gaps[0].from, w.gaps[0].name)
	}
	return ""
}

// A walk follows requirements.
type walk struct {
	index   map[string]shepherd.Service
	state   map[string]int // by name: the place on the path, from 1; done
	path    []link
	circles []circle
	gaps    []link
}

const done = -1

func newWalk(all []shepherd.Service) *walk {
	return &walk{index: byName(all), state: map[string]int{}}
}

func (w *walk) from(name string) {
	if w.state[name] != 0 {
		return
	}
	w.state[name] = len(w.path) + 1
	for _, required := range w.index[name].Requires {
		to, known := w.index[required]
		l := link{name, required, to.Name}
		if !known {
			w.gaps = append(w.gaps, l)
			continue
		}
		w.path = append(w.path, l)
		if begin := w.state[to.Name]; begin > 0 {
			w.circles = append(w.circles, slices.Clone(w.path[begin-1:]))
		}
		w.from(to.Name)
		w.path = w.path[:len(w.path)-1]
	}
	w.state[name] = done
}
