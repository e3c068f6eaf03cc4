package guix

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"example.org/collie/shepherd"
)

// Leaves is the change of the agent's own service that left the configuration: it goes once all is quiet.
const Leaves = "leave"

// Runs reports whether the system item has the agent's own service.
func (s *System) Runs(item string) (bool, error) { return s.services().runsSelf(item) }

// Runs reports whether the home item has the agent's own service.
func (h *Home) Runs(item string) (bool, error) { return h.services(User{}).runsSelf(item) }

// Drops reports whether a switch from the system live to item takes the agent's own service off the machine.
func (s *System) Drops(live, item string) (bool, error) { return s.services().dropsSelf(live, item) }

// Drops reports whether a switch from the home live to item takes it off.
func (h *Home) Drops(live, item string) (bool, error) {
	return h.services(User{}).dropsSelf(live, item)
}

func (s *services) dropsSelf(live, item string) (bool, error) {
	before, err := s.runsSelf(live)
	if err != nil || !before {
		return false, err
	}
	after, err := s.runsSelf(item)
	return !after, err
}

func (s *services) runsSelf(item string) (bool, error) {
	if s.self == "" || item == "" {
		return false, nil
	}
	files, err := s.definitions(item)
	return slices.ContainsFunc(files, func(f ServiceFile) bool {
		return f.defines(shepherd.Service{Name: s.self, Provides: []string{s.self}})
	}), err
}

// Note keeps on disk from which files the services of the system run, as nobody could know that after somebody else's reconfigure,
// and says what is due for the agent's own service; the zero Change if nothing is. That goes by the files of the system that is
// live, however that came to be. The agent is to leave only if item, the system that is wanted, is the live one.
func (s *System) Note(ctx context.Context, item string) (Change, error) {
	return s.services().note(ctx, item)
}

// Note is that of a home: the agent's own service counts where the user's Shepherd runs it. It also keeps which processes are
// that Shepherd's: once it is dead nobody could know.
func (h *Home) Note(ctx context.Context, item string) (Change, error) {
	u, err := h.who()
	if err != nil {
		return Change{}, err
	}
	own, err := h.services(u).note(ctx, item)
	if unreachable(err) {
		return Change{}, nil // then the agent isn't Shepherd's
	}
	return own, err
}

func (s *services) note(ctx context.Context, item string) (Change, error) {
	live, err := s.live()
	if err != nil || live == "" {
		return Change{}, err
	}
	files, all, kept, err := s.survey(ctx, live)
	if err != nil || kept.Coming != "" {
		return Change{}, err
	}
	if err := s.saveIfNew(kept); err != nil {
		return Change{}, err
	}
	i := slices.IndexFunc(all, func(one shepherd.Service) bool { return one.Name == s.self })
	if i >= 0 && s.vigil.orphaned(kept.Family.Shepherd, all[i].PID) {
		return Change{OwnExit, "service " + s.self, "its Shepherd has died, and the next one has it, too"}, nil
	}
	if i < 0 || all[i].Status != "running" {
		return Change{}, nil // the agent isn't Shepherd's
	}
	e, _ := kept.of(s.self)
	subject := "service " + s.self
	switch file := fileOf(files, all[i]); {
	case file == "" && live == item:
		return Change{Leaves, subject, "it left the configuration"}, nil
	case file != "" && file != e.File && all[i].Pending: // else Shepherd would start the old one, again and again
		return Change{OwnExit, subject, fmt.Sprintf("its definition changed, to that of %s", hash(live))}, nil
	}
	return Change{}, nil
}

// Leave has Shepherd stop the agent's own service, and forget it. It returns when ctx ends, as it does by that stop.
func (s *System) Leave(ctx context.Context) error { return leave(ctx, s.Shepherd, s.Self) }

// Leave has the user's Shepherd do so.
func (h *Home) Leave(ctx context.Context) error {
	u, err := h.who()
	if err != nil {
		return err
	}
	return leave(ctx, h.services(u).shepherd, h.Self)
}

func leave(ctx context.Context, from *shepherd.Client, self string) error {
	err := from.Unload(ctx, self)
	if ctx.Err() != nil {
		return nil // so it was meant
	}
	if err != nil {
		return fmt.Errorf("leaving the machine: %w", err)
	}
	return nil
}

// TakesBoot reports whether a change is one for which a machine is to be rebooted: of what only a boot puts into force, or of
// a service whose policy that is.
func TakesBoot(does, subject string) bool {
	return does == needsReboot || does == nextBoot && subject != bootLoader && !strings.HasPrefix(subject, "service ")
}

// Reboot has Shepherd stop everything and reboot the machine. It returns when ctx ends, which the reboot causes.
func (s *System) Reboot(ctx context.Context) error {
	if err := s.Shepherd.Stop(ctx, "root"); err != nil && ctx.Err() == nil {
		return fmt.Errorf("rebooting the machine: %w", err)
	}
	<-ctx.Done()
	return nil
}

// Generation is the one that the next boot will be into.
func (s *System) Generation() (number int, item string, err error) { return s.profile().live() }
