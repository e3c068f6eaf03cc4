package rollout

import (
	"context"
	"slices"
	"strings"
	"time"

	"example.org/collie/agent/api"
)

// status is what the conductor last knew. It asks Podman for the pods, and nobody else.
func (c *Conductor) Status(ctx context.Context) api.Status {
	c.sight(ctx)
	snap := c.look()
	s := snap.state
	status := api.Status{
		Host:      s.Host,
		Phase:     s.phase().String(),
		Preparing: c.preparer.status(s),
		Suspended: s.Suspended,
		Wanted:    api.Wanted{Revision: CommitOf(snap.wanted.Revision), Because: snap.because},
		Revisions: api.Revisions{Newest: s.Newest.ID, Current: CommitOf(s.Current.Revision), Good: CommitOf(s.Good.Revision)},
		Layers:    []api.Layer{},
		Pods:      []api.Pod{},
		Failed:    []api.Failed{},
		Problems:  []Problem{},
	}
	if c.Closed != nil {
		status.Wanted = api.Wanted{Because: "the state can't be read"}
	}
	for _, p := range c.Parts {
		c.addLayer(&status, snap, p)
	}
	for _, p := range c.Parts {
		if whom, since := c.keepers[p.Name].waits.Whom(); whom != "" {
			status.Waits = append(status.Waits, api.Wait{Layer: p.Name, For: whom, Since: since})
		}
	}
	if why := s.held(s.next()); why == snap.because {
		status.Held = why
	}
	status.Notes = append(status.Notes, movedAside(c.Parts)...)
	status.Notes = append(status.Notes, s.Moved...)
	status.Notes = append(status.Notes, s.Notes...)
	if why := s.inVain(snap.seen["system"].changes); why != "" {
		status.Notes = append(status.Notes, "system: "+why)
	}
	status.Problems = append(status.Problems, snap.writing.problem(c.store.dir)...)
	status.Problems = append(status.Problems, s.lostSays()...)
	status.Without = s.tellWithout()
	for _, w := range status.Without {
		status.Problems = append(status.Problems, Problem{Layer: w.Layer, Subject: w.Layer, Says: w.String()})
	}
	if s.Incomplete != nil {
		status.Incomplete = s.Incomplete.String()
		status.Problems = append(status.Problems, Problem{Subject: "collie", Says: status.Incomplete})
	}
	if s.Stuck != nil {
		status.Problems = append(status.Problems, Problem{Subject: "collie", Says: "stuck: " + s.Stuck.Why})
	}
	for id, b := range s.Bad { // the history shows what a later commit undid
		if CommitOf(id) != s.Newest.ID {
			continue
		}
		status.Failed = append(status.Failed, api.Failed{Revision: id, Outcome: s.outcome(id), Reason: b.Reason, At: b.At})
	}
	slices.SortFunc(status.Failed, func(x, y api.Failed) int { return y.At.Compare(x.At) })
	c.list(ctx, snap, &status)
	return status
}

// addLayer adds what is known of a layer, unless it has nothing and nobody named it.
func (c *Conductor) addLayer(status *api.Status, snap snapshot, p Part) {
	s := snap.state
	seen, looked := snap.seen[p.Name]
	l := api.Layer{Name: p.Name, Changes: seen.changes}
	l.InSync = looked && seen.target != "" && seen.err == nil && !differs(seen.changes) && !seen.owes()
	switch {
	case c.Closed != nil:
		l.Error = "not known, as the state can't be read"
	case seen.err != nil:
		l.Error = seen.err.Error()
		status.Problems = append(status.Problems, Problem{Layer: p.Name, Subject: p.Name, Says: l.Error})
	case s.Current.Targets[p.Name] == "":
		l.Error = "nothing was deployed to it yet"
	case !looked:
		l.Error = "not checked yet"
	}
	if d, yes := s.Drift[p.Name]; yes {
		l.Drift = &d.Drift
	}
	if seen.err == nil && len(seen.changes) == 0 && c.empty(p, s.Current.Targets[p.Name]) {
		return
	}
	if s.Prepared.Revision != "" && s.bad(s.Prepared.Revision) == nil && s.Prepared.Targets[p.Name] == "" && !s.leftOut(p.Name) {
		status.Notes = append(status.Notes, p.Name+": revision "+api.Short(s.Prepared.Revision)+" doesn't name it; it is left alone")
	}
	if s.Good.Revision != "" && s.Good.Revision != Baseline && s.Prepared.over(s.Current.over(s.Good)).Targets[p.Name] == "" {
		return // there is none, nor was one
	}
	if t, err := c.store.target(p.Name, s.Current.Targets[p.Name]); err == nil && c.unpinned(t) {
		status.Notes = append(status.Notes, p.Name+": unpinned: the guix on the agent's PATH built it, as neither channels.scm nor the running system names channels")
	}
	status.Layers = append(status.Layers, l)
	status.Problems = append(status.Problems, seen.problems...)
}

// outcome is what became of a revision that failed.
func (s State) outcome(revision string) string {
	switch r := s.Rollout; {
	case !s.Bad[revision].Switched:
		return api.OutcomeRejected
	case r != nil && r.Phase == rollingBack && r.Failed == revision:
		return r.Phase.String()
	case s.Stuck != nil:
		return stuck.String()
	}
	return api.OutcomeRolledBack
}

// listLimit is for the pods in a status, which must come even where Podman doesn't.
const listLimit = 3 * time.Second

// list adds the pods and Jobs that there are.
func (c *Conductor) list(ctx context.Context, snap snapshot, status *api.Status) {
	for _, p := range c.Parts {
		l, lists := p.Layer.(lister)
		id := snap.state.Current.Targets[p.Name]
		if !lists || id == "" {
			continue
		}
		t, err := c.store.target(p.Name, id)
		if err != nil {
			status.Notes = append(status.Notes, p.Name+": "+err.Error())
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, listLimit)
		defer cancel()
		pods, err := l.Pods(ctx, t)
		if err != nil && snap.seen[p.Name].err == nil { // else the problem says the same
			status.Notes = append(status.Notes, p.Name+": "+err.Error())
		}
		status.Pods = append(status.Pods, pods...)
		if status.Jobs, status.CronJobs, err = l.Jobs(t); err != nil {
			status.Notes = append(status.Notes, "jobs: "+err.Error())
		}
	}
}

// empty reports whether a layer that is in each revision has nothing in the target with that ID: nobody needs to hear of it then.
func (c *Conductor) empty(p Part, id string) bool {
	l, is := p.Layer.(optional)
	if !is {
		return false
	}
	t, err := c.store.target(p.Name, id)
	return id == "" || err == nil && l.Empty(t)
}

func (c *Conductor) unpinned(t Target) bool {
	s, is := c.stored(t)
	return is && s.Unpinned
}

// status shows the newest revision's preparation in progress, or the one that is tried again later.
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
	case s.Newest.ID != "" && s.Newest.ID != CommitOf(s.Prepared.Revision) && s.bad(s.Newest.ID) == nil: // what came of it is being written down
		return &api.Preparing{Revision: s.Newest.ID, Since: p.since, Progress: Progress{Item: "waits for its turn"}}
	}
	if s.Evaluate != "" && s.Evaluate == s.Newest.ID {
		return &api.Preparing{Revision: s.Newest.ID, Since: s.Accepted, Progress: Progress{Item: "waits for its turn to be evaluated"}}
	}
	return nil
}
