package podman

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.org/collie/agent/waits"
)

const (
	defaultSteady   = time.Second     // for which a pod has to run before it is believed
	defaultDeadline = 2 * time.Minute // within which a pod gets ready, init containers included
	readyLook       = 200 * time.Millisecond
	healEvery       = 2 * time.Second // while a switch waits
	longestJob      = time.Hour       // that others depend on
)

// unready returns why a started pod isn't ready yet, and nothing if it is: its containers run, or are completed. An error says
// that waiting won't help. Its probes count as soon as it runs.
func (p *Podman) unready(ctx context.Context, pod RenderedPod, l *livePod) (why string, err error) {
	how, ill, err := p.examine(ctx, pod, l)
	switch {
	case err != nil:
		return "", err
	case how == absent, how == notOurs, how == broken:
		return "", errors.New("it " + strings.Join(ill, ", "))
	}
	for _, c := range l.containers {
		name := c.name(l.name)
		switch {
		case c.Restarts >= tooManyRestarts:
			return "", fmt.Errorf("container %s was restarted %d times%s", name, c.Restarts, p.lastWords(ctx, l, endedBadly))
		case how == well && !c.runs() && c.ExitCode != 0:
			return "", fmt.Errorf("container %s %s%s", name, c.says(), p.lastWords(ctx, l, endedBadly))
		}
	}
	if why, _ := p.prober.unready(pod.id()); how == well && why != "" {
		return why, nil
	}
	return strings.Join(ill, ", "), nil
}

// justStarted reports whether a pod hasn't run for as long as it has to, since begun or since something of it was restarted.
func (p *Podman) justStarted(l *livePod, begun time.Time) bool {
	if !l.runs() {
		return false
	}
	again := slices.ContainsFunc(l.containers, func(c container) bool { return c.Restarts > 0 }) || l.startedAt() > begun.Unix()
	runs := time.Since(time.Unix(l.startedAt(), 0)) // Podman tells whole seconds
	return time.Since(begun) < p.steady || again && runs >= 0 && runs < p.steady+time.Second
}

// awaitJob says why a Job that others depend on isn't over, if it isn't; nobody waits for one otherwise.
func (p *Podman) awaitJob(step step) (why string, err error) {
	r, known := p.jobs.get(step.pod.id())
	switch {
	case step.pod.Cron != nil, !step.awaited, known && r.Outcome == completed:
		return "", nil
	case known && r.Outcome == failed:
		return "", errors.New("it failed: " + r.Says)
	}
	return "it hasn't completed", nil
}

// deadline is the time within which a step's pod has to get ready. A Job has its own.
func (s step) deadline() time.Duration {
	switch {
	case s.pod.Job != nil:
		return longestJob
	case s.pod.Deadline > 0:
		return time.Duration(s.pod.Deadline) * time.Second
	}
	most := defaultDeadline
	for _, probes := range s.pod.Probes { // it says itself that it may take longer
		if probes.Startup != nil {
			most = max(most, probes.Startup.MaxStartup()+time.Minute)
		}
	}
	return most
}

// await waits until the pods of steps are ready, each within its deadline, and heals others meanwhile.
func (s *replacement) await(ctx context.Context, steps []step) error {
	begun := time.Now()
	healed := begun
	if len(steps) > 0 {
		var names []string
		for _, step := range steps {
			names = append(names, step.pod.Name)
		}
		defer waits.For(ctx, "pods to be ready: "+strings.Join(names, ", "))()
	}
	for waiting := slices.Clone(steps); len(waiting) > 0; {
		if time.Since(healed) > healEvery {
			s.healOthers(ctx)
			healed = time.Now()
		}
		live, err := s.p.look(ctx)
		if err != nil {
			return err
		}
		var still []step
		for _, step := range waiting {
			look := func() (string, error) {
				l := live[step.pod.id()]
				why, err := s.p.unready(ctx, step.pod, l)
				if why == "" && err == nil && s.p.justStarted(l, begun) {
					why = "it has just started"
				}
				return why, err
			}
			if step.pod.Job != nil {
				look = func() (string, error) { return s.p.awaitJob(step) }
			}
			why, err := look()
			late := why != "" && time.Since(begun) > step.deadline()
			if late && step.pod.Job == nil {
				why += s.p.lastWords(ctx, live[step.pod.id()], started)
			}
			switch {
			case err != nil:
				return fmt.Errorf("pod %s (%s): %s is not ready: %w", step.pod.Name, step.pod.source(), step.pod.id(), err)
			case late:
				return fmt.Errorf("pod %s (%s): %s is not ready after %v: %s", step.pod.Name, step.pod.source(), step.pod.id(), step.deadline(), why)
			case why != "":
				still = append(still, step)
			}
		}
		if waiting = still; len(waiting) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(readyLook):
		}
	}
	return nil
}

// healOthers brings back pods that this switch doesn't touch. The next look finds their errors.
func (s *replacement) healOthers(ctx context.Context) {
	todo, err := s.p.begin(ctx, s.to)
	if err != nil {
		return
	}
	if s.p.Broken() != "" {
		_ = s.p.Repair(ctx)
	}
	busy := map[string]bool{}
	for _, step := range s.plan.steps {
		busy[step.pod.Name] = true
	}
	steps := slices.DeleteFunc(todo.steps, func(step step) bool { return busy[step.pod.Name] || step.pod.Job != nil })
	others := newReplacement(s.p, s.to, plan{steps: s.p.due(steps, time.Now())})
	for _, step := range others.plan.steps {
		_ = others.mend(ctx, step)
	}
}
