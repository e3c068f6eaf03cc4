package podman

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"example.org/collie/manifests"
	"example.org/collie/manifests/forward"
)

// route tells the forwarder where connections go now. Nothing is said where nothing is forwarded.
func (p *Podman) route(ctx context.Context, wanted []RenderedPod, live map[string]*livePod, ready, ends func(id string) bool) (forward.Report, error) {
	t := tableFor(wanted, live, ready, ends)
	if len(t.Listeners) == 0 && !p.ports.Told() && !p.forwarderRuns() {
		p.ports.Assume(t) // to tell it would start it
		return forward.Report{}, nil
	}
	return p.ports.Tell(ctx, t)
}

// forwarderRuns reports whether there may be one, which an earlier life of the agent had forward something.
func (p *Podman) forwarderRuns() bool {
	if p.Account == nil {
		return true
	}
	account, err := p.Account()
	if err != nil {
		return true
	}
	all, err := processes(account.UID)
	return err != nil || slices.ContainsFunc(all, func(one process) bool {
		return one.own && len(one.args) == 2 && filepath.Base(one.args[0]) == "collie" && one.args[1] == "forward"
	})
}

// keepRoutes does so for pods that are where they are wanted, and remembers what the forwarder says of it.
func (p *Podman) keepRoutes(ctx context.Context, r Rendered, live map[string]*livePod) {
	said, err := p.route(ctx, r.Pods, live, func(id string) bool {
		why, _ := p.prober.unready(id)
		return why == ""
	}, func(string) bool { return false })
	p.mu.Lock()
	defer p.mu.Unlock()
	p.routes, p.unrouted = said, err
}

// unforwarded says why who comes to a pod's ports isn't forwarded to it.
func (p *Podman) unforwarded(pod RenderedPod) string {
	if pod.Forwarding == nil {
		return ""
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.unrouted != nil {
		return p.unrouted.Error()
	}
	return pod.Forwarding.refusedBy(p.routes)
}

// refusedBy says on which port of f the forwarder can't listen.
func (f *Forwarding) refusedBy(r forward.Report) string {
	for _, d := range r.Listeners {
		if d.Error == "" || !slices.ContainsFunc(f.Listeners, func(own forward.Listener) bool { return own.Listen == d.Listen }) {
			continue
		}
		says := fmt.Sprintf("its port %s can't be listened on: %s", clip(d.Listen), clip(d.Error))
		if who := listener(forward.Listener{Listen: d.Listen}.Port()); who != "" {
			says += ": " + who + " does"
		}
		return says
	}
	return ""
}

// takes are the ports of the machine at which connections come to a pod, whoever listens there.
func (p RenderedPod) takes() []manifests.HostPort {
	all := slices.Clone(p.HostPorts)
	if p.Forwarding != nil {
		for _, d := range p.Forwarding.Listeners {
			all = append(all, manifests.HostPort{Port: d.Port(), Protocol: "TCP"})
		}
	}
	return all
}

// route has connections go where they can in the midst of a switch: to next pods that were seen to be ready, and no more to
// those that are about to end.
func (s *replacement) route(ctx context.Context) error {
	live, err := s.p.observe(ctx)
	if err != nil {
		return err
	}
	underway := map[string]bool{}
	for _, step := range s.plan.steps {
		underway[step.pod.id()] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	said, err := s.p.route(ctx, s.to.Pods, live, func(id string) bool {
		why, _ := s.p.prober.unready(id)
		return why == "" && (!underway[id] || s.ready[id])
	}, func(id string) bool { return s.ending[id] })
	if err != nil {
		return err
	}
	for _, step := range s.plan.steps {
		if !s.ready[step.pod.id()] || step.pod.Forwarding == nil {
			continue
		}
		if says := step.pod.Forwarding.refusedBy(said); says != "" {
			return fmt.Errorf("pod %s (%s): %s", step.pod.Name, step.pod.source(), says)
		}
	}
	return nil
}

const drainLook = 100 * time.Millisecond

// forwards reports whether anything of this switch is forwarded, or was.
func (s *replacement) forwards(pods []*livePod) bool {
	return slices.ContainsFunc(s.to.Pods, func(pod RenderedPod) bool { return pod.Forwarding != nil }) ||
		slices.ContainsFunc(pods, func(l *livePod) bool { return l.forwarding() != nil })
}

// drain lets connections to pods that are about to end go on for as long as each pod's grace. New ones go elsewhere.
func (s *replacement) drain(ctx context.Context, pods []*livePod) error {
	if !s.forwards(pods) {
		return nil
	}
	for _, l := range pods {
		if l.forwarding() == nil {
			continue
		}
		s.note(func() { s.ending[l.name] = true })
	}
	if err := s.route(ctx); err != nil {
		return err
	}
	return each(waiters, pods, func(l *livePod) error {
		f := l.forwarding()
		if f == nil {
			return nil
		}
		for begun := time.Now(); time.Since(begun) < f.grace(); {
			r, err := s.p.ports.Ask(ctx)
			if err != nil || !f.linked(r) {
				return nil // who isn't there forwards nothing
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(drainLook):
			}
		}
		return nil
	})
}

// linked reports whether connections to f's backends are open.
func (f *Forwarding) linked(r forward.Report) bool {
	return slices.ContainsFunc(f.Listeners, func(d forward.Listener) bool { return r.Links[d.Backend.Address] > 0 })
}
