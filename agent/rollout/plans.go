package rollout

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"example.org/collie/agent/api"
	"example.org/collie/agent/source"
	"example.org/collie/agent/waits"
)

// A proposal is the newest commit of a branch plan/NAME. It is prepared as any revision is, so that its plan can be looked
// at, and is never switched to:
//
//	offered ──► prepared          its plan is shown
//	   │  └───► bad               its mistake is shown; the followed branch may still bring the same commit
//	   │  └───► later             tried again
//	   └──────► refused           by the source, which doesn't read it
//
// All of them go back to offered with a new commit, and out of the state, with all that was made for them, when the
// branch is gone or merged. The newest revision always comes first: its preparation ends one of a proposal, which is
// taken up again later. The preparation of the revision finds what was made for a merged proposal.

// A planBranch is what is known of one.
type planBranch struct {
	Revision source.Revision   `json:"revision"`
	Since    time.Time         `json:"since"` // that commit was offered
	Refused  string            `json:"refused,omitempty"`
	Targets  map[string]string `json:"targets,omitempty"` // once it is prepared
	Bad      string            `json:"bad,omitempty"`
	Later    *backoff          `json:"later,omitempty"`
}

// offered are the proposals when the source offers these plans. A known commit keeps its record.
func offered(known map[string]planBranch, plans []source.Plan, now time.Time) map[string]planBranch {
	all := map[string]planBranch{}
	for _, p := range plans {
		was, same := known[p.Name]
		if same && was.Revision.ID == p.Revision.ID && was.Refused == p.Refused {
			all[p.Name] = was
		} else {
			all[p.Name] = planBranch{Revision: p.Revision, Since: now, Refused: p.Refused}
		}
	}
	return all
}

// toPrepare is the proposal to prepare next, if there is one, and when to look again if there is none.
func toPrepare(all map[string]planBranch, now time.Time) (name string, next time.Time) {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		p := all[name]
		if p.Refused != "" || p.Bad != "" || p.Targets != nil {
			continue
		}
		if p.Later == nil || !now.Before(p.Later.Next) {
			return name, time.Time{}
		}
		if next.IsZero() || p.Later.Next.Before(next) {
			next = p.Later.Next
		}
	}
	return "", next
}

// proposed are the targets that the proposals need.
func (s *State) proposed() []Set {
	var sets []Set
	for _, p := range s.Plans {
		sets = append(sets, Set{Revision: p.Revision.ID, Targets: p.Targets})
	}
	return sets
}

// propose takes the plans that the source offers. Targets of other plans are dropped.
func (c *Conductor) propose(plans []source.Plan) error {
	was := c.state.Plans
	c.state.Plans = offered(was, plans, time.Now())
	news := len(was) != len(c.state.Plans)
	for name, p := range c.state.Plans {
		if was[name].Since != p.Since {
			news = true
			c.preparer.giveUp(name)
		}
	}
	for name := range was {
		if _, there := c.state.Plans[name]; !there {
			news = true
			c.preparer.giveUp(name)
		}
	}
	if !news {
		return nil
	}
	c.untidy = true
	return c.save()
}

// prepareProposal sees to it that a proposal is prepared while the newest revision needs nothing and nothing is switched.
func (c *Conductor) prepareProposal(ctx context.Context, now time.Time) {
	if c.preparer.busy() || c.state.Rollout != nil {
		return
	}
	set, _ := wanted(c.state, now)
	if len(c.behind(set, now)) > 0 {
		return
	}
	name, next := toPrepare(c.state.Plans, now)
	if name == "" {
		if !next.IsZero() {
			c.wakeAt(next)
		}
		return
	}
	p := c.state.Plans[name]
	c.Log.Info("preparing a plan", "plan", name, "revision", p.Revision.ID, "author", p.Revision.Author, "subject", p.Revision.Subject)
	c.startPreparing(ctx, job{Revision: p.Revision, plan: name})
}

// takeProposal notes what came of preparing one.
func (c *Conductor) takeProposal(r prepared) error {
	p, there := c.state.Plans[r.plan]
	if !there || p.Revision.ID != r.revision.ID || errors.Is(r.err, context.Canceled) {
		return nil
	}
	blamed := new(BadError)
	switch {
	case errors.As(r.err, &blamed):
		p.Bad = blamed.Error()
		c.Log.Warn("a plan is rejected", "plan", r.plan, "revision", p.Revision.ID, "reason", p.Bad)
	case r.err != nil:
		p.Later = p.Later.again(p.Revision.ID, r.err.Error())
		p.Later.WaitsFor = awaited(r.err)
		c.Log.Warn("preparing a plan is tried again later", "plan", r.plan, "at", p.Later.Next, "err", r.err)
	case len(r.without) > 0:
		var whys []string
		for _, layer := range slices.Sorted(maps.Keys(r.without)) {
			whys = append(whys, layer+": "+r.without[layer].Error())
		}
		p.Later = p.Later.again(p.Revision.ID, strings.Join(whys, "\n"))
		c.Log.Warn("preparing a plan is tried again later", "plan", r.plan, "at", p.Later.Next, "err", p.Later.Why)
	default:
		p.Later, p.Targets = nil, map[string]string{}
		for layer, t := range r.targets {
			if _, err := c.store.target(layer, t.ID); err != nil { // one that is there is of a revision that is deployed
				if err := c.store.saveTarget(t); err != nil {
					return err
				}
			}
			p.Targets[layer] = t.ID
		}
	}
	c.state.Plans[r.plan] = p
	return c.save()
}

// retryProposals gives each another chance.
func (c *Conductor) retryProposals() {
	for name, p := range c.state.Plans {
		p.Bad, p.Later = "", nil
		c.state.Plans[name] = p
	}
}

// plan is what waits, or what the proposal of that name would change.
func (c *Conductor) Plan(ctx context.Context, name string) (api.Plan, error) {
	if c.Closed != nil {
		return api.Plan{}, c.Closed
	}
	snap := c.look()
	if name != "" {
		return c.proposal(ctx, snap.state, name)
	}
	s := snap.state
	plan := api.Plan{Layers: []api.PlanLayer{}, Preparing: c.preparer.status(s)}
	for _, name := range slices.Sorted(maps.Keys(s.Plans)) {
		plan.Plans = append(plan.Plans, s.Plans[name].summary(name, c.preparer))
	}
	if s.Prepared.Revision == "" || s.Prepared.Revision == s.Current.Revision || s.bad(s.Prepared.Revision) != nil {
		err := c.planBack(ctx, s, &plan)
		return plan, err
	}
	plan.Revision, plan.Because = s.Prepared.Revision, snap.because
	var err error
	plan.Layers, err = c.changes(ctx, s.Prepared.Targets)
	return plan, err
}

// planBack adds what `collie retry` would take back of what someone else did.
func (c *Conductor) planBack(ctx context.Context, s State, plan *api.Plan) error {
	targets := map[string]string{}
	for layer := range s.Drift {
		id := s.Current.Targets[layer]
		if t, err := c.store.target(layer, id); err == nil && t.Revision != Baseline {
			targets[layer] = id
		}
	}
	if len(targets) == 0 {
		return nil
	}
	plan.Revision, plan.Because = s.Current.Revision, "`collie retry` takes back what someone else did"
	layers, err := c.changes(ctx, targets)
	for i, l := range layers {
		layers[i].Changes = slices.Insert(l.Changes, 0, s.Drift[l.Name].takeBack(l.Name))
	}
	plan.Layers = layers
	return err
}

func (c *Conductor) proposal(ctx context.Context, s State, name string) (api.Plan, error) {
	plan := api.Plan{Name: name, Layers: []api.PlanLayer{}}
	if err := source.CheckPlanName(name); err != nil {
		return plan, err
	}
	p, there := s.Plans[name]
	if !there {
		return plan, fmt.Errorf("there is no plan %s: push a branch plan/%s, on top of the one that is followed", name, name)
	}
	plan.Revision, plan.Rejected = p.Revision.ID, p.fault()
	if plan.Rejected != "" {
		return plan, nil
	}
	if p.Targets == nil {
		plan.Preparing = c.preparer.statusOf(name, p)
		return plan, nil
	}
	var err error
	plan.Layers, err = c.changes(ctx, p.Targets)
	return plan, err
}

// planLimit is how long a layer has to say what a switch would change.
const planLimit = 20 * time.Second

func forAPlan(took, _ time.Duration) bool { return took >= planLimit+lookMoment }

// changes are what a switch to the targets would change now, by layer. One that can't say it holds up no other.
func (c *Conductor) changes(ctx context.Context, targets map[string]string) ([]api.PlanLayer, error) {
	now := c.look().state
	parts := slices.DeleteFunc(slices.Clone(c.Parts), func(p Part) bool { return targets[p.Name] == "" })
	all, errs := make([]api.PlanLayer, len(parts)), make([]error, len(parts))
	var asked sync.WaitGroup
	for i, p := range parts {
		asked.Go(func() { all[i], errs[i] = c.change(ctx, now, p, targets[p.Name]) })
	}
	asked.Wait()
	return all, errors.Join(errs...)
}

// change is what a switch of one layer would change.
func (c *Conductor) change(ctx context.Context, now State, p Part, id string) (api.PlanLayer, error) {
	says := api.PlanLayer{Name: p.Name}
	t, err := c.store.target(p.Name, id)
	if err != nil {
		return says, err
	}
	live, err := c.store.target(p.Name, now.Current.Targets[p.Name])
	if err != nil {
		live = Target{} // nothing was deployed to it yet, or it is being switched
	}
	says.Changes, says.Work = now.takesBack(p.Name, id), c.workOf(t)
	changes, err := c.planning.ask(ctx, p, live, t)
	if err != nil {
		says.Unknown = boundedError(err).Error()
	}
	says.Changes = append(says.Changes, boundedChanges(changes, mostPlanned, mostPlannedBytes)...)
	return says, nil
}

// workOf is what there was to build and download for t.
func (c *Conductor) workOf(t Target) api.Work {
	s, _ := c.stored(t)
	return s.Work
}

// ask has a layer say what a switch would change, in time.
func (hs *hangs) ask(ctx context.Context, p Part, live, t Target) ([]Change, error) {
	if h := hs.of(p.Name); h != nil {
		return nil, h.err()
	}
	ctx, cancel := context.WithTimeoutCause(ctx, planLimit, fmt.Errorf("no answer within %v", planLimit))
	defer cancel()
	var (
		at      waits.Board
		changes []Change
		err     error
	)
	if h := inTime(ctx, "a plan", &at, forAPlan, func() { changes, err = p.plan(at.On(ctx), live, t) }); h != nil {
		hs.add(p.Name, h)
		return nil, h.err()
	}
	return changes, err
}

// fault is why a proposal can't be deployed as it is.
func (p planBranch) fault() string {
	if p.Refused != "" {
		return p.Refused
	}
	return p.Bad
}

// summary is one line on a proposal.
func (p planBranch) summary(name string, preparer *preparer) api.Proposal {
	line := api.Proposal{Name: name, Revision: p.Revision.ID, Author: p.Revision.Author, Subject: p.Revision.Subject, State: api.PlanPrepared}
	switch {
	case p.Refused != "":
		line.State, line.Says = api.PlanRefused, p.Refused
	case p.Bad != "":
		line.State, line.Says = api.PlanRejected, p.Bad
	case p.Targets == nil:
		at := preparer.statusOf(name, p)
		line.State, line.Says = api.PlanPreparing, at.Text()
	}
	return line
}

// statusOf returns the progress of the preparation of a proposal.
func (p *preparer) statusOf(name string, of planBranch) *api.Preparing {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := &api.Preparing{Revision: of.Revision.ID, Since: of.Since, Progress: Progress{Item: "waits for its turn"}}
	switch {
	case p.underway != nil && p.underway.plan == name && p.underway.ID == of.Revision.ID:
		at.Since, at.Progress = p.since, p.progress.sum()
	case of.Later != nil && of.Later.Next.After(time.Now()):
		at.Progress, at.Error, at.Retry, at.WaitsFor = Progress{}, strings.TrimSpace(of.Later.Why), of.Later.Next, of.Later.WaitsFor
	}
	return at
}
