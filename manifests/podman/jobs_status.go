package podman

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"example.org/collie/manifests"
)

// Jobs in the status.

// A JobStatus is one Job of the current revision.
type JobStatus struct {
	Name  string
	Hook  string // when in a rollout it runs; empty: it is none
	State string // waits, running, completed, failed, suspended
	Tries int
	Began time.Time // the latest try; zero: none was begun
	Ended time.Time // zero: it hasn't
	Exit  int
	Says  string   // why the latest try failed
	Log   []string // its last lines
	Next  time.Time
}

func (p *Podman) jobStatus(want RenderedPod) JobStatus {
	r, _ := p.jobs.get(want.id())
	r.Pod = want
	return r.status()
}

func (r *run) status() JobStatus {
	s := JobStatus{Name: r.Pod.Name, Hook: r.Pod.Options.Hook, Tries: r.Tries, Began: r.Began, Ended: r.Ended, Exit: r.Exit, Says: r.Says, Log: r.Log}
	switch {
	case r.Outcome != "":
		s.State = string(r.Outcome)
	case r.Pod.Job.Suspend:
		s.State = "suspended"
	case r.Began.IsZero() || r.Halted:
		s.State = "waits"
	case !r.Ended.IsZero():
		s.State, s.Next = "waits", r.Ended.Add(r.backOff())
	default:
		s.State = "running"
	}
	return s
}

// Jobs tells how each Job of r is, and what was run as others failed.
func (p *Podman) Jobs(r Rendered) []JobStatus {
	var all []JobStatus
	for _, pod := range r.Pods {
		if pod.Job != nil && pod.Cron == nil {
			all = append(all, p.jobStatus(pod))
		}
	}
	for _, other := range p.jobs.runs() { // of a revision that was returned
		if other.Pod.Options.Hook == manifests.HookFailure && !slices.ContainsFunc(r.Pods, func(pod RenderedPod) bool { return pod.id() == other.Pod.id() }) {
			all = append(all, other.status())
		}
	}
	return all
}

// failure says why a run failed, with what it wrote last.
func (r *run) failure() string {
	says := fmt.Sprintf("failed: %s", r.Says)
	if r.Tries > 1 {
		says = fmt.Sprintf("failed %d times: %s", r.Tries, r.Says)
	}
	if len(r.Log) > 0 {
		says += ": it wrote: " + strings.Join(r.Log, " / ")
	}
	return says
}

// jobProblem is what isn't well of a Job, if anything.
func (p *Podman) jobProblem(want RenderedPod) (Problem, bool) {
	switch {
	case want.Cron != nil:
		return p.cronProblem(want)
	case want.Options.Hook != "": // what it says is of a rollout, which has its verdict
		return Problem{}, false
	}
	r, _ := p.jobs.get(want.id())
	if r.Says == "" {
		return Problem{}, false
	}
	return Problem{Subject: want.subject(), Says: fmt.Sprintf("%s (%s)", r.failure(), want.source()),
		Transient: r.Outcome == "", Unrelated: true}, true
}
