package podman

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// A Change is one step from live to rendered.
type Change struct {
	Does     string // create, replace, start, run or remove
	Subject  string // pod web, job migrate
	Says     string
	Diff     string // in a plan: what differs, a line for each field
	Harmless bool   // nothing that runs is touched
	Deferred bool   // it had to be healed too often
}

// A step is what one wanted pod needs.
type step struct {
	pod      RenderedPod
	how      condition
	ill      []string
	live     *livePod   // the wanted one, if there is one
	previous []*livePod // running pods of the same object in other states

	rank    int  // those of rank 0 come first
	awaited bool // another depends on it
	handover
	stopBefore []*livePod // what has to stop before the wanted one starts
}

func (s step) change() Change {
	c := Change{Subject: s.pod.subject()}
	switch {
	case s.pod.Cron != nil && s.how == absent:
		c.Does, c.Says = "schedule", fmt.Sprintf("%q (%s)", s.pod.Cron.Schedule, s.pod.source())
	case s.pod.Job != nil && s.how == absent:
		c.Does, c.Says = "run", fmt.Sprintf("%s (%s)", s.pod.id(), s.pod.source())
	case len(s.previous) > 0:
		c.Does, c.Says = "replace", fmt.Sprintf("%s by %s (%s), %s", s.previous[0].name, s.pod.id(), s.pod.source(), s.handover)
	case s.how == absent:
		c.Does, c.Says = "create", fmt.Sprintf("%s (%s)", s.pod.id(), s.pod.source())
	case s.how == broken:
		c.Does, c.Says = "create", fmt.Sprintf("%s again: %s", s.pod.id(), strings.Join(s.ill, ", "))
	case s.how == notOurs:
		c.Does, c.Says = "create", fmt.Sprintf("%s can't be made: it %s", s.pod.id(), s.ill[0])
	default:
		c.Does, c.Says = "start", fmt.Sprintf("%s: %s", s.pod.id(), strings.Join(s.ill, ", "))
	}
	return c
}

// A plan is what has to be done.
type plan struct {
	live    map[string]*livePod
	steps   []step     // pods that aren't well, by name
	leaving []*livePod // running pods of Collie's that no wanted pod replaces, by name
	crons   []string   // that are scheduled, and not wanted any more

	restored []*livePod // pods made by hand whose place no wanted pod has any more
}

// plan is what a switch to r would do.
func (p *Podman) plan(ctx context.Context, r Rendered) (plan, error) {
	ctx, cancel := withLimit(ctx, wholeLook)
	defer cancel()
	live, err := p.observe(ctx)
	if err != nil {
		return plan{}, err
	}
	return p.planFrom(ctx, r, live)
}

// begin is plan for what is about to be done: what is seen is taken over, and the probes of r are asked from now on.
func (p *Podman) begin(ctx context.Context, r Rendered) (plan, error) {
	ctx, cancel := withLimit(ctx, wholeLook)
	defer cancel()
	p.prober.follow(r)
	live, err := p.look(ctx)
	if err != nil {
		return plan{}, err
	}
	return p.planFrom(ctx, r, live)
}

func (p *Podman) planFrom(ctx context.Context, r Rendered, live map[string]*livePod) (plan, error) {
	todo := plan{live: live}
	if err := p.learnWhose(ctx, live); err != nil {
		return plan{}, err
	}
	order, awaited := ranks(r.Pods), map[string]bool{}
	for _, pod := range r.Pods {
		for _, name := range pod.Options.DependsOn {
			awaited[name] = true
		}
	}
	byObject := map[string][]*livePod{}
	for _, name := range slices.Sorted(maps.Keys(live)) {
		l := live[name]
		if l.ours() && l.runs() && !p.isHook(name) {
			byObject[l.object()] = append(byObject[l.object()], l)
		}
	}
	for _, want := range r.Pods {
		if want.Options.Hook != "" {
			continue
		}
		if want.leftAlone(live) != "" {
			delete(byObject, want.Name)
			continue
		}
		how, ill, err := p.examine(ctx, want, live[want.id()])
		if err != nil {
			return plan{}, err
		}
		if how == well && want.Job == nil && !live[want.id()].runs() && supplanted(want, live) {
			how, ill = down, []string{"was stopped for another"} // rather than completed
		}
		s := step{pod: want, how: how, ill: ill, live: live[want.id()], rank: order[want.Name], awaited: awaited[want.Name]}
		for _, l := range byObject[want.Name] {
			if l.name != want.id() && !(want.Cron != nil && l.isRun()) {
				s.previous = append(s.previous, l)
			}
		}
		delete(byObject, want.Name)
		if l := live[want.Name]; want.Options.Adopt && l != nil && !l.ours() && l.runs() {
			s.previous = append(s.previous, l)
		}
		if s.how > settling || len(s.previous) > 0 {
			todo.steps = append(todo.steps, s)
		}
	}
	for _, object := range slices.Sorted(maps.Keys(byObject)) {
		todo.leaving = append(todo.leaving, byObject[object]...)
	}
	todo.crons = p.unwanted(r)
	todo.restored = p.restored(r, live)
	todo.handOver()
	slices.SortFunc(todo.steps, func(a, b step) int { return cmp.Compare(a.pod.Name, b.pod.Name) })
	return todo, nil
}

// supplanted reports whether another state of the same pod was started after this one.
func supplanted(want RenderedPod, live map[string]*livePod) bool {
	mine := live[want.id()].startedAt()
	for _, l := range live {
		if l.ours() && l.object() == want.Name && l.name != want.id() && (l.startedAt() > mine || l.runs() && l.startedAt() == mine) {
			return true
		}
	}
	return false
}

// Diff says what Switch would do. While all is well it costs one call.
func (p *Podman) Diff(ctx context.Context, r Rendered) ([]Change, error) {
	todo, err := p.plan(ctx, r)
	if err != nil {
		return nil, err
	}
	return p.differs(todo), nil
}

// differs are the changes of a plan, of which some wait to be healed.
func (p *Podman) differs(todo plan) []Change {
	changes := todo.changes()
	for i, s := range todo.steps {
		changes[i].Deferred = s.how != well && p.healBackoff.waits(s.pod.id(), time.Now()) != ""
	}
	return changes
}

// Look is Diff and Problems of r, to which was switched, by one call while all is well. It also takes over what it saw: which
// containers are asked whether they are ready, which are held as they end again and again, and where the forwarder leads.
func (p *Podman) Look(ctx context.Context, r Rendered, since time.Time) ([]Change, []Problem, error) {
	todo, err := p.begin(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := withLimit(ctx, wholeLook)
	defer cancel()
	p.keepRoutes(ctx, r, todo.live)
	problems, err := p.problems(ctx, r, todo.live, since)
	return p.differs(todo), problems, err
}

// changes are those of the steps, in their order, then of what leaves.
func (todo plan) changes() []Change {
	var changes []Change
	for _, s := range todo.steps {
		changes = append(changes, s.change())
	}
	for _, name := range todo.crons {
		changes = append(changes, Change{Does: "remove", Subject: "cronjob " + name, Says: "nothing is scheduled any more"})
	}
	for _, l := range todo.leaving {
		if l.isRun() && slices.Contains(todo.crons, l.object()) {
			continue // told with its CronJob
		}
		changes = append(changes, Change{Does: "remove", Subject: "pod " + l.object(), Says: fmt.Sprintf("%s (was %s)", l.name, l.labels[labelSource])})
	}
	for _, l := range todo.restored {
		changes = append(changes, Change{Does: "start", Subject: "pod " + l.name, Says: "somebody made it by hand, and no pod has its place any more"})
	}
	return changes
}
