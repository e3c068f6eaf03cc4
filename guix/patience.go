package guix

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"example.org/collie/shepherd"
)

// Shepherd waits for ever for a service that hangs in its start or stop, and whoever asked it waits too. So each start
// and each stop has a time, after which Collie goes on with the next service: what hangs is a problem, no delay.

// usualTimeout is longer than the time-outs that services themselves have: 30 s for a pid file on Guix, some more for a
// database to stop.
const usualTimeout = 2 * time.Minute

func (s *services) limit() time.Duration { return or(s.timeout, usualTimeout) }

// within asks Shepherd to do something with a service. That it takes longer than the limit counts as Shepherd's answer.
func (s *services) within(ctx context.Context, limit time.Duration, name, verb string, do func(context.Context, string) error) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := do(limited, name)
	if err == nil || limited.Err() == nil || ctx.Err() != nil {
		return err
	}
	return &lateError{&shepherd.Error{Action: verb, Service: name, Says: fmt.Sprintf("it didn't %s within %v", verb, s.limit())}}
}

// A lateError is Shepherd's answer that didn't come.
type lateError struct{ answer *shepherd.Error }

func (e *lateError) Error() string { return e.answer.Error() }
func (e *lateError) Unwrap() error { return e.answer }

// hangs tells whether a service has been starting or stopping for too long.
func (s *services) hangs(live shepherd.Service) bool {
	return (live.Status == "starting" || live.Status == "stopping") && time.Since(live.Since) >= s.limit()
}

// activationTime is more than an activation takes, which begins with the links that tell what is live.
const activationTime = 20 * time.Second

// A hangError ends a guix that waits for a service; which one may not be known.
type hangError struct{ service string }

func (e *hangError) Error() string {
	if e.service == "" {
		return "Shepherd doesn't answer it, and nothing happens to any service"
	}
	return "the service " + e.service + " hangs, and it waits for that"
}

// attended runs a guix that switches to item and then waits for services: it starts what is new, and stops what left.
// It is ended if one of them hangs by then, as all else is done. So it is if it speaks with Shepherd and nothing happens to
// any service for as long: Shepherd 1.0.9 may never answer although the service is neither starting nor stopping.
func (s *services) attended(ctx context.Context, item string, speaks func() bool, guix func(context.Context) (outcome, error)) (outcome, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	begun, switched := time.Now().Truncate(time.Second), time.Time{}
	keeps := func(live shepherd.Service) bool { // what hung before may do so, too: but guix comes to it only after the activation
		return s.hangs(live) && (!live.Since.Before(begun) || time.Since(switched) > max(s.limit(), activationTime))
	}
	var watch sync.WaitGroup
	watch.Go(func() {
		tick := time.NewTicker(min(time.Second, s.limit()))
		defer tick.Stop()
		last, quiet := "", time.Time{}
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if live, err := s.live(); err != nil || live != item {
				continue
			}
			if switched.IsZero() {
				switched = time.Now()
			}
			asked := time.Now()
			all, err := s.shepherd.Services(ctx)
			if i := slices.IndexFunc(all, keeps); i >= 0 {
				cancel(&hangError{all[i].Name})
			}
			if now := states(all); err == nil && now != last {
				last, quiet = now, time.Now()
			} else if quiet.IsZero() { // it doesn't answer Collie either
				quiet = asked
			}
			if time.Since(quiet) > max(s.limit(), activationTime) && speaks() {
				cancel(&hangError{})
			}
		}
	})
	out, err := guix(ctx)
	cancel(nil)
	watch.Wait()
	if hung := (*hangError)(nil); errors.As(err, &hung) {
		return out, nil
	}
	return out, err
}

// states changes whenever something happens to a service.
func states(all []shepherd.Service) string {
	var b strings.Builder
	for _, live := range all {
		fmt.Fprintln(&b, live.Name, live.Status, live.PID, live.Since.Unix(), live.Pending, live.Enabled)
	}
	return b.String()
}
