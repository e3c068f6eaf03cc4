package podman

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// undoTime is what is left to put things back when a switch failed, be it because its own time was over.
const undoTime = 2 * time.Minute

// undo puts back what this replacement changed: the next pods end at once, without grace, and those that were stopped run again.
func (s *replacement) undo(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	errs := []error{s.p.restoreCrons(ctx, s.crons)}
	for _, id := range s.created {
		if err := s.p.dropJob(ctx, id); err != nil {
			errs = append(errs, err)
		}
		if err := s.p.removePod(ctx, id); err != nil {
			errs = append(errs, fmt.Errorf("removing %s again: %w", id, err))
		}
	}
	for _, id := range s.started {
		if slices.Contains(s.created, id) {
			continue
		}
		if err := s.p.killPod(ctx, id); err != nil {
			errs = append(errs, fmt.Errorf("ending %s again: %w", id, err))
		}
	}
	for _, l := range s.portsReleased {
		if slices.Contains(s.stopped, l) {
			continue
		}
		s.stopped = append(s.stopped, l)
		if err := s.p.killPod(ctx, l.name); err != nil {
			errs = append(errs, fmt.Errorf("ending %s: %w", l.name, err))
		}
		if err := s.p.settle(ctx, l.name); err != nil {
			errs = append(errs, err)
		}
	}
	for _, l := range s.stopped {
		if isJob, err := s.p.unhaltJob(l.name); isJob {
			errs = append(errs, err)
			continue
		}
		if err := s.p.startPod(ctx, l.name, nil); err != nil {
			errs = append(errs, fmt.Errorf("starting %s again: %w", l.name, err))
		}
	}
	if live, err := s.p.observe(ctx); err == nil { // to what runs again; the next look does it if this can't
		_, _ = s.p.route(ctx, nil, live, nil, func(id string) bool { return false })
	}
	return errors.Join(errs...)
}
