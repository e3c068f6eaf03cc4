package podman

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"example.org/collie/manifests"
)

// firstPort is the first port of the machine on which others than root may listen.
const firstPort = "/proc/sys/net/ipv4/ip_unprivileged_port_start"

// mayListen looks whether the pod user may listen on the ports of pods that are to be made, before anything stops. The
// system that the commit brings has been switched to by then, and with it what it allows.
func (todo plan) mayListen(setting string) error {
	text, err := os.ReadFile(setting)
	if err != nil {
		return nil // Podman will say it
	}
	first, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return nil
	}
	for _, s := range todo.steps {
		if s.how != absent {
			continue
		}
		for _, port := range s.pod.takes() {
			if port.Port < first {
				return fmt.Errorf("pod %s (%s): port %d of the machine is for root alone: set net.ipv4.ip_unprivileged_port_start to it in system.scm, by sysctl-service-type, or take one from %d on",
					s.pod.Name, s.pod.source(), port.Port, first)
			}
		}
	}
	return nil
}

// Podman publishes a port of the machine by a process of the pod user's, rootlessport, which listens there. Ending only this
// process frees the port at once, while stopping the pod waits for its grace period. Of all orders of a replacement that share
// one port, this closes it for the shortest time (docs/facts/podman.md, "How long a host port is closed"). A crash in between
// leaves a running pod whose port nobody listens on. Such a pod is hollow, and is restarted.

// letGo frees the ports that step's pod needs of a running pod. One that can't give them up while it runs is stopped.
func (s *replacement) letGo(ctx context.Context, step step, l *livePod) error {
	switch {
	case step.Handover == PortMoves && l.forwarding() != nil: // who listened for it stops that
		s.note(func() { s.ending[l.name] = true })
		return s.route(ctx)
	case step.Handover == PortMoves && s.p.unpublish(ctx, l.hostPorts()):
		s.note(func() { s.portsReleased = append(s.portsReleased, l) })
		if step.pod.Forwarding != nil { // who comes from now on waits
			return s.route(ctx)
		}
		return nil
	}
	if err := s.drain(ctx, []*livePod{l}); err != nil {
		return err
	}
	return s.stop[l.name](ctx)
}

// unpublish ends what publishes ports. It reports whether it found that, for all of them.
func (p *Podman) unpublish(ctx context.Context, ports []manifests.HostPort) bool {
	if p.Account == nil {
		return false
	}
	account, err := p.Account()
	if err != nil {
		return false
	}
	all, err := processes(account.UID)
	if err != nil {
		return false
	}
	listens, open := listening(), map[int]bool{}
	for _, port := range ports {
		open[port.Port] = true
	}
	var publish []process
	for _, one := range all {
		if one.role(account.Runtime) != "rootlessport" {
			continue
		}
		held := listens(one.pid)
		if !slices.ContainsFunc(held, func(port int) bool { return open[port] }) {
			continue
		}
		publish = append(publish, one)
		for _, port := range held {
			delete(open, port)
		}
	}
	if len(open) > 0 {
		return false // somebody else's, such as the pod's own on the machine's network
	}
	for _, one := range publish {
		if one.end(ctx, 0) != nil {
			return false
		}
	}
	return true
}

// unpublished says which port of a running pod nobody listens on, or leads nowhere.
func (p *Podman) unpublished(l *livePod) string {
	if p.Account == nil || l.infra == nil || len(l.infra.Ports) == 0 {
		return ""
	}
	open := openPorts()
	p.mu.Lock()
	half := p.half
	p.mu.Unlock()
	for _, m := range l.infra.Ports {
		for i := range max(1, min(m.Range, 1<<16)) {
			switch port := m.HostPort + i; {
			case !open[port]:
				return fmt.Sprintf("nothing listens on its host port %d", port)
			case half[port]:
				return fmt.Sprintf("its host port %d leads nowhere: what Podman forwards it with has lost a half", port)
			}
		}
	}
	return ""
}
