package podman

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"example.org/collie/agent/crash"
)

const (
	workers = 2 // how many pods are made, started or pulled for at a time (docs/facts/podman.md, "gains little after two")
	waiters = 8 // how many are stopped at a time, which is waiting for their grace
)

// each calls do for all items, n at a time, and begins no more once one failed.
func each[T any](n int, items []T, do func(T) error) error {
	var (
		mu     sync.Mutex
		errs   []error
		wg     sync.WaitGroup
		queue  = slices.Clone(items)
		failed = func() bool { return len(errs) > 0 }
	)
	next := func() (item T, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		if failed() || len(queue) == 0 {
			return item, false
		}
		item, queue = queue[0], queue[1:]
		return item, true
	}
	for range min(n, len(items)) {
		wg.Go(func() {
			for item, ok := next(); ok; item, ok = next() {
				if err := do(item); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Switch makes r live. Pods that are well keep their containers. All other next pods are made before anything stops.
// What can run in parallel to the pod that it replaces is ready before that stops. Pods that were replaced, or left, are stopped
// and kept, until Keep: switching back starts the same containers again. If a pod can't be made or started, or isn't ready
// in time, those that were stopped for this run again, and the error says which and why. A [TakenError] says that a program has a
// port that a pod needs: that is found before a pod stops, unless it got the port only then.
func (p *Podman) Switch(ctx context.Context, r Rendered) error {
	todo, err := p.begin(ctx, r)
	if err != nil {
		return err
	}
	p.healBackoff.reset()
	if err := todo.mayListen(firstPort); err != nil {
		return err
	}
	if err := p.vacantPorts(todo); err != nil {
		return err
	}
	if err := p.inventory.take(r, todo.adopts()); err != nil {
		return err
	}
	if err := p.layGround(ctx, r, todo); err != nil {
		return err
	}
	s := newReplacement(p, r, todo)
	if err := s.create(ctx); err != nil {
		return errors.Join(err, s.undo(ctx))
	}
	if len(s.created) > 0 {
		crash.At("pods.created")
	}
	if err := s.switchPods(ctx); err != nil {
		return errors.Join(err, s.undo(ctx))
	}
	return p.settleJobs(ctx, r)
}

// layGround makes the volumes that outlive pods, and clears away what an earlier try left.
func (p *Podman) layGround(ctx context.Context, r Rendered, todo plan) error {
	for _, claim := range r.Claims {
		if err := p.ensureVolume(ctx, volume{claim, map[string]string{labelOwner: owner, labelObject: "PersistentVolumeClaim/" + claim}}); err != nil {
			return err
		}
	}
	if len(todo.steps) > 0 {
		p.sweep(ctx)
	}
	return nil
}

// A replacement is one switch on its way: what it did, to undo that.
type replacement struct {
	p    *Podman
	to   Rendered
	plan plan
	stop map[string]func(context.Context) error // by Podman's name; stops a pod once, whoever asks

	crons map[string]cronJob // that were scheduled before

	mu            sync.Mutex
	created       []string   // made here, and not there before
	started       []string   // including one that failed to
	stopped       []*livePod // that ran before
	portsReleased []*livePod // that run, and have let go of their ports

	ready  map[string]bool // next pods that were seen to be
	ending map[string]bool // pods that get no new connections
}

func newReplacement(p *Podman, to Rendered, todo plan) *replacement {
	s := &replacement{p: p, to: to, plan: todo, crons: p.jobs.crons(), stop: map[string]func(context.Context) error{},
		ready: map[string]bool{}, ending: map[string]bool{}}
	add := func(l *livePod) {
		var (
			once sync.Once
			err  error
		)
		s.stop[l.name] = func(ctx context.Context) error {
			once.Do(func() {
				s.note(func() { s.stopped = append(s.stopped, l) })
				if err = p.haltJob(ctx, l.name); err != nil {
					return
				}
				if l.fails() { // nothing of it is worth waiting for its grace
					err = p.killPod(ctx, l.name)
					return
				}
				err = p.stopPod(ctx, l.name)
			})
			return err
		}
	}
	for _, l := range todo.leaving {
		add(l)
	}
	for _, step := range todo.steps {
		for _, l := range step.previous {
			add(l)
		}
	}
	return s
}

func (s *replacement) note(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
}

// create makes the next pods, while all others run.
func (s *replacement) create(ctx context.Context) error {
	return each(workers, s.plan.steps, func(step step) error { return s.createOne(ctx, step) })
}

func (s *replacement) createOne(ctx context.Context, step step) error {
	switch step.how {
	case notOurs:
		return fmt.Errorf("pod %s (%s): it %s", step.pod.Name, step.pod.source(), step.ill[0])
	case absent:
		if step.pod.Cron != nil {
			return nil // it is made for each run
		}
	case broken:
		if step.pod.Kube != nil && step.live.runs() {
			return nil // what is left of it stands in the way, and serves until its turn comes
		}
	default:
		return nil
	}
	return s.make(ctx, step)
}

// make makes a pod again. If that fails, nothing of it is left.
func (s *replacement) make(ctx context.Context, step step) error {
	fail := func(err error) error {
		return fmt.Errorf("pod %s (%s): making %s: %w", step.pod.Name, step.pod.source(), step.pod.id(), err)
	}
	if step.pod.Kube == nil {
		return fail(fmt.Errorf("it %s, and was there before Collie's first revision: how to make it isn't known", strings.Join(step.ill, ", ")))
	}
	if err := s.p.haveImages(ctx, step.pod); err != nil {
		return fail(err)
	}
	// One without any container isn't in the list: look for it, lest another's be taken for what a failure left behind.
	info, err := s.p.inspectPod(ctx, step.pod.id())
	switch {
	case err != nil:
		return fail(err)
	case info != nil && info.Labels[labelOwner] != owner:
		return fail(fmt.Errorf("the Podman pod of that name isn't Collie's: rename or remove it"))
	case info != nil:
		if err := s.p.removePod(ctx, step.pod.id()); err != nil {
			return fail(fmt.Errorf("removing what is left of it: %w", err))
		}
	}
	for _, name := range step.pod.Volumes {
		if slices.Contains(step.pod.Scratch, name) { // what a pod before it left there isn't for this one
			if err := s.p.removeVolume(ctx, name); err != nil {
				return fail(err)
			}
		}
		if err := s.p.ensureVolume(ctx, volume{name, map[string]string{labelOwner: owner, labelPod: step.pod.user(name)}}); err != nil {
			return fail(err)
		}
	}
	s.note(func() { s.created = append(s.created, step.pod.id()) })
	if err := s.p.play(ctx, step.pod.Kube); err != nil {
		return fail(err)
	}
	return nil
}

// switchPods starts the next pods and stops those that they replace, in order. Pods that left stop when all is ready, and pods that they
// had blocked come back.
func (s *replacement) switchPods(ctx context.Context) error {
	for _, steps := range byRank(s.plan.steps) {
		if err := s.replace(ctx, steps); err != nil {
			return err
		}
	}
	if err := s.drain(ctx, s.plan.leaving); err != nil {
		return err
	}
	for _, leaving := range byWave(s.plan.leaving) {
		if err := each(waiters, leaving, func(l *livePod) error { return s.stop[l.name](ctx) }); err != nil {
			return err
		}
	}
	return each(workers, s.plan.restored, func(l *livePod) error { return s.p.startPod(ctx, l.name, nil) })
}

// replace lets next pods take over. Those that can run in parallel to all others start first, and what they replace stops last:
// if any of the steps fails, they were never away.
func (s *replacement) replace(ctx context.Context, steps []step) error {
	var beside, alone []step
	for _, step := range steps {
		if step.Handover == Beside {
			beside = append(beside, step)
		} else {
			alone = append(alone, step)
		}
	}
	for _, steps := range [][]step{beside, alone} {
		if err := each(workers, steps, func(step step) error { return s.begin(ctx, step) }); err != nil {
			return err
		}
		if err := s.await(ctx, steps); err != nil {
			return err
		}
		s.note(func() {
			for _, step := range steps {
				s.ready[step.pod.id()] = true
			}
		})
	}
	var previous []*livePod
	for _, step := range steps {
		previous = append(previous, step.previous...)
	}
	if err := s.drain(ctx, previous); err != nil {
		return err
	}
	for _, step := range steps {
		if err := each(waiters, step.previous, func(l *livePod) error { return s.stop[l.name](ctx) }); err != nil {
			return err
		}
	}
	return nil
}

// begin starts a next pod, after what can't run in parallel to it has stopped.
func (s *replacement) begin(ctx context.Context, step step) error {
	for _, l := range step.stopBefore {
		if err := s.letGo(ctx, step, l); err != nil {
			return err
		}
	}
	if len(step.stopBefore) > 0 {
		crash.At("pods.stopped")
	}
	return s.start(ctx, step)
}

func (s *replacement) start(ctx context.Context, step step) error {
	id := step.pod.id()
	fail := func(err error) error {
		return fmt.Errorf("pod %s (%s): starting %s: %w", step.pod.Name, step.pod.source(), id, err)
	}
	if step.pod.Job != nil {
		if step.how == well {
			return nil
		}
		if err := s.p.beginJob(ctx, step.pod); err != nil {
			return fail(err)
		}
		return nil
	}
	switch step.how {
	case well, settling:
		return nil // only its other self had to stop
	case broken:
		if !slices.Contains(s.created, id) {
			if err := s.make(ctx, step); err != nil {
				return err
			}
		}
	case hollow:
		s.p.layGhosts(ctx, step.live)
		if err := s.p.killPod(ctx, id); err != nil {
			return fail(err)
		}
	case down:
		if step.live.infra.runs() { // restart only what ended: starting the pod would repeat what is completed
			return s.startEnded(ctx, step, fail)
		}
		if step.pod.Kube != nil && s.p.halfStarted(ctx, id) {
			if err := s.p.settle(ctx, id); err != nil { // one that has just ended looks the same until it is cleaned up
				return fail(err)
			}
			if s.p.halfStarted(ctx, id) {
				if err := s.make(ctx, step); err != nil {
					return err
				}
			}
		}
	}
	if step.how == hollow || step.how == down && step.live.settling() {
		if err := s.p.settle(ctx, id); err != nil {
			return fail(err)
		}
	}
	s.note(func() { s.started = append(s.started, id) })
	var remake func() error
	if step.pod.Kube != nil {
		remake = func() error { return s.make(ctx, step) }
	}
	if err := s.p.startPod(ctx, id, remake); err != nil {
		if taken := s.p.becauseTaken(ctx, step.pod, err); taken != nil {
			return taken
		}
		return fail(err)
	}
	return nil
}

// settle waits until Podman has cleaned up behind what ended in a pod. Whoever starts it before that has it stopped again:
// the clean-up of a pod's last container stops the pod, and doesn't check whether that container runs again.
func (p *Podman) settle(ctx context.Context, id string) error {
	const look = 100 * time.Millisecond
	for settled, waited := false, time.Duration(0); waited < settleTime; waited += look {
		live, err := p.observe(ctx)
		if err != nil {
			return err
		}
		l := live[id]
		if l != nil {
			p.layGhosts(ctx, l)
		}
		switch {
		case l == nil:
			return nil
		case l.runs() || l.settling():
			settled = false
		case settled:
			return nil
		default:
			settled = true // but what follows the clean-up may still be at work: one look more
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(look):
		}
	}
	return nil // then start it nevertheless: the next look checks it
}

// layGhosts has Podman learn which containers of a pod have ended: of those whose conmon was killed, too, nobody else tells it.
func (p *Podman) layGhosts(ctx context.Context, l *livePod) {
	for _, c := range l.all() {
		if !p.isGhost(c) {
			continue
		}
		if fate, err := p.fate(ctx, c); err == nil && fate == hollow {
			_ = p.containerVerb(ctx, c.ID, "stop", longStop) // says that its process is lost, and so learns of it
		}
	}
}

// startEnded starts again the containers of a pod that don't run.
func (s *replacement) startEnded(ctx context.Context, step step, fail func(error) error) error {
	for _, c := range step.live.all() {
		verb := "start"
		switch {
		case c.State == "paused":
			verb = "unpause"
		case c.runs():
			continue
		}
		if how, err := s.p.ended(ctx, step.pod.Restart, c); err != nil || how <= settling {
			continue // completed, or started later; the next look checks what can't be asked now
		}
		if err := s.p.containerVerb(ctx, c.ID, verb, longStart); err != nil {
			return fail(err)
		}
	}
	return nil
}

// stopPod stops a pod with its grace, and leaves it there.
func (p *Podman) stopPod(ctx context.Context, name string) error {
	p.prober.leave(name)
	did, err := p.podVerb(ctx, name, "stop", longStop)
	if did && err == nil {
		return nil
	}
	// Podman does nothing to a pod of which a part has ended already, and gives up where a process vanished unseen: then
	// container by container, the infra container last, as it holds the others' network.
	live, seen := p.observe(ctx)
	if seen != nil {
		return fmt.Errorf("stopping pod %s: %w", name, errors.Join(err, seen))
	}
	l := live[name]
	if l == nil {
		return nil
	}
	for _, c := range l.all() {
		if !c.runs() {
			continue
		}
		if err := p.containerVerb(ctx, c.ID, "stop", longStop); err != nil {
			return fmt.Errorf("stopping container %s of pod %s: %w", c.name(name), name, err)
		}
	}
	return nil
}
