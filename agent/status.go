package agent

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.org/collie/agent/api"
	"example.org/collie/agent/statefile"
)

// status tells what the conductor last knew. It asks Podman for the pods, and nobody else.
func (a *Agent) status(ctx context.Context) (api.Status, error) {
	snap := a.conductor.look()
	s := snap.state
	status := api.Status{
		Version:   a.version,
		Host:      s.Host,
		Phase:     s.phase().String(),
		Preparing: a.conductor.preparer.status(s),
		Suspended: s.Suspended,
		Wanted:    api.Wanted{Revision: commitOf(snap.wanted.Revision), Because: snap.because},
		Source:    sourceStatus(a.source.Status()),
		Revisions: api.Revisions{Newest: s.Newest.ID, Current: commitOf(s.Current.Revision), Good: commitOf(s.Good.Revision)},
		Layers:    []api.Layer{},
		Pods:      []api.Pod{},
		Failed:    []api.Failed{},
		Problems:  []Problem{},
	}
	if len(a.unread) > 0 {
		status.Wanted = api.Wanted{Because: "the state can't be read"}
	}
	for _, p := range a.conductor.parts {
		seen, looked := snap.seen[p.Name]
		l := api.Layer{Name: p.Name, Changes: seen.changes}
		l.InSync = looked && seen.target != "" && seen.err == nil && !differs(seen.changes) && !seen.owes()
		switch {
		case len(a.unread) > 0:
			l.Error = "not known, as the state can't be read"
		case seen.err != nil:
			l.Error = seen.err.Error()
			status.Problems = append(status.Problems, Problem{Layer: p.Name, Subject: p.Name, Says: l.Error})
		case s.Current.Targets[p.Name] == "":
			l.Error = "nothing was deployed to it yet"
		case !looked:
			l.Error = "not looked at yet"
		}
		if d, yes := s.Drift[p.Name]; yes {
			l.Drift = &d.Drift
		}
		if seen.err == nil && len(seen.changes) == 0 && a.noSecrets(p, s.Current.Targets[p.Name]) {
			continue
		}
		if s.Prepared.Revision != "" && s.bad(s.Prepared.Revision) == nil && s.Prepared.Targets[p.Name] == "" && !s.leftOut(p.Name) {
			status.Notes = append(status.Notes, p.Name+": revision "+short(s.Prepared.Revision)+" doesn't name it; it is left alone")
		}
		if s.Good.Revision != "" && s.Good.Revision != baseline && s.Prepared.over(s.Current.over(s.Good)).Targets[p.Name] == "" {
			continue // there is none, nor was one
		}
		if t, err := a.store.target(p.Name, s.Current.Targets[p.Name]); err == nil && p.Name != "pods" && unpinned(t) {
			status.Notes = append(status.Notes, p.Name+": unpinned: the guix on the agent's PATH built it, as neither channels.scm nor the running system names channels")
		}
		status.Layers = append(status.Layers, l)
		status.Problems = append(status.Problems, seen.problems...)
	}
	for _, p := range a.conductor.parts {
		if whom, since := a.conductor.keepers[p.Name].waits.Whom(); whom != "" {
			status.Waits = append(status.Waits, api.Wait{Layer: p.Name, For: whom, Since: since})
		}
	}
	others := a.others()
	if more := len(others) - mostOthers; more > 0 {
		status.Notes = append(status.Notes, fmt.Sprintf("others run %d more guixes", more))
	}
	for _, o := range others[:min(len(others), mostOthers)] {
		status.Others = append(status.Others, api.Other{PID: o.PID, User: o.Owner(), Since: o.Since, Runs: o.Runs, Layer: a.holdsUp(o)})
	}
	if why := s.held(s.next()); why == snap.because {
		status.Held = why
	}
	status.Notes = append(status.Notes, movedAside(a.conductor.parts)...)
	status.Notes = append(status.Notes, s.Moved...)
	status.Notes = append(status.Notes, s.Notes...)
	if why := s.inVain(snap.seen["system"].changes); why != "" {
		status.Notes = append(status.Notes, "system: "+why)
	}
	status.Problems = append(status.Problems, a.unreadSays()...)
	status.Problems = append(status.Problems, snap.writing.problem(a.store.dir)...)
	status.Problems = append(status.Problems, s.lostSays()...)
	status.Without = s.tellWithout()
	for _, w := range status.Without {
		status.Problems = append(status.Problems, Problem{Layer: w.Layer, Subject: w.Layer, Says: w.String()})
	}
	for _, file := range a.setAside() {
		status.Notes = append(status.Notes, "state: "+file+" made no sense and was set aside: the disk may be at fault; remove the file once you have looked at it")
	}
	if s.Incomplete != nil {
		status.Incomplete = s.Incomplete.String()
		status.Problems = append(status.Problems, Problem{Subject: "collie", Says: status.Incomplete})
	}
	if s.Stuck != nil {
		status.Problems = append(status.Problems, Problem{Subject: "collie", Says: "stuck: " + s.Stuck.Why})
	}
	for id, b := range s.Bad { // of what a later commit took back the history tells
		if commitOf(id) != s.Newest.ID {
			continue
		}
		status.Failed = append(status.Failed, api.Failed{Revision: id, Outcome: s.outcome(id), Reason: b.Reason, At: b.At})
	}
	slices.SortFunc(status.Failed, func(x, y api.Failed) int { return y.At.Compare(x.At) })
	pods, err := a.listPods(ctx, s)
	if err != nil && snap.seen["pods"].err == nil { // else the problem says the same
		status.Notes = append(status.Notes, "pods: "+err.Error())
	}
	status.Pods = append(status.Pods, pods...)
	status.Jobs, status.CronJobs, err = a.listJobs(s)
	if err != nil {
		status.Notes = append(status.Notes, "jobs: "+err.Error())
	}
	return status, nil
}

// outcome is what became of a revision that failed.
func (s State) outcome(revision string) string {
	switch r := s.Rollout; {
	case !s.Bad[revision].Switched:
		return api.OutcomeRejected
	case r != nil && r.Phase == returning && r.Failed == revision:
		return r.Phase.String()
	case s.Stuck != nil:
		return stuck.String()
	}
	return api.OutcomeRolledBack
}

// mostOthers is how many guixes of others a status names.
const mostOthers = 20

// listLimit is for the pods in a status, which must come even where Podman doesn't.
const listLimit = 3 * time.Second

func (a *Agent) listPods(ctx context.Context, s State) ([]api.Pod, error) {
	id := s.Current.Targets["pods"]
	if a.pods == nil || id == "" {
		return nil, nil
	}
	t, err := a.store.target("pods", id)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, listLimit)
	defer cancel()
	return a.pods.Pods(ctx, t)
}

func (a *Agent) listJobs(s State) ([]api.Job, []api.CronJob, error) {
	id := s.Current.Targets["pods"]
	if a.pods == nil || id == "" {
		return nil, nil, nil
	}
	t, err := a.store.target("pods", id)
	if err != nil {
		return nil, nil, err
	}
	return a.pods.Jobs(t)
}

// status tells of the newest revision's preparation in flight, or of the one that is tried again later.
func (p *preparer) status(s State) *api.Preparing {
	later := s.Later
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.underway != nil && (!p.underway.beside() || p.underway.evaluate):
		now := api.Preparing{Revision: p.underway.ID, Since: p.since, Progress: p.progress.sum()}
		if later != nil && later.Revision == now.Revision {
			now.WaitsFor = later.WaitsFor // it only asks again
		}
		return &now
	case later != nil && later.Next.After(time.Now()):
		return &api.Preparing{Revision: later.Revision, Since: later.Since, Error: strings.TrimSpace(later.Why), Retry: later.Next, WaitsFor: later.WaitsFor}
	case s.Newest.ID != "" && s.Newest.ID != commitOf(s.Prepared.Revision) && s.bad(s.Newest.ID) == nil: // what came of it is being written down
		return &api.Preparing{Revision: s.Newest.ID, Since: p.since, Progress: Progress{Item: "waits for its turn"}}
	}
	if s.Evaluate != "" && s.Evaluate == s.Newest.ID {
		return &api.Preparing{Revision: s.Newest.ID, Since: s.Accepted, Progress: Progress{Item: "waits for its turn to be evaluated"}}
	}
	return nil
}

// setAside are the files of the state that made no sense.
func (a *Agent) setAside() []string {
	return slices.Concat(statefile.Aside(a.store.dir), statefile.Aside(filepath.Join(a.store.dir, keysDir)))
}
