package podman

import (
	"context"
	"errors"
	"slices"
	"strings"

	"example.org/collie/manifests"
)

// Release stops, before a switch to r, the pods that hold something of the machine which no pod of r holds: a program that is
// no pod may take it. It tells which it stopped, by Podman's names. All else goes on, Jobs too.
func (p *Podman) Release(ctx context.Context, r Rendered) (stopped []string, err error) {
	todo, err := p.plan(ctx, r)
	if err != nil {
		return nil, err
	}
	holders := todo.holders(r)
	if len(holders) == 0 {
		return nil, nil
	}
	s := newReplacement(p, Rendered{}, todo) // what is next isn't there yet: nothing is forwarded to it
	if err := s.drain(ctx, holders); err != nil {
		return nil, err
	}
	for _, wave := range byWave(holders) {
		err := each(waiters, wave, func(l *livePod) error { return s.stop[l.name](ctx) })
		if err != nil {
			return nil, errors.Join(err, s.undo(ctx))
		}
	}
	for _, l := range holders {
		stopped = append(stopped, l.name)
	}
	return stopped, nil
}

// holders are the running pods that aren't in r, and hold what no pod of r does.
func (todo plan) holders(r Rendered) []*livePod {
	out := slices.Clone(todo.leaving)
	for _, s := range todo.steps {
		for _, l := range s.previous {
			if !slices.Contains(out, l) {
				out = append(out, l)
			}
		}
	}
	return slices.DeleteFunc(out, func(l *livePod) bool { return !l.ours() || l.isJob() || !l.holdsBeyond(r) })
}

// holdsBeyond reports whether a pod holds a port, or a folder of the machine in which it may have a lock or a socket, that no
// pod of r does. A pod on the machine's network may hold any port.
func (l *livePod) holdsBeyond(r Rendered) bool {
	ports := l.hostPorts()
	if f := l.forwarding(); f != nil {
		ports = append(ports, RenderedPod{Forwarding: f}.takes()...)
	}
	for _, port := range ports {
		if !slices.ContainsFunc(r.Pods, func(pod RenderedPod) bool {
			return slices.ContainsFunc(pod.takes(), func(t manifests.HostPort) bool { return t.Port == port.Port && t.Protocol == port.Protocol })
		}) {
			return true
		}
	}
	for _, what := range l.writes() {
		if strings.HasPrefix(what, "/") && !slices.ContainsFunc(r.Pods, func(pod RenderedPod) bool { return slices.Contains(pod.Writes, what) }) {
			return true
		}
	}
	return l.labels[labelPorts] != "" && !slices.ContainsFunc(r.Pods, func(pod RenderedPod) bool { return pod.HostNetwork && pod.Name == l.object() })
}

// isJob reports whether a pod is a Job's, or a run of a CronJob.
func (l *livePod) isJob() bool {
	return l.isRun() || strings.HasPrefix(l.labels[labelObject], "Job/")
}

// Without is r without the pods of these names in Podman.
func (r Rendered) Without(names []string) Rendered {
	r.Pods = slices.DeleteFunc(slices.Clone(r.Pods), func(pod RenderedPod) bool { return slices.Contains(names, pod.id()) })
	return r
}

// Revive heals r as if no pod of it had ever been healed, or held as it ends again and again.
func (p *Podman) Revive(ctx context.Context, r Rendered) error {
	p.healBackoff.reset()
	p.crashLoops.reset()
	changes, err := p.Diff(ctx, r)
	if err != nil || len(changes) == 0 {
		return err
	}
	return p.Heal(ctx, r)
}
