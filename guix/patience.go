package guix

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.org/collie/agent/waits"
	"example.org/collie/shepherd"
)

// Shepherd waits for ever for a service that hangs in its start or stop, and whoever asked it waits too. So each start
// and each stop has a time, after which Collie goes on with the next service: what hangs is a problem, no delay.

// usualTimeout is longer than the time-outs that services themselves have: 30 s for a pid file on Guix, some more for a
// database to stop.
const usualTimeout = 2 * time.Minute

func (s *services) limit() time.Duration { return or(s.timeout, usualTimeout) }

// within asks Shepherd to do something with a service. That it takes longer than the limit counts as Shepherd's answer, unless
// Shepherd had none for anybody: that time doesn't count.
func (s *services) within(ctx context.Context, limit time.Duration, name, verb string, do func(context.Context, string) error) error {
	s.asked = "it was asked to " + verb + " " + name
	for last := time.Now().Add(limit + s.shepherd.Patience); ; {
		limited, cancel := context.WithTimeout(ctx, limit)
		err := do(limited, name)
		late := err != nil && limited.Err() != nil && ctx.Err() == nil
		cancel()
		if !late {
			return err
		}
		asked := time.Now()
		if _, err := s.shepherd.Services(ctx); err != nil {
			return err
		}
		if time.Since(asked) < waits.Long || time.Now().After(last) {
			return &lateError{&shepherd.Error{Action: verb, Service: name, Says: fmt.Sprintf("it didn't %s within %v", verb, s.limit())}}
		}
	}
}

// A lateError is Shepherd's answer that didn't come.
type lateError struct{ answer *shepherd.Error }

func (e *lateError) Error() string { return e.answer.Error() }
func (e *lateError) Unwrap() error { return e.answer }

// hangs reports whether a service has been starting or stopping for too long.
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
	begun, switched := time.Now().Truncate(time.Second), time.Time{}
	keeps := func(live shepherd.Service) bool { // what hung before may do so, too: but guix comes to it only after the activation
		return s.hangs(live) && (!live.Since.Before(begun) || time.Since(switched) > max(s.limit(), activationTime))
	}
	s.asked = "guix began the switch"
	last, quiet := "", time.Time{}
	out, err := s.beside(ctx, min(time.Second, s.limit()), guix, func(all []shepherd.Service, unseen error) error {
		if live, err := s.live(); err != nil || live != item {
			return nil
		}
		if switched.IsZero() {
			switched = time.Now()
		}
		if unseen != nil && speaks() {
			return unseen
		}
		if i := slices.IndexFunc(all, keeps); i >= 0 {
			return &hangError{all[i].Name}
		}
		if now := states(all); unseen == nil && now != last {
			last, quiet = now, time.Now()
		}
		if unseen == nil && time.Since(quiet) > max(s.limit(), activationTime) && speaks() {
			return &hangError{}
		}
		return nil
	})
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
