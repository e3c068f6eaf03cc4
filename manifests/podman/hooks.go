package podman

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"example.org/collie/agent/crash"
	"example.org/collie/manifests"
)

// hooks are those of r, by wave and name. One that is suspended is none.
func (r Rendered) hooks(kinds ...string) []RenderedPod {
	var all []RenderedPod
	for _, pod := range r.Pods {
		if pod.Job != nil && !pod.Job.Suspend && slices.Contains(kinds, pod.Options.Hook) {
			all = append(all, pod)
		}
	}
	slices.SortStableFunc(all, func(a, b RenderedPod) int { return cmp.Compare(a.Options.Wave, b.Options.Wave) })
	return all
}

// Before begins a rollout to r, if that has hooks: it makes all next pods, and runs what comes before the switch. Rollout
// names this one: another of the same r runs its hooks again.
func (p *Podman) Before(ctx context.Context, r Rendered, rollout string) error {
	hooks := r.hooks(manifests.HookBefore, manifests.HookAfter)
	if len(hooks) == 0 {
		return nil
	}
	todo, err := p.begin(ctx, r)
	if err != nil {
		return err
	}
	if !todo.changesPods() && !p.hooksDue(hooks, rollout) {
		return nil
	}
	if err := p.layGround(ctx, r, todo); err != nil {
		return err
	}
	s := newReplacement(p, r, todo)
	if err := s.create(ctx); err != nil {
		return errors.Join(err, s.undo(ctx))
	}
	if err := p.markHooks(hooks, rollout); err != nil {
		return err
	}
	crash.At("hooks.begun")
	if err := p.runHooks(ctx, r.hooks(manifests.HookBefore), "before the switch", rollout); err != nil {
		if ctx.Err() != nil {
			return err // the agent ends: the next life goes on from here
		}
		return errors.Join(err, s.undo(ctx))
	}
	return nil
}

// After runs the hooks that come after a switch, if the rollout is one that has any.
func (p *Podman) After(ctx context.Context, r Rendered, rollout string) error {
	return p.runHooks(ctx, r.hooks(manifests.HookAfter), "after the switch", rollout)
}

// Failed lets the hooks run that r has for its failure, and doesn't wait.
func (p *Podman) Failed(r Rendered, rollout string) error {
	return p.jobs.edit(func(s *jobHistoryState) (changed bool) {
		for _, pod := range r.hooks(manifests.HookFailure) {
			if known := s.Runs[pod.id()]; known == nil || known.Rollout != rollout {
				s.Runs[pod.id()] = &run{Pod: pod, Rollout: rollout}
				changed = true
			}
		}
		return changed
	})
}

func (todo plan) changesPods() bool { return len(todo.steps)+len(todo.leaving)+len(todo.crons) > 0 }

// hooksDue reports whether hooks are to run though no pod changes: they are new, or of this very rollout, which was underway.
func (p *Podman) hooksDue(hooks []RenderedPod, rollout string) bool {
	return slices.ContainsFunc(hooks, func(pod RenderedPod) bool {
		r, known := p.jobs.get(pod.id())
		return !known || r.Rollout == rollout
	})
}

// markHooks writes down that hooks are to run in a rollout, when their turn comes.
func (p *Podman) markHooks(hooks []RenderedPod, rollout string) error {
	return p.jobs.edit(func(s *jobHistoryState) (changed bool) {
		for _, pod := range hooks {
			if known := s.Runs[pod.id()]; known == nil || known.Rollout != rollout {
				s.Runs[pod.id()] = &run{Pod: pod, Rollout: rollout, Halted: true}
				changed = true
			}
		}
		return changed
	})
}

// runHooks runs hooks of a rollout one after the other, each to its end.
func (p *Podman) runHooks(ctx context.Context, hooks []RenderedPod, when, rollout string) error {
	for _, pod := range hooks {
		if r, known := p.jobs.get(pod.id()); !known || r.Rollout != rollout {
			continue // nothing changes
		}
		if _, err := p.unhaltJob(pod.id()); err != nil {
			return err
		}
		r, err := p.outcome(ctx, pod.id())
		if err == nil && r.Outcome == failed {
			err = errors.New(r.failure())
		}
		if err != nil {
			return fmt.Errorf("job %s (%s), which runs %s, %w", pod.Name, pod.source(), when, err)
		}
	}
	return nil
}

// outcome waits until a run is over.
func (p *Podman) outcome(ctx context.Context, id string) (run, error) {
	for {
		r, known := p.jobs.get(id)
		switch {
		case !known:
			return run{}, errors.New("is forgotten")
		case r.Outcome != "":
			return r, nil
		}
		select {
		case <-ctx.Done():
			return run{}, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// isHook reports whether a pod is that of a hook, with which a switch has nothing to do.
func (p *Podman) isHook(id string) bool {
	r, known := p.jobs.get(id)
	return known && r.Pod.Options.Hook != ""
}

// hookChanges tell which hooks a switch to r would run.
func (p *Podman) hookChanges(r Rendered, todo plan) []Change {
	hooks := r.hooks(manifests.HookBefore, manifests.HookAfter)
	if !todo.changesPods() && !p.hooksDue(hooks, "") {
		return nil
	}
	var changes []Change
	for _, pod := range hooks {
		changes = append(changes, Change{Does: "run", Subject: pod.subject(), Says: fmt.Sprintf("%s the switch (%s)", pod.Options.Hook, pod.source())})
	}
	return changes
}
