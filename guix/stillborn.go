package guix

import (
	"context"
	"syscall"
	"time"

	"example.org/collie/shepherd"
)

// A user's Shepherd goes into the background by a fork. On a busy machine, about one in a hundred comes out of that with a Guile
// whose children all abort before they become a program, for as long as it lives. Guile 3.0.11 believes that its thread for signals
// exists already when a child is about to start it (docs/facts/shepherd.md, "A core shows why"). No service can run, whatever the
// commit says. So such a Shepherd is ended, and another one is started. A home without services may have started it, many commits
// before the first service shows it.

const mostBeginnings = 3 // in a switch, the Shepherd that it finds included

// stillborn reports whether every process that this Shepherd started was killed by SIGABRT, and whose they were.
func (s *services) stillborn(ctx context.Context) (family, bool) {
	all, err := s.settled(ctx, func(live shepherd.Service) bool { return !fell(live) || !live.Enabled || !live.Respawn })
	if err != nil {
		return family{}, false
	}
	is := false
	for _, live := range all {
		switch {
		case live.Name == "root":
		case aborted(live):
			is = true
		case live.PID > 0, len(live.Exits) > 0:
			return family{}, false // one that became a program
		}
	}
	return familyOf(all, s.self), is
}

// aborted reports whether the last process of a service was. The next one may not have come to it yet.
func aborted(live shepherd.Service) bool {
	const tooSoon = 2 * time.Second
	return fell(live) && (live.Status != "running" || time.Since(live.Since) < tooSoon)
}

// fell reports whether the last process of a service that ended was killed by SIGABRT.
func fell(live shepherd.Service) bool {
	return len(live.Exits) > 0 && live.Exits[0].Status.Signaled() && live.Exits[0].Status.Signal() == syscall.SIGABRT
}
