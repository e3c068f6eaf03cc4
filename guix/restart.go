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

// A Restarted is how a restart went that somebody asked for.
type Restarted struct {
	Service  string
	With     []string  // what requires it, and so was stopped and started with it
	Problems []Problem // of all these
}

// Restart restarts a service of the system that is live, in its definition there.
func (s *System) Restart(ctx context.Context, service string) (Restarted, error) {
	return s.services().restart(ctx, service)
}

// Restart restarts a service of the home that is live, in its definition there.
func (h *Home) Restart(ctx context.Context, service string) (Restarted, error) {
	u, err := h.who()
	if err != nil {
		return Restarted{}, err
	}
	return h.services(u).restart(ctx, service)
}

// restart is for a person, who may ask for what Collie defers, and for a service that Shepherd has given up. It works
// by the live item's files; that the live item isn't the wanted one is another matter.
func (s *services) restart(ctx context.Context, name string) (Restarted, error) {
	item, err := s.live()
	if err != nil {
		return Restarted{}, err
	}
	files, all, kept, err := s.survey(ctx, item)
	if err != nil {
		return Restarted{}, err
	}
	i := slices.IndexFunc(all, func(live shepherd.Service) bool { return slices.Contains(live.Provides, name) })
	if i < 0 {
		return Restarted{}, fmt.Errorf("there is no service %q: `herd status` lists all", name)
	}
	live := all[i]
	if why := s.refuses(live, all, kept); why != "" {
		return Restarted{}, fmt.Errorf("service %s isn't restarted: %s", live.Name, why)
	}
	c := s.convergence(files, all, kept)
	if file := fileOf(files, live); file != "" {
		if err := s.shepherd.Register(ctx, file); err != nil {
			return Restarted{}, err
		}
	}
	if !live.Enabled {
		if err := s.shepherd.Enable(ctx, live.Name); err != nil {
			return Restarted{}, err
		}
	}
	done := Restarted{Service: live.Name}
	if live.Status == "running" {
		done.With = namesOf(dependents(live, all))
		err = c.cycle(ctx, live)
	} else {
		err = c.start(ctx, live)
	}
	if err != nil && !c.refused(err) {
		return done, err
	}
	if err := errors.Join(c.note(ctx), s.respawned(ctx)); err != nil {
		return done, err
	}
	problems, err := s.problems(ctx, item, time.Time{})
	for _, p := range problems {
		if name := strings.TrimPrefix(p.Subject, "service "); name == live.Name || slices.Contains(done.With, name) {
			done.Problems = append(done.Problems, p)
		}
	}
	return done, errors.Join(append(c.undone, err)...)
}

// refuses says why a service can't be restarted now; nothing if it can.
func (s *services) refuses(live shepherd.Service, all []shepherd.Service, kept started) string {
	p, why := s.policy(live, all)
	switch {
	case kept.Coming != "":
		return "a switch to " + hash(kept.Coming) + " was cut short, and comes first"
	case live.Name == s.self:
		return "Collie does that by itself when its definition changes; `herd restart " + s.self + "` does it now"
	case live.Transient:
		return "it is a transient one, and only whoever made it can make it again"
	case s.hangs(live):
		return "it is " + s.how(live)
	case p.stricterThan(Defer):
		return why + "; only a boot restarts it"
	}
	return ""
}

// cycle stops a service and what requires it, the farthest first, and starts all of that again in the other order, in
// its newest definition. Where one doesn't stop, what it requires goes on as it was.
func (c *convergence) cycle(ctx context.Context, live shepherd.Service) error {
	all, err := c.shepherd.Services(ctx)
	if err != nil {
		return err
	}
	chain := inOrder(all)
	below := dependents(live, all)
	chain = slices.DeleteFunc(chain, func(s shepherd.Service) bool {
		return s.Name != live.Name && !slices.ContainsFunc(below, func(b shepherd.Service) bool { return b.Name == s.Name })
	})
	var stopped []shepherd.Service
	var fault error
	for _, one := range slices.Backward(chain) {
		if fault = c.stop(ctx, one); fault != nil {
			if one.Name != live.Name && c.refused(fault) {
				fault = &shepherd.Error{Action: "restart", Service: live.Name, Says: one.Name + ", which requires it, doesn't stop"}
				c.undone = append(c.undone, fmt.Errorf("service %s keeps its old definition: %s, which requires it, doesn't stop", live.Name, one.Name))
			}
			break
		}
		stopped = append(stopped, one)
	}
	for _, one := range slices.Backward(stopped) {
		if one.Transient {
			continue
		}
		if err := c.start(ctx, one); err != nil && !c.refused(err) {
			return err
		}
	}
	return fault
}

// stop stops a service, and what requires it. It is no error if it stopped though it said something.
func (c *convergence) stop(ctx context.Context, one shepherd.Service) error {
	err := c.bounded(ctx, one, "stop", c.shepherd.Stop)
	if err == nil || !c.refused(err) {
		return err
	}
	now, unknown := c.shepherd.Service(ctx, one.Name)
	if unknown != nil || now.Status != "stopped" {
		return err
	}
	if now.Pending { // a stop that raises leaves it there: the old definition would be started again
		return c.shepherd.Register(ctx, fileOf(c.files, now))
	}
	return nil
}

// start starts a service, unless that would never end, or would wait for one that hangs.
func (c *convergence) start(ctx context.Context, one shepherd.Service) error {
	name := one.Name
	if i := slices.IndexFunc(c.files, func(f ServiceFile) bool { return f.Starts && f.defines(one) }); i >= 0 {
		name = c.files[i].Name // the first name of the new definition
	}
	if i := slices.IndexFunc(one.Requires, func(name string) bool { return c.hung[name] }); i >= 0 {
		c.giveUp(one)
		return &shepherd.Error{Action: "start", Service: name, Says: "it requires " + one.Requires[i] + ", which hangs"}
	}
	all, err := c.shepherd.Services(ctx)
	if err != nil {
		return err
	}
	if says := unstartable(all, name); says != "" {
		return &shepherd.Error{Action: "start", Service: name, Says: says}
	}
	one.Name = name
	return c.bounded(ctx, one, "start", c.shepherd.Start)
}

// bounded asks Shepherd to do something with a service, and remembers if that hangs.
func (c *convergence) bounded(ctx context.Context, one shepherd.Service, verb string, do func(context.Context, string) error) error {
	err := c.within(ctx, c.limit(), one.Name, verb, do)
	if late := (*lateError)(nil); errors.As(err, &late) {
		c.giveUp(one)
	}
	return err
}

// giveUp remembers that a service hangs, by all its names.
func (c *convergence) giveUp(one shepherd.Service) {
	c.hung[one.Name] = true
	for _, name := range one.Provides {
		c.hung[name] = true
	}
}
