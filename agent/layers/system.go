package layers

import (
	"context"
	"errors"
	"time"

	"example.org/collie/agent/api"
	"example.org/collie/agent/rollout"
	"example.org/collie/guix"
)

// systemLayer makes a layer of the operating system.
type systemLayer struct {
	*guix.System
	*Builder
	podUser string
}

// System is the layer of the operating system, in which podUser has Podman's services.
func System(s *guix.System, b *Builder, podUser string) rollout.Layer {
	return systemLayer{s, b, podUser}
}

func (l systemLayer) Prepare(ctx context.Context, rev rollout.Revision, tell func(rollout.Progress)) (rollout.Target, error) {
	ctx = guix.For(ctx, rev.ID)
	if err := l.settle(ctx); err != nil {
		return rollout.Target{}, err
	}
	if rev.ID == rollout.Baseline {
		item, err := l.Live(ctx)
		if err != nil {
			return rollout.Target{}, err
		}
		if err := l.Roots.Keep(rootName("system", rollout.Baseline, ""), item); err != nil {
			return rollout.Target{}, err
		}
		return guixTarget("system", rollout.Baseline, guixItem{Item: item})
	}
	if !filesOf(rev).has("system.scm") {
		return rollout.Target{}, rollout.ErrAbsent
	}
	var work guix.Work
	watch := l.watch(rev, tell, &work)
	profile, err := l.Runner.Pin(ctx, rev.Tree, currentSystem, l.planner(rev), l.Roots, watch)
	if err != nil {
		return rollout.Target{}, blame(err)
	}
	system := l.by(profile)
	system.As, system.Fetcher = l.evaluator(rev), l.planner(rev)
	if err := system.CheckForward(ctx, rev.Tree, rev.Good, watch); err != nil {
		return rollout.Target{}, blame(err)
	}
	e := evaluation{layer: "system", rev: rev, tree: rev.Tree, profile: profile, under: system.Circumstances()}
	item, err := l.make(e, func(root string, reads *guix.Reads) (string, error) {
		watch.Reads = reads
		return system.Build(ctx, rev.Tree, root, watch)
	})
	if err != nil {
		return rollout.Target{}, err
	}
	if err := l.CheckServices(ctx, item, "system.scm"); err != nil {
		return rollout.Target{}, blame(err)
	}
	leaves, err := mayLeave(ctx, l.System, filesOf(rev), item, "system", "system.scm")
	if err != nil {
		return rollout.Target{}, err
	}
	return guixTarget("system", rev.ID, guixItem{Item: item, Tree: rev.Tree, Leaves: leaves, Guix: profile, Names: filesOf(rev).names(), Work: work})
}

// by is the system as the guix of a profile makes it.
func (l systemLayer) by(profile string) *guix.System {
	system := *l.System
	system.Guix = profile
	return &system
}

func (l systemLayer) Diff(ctx context.Context, t rollout.Target) ([]rollout.Change, error) {
	return with(t, func(item guixItem) ([]rollout.Change, error) {
		changes, err := l.System.Diff(ctx, item.Item)
		return guixChanges(changes), err
	})
}

// Plan is Diff for a person, with everything that the store shows.
func (l systemLayer) Plan(ctx context.Context, _, t rollout.Target) ([]rollout.Change, error) {
	return with(t, func(item guixItem) ([]rollout.Change, error) {
		details, err := l.System.Plan(ctx, item.Item, treeOf(item))
		return guixDetails(details), err
	})
}

func (l systemLayer) Switch(ctx context.Context, t rollout.Target) error {
	return holding(t, func(item guixItem) error {
		if err := l.settle(ctx); err != nil {
			return err
		}
		return forgive(inRepository(l.by(item.Guix).Switch(ctx, item.Item, treeOf(item)), item.Names))
	})
}

func (l systemLayer) Heal(ctx context.Context, t rollout.Target) error {
	var item guixItem
	if err := t.Decode(&item); err != nil {
		return err
	}
	if err := l.settle(ctx); err != nil {
		return err
	}
	return forgive(inRepository(l.by(item.Guix).Heal(ctx, item.Item, treeOf(item)), item.Names))
}

func (l systemLayer) Revive(ctx context.Context, t rollout.Target) error {
	return holding(t, func(item guixItem) error {
		return l.System.Revive(ctx, item.Item)
	})
}

func (l systemLayer) Problems(ctx context.Context, t rollout.Target, since time.Time) ([]rollout.Problem, error) {
	return with(t, func(item guixItem) ([]rollout.Problem, error) {
		problems, err := l.System.Problems(ctx, item.Item, since)
		return ofPods(guixProblems(problems), l.podUser), err
	})
}

// ofPods sorts the problems of a system. The pod user can break the services that run as that user, as by a storage.conf that
// Podman refuses. So these are problems of the pods:
//
//	service          the revisions to blame are those that change
//	podman-api       it, what Podman reads in /etc, or the home of the pod user
//	collie-forward   it
func ofPods(problems []rollout.Problem, podUser string) []rollout.Problem {
	stands := map[string][]string{
		"service " + PodmanService:  {"/etc/containers", "/etc/subuid", "/etc/subgid", "home of " + podUser},
		"service " + ForwardService: {},
	}
	for i, p := range problems {
		if on, theirs := stands[p.Subject]; theirs {
			problems[i].Layer, problems[i].Unrelated, problems[i].Stands = "pods", true, on
		}
	}
	return problems
}

func (l systemLayer) Prune(_ context.Context, ts []rollout.Target) error {
	items, err := keepRoots(l.Roots, "system", ts)
	if err != nil {
		return err
	}
	return errors.Join(l.DropGenerations(items), l.TidyMenu(commitsOf(ts)))
}

func (l systemLayer) Stored(t rollout.Target) (rollout.Stored, error) { return storedOf(t) }

func (l systemLayer) ID(item string) string { return guixID("system", item) }

func (l systemLayer) All() ([]api.Generation, error) {
	all, err := l.System.All()
	return numbered("system", all, err)
}

func (l systemLayer) Restart(ctx context.Context, service string) (api.Restarted, error) {
	return restarted(l.System.Restart(ctx, service))
}
