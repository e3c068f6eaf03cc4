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

// Runs tells whether the system item has the agent's own service.
func (s *System) Runs(item string) (bool, error) {
	files, err := systemDefinitions(item)
	if err != nil {
		return false, err
	}
	return s.services().selfIn(files), nil
}

// Drops tells whether a switch from the system live to item takes the agent's own service off the machine.
func (s *System) Drops(live, item string) (bool, error) {
	before, err := s.Runs(live)
	if err != nil || !before {
		return false, err
	}
	after, err := s.Runs(item)
	return !after, err
}

func (s *services) selfIn(files []ServiceFile) bool {
	return slices.ContainsFunc(files, func(f ServiceFile) bool {
		return f.defines(shepherd.Service{Name: s.self, Provides: []string{s.self}})
	})
}

// Own says what is due for the agent's own service; the zero Change if nothing is. It goes by the files of the system
// that is live, however that came to be. The agent is to leave only if item, the system that is wanted, is the live one.
func (s *System) Own(ctx context.Context, item string) (Change, error) {
	return s.services().own(ctx, item)
}

// own also keeps from which files services run: after somebody else's reconfigure nobody could tell.
func (s *services) own(ctx context.Context, item string) (Change, error) {
	live, err := s.live()
	if err != nil {
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
	if i < 0 || all[i].Status != "running" {
		return Change{}, nil // the agent isn't Shepherd's
	}
	e, _ := kept.of(s.self)
	subject := "service " + s.self
	switch file := fileOf(files, all[i]); {
	case file == "" && live == item:
		return Change{Leaves, subject, "it left the configuration"}, nil
	case file != "" && file != e.File && all[i].Pending: // else Shepherd would start the old one, again and again
		return Change{OwnExit, subject, fmt.Sprintf("its definition changed, to that of the system %s", hash(live))}, nil
	}
	return Change{}, nil
}

// Leave has Shepherd stop the agent's own service, and forget it. It returns when ctx ends, as it does by that stop.
func (s *System) Leave(ctx context.Context) error {
	err := s.Shepherd.Unload(ctx, s.Self)
	if ctx.Err() != nil {
		return nil // so it was meant
	}
	if err != nil {
		return fmt.Errorf("leaving the machine: %w", err)
	}
	return nil
}

// TakesBoot tells whether a change is one for which a machine is to be rebooted: of what only a boot puts into force, or of
// a service whose policy that is.
func TakesBoot(does, subject string) bool {
	return does == needsReboot || does == nextBoot && !strings.HasPrefix(subject, "service ")
}

// Reboot has Shepherd stop all, and boot anew. It returns when ctx ends, as it does by that.
func (s *System) Reboot(ctx context.Context) error {
	if err := s.Shepherd.Stop(ctx, "root"); err != nil && ctx.Err() == nil {
		return fmt.Errorf("rebooting the machine: %w", err)
	}
	<-ctx.Done()
	return nil
}

// Generation is the one that the next boot will be into.
func (s *System) Generation() (number int, item string, err error) { return s.profile().live() }
