package podman

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"
)

// A Problem is something of a pod that isn't well.
type Problem struct {
	Subject   string // pod web
	Says      string
	Transient bool // it may yet end well
	Unrelated bool // it is the fault of no revision that didn't change its subject
}

// A PodStatus is one wanted pod, as it is.
type PodStatus struct {
	Name     string
	Ready    bool
	Restarts int
	Revision string // that made it
	State    string // running, completed, or what is wrong with it
	Note     string // what is special about it; empty: nothing
}

const tooManyRestarts = 3

// Problems returns what isn't well now in r, the target of the last switch, and which containers Podman keeps restarting since then.
// What the network and probes lack is what the last look saw.
func (p *Podman) Problems(ctx context.Context, r Rendered, since time.Time) ([]Problem, error) {
	ctx, cancel := withLimit(ctx, wholeLook)
	defer cancel()
	live, err := p.observe(ctx)
	if err != nil {
		return nil, err
	}
	return p.problems(ctx, r, live, since)
}

func (p *Podman) problems(ctx context.Context, r Rendered, live map[string]*livePod, since time.Time) ([]Problem, error) {
	var problems []Problem
	for _, a := range p.missing() {
		problems = append(problems, Problem{Subject: networkName, Says: cmp.Or(p.healBackoff.waits(networkName, time.Now()), a.says()), Unrelated: true})
	}
	for _, want := range r.Pods {
		if want.Job != nil {
			if problem, ill := p.jobProblem(want); ill {
				problems = append(problems, problem)
			}
			continue
		}
		if want.leftAlone(live) != "" {
			continue
		}
		l := live[want.id()]
		how, ill, err := p.examine(ctx, want, l)
		if err != nil {
			return nil, err
		}
		if waits := p.healBackoff.waits(want.id(), time.Now()); how > settling && waits != "" {
			ill = []string{waits}
		}
		if how == well {
			for _, c := range l.containers {
				name := c.name(l.name)
				switch {
				case !c.runs() && c.ExitCode != 0:
					ill = append(ill, "container "+name+" "+c.says())
				case c.Restarts >= tooManyRestarts && c.StartedAt >= since.Unix():
					ill = append(ill, fmt.Sprintf("container %s was restarted %d times", name, c.Restarts))
				}
			}
		}
		if len(ill) > 0 {
			ill[len(ill)-1] += p.lastWords(ctx, l, endedBadly)
		}
		for _, says := range ill {
			problems = append(problems, Problem{Subject: "pod " + want.Name, Says: fmt.Sprintf("%s (%s)", says, want.source())})
		}
		if says := p.unforwarded(want); how == well && says != "" {
			problems = append(problems, Problem{Subject: "pod " + want.Name, Says: fmt.Sprintf("%s (%s)", says, want.source())})
		}
		if why, known := p.prober.unready(want.id()); how == well && why != "" {
			if known {
				why += p.lastWords(ctx, l, started)
			}
			problems = append(problems, Problem{Subject: "pod " + want.Name, Says: fmt.Sprintf("%s (%s)", why, want.source()), Transient: !known})
		}
	}
	return problems, nil
}

// List tells how each pod of r is.
func (p *Podman) List(ctx context.Context, r Rendered) ([]PodStatus, error) {
	ctx, cancel := withLimit(ctx, wholeLook)
	defer cancel()
	live, err := p.observe(ctx)
	if err != nil {
		return nil, err
	}
	var pods []PodStatus
	for _, want := range r.Pods {
		if want.Job != nil {
			continue // Jobs tells of it
		}
		if says := want.leftAlone(live); says != "" {
			if !want.Left || live[want.id()] != nil {
				pods = append(pods, want.asFound(live, says))
			}
			continue
		}
		l := live[want.id()]
		how, ill, err := p.examine(ctx, want, l)
		if err != nil {
			return nil, err
		}
		s := PodStatus{Name: want.Name, Ready: how == well, State: strings.Join(ill, ", ")}
		why, _ := p.prober.unready(want.id())
		switch {
		case how != well:
		case why != "":
			s.Ready, s.State = false, why
		case l.runs():
			s.State = "running"
		default:
			s.State = "completed"
		}
		if l != nil {
			s.Revision = l.labels[labelRevision]
			for _, c := range l.containers {
				s.Restarts += c.Restarts
			}
		}
		if want.Left {
			s.Note = leftSays
		}
		pods = append(pods, s)
	}
	return pods, nil
}
