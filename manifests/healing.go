package manifests

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// healings keeps count of how often each pod had to be healed. Somebody or something may take one down each time: then it is
// healed later each time, and told.
//
//	healed within the last ten minutes   the next time
//	up to three times                    at once
//	more often                           10 s after the last, 20 s, … 5 min
//
// A switch begins anew: it is another's wish.
type healings struct {
	mu sync.Mutex
	of map[string]*healing // by Podman's name of the pod
}

// A healing is what was done for one pod.
type healing struct {
	times []time.Time // within memory, the oldest first
	found string      // the last time
}

const (
	healFree   = 3
	healFirst  = 10 * time.Second
	healMost   = 5 * time.Minute
	healMemory = 10 * time.Minute // since the last one
	healCount  = 100              // that are remembered of one pod
)

// wait is how long it is until a pod may be healed again.
func (h *healing) wait(now time.Time) time.Duration {
	if h == nil || len(h.times) < healFree {
		return 0
	}
	last := h.times[len(h.times)-1]
	if now.Sub(last) > healMemory {
		return 0
	}
	pause := min(healFirst<<min(len(h.times)-healFree, 10), healMost)
	return max(0, last.Add(pause).Sub(now))
}

// says is the problem of a pod that waits.
func (h *healing) says(now time.Time) string {
	return fmt.Sprintf("it had to be healed %d times in %v, by whose doing Collie doesn't know; it is healed again in %v; the last time it was found so: %s",
		len(h.times), max(time.Second, h.times[len(h.times)-1].Sub(h.times[0]).Round(time.Second)), h.wait(now).Round(time.Second), h.found)
}

// waits says why a pod isn't healed yet; "": it may be.
func (h *healings) waits(id string, now time.Time) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	one := h.of[id]
	if one.wait(now) == 0 {
		return ""
	}
	return one.says(now)
}

// note counts one more.
func (h *healings) note(id, found string, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.of == nil {
		h.of = map[string]*healing{}
	}
	one := h.of[id]
	if one == nil || now.Sub(one.times[len(one.times)-1]) > healMemory {
		one = &healing{}
		h.of[id] = one
	}
	one.times = append(one.times[max(0, len(one.times)-healCount+1):], now)
	one.found = found
}

func (h *healings) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.of = nil
}

// due are those of steps that don't wait, and notes that they are healed now.
func (p *Podman) due(steps []step, now time.Time) []step {
	return slices.DeleteFunc(steps, func(s step) bool {
		if s.pod.Job != nil || p.brake.knows(s.live) { // these are tried as their own rules say
			return false
		}
		if p.healings.waits(s.pod.id(), now) != "" {
			return true
		}
		p.healings.note(s.pod.id(), strings.Join(s.ill, ", "), now)
		return false
	})
}

// Heal does what Switch does, for pods of r that aren't as they were: r is where the machine is already. One that had to be
// healed too often waits, which Problems tells; one that can't be healed keeps no other down, and nothing is undone.
func (p *Podman) Heal(ctx context.Context, r Rendered) error {
	p.prober.follow(r)
	todo, err := p.plan(ctx, r)
	if err != nil {
		return err
	}
	todo.steps = p.due(todo.steps, time.Now())
	if err := p.layGround(ctx, r, todo); err != nil {
		return err
	}
	return errors.Join(newSwap(p, r, todo).heal(ctx), p.settleJobs(ctx, r))
}

// heal brings pods back, each for itself: only those that others depend on are waited for.
func (s *swap) heal(ctx context.Context) error {
	var (
		mu   sync.Mutex
		errs []error
	)
	note := func(err error) error {
		mu.Lock()
		defer mu.Unlock()
		errs = append(errs, err)
		return nil // the others go on
	}
	ranks := byRank(s.plan.steps)
	for i, steps := range ranks {
		_ = each(workers, steps, func(step step) error { return note(s.mend(ctx, step)) })
		if i+1 < len(ranks) {
			_ = s.await(ctx, steps) // whatever comes of it: what depends on it may do well without
		}
	}
	_ = each(waiters, s.plan.leaving, func(l *livePod) error { return note(s.stop[l.name](ctx)) })
	_ = each(workers, s.plan.released, func(l *livePod) error { return note(s.p.startPod(ctx, l.name, nil)) })
	return errors.Join(errs...)
}

// mend brings one pod back.
func (s *swap) mend(ctx context.Context, step step) error {
	if err := s.createOne(ctx, step); err != nil {
		return err
	}
	if err := s.begin(ctx, step); err != nil && step.pod.Job == nil {
		return errors.Join(err, s.p.killPod(ctx, step.pod.id())) // a pod of which half runs is worse than one that is down
	} else if err != nil {
		return err
	}
	for _, l := range step.olds {
		if err := s.stop[l.name](ctx); err != nil {
			return err
		}
	}
	return nil
}
