package podman

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata"

	"github.com/robfig/cron/v3"

	"example.org/collie/manifests"
)

// A cronJob is a CronJob that is live: Collie keeps its schedule.
type cronJob struct {
	Pod    RenderedPod `json:"pod"`              // of a run; what each has for itself is named with the mark
	Since  time.Time   `json:"since"`            // when its schedule began
	Last   time.Time   `json:"last,omitzero"`    // the latest time for which a run was begun
	Latest *run        `json:"latest,omitempty"` // of the runs that aren't there any more, without its pod
	anchor time.Time   // from when the schedule counts where the clock was put back
}

const (
	runMark   = "00000000" // in place of a run's minute
	clockBack = time.Hour  // further than that, a time that lies ahead is no time that was
)

// due says for which time a run is to begin now; zero: for none. next is when that is to be asked again.
func (c *cronJob) due(now time.Time) (at, next time.Time, err error) {
	s, err := c.Pod.Cron.Times()
	if err != nil {
		return at, next, err
	}
	next = s.Next(now)
	if c.Pod.Cron.Suspend {
		return at, next, nil
	}
	after := c.Since
	if c.Last.After(after) {
		after = c.Last
	}
	if after.After(now.Add(clockBack)) {
		if c.anchor.IsZero() || c.anchor.After(now) {
			c.anchor = now
		}
		after = c.anchor
	} else {
		c.anchor = time.Time{}
	}
	at = latest(s, after, now)
	if n := c.Pod.Cron.Starting; n != nil && !at.IsZero() && now.Sub(at) > time.Duration(*n)*time.Second {
		at = time.Time{}
	}
	return at, next, nil
}

// latest is the last time of s after one and until another; zero: there is none. It takes few steps, however long between them.
func latest(s cron.Schedule, after, until time.Time) time.Time {
	const day = 24 * time.Hour
	for _, back := range []time.Duration{time.Hour, day, 31 * day, 366 * day, 9 * 366 * day} {
		from := until.Add(-back)
		if from.Before(after) {
			from = after
		}
		var last time.Time
		for t := s.Next(from); !t.IsZero() && !t.After(until); t = s.Next(t) {
			last = t
		}
		if !last.IsZero() || from.Equal(after) {
			return last
		}
	}
	return time.Time{}
}

// runAt is the pod of a run.
func (c *cronJob) runAt(at time.Time) RenderedPod {
	pod := c.Pod
	marked := pod
	marked.Run = runMark
	pod.Run, pod.Cron = strconv.FormatInt(at.Unix()/60, 10), nil
	pod.Kube = bytes.ReplaceAll(pod.Kube, []byte(marked.id()), []byte(pod.id()))
	for _, names := range []*[]string{&pod.Volumes, &pod.Scratch} {
		*names = slices.Clone(*names)
		for i, name := range *names {
			(*names)[i] = strings.ReplaceAll(name, marked.id(), pod.id())
		}
	}
	return pod
}

// when is the time of a run, by its minute.
func (r RenderedPod) when() time.Time {
	minute, _ := strconv.ParseInt(r.Run, 10, 64)
	return time.Unix(minute*60, 0)
}

// schedule begins the runs that are due, by writing them down, and says when to look again; stop are those that others
// take the place of, and drop those that are beyond the history.
func (j *jobHistory) schedule(now time.Time) (next time.Time, stop, drop []string, err error) {
	next = now.Add(time.Minute) // the clock may be put
	var wrong []error
	err = j.edit(func(s *jobHistoryState) (changed bool) {
		for _, name := range slices.Sorted(maps.Keys(s.Crons)) {
			c := s.Crons[name]
			runs := s.runsOf(name)
			drop = append(drop, surplus(c.Pod.Cron, runs)...)
			at, then, err := c.due(now)
			if err != nil { // it was checked: what is wrong is the machine's
				wrong = append(wrong, fmt.Errorf("cronjob %s (%s): %w", name, c.Pod.source(), err))
				continue
			}
			if !then.IsZero() {
				next = earlier(next, then)
			}
			if at.IsZero() {
				continue
			}
			pod := c.runAt(at)
			going := slices.DeleteFunc(runs, func(r *run) bool { return r.over() })
			switch {
			case s.Runs[pod.id()] != nil: // the clock was put back
				c.Last, changed = at, true
				continue
			case len(going) > 0 && c.Pod.Cron.Concurrency == "Forbid":
				continue // until it ends
			case len(going) > 0 && c.Pod.Cron.Concurrency == "Replace":
				for _, r := range going {
					stop = append(stop, r.Pod.id())
				}
				continue
			}
			s.Runs[pod.id()] = &run{Pod: pod}
			c.Last, c.anchor, changed = at, time.Time{}, true
		}
		return changed
	})
	return next, stop, drop, errors.Join(append(wrong, err)...)
}

// runsOf are the runs of a CronJob, the latest first.
func (s *jobHistoryState) runsOf(name string) []*run {
	var all []*run
	for _, r := range s.Runs {
		if r.Pod.Name == name && r.Pod.Run != "" {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b *run) int {
		return cmp.Or(b.Pod.when().Compare(a.Pod.when()), strings.Compare(a.Pod.id(), b.Pod.id()))
	})
	return all
}

// over reports whether nothing more comes of a run.
func (r *run) over() bool { return r.Outcome != "" || r.Halted }

// surplus are those of a CronJob's runs, the latest first, that its history has no room for.
func surplus(c *manifests.Cron, runs []*run) []string {
	var ids []string
	room := map[outcome]int{completed: c.Successes, failed: c.Failures}
	for _, r := range runs {
		if r.Outcome == "" {
			continue
		}
		if room[r.Outcome]--; room[r.Outcome] < 0 {
			ids = append(ids, r.Pod.id())
		}
	}
	return ids
}

// CronJobs in a switch.

// cronCondition reports whether the schedule that is live is the wanted one.
func (p *Podman) cronCondition(want RenderedPod) (condition, []string) {
	c, known := p.jobs.crons()[want.Name]
	switch {
	case !known:
		return absent, []string{"isn't scheduled"}
	case c.Pod.id() != want.id() || !c.Pod.Cron.Equal(want.Cron) || !c.Pod.Job.Equal(want.Job):
		return absent, []string{"is scheduled as it was"}
	}
	return well, nil
}

// beginCron makes a schedule live. Where nothing is known of it, its pods tell for which times runs were begun.
func (p *Podman) beginCron(ctx context.Context, pod RenderedPod) error {
	live, err := p.observe(ctx)
	if err != nil {
		return err
	}
	return p.jobs.edit(func(s *jobHistoryState) bool {
		c := s.Crons[pod.Name]
		switch {
		case c == nil:
			c = &cronJob{Pod: pod, Since: time.Now()}
			s.Crons[pod.Name] = c
			s.adopt(c, live)
		case c.Pod.Cron.Schedule != pod.Cron.Schedule || c.Pod.Cron.TimeZone != pod.Cron.TimeZone:
			c.Since = time.Now()
		}
		c.Pod = pod
		return true
	})
}

// adopt takes the pods of runs of which nothing is known.
func (s *jobHistoryState) adopt(c *cronJob, live map[string]*livePod) {
	for id, l := range live {
		kind, name, _ := strings.Cut(l.labels[labelObject], "/")
		minute, _ := strings.CutSuffix(strings.TrimPrefix(id, c.Pod.Name+"-"), "-"+l.labels[labelHash])
		n, err := strconv.ParseInt(minute, 10, 64)
		if err != nil || !l.ours() || kind != "CronJob" || name != c.Pod.Name || s.Runs[id] != nil || !l.begun() {
			continue
		}
		at := time.Unix(n*60, 0)
		pod := c.runAt(at)
		if l.labels[labelHash] != c.Pod.Hash { // of a former one: it can end, but not be made again
			pod.Hash, pod.Kube, pod.Volumes, pod.Secrets, pod.Job = l.labels[labelHash], nil, nil, nil, &manifests.Job{}
		}
		began := time.Unix(l.startedAt(), 0)
		s.Runs[id] = &run{Pod: pod, Tries: 1, First: began, Began: began}
		if at.After(c.Last) {
			c.Last = at
		}
	}
}

// restoreCrons makes the schedules live again that were before a switch which failed, and ends what others began.
func (p *Podman) restoreCrons(ctx context.Context, former map[string]cronJob) error {
	for _, r := range p.jobs.runs() {
		if _, there := former[r.Pod.Name]; r.Pod.Run == "" || there {
			continue
		}
		if err := errors.Join(p.haltJob(ctx, r.Pod.id()), p.removePod(ctx, r.Pod.id())); err != nil {
			return err
		}
	}
	return p.jobs.edit(func(s *jobHistoryState) (changed bool) {
		for name, c := range s.Crons {
			was, there := former[name]
			switch {
			case !there:
				delete(s.Crons, name)
			case c.Pod.id() != was.Pod.id() || !c.Pod.Cron.Equal(was.Pod.Cron) || !c.Pod.Job.Equal(was.Pod.Job):
				c.Pod, c.Since = was.Pod, was.Since
			default:
				continue
			}
			changed = true
		}
		for id, r := range s.Runs {
			if r.Pod.Run != "" && s.Crons[r.Pod.Name] == nil {
				delete(s.Runs, id)
				changed = true
			}
		}
		return changed
	})
}

// isRun reports whether a pod is one of a CronJob.
func (l *livePod) isRun() bool { return strings.HasPrefix(l.labels[labelObject], "CronJob/") }

// unwanted are the CronJobs that are scheduled, and that r doesn't have.
func (p *Podman) unwanted(r Rendered) []string {
	crons := p.jobs.crons()
	for _, pod := range r.Pods {
		if pod.Cron != nil {
			delete(crons, pod.Name)
		}
	}
	return slices.Sorted(maps.Keys(crons))
}

// giveWay ends a run whose place another takes.
func (p *Podman) giveWay(ctx context.Context, id string) error {
	r, ok := p.jobs.get(id)
	if !ok || r.over() {
		return nil
	}
	if !r.Began.IsZero() {
		if err := p.stopPod(ctx, id); err != nil {
			return err
		}
	}
	return p.jobs.change(id, func(r *run) {
		r.Ended, r.Says, r.Outcome = time.Now(), "gave way to the next run", failed
	})
}

// dropRun forgets a run that is over, with its pod and its volumes.
func (p *Podman) dropRun(ctx context.Context, id string) error {
	r, ok := p.jobs.get(id)
	if !ok {
		return nil
	}
	if err := p.removePod(ctx, id); err != nil {
		return err
	}
	for _, name := range r.Pod.Volumes {
		if r.Pod.user(name) != id {
			continue
		}
		if err := p.removeVolume(ctx, name); err != nil {
			return err
		}
	}
	return p.jobs.edit(func(s *jobHistoryState) bool {
		delete(s.Runs, id)
		c := s.Crons[r.Pod.Name]
		if c != nil && (c.Latest == nil || c.Latest.Pod.when().Before(r.Pod.when())) {
			r.Pod = RenderedPod{Name: r.Pod.Name, Run: r.Pod.Run, Job: r.Pod.Job}
			c.Latest = &r
		}
		return true
	})
}

// runsOf are the runs of those CronJobs that rs name.
func (p *Podman) runsOf(rs []Rendered) []RenderedPod {
	crons := map[string]bool{}
	for _, r := range rs {
		for _, pod := range r.Pods {
			if pod.Cron != nil {
				crons[pod.Name] = true
			}
		}
	}
	var pods []RenderedPod
	for _, r := range p.jobs.runs() {
		if r.Pod.Run != "" && crons[r.Pod.Name] {
			pods = append(pods, r.Pod)
		}
	}
	return pods
}

// CronJobs in the status.

// A CronStatus is one CronJob of the current revision.
type CronStatus struct {
	Name, Schedule, TimeZone string
	Suspended                bool
	Next                     time.Time // zero: none
	Running                  int
	Last                     *RunStatus // that began or ended; nil: there was none
}

// A RunStatus is one run of a CronJob.
type RunStatus struct {
	Scheduled time.Time
	JobStatus
}

// Crons tells how each CronJob of r is.
func (p *Podman) Crons(r Rendered) []CronStatus {
	var all []CronStatus
	known := p.jobs.crons()
	for _, pod := range r.Pods {
		if pod.Cron == nil {
			continue
		}
		s := CronStatus{Name: pod.Name, Schedule: pod.Cron.Schedule, TimeZone: pod.Cron.TimeZone, Suspended: pod.Cron.Suspend}
		if c, ok := known[pod.Name]; ok && !pod.Cron.Suspend {
			_, s.Next, _ = c.due(time.Now()) // the copy's
		}
		runs := p.lastRuns(pod.Name)
		for _, r := range runs {
			if !r.over() {
				s.Running++
			}
		}
		if len(runs) > 0 {
			s.Last = &RunStatus{runs[0].Pod.when(), runs[0].status()}
		}
		all = append(all, s)
	}
	return all
}

// lastRuns are the runs of a CronJob that are known, the latest first.
func (p *Podman) lastRuns(name string) []run {
	p.jobs.mu.Lock()
	defer p.jobs.mu.Unlock()
	var all []run
	for _, r := range p.jobs.state.runsOf(name) {
		all = append(all, *r)
	}
	if c := p.jobs.state.Crons[name]; c != nil && c.Latest != nil {
		all = append(all, *c.Latest)
	}
	slices.SortStableFunc(all, func(a, b run) int { return b.Pod.when().Compare(a.Pod.when()) })
	return all
}

// cronProblem is that the latest run which ended failed.
func (p *Podman) cronProblem(want RenderedPod) (Problem, bool) {
	for _, r := range p.lastRuns(want.Name) {
		if r.Outcome == completed {
			break
		}
		if r.Outcome == failed {
			return Problem{Subject: r.Pod.subject(), Unrelated: true,
				Says: fmt.Sprintf("that of %s %s (%s)", r.Pod.when().Format("2006-01-02 15:04"), r.failure(), want.source())}, true
		}
	}
	return Problem{}, false
}
