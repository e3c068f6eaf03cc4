package guix

import (
	"context"
	"errors"
	"slices"

	"example.org/collie/shepherd"
)

// Release stops the services that the live home starts and item doesn't have: what they hold, others may take. A switch to
// either home is as good after it. It reports whether it stopped any.
func (h *Home) Release(ctx context.Context, item string) (stopped bool, err error) {
	u, err := h.who()
	if missing := (*MissingUserError)(nil); errors.As(err, &missing) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	services := h.services(u).patient(h.Silence)
	stopped, err = services.release(ctx, item)
	return stopped, services.excuse(err)
}

// release stops the services that leave, and those that depend on them, in the order of a switch. A service that the live item
// doesn't start is left alone: a switch back wouldn't start it.
func (s *services) release(ctx context.Context, item string) (stopped bool, err error) {
	live, err := s.live()
	if err != nil {
		return false, err
	}
	ours, err := s.found(live)
	if err != nil {
		return false, err
	}
	files, all, kept, err := s.survey(ctx, item)
	if unreachable(err) {
		return false, nil // nothing of it runs
	}
	if err != nil {
		return false, err
	}
	c := s.convergence(files, all, kept)
	for _, st := range s.leaving(files, all, kept) {
		i := slices.IndexFunc(all, func(live shepherd.Service) bool { return live.Name == st.name })
		if st.Waits() || all[i].Status != "running" || !wanted(ours, all[i]) {
			continue
		}
		stopped = true
		if err := c.stop(ctx, all[i]); err != nil && !c.refused(err) {
			return stopped, err
		}
	}
	return stopped, nil
}

// Revive starts what item starts and doesn't run, as if it had never failed.
func (s *System) Revive(ctx context.Context, item string) error {
	return s.services().revive(ctx, item)
}

// Revive starts what item starts and doesn't run, as if it had never failed.
func (h *Home) Revive(ctx context.Context, item string) error {
	u, err := h.who()
	if err != nil {
		return err
	}
	return h.services(u).revive(ctx, item)
}

// revive starts services that should run and don't, and runs again the one-shots that failed. Registering a service that doesn't run
// resets Shepherd's count of its deaths. A service that somebody disabled remains disabled.
func (s *services) revive(ctx context.Context, item string) error {
	files, all, kept, err := s.survey(ctx, item)
	if err != nil {
		return err
	}
	c := s.convergence(files, all, kept)
	tried := false
	for _, f := range files {
		live, known := find(all, f)
		switch {
		case !known, !f.Starts, f.Name == s.self, live.Status != "stopped":
			continue
		case live.OneShot && !failed(live):
			continue
		case !live.Enabled && !live.Died() && !failed(live): // a person did that
			continue
		}
		tried = true
		if err := c.fresh(ctx, f, live); err != nil && !c.refused(err) {
			return err
		}
	}
	if !tried {
		return nil
	}
	return errors.Join(c.note(ctx), s.respawned(ctx))
}

// fresh starts a service as one that never failed.
func (c *convergence) fresh(ctx context.Context, f ServiceFile, live shepherd.Service) error {
	now, err := c.shepherd.Service(ctx, live.Name) // another may have required it
	if err != nil || now.Status != "stopped" {
		return err
	}
	if err := c.shepherd.Register(ctx, f.File); err != nil {
		return err
	}
	if !now.Enabled {
		if err := c.shepherd.Enable(ctx, now.Name); err != nil {
			return err
		}
	}
	return c.start(ctx, now)
}
