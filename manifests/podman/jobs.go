package podman

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"example.org/collie/agent/crash"
)

const (
	retryFirst = 10 * time.Second
	retryMost  = 6 * time.Minute
	startGrace = 5 * time.Second // in which Podman may still obey an agent that was killed
	lastLines  = 5               // of a log
)

// A run is one Job on its way to its end.
type run struct {
	Pod     RenderedPod `json:"pod"`
	Tries   int         `json:"tries"`          // that were begun
	First   time.Time   `json:"first,omitzero"` // when the first of them was
	Began   time.Time   `json:"began,omitzero"` // when the latest was; zero: it is to begin
	Ended   time.Time   `json:"ended,omitzero"` // when that ended; zero: it hasn't
	Exit    int         `json:"exit,omitempty"` // its exit code
	Says    string      `json:"says,omitempty"` // why it failed
	Log     []string    `json:"log,omitempty"`  // the last lines that it wrote
	Outcome outcome     `json:"outcome,omitempty"`
	Halted  bool        `json:"halted,omitempty"`  // a switch left it: it begins again if another one leads back
	Rollout string      `json:"rollout,omitempty"` // of a hook: in which it runs
}

// An outcome is that of all tries; none: it is still to come.
type outcome string

const (
	completed outcome = "completed"
	failed    outcome = "failed"
)

// A move is what a run needs.
type move int

const (
	rest   move = iota
	begin       // a try
	note        // that a try ended
	stop        // it: its time is over, or it is suspended
	remove      // its pod
)

// next says what to do about a run whose pod is l; where that is to rest, when to look again at the latest.
func (r *run) next(now time.Time, l *livePod) (move, time.Time) {
	job, never := r.Pod.Job, now.Add(time.Hour)
	deadline := never
	if job.Deadline > 0 && !r.First.IsZero() {
		deadline = r.First.Add(time.Duration(job.Deadline) * time.Second)
	}
	switch {
	case r.Outcome != "" && (job.TTL == nil || l == nil):
		return rest, never
	case r.Outcome != "":
		return at(remove, now, r.Ended.Add(time.Duration(*job.TTL)*time.Second))
	case r.Halted, job.Suspend && r.Began.IsZero():
		return rest, never
	case job.Suspend:
		return stop, now
	case r.Began.IsZero():
		return begin, now
	case !r.Ended.IsZero(): // and it is to be tried again
		if again := r.Ended.Add(r.backOff()); again.Before(deadline) {
			return at(begin, now, again)
		}
		return at(stop, now, deadline)
	case l == nil, l.cutOff(), !l.begun() && now.Sub(r.Began) > longStart:
		return begin, now
	case !l.begun() && !l.runs(): // else init containers are at work
		return at(begin, now, r.Began.Add(startGrace))
	case l.begun() && !slices.ContainsFunc(l.containers, container.runs):
		return note, now
	case !now.Before(deadline):
		return stop, now
	}
	look := now.Add(min(max(now.Sub(r.Began)/4, 200*time.Millisecond), 5*time.Second))
	if deadline.Before(look) {
		look = deadline
	}
	return rest, look
}

// at is to do something at a time, and to rest until then.
func at(todo move, now, when time.Time) (move, time.Time) {
	if now.Before(when) {
		return rest, when
	}
	return todo, when
}

// backOff is how long after a try that failed the next one begins: as Kubernetes has it.
func (r *run) backOff() time.Duration { return min(retryFirst<<min(max(r.Tries-1, 0), 10), retryMost) }

// active reports whether something is still to come of a run.
func (r *run) active() bool {
	return !r.Halted && (r.Outcome == "" || r.Pod.Job.TTL != nil)
}

// begun reports whether a container of the pod was ever started; of init containers nothing is left to tell.
func (l *livePod) begun() bool { return l.startedAt() > 0 }

// cutOff reports whether the machine stopped under the pod.
func (l *livePod) cutOff() bool {
	return !l.runs() && slices.ContainsFunc(l.containers, container.cutOff)
}

// tendJobs does what is due for each run, until ctx ends.
func (p *Podman) tendJobs(ctx context.Context) {
	var steps sync.WaitGroup
	defer steps.Wait()
	for {
		next, err := p.tend(ctx, time.Now(), steps.Go)
		if err != nil { // the keeper's looks tell it
			next = time.Now().Add(5 * time.Second)
		}
		select {
		case <-ctx.Done():
			return
		case <-p.jobs.stir:
		case <-time.After(time.Until(next)):
		}
	}
}

// tend begins what is due for each run, and says when something is due again.
func (p *Podman) tend(ctx context.Context, now time.Time, beside func(func())) (time.Time, error) {
	next, give, drop, err := p.jobs.schedule(now)
	if err != nil {
		return next, err
	}
	work := func(id string, do func() error) {
		if !p.jobs.claim(id) {
			return
		}
		beside(func() {
			defer p.jobs.release(id)
			if err := do(); err != nil && ctx.Err() == nil {
				_ = p.jobs.change(id, func(r *run) { r.Says = err.Error() }) // shown, and checked again
			}
		})
	}
	for _, id := range give {
		work(id, func() error { return p.giveWay(ctx, id) })
	}
	for _, id := range drop {
		work(id, func() error { return p.dropRun(ctx, id) })
	}
	runs := slices.DeleteFunc(p.jobs.runs(), func(r run) bool { return !r.active() })
	if len(runs) == 0 {
		return next, nil
	}
	live, err := p.observe(ctx)
	if err != nil {
		return next, err
	}
	for _, r := range runs {
		id := r.Pod.id()
		todo, when := r.next(now, live[id])
		if todo == rest {
			next = earlier(next, when)
			continue
		}
		work(id, func() error { return p.step(ctx, id, todo, live[id]) })
	}
	return next, nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// step does one thing for a run that is claimed.
func (p *Podman) step(ctx context.Context, id string, todo move, l *livePod) error {
	r, ok := p.jobs.get(id)
	if !ok || r.Halted || r.Outcome != "" && todo != remove {
		return nil // meanwhile
	}
	switch todo {
	case begin:
		live, err := p.observe(ctx)
		if err != nil {
			return err
		}
		if now, _ := r.next(time.Now(), live[id]); now != begin {
			return nil // a switch began it, between the look and the claim
		}
		s := replacement{p: p}
		if err := s.make(ctx, step{pod: r.Pod}); err != nil { // that is no try, but isn't tried again at once either
			now := time.Now()
			return p.jobs.change(id, func(r *run) {
				if r.Began.IsZero() {
					r.Began = now
				}
				r.Ended, r.Says = now, err.Error()
			})
		}
		return p.try(ctx, id)
	case note:
		return p.noteEnd(ctx, r, l)
	case stop:
		return p.stopRun(ctx, r, l)
	case remove:
		return p.removePod(ctx, id)
	}
	return nil
}

// try starts the pod of a run, which is made. That it does is written down before.
func (p *Podman) try(ctx context.Context, id string) error {
	err := p.jobs.change(id, func(r *run) {
		now := time.Now()
		if r.Tries == 0 || !r.Ended.IsZero() {
			r.Tries++
		} else {
			r.First = now // it was cut off, and has its full time again
		}
		if r.First.IsZero() {
			r.First = now
		}
		r.Began, r.Ended, r.Exit, r.Says, r.Log = now, time.Time{}, 0, "", nil
	})
	if err != nil {
		return err
	}
	crash.At("job.begun")
	err = p.startPod(ctx, id, nil)
	if silent := new(SilentError); err == nil || errors.As(err, &silent) {
		return err // of what wasn't answered the pod tells
	}
	return errors.Join(err, p.endTry(id, time.Now(), 0, err.Error(), nil))
}

// endTry writes down how a try ended. Says why it failed; of one that didn't, nothing.
func (p *Podman) endTry(id string, when time.Time, exit int, says string, log []string) error {
	return p.jobs.change(id, func(r *run) {
		r.Ended, r.Exit, r.Says, r.Log = when, exit, says, log
		switch {
		case says == "":
			r.Outcome = completed
		case r.Tries > r.Pod.Job.Retries:
			r.Outcome = failed
		}
	})
}

// noteEnd writes down how a run's pod ended.
func (p *Podman) noteEnd(ctx context.Context, r run, l *livePod) error {
	var when int64
	for _, c := range l.containers {
		when = max(when, c.ExitedAt)
	}
	i := slices.IndexFunc(l.containers, func(c container) bool { return c.ExitCode != 0 })
	if i < 0 {
		return p.endTry(r.Pod.id(), time.Unix(when, 0), 0, "", nil)
	}
	c := l.containers[i]
	says := "exit code " + strconv.Itoa(c.ExitCode)
	if len(l.containers) > 1 {
		says = "container " + c.name(l.name) + ": " + says
	}
	log, err := p.containerLog(ctx, c.ID, lastLines)
	if err != nil {
		log = []string{err.Error()}
	}
	return p.endTry(r.Pod.id(), time.Unix(when, 0), c.ExitCode, says, log)
}

// stopRun ends a run's pod with its grace: for good where its time is over, else until it isn't suspended any more.
func (p *Podman) stopRun(ctx context.Context, r run, l *livePod) error {
	id := r.Pod.id()
	if l != nil && l.runs() {
		if err := p.stopPod(ctx, id); err != nil {
			return err
		}
	}
	if r.Pod.Job.Suspend {
		return p.jobs.change(id, (*run).anew)
	}
	log := r.Log
	if l != nil && len(l.containers) > 0 && r.Ended.IsZero() {
		log, _ = p.containerLog(ctx, l.containers[0].ID, lastLines) // that it took too long says enough
	}
	return p.jobs.change(id, func(r *run) {
		says := fmt.Sprintf("took longer than activeDeadlineSeconds, which is %d", r.Pod.Job.Deadline)
		if r.Says != "" {
			says += "; its last try: " + r.Says
		}
		r.Ended, r.Says, r.Log, r.Outcome = time.Now(), says, log, failed
	})
}

// anew makes a run one that hasn't begun.
func (r *run) anew() { *r = run{Pod: r.Pod, Rollout: r.Rollout} }

// Jobs in a switch.

// jobCondition reports whether a Job is still to be begun: all else is none of a switch's business.
func (p *Podman) jobCondition(want RenderedPod, l *livePod) (condition, []string) {
	if want.Cron != nil {
		return p.cronCondition(want)
	}
	r, known := p.jobs.get(want.id())
	switch {
	case want.Job.Suspend:
	case known && r.Halted:
		return absent, []string{"was stopped before its end"}
	case known:
	case l == nil || !l.begun(): // else what was known of it is lost, and its pod shows that it ran
		return absent, []string{"hasn't run"}
	}
	return well, nil
}

// beginJob starts the first try of a Job whose pod was made.
func (p *Podman) beginJob(ctx context.Context, pod RenderedPod) error {
	if pod.Cron != nil {
		return p.beginCron(ctx, pod)
	}
	id := pod.id()
	if err := p.jobs.claimed(ctx, id); err != nil {
		return err
	}
	defer p.jobs.release(id)
	err := p.jobs.edit(func(s *jobHistoryState) bool {
		s.Runs[id] = &run{Pod: pod}
		return true
	})
	if err != nil {
		return err
	}
	return p.try(ctx, id)
}

// haltJob sees that nothing begins a run, if id is one, that isn't over.
func (p *Podman) haltJob(ctx context.Context, id string) error {
	err := p.jobs.change(id, func(r *run) { r.Halted = r.Outcome == "" })
	if err == nil {
		err = p.jobs.claimed(ctx, id)
	}
	if err != nil {
		return err
	}
	p.jobs.release(id)
	return nil
}

// unhaltJob lets a run begin again that a failed switch had stopped.
func (p *Podman) unhaltJob(id string) (isJob bool, err error) {
	r, isJob := p.jobs.get(id)
	if !isJob || !r.Halted {
		return isJob, nil
	}
	return true, p.jobs.change(id, (*run).anew)
}

// dropJob forgets a run whose pod a switch made that failed, unless it completed.
func (p *Podman) dropJob(ctx context.Context, id string) error {
	if err := p.haltJob(ctx, id); err != nil {
		return err
	}
	return p.jobs.edit(func(s *jobHistoryState) bool {
		r := s.Runs[id]
		if r == nil || r.Outcome == completed {
			return false
		}
		delete(s.Runs, id)
		return true
	})
}

// settleJobs ends a switch to r: its Jobs go on with what it says of them, and others don't.
func (p *Podman) settleJobs(ctx context.Context, r Rendered) error {
	if len(p.jobs.runs())+len(p.jobs.crons()) == 0 && !slices.ContainsFunc(r.Pods, func(pod RenderedPod) bool { return pod.Job != nil }) {
		return nil
	}
	live, err := p.observe(ctx)
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	crons := map[string]bool{}
	for _, pod := range r.Pods {
		switch {
		case pod.Cron != nil:
			crons[pod.Name] = true
		case pod.Job != nil:
			wanted[pod.id()] = true
		}
	}
	for _, other := range p.jobs.runs() {
		if other.Pod.Run != "" && crons[other.Pod.Name] || other.Pod.Options.Hook != "" {
			wanted[other.Pod.id()] = true
		}
		if id := other.Pod.id(); !wanted[id] && other.Outcome == "" && !other.Halted {
			if err := p.haltJob(ctx, id); err != nil {
				return err
			}
		}
	}
	return p.jobs.edit(func(s *jobHistoryState) (changed bool) {
		for _, pod := range r.Pods {
			if pod.Job == nil || pod.Cron != nil || pod.Options.Hook != "" {
				continue
			}
			id := pod.id()
			known, l := s.Runs[id], live[id]
			switch {
			case known != nil && known.Pod.Job.Equal(pod.Job) && known.Pod.Options.Hook == "":
				continue
			case known != nil:
				known.Pod = pod
			case l != nil && l.ours() && l.begun(): // what was known of it is lost
				began := time.Unix(l.startedAt(), 0)
				s.Runs[id] = &run{Pod: pod, Tries: 1, First: began, Began: began}
			default: // suspended
				s.Runs[id] = &run{Pod: pod}
			}
			changed = true
		}
		for id, other := range s.Runs {
			if !wanted[id] && other.Outcome == failed && other.Pod.Run == "" || other.Halted && other.Pod.Run != "" {
				delete(s.Runs, id) // where it is wanted again, it runs again
				changed = true
			}
		}
		for name := range s.Crons {
			if !crons[name] {
				delete(s.Crons, name)
				changed = true
			}
		}
		return changed
	})
}

// keepJobs forgets runs that no pod in kept is of: those that completed only once another of their Job did, or after a
// while. A revision that failed may come back, and what completed then doesn't run again.
func (p *Podman) keepJobs(kept map[string]bool, now time.Time) error {
	return p.jobs.edit(func(s *jobHistoryState) (changed bool) {
		latest := map[string]time.Time{}
		for id, r := range s.Runs {
			if kept[id] && r.Outcome == completed && r.Ended.After(latest[r.Pod.Name]) {
				latest[r.Pod.Name] = r.Ended
			}
		}
		for id, r := range s.Runs {
			if kept[id] || r.Pod.Run+r.Pod.Options.Hook == "" && r.Outcome == completed && now.Sub(r.Ended) < remembered && !latest[r.Pod.Name].After(r.Ended) {
				continue
			}
			delete(s.Runs, id)
			changed = true
		}
		return changed
	})
}
