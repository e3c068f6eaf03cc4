package guix

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"example.org/collie/agent/crash"
	"example.org/collie/shepherd"
)

// expect keeps what runs now, and that the files of item are about to be registered. It comes before guix is run to
// switch: afterwards nobody could tell which services are still those of before.
func (s *services) expect(ctx context.Context, item string) error {
	_, all, kept, err := s.survey(ctx, item)
	if err != nil || all == nil {
		return err
	}
	if all, err = s.settle(ctx, all); err != nil {
		return err
	}
	if kept, err = s.look(all); err != nil {
		return err
	}
	kept.Coming = item
	return s.save(kept)
}

// settle waits for services that are just being started or stopped: one that is replaced in that moment would go on
// in parallel to its replacement (Shepherd 1.0.9). It doesn't wait for one that hangs.
func (s *services) settle(ctx context.Context, all []shepherd.Service) ([]shepherd.Service, error) {
	waited := false
	for _, live := range all {
		left := s.limit() - time.Since(live.Since)
		if left <= 0 {
			continue
		}
		switch live.Status { // that one fails to start, or hangs, shows later
		case "starting":
			_ = s.within(ctx, left, live.Name, "start", s.shepherd.Start)
		case "stopping":
			_ = s.within(ctx, left, live.Name, "stop", s.shepherd.Stop)
		default:
			continue
		}
		waited = true
	}
	if !waited {
		return all, nil
	}
	return s.shepherd.Services(ctx)
}

// A convergence is one way from what runs to what files define.
type convergence struct {
	*services
	files  []ServiceFile
	kept   started            // from which file each service was started, before
	before []shepherd.Service // as they were
	all    []shepherd.Service // since all files are registered: a service that didn't run has no history any more
	broken map[string]bool    // files that couldn't be loaded
	tried  map[string]bool    // services that were restarted, or run: whether it was done
	why    map[string]string  // what Shepherd answered of a service that didn't start
	hung   map[string]bool    // services that neither started nor stopped in time
	undone []error            // definitions that couldn't take over
}

func (s *services) convergence(files []ServiceFile, before []shepherd.Service, kept started) *convergence {
	return &convergence{services: s, files: files, kept: kept, before: before, all: before,
		broken: map[string]bool{}, tried: map[string]bool{}, why: map[string]string{}, hung: map[string]bool{}}
}

// converge makes the running services those of item. Its error says what it couldn't do. A service that should run and
// doesn't is not an error but a problem, because item may not be the cause. The diff shows what is left to do, and converging
// again does it.
func (s *services) converge(ctx context.Context, item string) error {
	if err := s.expect(ctx, item); err != nil {
		return err
	}
	files, all, kept, err := s.survey(ctx, item)
	if err != nil || all == nil {
		return err
	}
	c := s.convergence(files, all, kept)
	fault := c.register(ctx)
	crash.At("services.registered")
	if c.all, err = s.shepherd.Services(ctx); err != nil {
		return errors.Join(fault, err)
	}
	fault = errors.Join(fault, c.unloadLeaving(ctx))
	for _, step := range []func(context.Context) error{c.restartChanged, c.startMissing} {
		if err := step(ctx); err != nil {
			return errors.Join(fault, err)
		}
	}
	if fault = errors.Join(append(c.undone, fault)...); fault == nil {
		c.kept.Coming = ""
	}
	return errors.Join(fault, c.note(ctx))
}

// register makes Shepherd know all files, and not only those that changed: another system's may wait for their turn.
// One of a service that hangs in its stop waits: Shepherd would start it in parallel to the process that doesn't end.
func (c *convergence) register(ctx context.Context) error {
	var paths []string
	for _, f := range c.files {
		if live, _ := find(c.before, f); live.Status == "stopping" {
			c.broken[f.File] = true
			continue
		}
		paths = append(paths, f.File)
	}
	c.asked = "its services were registered again"
	err := c.shepherd.Register(ctx, paths...)
	if refused := (*shepherd.Error)(nil); !errors.As(err, &refused) {
		return err
	}
	var faults []error // one that can't be loaded mustn't keep the others away
	for _, f := range c.files {
		if c.broken[f.File] {
			continue
		}
		if err := c.shepherd.Register(ctx, f.File); err != nil {
			c.broken[f.File] = true
			faults = append(faults, fmt.Errorf("service %s: %w", f.Name, err))
		}
	}
	return errors.Join(faults...)
}

// unloadLeaving stops the services that left the configuration. One that doesn't stop is left alone, and is a problem.
func (c *convergence) unloadLeaving(ctx context.Context) error {
	var faults []error
	for _, st := range c.leaving(c.files, c.all, c.kept) {
		if st.Waits() {
			continue
		}
		i := slices.IndexFunc(c.all, func(live shepherd.Service) bool { return live.Name == st.name })
		err := c.bounded(ctx, c.all[i], "stop", c.shepherd.Unload)
		if refused := (*shepherd.Error)(nil); errors.As(err, &refused) && !c.hung[st.name] {
			err = c.bounded(ctx, c.all[i], "stop", c.shepherd.Unload) // a stop that raises stops it all the same
		}
		if !errors.Is(err, shepherd.ErrNotFound) && !c.hung[st.name] {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

func (c *convergence) restartChanged(ctx context.Context) error {
	for _, st := range c.changed(c.files, c.all, c.kept) {
		if st.Waits() || c.broken[st.file] {
			continue
		}
		err := c.again(ctx, st)
		c.tried[st.name] = err == nil
		if err != nil && !c.refused(err) {
			return err
		}
		crash.At("services.restarted")
	}
	return nil
}

// again restarts a service, or runs a one-shot, unless that happened since all was registered: with another that
// requires it, or that it requires.
func (c *convergence) again(ctx context.Context, st step) error {
	now, err := c.shepherd.Service(ctx, st.name)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(c.all, func(live shepherd.Service) bool { return live.Name == st.name })
	switch {
	case st.Does == "run" && !startOf(now).Equal(startOf(c.all[i])):
		return nil
	case st.Does == "restart" && now.Status == "running" && !now.Pending:
		return nil // what has no definition waiting runs the new one
	case st.Does == "restart" && now.Status != "running":
		return nil // it went down with another, and couldn't come up again
	}
	if !now.Enabled {
		if err := c.shepherd.Enable(ctx, st.name); err != nil {
			return err
		}
	}
	if st.Does == "run" {
		return c.start(ctx, now)
	}
	return c.cycle(ctx, now)
}

// startMissing starts what should run and doesn't: all that files start, and what ran before the switch. One service
// that fails keeps none of the others from being started.
func (c *convergence) startMissing(ctx context.Context) error {
	all, err := c.shepherd.Services(ctx)
	if err != nil {
		return err
	}
	for _, f := range c.files {
		live, known := find(all, f)
		old, _ := find(c.before, f)
		e, _ := c.kept.of(old.Name)
		if !known || live.Status != "stopped" || live.OneShot && e.File == f.File || !f.Starts && !e.Running {
			continue
		}
		now, err := c.shepherd.Service(ctx, live.Name) // another may have required it
		if err != nil {
			return err
		}
		if now.Status != "stopped" || !startOf(now).IsZero() && (now.OneShot || failed(now)) {
			continue // done, or failed already
		}
		if _, tried := c.tried[live.Name]; tried && !now.Enabled {
			continue // it ran, and died
		}
		if !now.Enabled && (e.File != f.File || len(old.Respawns) > 0) { // not what a person disabled
			if err := c.shepherd.Enable(ctx, live.Name); err != nil {
				return err
			}
		}
		if err := c.start(ctx, now); err != nil && !c.refused(err) {
			return err
		}
	}
	return nil
}

// note keeps from which files the services run now.
func (c *convergence) note(ctx context.Context) error {
	all, err := c.shepherd.Services(ctx)
	if err != nil {
		return err
	}
	now := started{Boot: c.kept.Boot, Coming: c.kept.Coming, Family: familyOf(all, c.self)}
	now.Left = c.kept.left(now.Family)
	for _, live := range all {
		if live.Transient || live.Name == "root" {
			continue
		}
		e, _ := c.kept.of(live.Name)
		at := startOf(live) // since all was registered, if it didn't run then
		switch file := fileOf(c.files, live); {
		case file == "", c.broken[file], live.Pending && live.Status != "stopped": // as it was
		case live.OneShot && failed(live):
			e.File = "" // see look
		case live.OneShot && at.IsZero() && !c.tried[live.Name]: // as it was
		default:
			e.File = file
		}
		e.Name, e.Running, e.Why = live.Name, live.Status == "running", ""
		if !e.Running {
			e.Why = c.why[live.Name]
		}
		if !at.IsZero() {
			e.Since = at
		}
		if len(live.LogFiles) > 0 {
			e.Log = live.LogFiles[0]
		}
		now.Services = append(now.Services, e)
	}
	return c.save(now)
}

// refused notes what Shepherd said of a service; it is false for an error of another kind.
func (c *convergence) refused(err error) bool {
	refused := new(shepherd.Error)
	if !errors.As(err, &refused) {
		return false
	}
	c.why[refused.Service] = refused.Says
	return true
}
