package podman

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// healBackoff keeps count of how often each pod had to be healed, and how often that failed. Somebody or something may take one
// down each time, or keep it from coming up: then it is healed later each time, and shown.
//
//	within the last ten minutes             the next time
//	healed, or tried, up to three times     at once
//	more often                              10 s after the last, 20 s, … 5 min
//
// Tries that failed in a row are no heals: they count apart, and their cause is what is wrong with the pod. A Podman that
// doesn't answer was no try. A switch begins with none: it is another's wish.
type healBackoff struct {
	mu sync.Mutex
	of map[string]*healing // by Podman's name of the pod
}

// A healing is what was done for one pod.
type healing struct {
	times []time.Time // when it was healed, within memory, the oldest first
	found string      // how, the last time

	tries []time.Time // since then, that failed
	cause string      // of the last one's failure
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
	if h == nil {
		return 0
	}
	return max(pause(h.times, now), pause(h.tries, now))
}

// pause is how long it is until something may be done again that was done at these times.
func pause(times []time.Time, now time.Time) time.Duration {
	if len(times) < healFree {
		return 0
	}
	last := times[len(times)-1]
	if now.Sub(last) > healMemory {
		return 0
	}
	pause := min(healFirst<<min(len(times)-healFree, 10), healMost)
	return max(0, last.Add(pause).Sub(now))
}

// says is the problem of a pod that waits.
func (h *healing) says(now time.Time) string {
	took := func(times []time.Time) time.Duration {
		return max(time.Second, times[len(times)-1].Sub(times[0]).Round(time.Second))
	}
	again := h.wait(now).Round(time.Second)
	if len(h.tries) > 0 {
		return fmt.Sprintf("it can't be healed: %s; tried %d times in %v, and again in %v", h.cause, len(h.tries), took(h.tries), again)
	}
	return fmt.Sprintf("it had to be healed %d times in %v, and Collie doesn't know why; it is healed again in %v; the last time it was found so: %s",
		len(h.times), took(h.times), again, h.found)
}

// waits says why a pod isn't healed yet; "": it may be.
func (h *healBackoff) waits(id string, now time.Time) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	one := h.of[id]
	if one.wait(now) == 0 {
		return ""
	}
	return one.says(now)
}

// note takes what came of healing the pod of a step.
func (h *healBackoff) note(s step, err error, now time.Time) {
	h.count(s.pod.id(), strings.Join(s.ill, ", "), fmt.Sprintf("pod %s (%s): ", s.pod.Name, s.pod.source()), err, now)
}

// count takes what came of healing something that was found so. Its errors begin with prefix, which nobody needs again.
func (h *healBackoff) count(id, found, prefix string, err error, now time.Time) {
	if silent := new(SilentError); errors.As(err, &silent) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.of == nil {
		h.of = map[string]*healing{}
	}
	one := h.of[id]
	if one == nil {
		one = &healing{}
		h.of[id] = one
	}
	add := func(times []time.Time) []time.Time {
		if n := len(times); n > 0 && now.Sub(times[n-1]) > healMemory {
			times = nil
		}
		return append(times[max(0, len(times)-healCount+1):], now)
	}
	if err != nil {
		cause, _, _ := strings.Cut(err.Error(), "\n") // what else went wrong follows from it
		one.tries, one.cause = add(one.tries), clip(strings.TrimPrefix(cause, prefix))
		return
	}
	one.times, one.found = add(one.times), found
	one.tries, one.cause = nil, ""
}

func (h *healBackoff) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.of = nil
}

// due are those of steps that don't wait.
func (p *Podman) due(steps []step, now time.Time) []step {
	return slices.DeleteFunc(steps, func(s step) bool {
		return p.counted(s) && p.healBackoff.waits(s.pod.id(), now) != ""
	})
}

// counted reports whether to heal a pod so is counted. Jobs, and what ends again and again, are tried as their own rules say.
func (p *Podman) counted(s step) bool { return s.pod.Job == nil && !p.crashLoops.knows(s.live) }

// Heal does what Switch does, for pods of r that aren't as they were: r is where the machine is already. One that had to be
// healed too often waits, which Problems tells; one that can't be healed keeps no other down, and nothing is undone.
func (p *Podman) Heal(ctx context.Context, r Rendered) error {
	todo, err := p.begin(ctx, r)
	if err != nil {
		return err
	}
	todo.steps = p.due(todo.steps, time.Now())
	if err := p.inventory.take(r, todo.adopts()); err != nil {
		if len(todo.adopts()) > 0 {
			return err // nobody would know whose place they took
		}
		p.Log.Warn("healing without an inventory on disk", "err", err) // what is healed is in the state
	}
	if err := p.layGround(ctx, r, todo); err != nil {
		return err
	}
	return errors.Join(newReplacement(p, r, todo).heal(ctx), p.settleJobs(ctx, r))
}

// mostUnhealed failures end a healing: an API that has tens of thousands of pods, and stops none, is asked again with the next look.
const mostUnhealed = 100

var errTooManyUnhealed = errors.New("nothing more was tried")

// heal brings pods back, each for itself: only those that others depend on are waited for.
func (s *replacement) heal(ctx context.Context) error {
	var (
		mu   sync.Mutex
		errs []error
	)
	note := func(err error) error {
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			errs = append(errs, err)
		}
		if len(errs) > mostUnhealed {
			return errTooManyUnhealed
		}
		return nil // the others go on
	}
	ranks := byRank(s.plan.steps)
	for i, steps := range ranks {
		_ = each(workers, steps, func(step step) error { return note(s.mend(ctx, step)) })
		if i+1 < len(ranks) {
			_ = s.await(ctx, steps) // whatever comes of it: what depends on it may do well without
		}
	}
	cut := each(waiters, s.plan.leaving, func(l *livePod) error { return note(s.stop[l.name](ctx)) })
	_ = each(workers, s.plan.restored, func(l *livePod) error { return note(s.p.startPod(ctx, l.name, nil)) })
	if cut != nil {
		errs = append(errs, errTooManyUnhealed)
	}
	return errors.Join(errs...)
}

// mend brings one pod back, and counts that.
func (s *replacement) mend(ctx context.Context, step step) error {
	counted := s.p.counted(step)
	err := s.bringBack(ctx, step)
	if counted {
		s.p.healBackoff.note(step, err, time.Now())
	}
	return err
}

func (s *replacement) bringBack(ctx context.Context, step step) error {
	if err := s.createOne(ctx, step); err != nil {
		return err
	}
	if err := s.begin(ctx, step); err != nil && step.pod.Job == nil {
		return errors.Join(err, s.p.killPod(ctx, step.pod.id())) // a pod of which half runs is worse than one that is down
	} else if err != nil {
		return err
	}
	for _, l := range step.previous {
		if err := s.stop[l.name](ctx); err != nil {
			return err
		}
	}
	return nil
}
