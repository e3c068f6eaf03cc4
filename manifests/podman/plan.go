package podman

import (
	"context"
	"slices"
)

// Plan says what a switch to r would do, as Diff does, and of each pod that it changes what differs from its state in now,
// where the machine is.
func (p *Podman) Plan(ctx context.Context, now, r Rendered) ([]Change, error) {
	todo, err := p.plan(ctx, r)
	if err != nil {
		return nil, err
	}
	was, byID := map[string]RenderedPod{}, map[string]RenderedPod{}
	for _, pod := range now.Pods {
		was[pod.Name], byID[pod.id()] = pod, pod
	}
	changes := todo.changes()
	hooks := p.hookChanges(r, todo)
	told := map[string]bool{}
	for i, s := range todo.steps {
		told[s.pod.Name] = true
		if len(s.previous) == 0 {
			continue
		}
		if old, known := byID[s.previous[0].name]; known {
			changes[i].Diff = differences(old, s.pod)
		} else {
			changes[i].Says += "; what differs isn't known: it isn't of the current revision"
		}
	}
	for _, pod := range r.Pods {
		if old, there := was[pod.Name]; there && !told[pod.Name] && old.id() == pod.id() {
			if diff := differences(old, pod); diff != "" {
				changes = append(changes, Change{Does: "update", Subject: pod.subject(), Says: "nothing is restarted", Diff: diff, Harmless: true})
			}
		}
	}
	return append(append(changes, hooks...), claimChanges(now.Claims, r.Claims)...), nil
}

// claimChanges are of the volumes that outlive all pods.
func claimChanges(was, is []string) []Change {
	var changes []Change
	for _, name := range slices.Compact(slices.Sorted(slices.Values(slices.Concat(was, is)))) {
		switch had, has := slices.Contains(was, name), slices.Contains(is, name); {
		case !had:
			changes = append(changes, Change{Does: "create", Subject: "claim " + name, Says: "a volume, unless it is there already", Harmless: true})
		case !has:
			changes = append(changes, Change{Does: "leave", Subject: "claim " + name, Says: "the volume is kept, with its content", Harmless: true})
		}
	}
	return changes
}
