package podman

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"example.org/collie/agent/foreign"
	"example.org/collie/manifests"
)

const persistentClaim = "PersistentVolumeClaim"

// A PruneError refuses a revision for what it would remove, or for what it says of that.
type PruneError struct{ Says, Hint string }

func (e *PruneError) Error() string {
	if e.Hint == "" {
		return e.Says
	}
	return e.Says + "\n  hint: " + e.Hint
}

// Guard refuses m if it would remove what may not go, which may, as KIND/NAME, from collie.yaml, can allow.
func (p *Podman) Guard(ctx context.Context, m *manifests.Manifests, may []string) error {
	have, err := p.stock(ctx)
	if err != nil {
		return &EngineError{err}
	}
	return have.guard(m, may)
}

func (s inventoryState) guard(m *manifests.Manifests, may []string) error {
	const file = "collie.yaml"
	stays, names := map[string]string{}, map[string]bool{}
	for _, pod := range slices.Concat(m.Pods, m.Stopped) {
		stays[pod.Kind+"/"+pod.Name], names[pod.Name] = fmt.Sprintf("%s:%d", pod.File, pod.Line), true
	}
	for _, claim := range m.Claims {
		stays[persistentClaim+"/"+claim.Name] = fmt.Sprintf("%s:%d", claim.File, claim.Line)
	}
	for _, object := range may {
		kind, name, ok := strings.Cut(object, "/")
		if !ok || name == "" || !manifests.Known(kind) {
			return &PruneError{fmt.Sprintf("%s: prune: %q names nothing", file, foreign.Cut(object, 60)), "write KIND/NAME, as Pod/web or " + persistentClaim + "/data"}
		}
		if at, there := stays[object]; there {
			return &PruneError{fmt.Sprintf("%s: prune: %s may go, but it is in %s", file, object, at), "remove the one or the other"}
		}
	}
	var pods, claims []string // that would go, and may not
	all := 0
	for _, pod := range s.Pods {
		if pod.Left || pod.Options.Stays || pod.Kind == "Job" || pod.Kind == "CronJob" { // which end anyway
			continue
		}
		all++
		if object := pod.Kind + "/" + pod.Name; !names[pod.Name] {
			pods = append(pods, object)
		}
	}
	if goes := len(pods); all < 2 || goes < all {
		pods = nil
	}
	for _, claim := range s.Claims {
		if _, there := stays[persistentClaim+"/"+claim]; !there {
			claims = append(claims, persistentClaim+"/"+claim)
		}
	}
	unsaid := func(objects []string) bool {
		return slices.ContainsFunc(objects, func(o string) bool { return !slices.Contains(may, o) })
	}
	says := []string{}
	var allow []string
	if unsaid(pods) {
		says = append(says, fmt.Sprintf("it would remove all %d pods: %s", len(pods), strings.Join(pods, ", ")))
		allow = append(allow, pods...)
	}
	if unsaid(claims) {
		says = append(says, "it no longer has "+strings.Join(claims, ", "))
		allow = append(allow, claims...)
	}
	if len(says) == 0 {
		return nil
	}
	return &PruneError{strings.Join(says, ", and "), fmt.Sprintf("if that is meant, say in %s: prune: [%s]", file, strings.Join(allow, ", "))}
}

// remaining are the pods that left the repository with m, or before, and go on.
func (s inventoryState) remaining(m *manifests.Manifests, live map[string]*livePod) []RenderedPod {
	var all []RenderedPod
	for _, pod := range s.Pods {
		if !pod.Options.Stays || live[pod.id()] == nil || slices.ContainsFunc(slices.Concat(m.Pods, m.Stopped), func(other *manifests.Pod) bool { return other.Name == pod.Name }) {
			continue
		}
		pod.Left = true
		all = append(all, pod)
	}
	return all
}

// leftSays is of a pod that left the repository.
const leftSays = "left the repository; it goes on, as collie.io/prune is disabled"

// leftAlone says why nothing is done to a wanted pod, whatever it is like; "": it is kept well.
func (r RenderedPod) leftAlone(live map[string]*livePod) string {
	switch {
	case r.Left && live[r.id()] == nil:
		return leftSays // and is gone, as somebody removed it
	case !r.Options.Alone:
		return ""
	}
	for _, l := range live {
		if l.ours() && l.object() == r.Name {
			return "left alone, as collie.io/reconcile is disabled"
		}
	}
	return ""
}

// asFound is the status of a pod that is left alone.
func (r RenderedPod) asFound(live map[string]*livePod, note string) PodStatus {
	s := PodStatus{Name: r.Name, State: "stopped", Note: note}
	for _, l := range live {
		if !l.ours() || l.object() != r.Name {
			continue
		}
		if s.Revision == "" || l.runs() {
			s.Revision = l.labels[labelRevision]
		}
		if l.runs() {
			s.Ready, s.State = true, "running"
		}
	}
	return s
}

// adopts are the pods made by hand that the plan stops, by Podman's name, with the name of what takes their place.
func (todo plan) adopts() map[string]string {
	adopted := map[string]string{}
	for _, step := range todo.steps {
		for _, l := range step.previous {
			if !l.ours() {
				adopted[l.name] = step.pod.Name
			}
		}
	}
	return adopted
}

// restored are pods made by hand that run again, as r has nothing in their place.
func (p *Podman) restored(r Rendered, live map[string]*livePod) []*livePod {
	var all []*livePod
	adopted := p.inventory.adopted()
	for _, name := range slices.Sorted(maps.Keys(adopted)) {
		l := live[name]
		if l != nil && !l.runs() && !slices.ContainsFunc(r.Pods, func(pod RenderedPod) bool { return pod.Name == adopted[name] }) {
			all = append(all, l)
		}
	}
	return all
}

// A takenError says that somebody else has what a pod needs. Once they give it up, the revision is tried again.
func takenError(pod *manifests.Pod, line int, field, says string) error {
	return fmt.Errorf("%s:%d: %s: %s; stop and remove it, or take it over with the annotation collie.io/adopt: \"true\"", pod.File, line, field, says)
}

// vacant looks whether names and ports of the pods of m are free of what isn't Collie's, before anything is stopped.
func vacant(m *manifests.Manifests, all []container, live map[string]*livePod, remaining []RenderedPod) error {
	for _, pod := range m.Pods {
		for _, c := range all {
			if l := live[c.PodName]; l != nil && (l.ours() || pod.Options.Adopt && l.name == pod.Name) {
				continue
			}
			if c.PodName == pod.Name {
				return takenError(pod, pod.Line, "metadata.name", fmt.Sprintf("there is a pod %s that isn't Collie's", c.PodName))
			}
			if !c.runs() {
				continue
			}
			for _, port := range pod.HostPorts {
				if c.holds(port) {
					return takenError(pod, port.Line, port.Field, fmt.Sprintf("%d is taken by %s, which isn't Collie's", port.Port, c.whose()))
				}
			}
		}
		for _, left := range remaining {
			for _, port := range pod.HostPorts {
				for _, held := range left.HostPorts {
					if held.Port == port.Port && held.Protocol == port.Protocol {
						return fmt.Errorf("%s:%d: %s: %d is taken by pod %s, which left the repository and still runs, because its collie.io/prune is disabled", pod.File, port.Line, port.Field, port.Port, left.Name)
					}
				}
			}
		}
	}
	return nil
}

// learnWhose asks for the labels of the pods that have no container but the infra container, which has none. It asks once,
// as there may be any number of them.
func (p *Podman) learnWhose(ctx context.Context, live map[string]*livePod) error {
	unknown := func(l *livePod) bool { return l.labels == nil }
	if !slices.ContainsFunc(slices.Collect(maps.Values(live)), unknown) {
		return nil
	}
	own, err := p.listPods(ctx)
	if err != nil {
		return err
	}
	for _, i := range own {
		if l := live[i.Name]; l != nil && unknown(l) {
			l.labels = i.Labels
		}
	}
	return nil
}

func (c container) holds(port manifests.HostPort) bool {
	return slices.ContainsFunc(c.Ports, func(m portMapping) bool {
		return m.HostPort <= port.Port && port.Port < m.HostPort+max(1, m.Range) && strings.EqualFold(m.Protocol, port.Protocol)
	})
}

func (c container) whose() string {
	if c.PodName != "" {
		return "pod " + c.PodName
	}
	return "container " + c.name("")
}

// keepAdopted removes the pods that somebody made by hand, once all of rs have another in their place.
func (p *Podman) keepAdopted(ctx context.Context, rs []Rendered) error {
	for name, object := range p.inventory.adopted() {
		replaced := func(r Rendered) bool {
			return slices.ContainsFunc(r.Pods, func(pod RenderedPod) bool { return pod.Name == object && pod.Options.Adopt })
		}
		if len(rs) == 0 || slices.ContainsFunc(rs, func(r Rendered) bool { return !replaced(r) }) {
			continue
		}
		if err := p.removePod(ctx, name); err != nil {
			return fmt.Errorf("removing pod %s, whose place pod %s has: %w", name, object, err)
		}
		if err := p.inventory.change(func(s *inventoryState) { delete(s.Adopted, name) }); err != nil {
			return err
		}
	}
	return nil
}
