package layers

import (
	"context"
	"errors"
	"slices"
	"time"

	"example.org/collie/agent/api"
	"example.org/collie/agent/rollout"
	"example.org/collie/guix"
)

// homeLayer makes a layer of one user's home.
type homeLayer struct {
	*guix.Home
	*Builder
	name  string // home:USER
	main  bool   // the pod user's may be home.scm
	trees string // the folder of what Guix reads
}

// Home is the layer of one user's home; main: it may be home.scm. trees has what Guix reads.
func Home(h *guix.Home, b *Builder, main bool, trees string) rollout.Layer {
	return homeLayer{h, b, "home:" + h.User, main, trees}
}

func (l homeLayer) Prepare(ctx context.Context, rev rollout.Revision, tell func(rollout.Progress)) (rollout.Target, error) {
	ctx = guix.For(ctx, rev.ID)
	if err := l.settle(ctx); err != nil {
		return rollout.Target{}, err
	}
	if rev.ID == rollout.Baseline {
		t, err := l.asItIs(ctx, rev, tell)
		return t, ofHome(err)
	}
	file, named := l.file(filesOf(rev))
	if !named {
		return rollout.Target{}, rollout.ErrAbsent
	}
	var work guix.Work
	watch := l.watch(rev, tell, &work)
	profile, err := l.Runner.Pin(ctx, rev.Tree, currentSystem, l.planner(rev), l.Roots, watch)
	if err != nil {
		return rollout.Target{}, blame(err)
	}
	tree, err := mirror(rev.Tree, l.name)
	if err != nil {
		return rollout.Target{}, err
	}
	home := l.by(profile, file)
	home.As = l.evaluator(rev)
	e := evaluation{layer: l.name, rev: rev, tree: tree, profile: profile, under: home.Circumstances()}
	item, err := l.make(e, func(root string, reads *guix.Reads) (string, error) {
		watch.Reads = reads
		return home.Build(ctx, tree, root, watch)
	})
	if err != nil {
		return rollout.Target{}, ofHome(err)
	}
	if err := l.CheckServices(ctx, item, file); err != nil {
		return rollout.Target{}, ofHome(blame(err))
	}
	var leaves bool
	if l.Self != "" {
		if leaves, err = mayLeave(ctx, l.Home, filesOf(rev), item, "home", file); err != nil {
			return rollout.Target{}, err
		}
	}
	return guixTarget(l.name, rev.ID, guixItem{Item: item, Tree: tree, File: file, Leaves: leaves, Guix: profile, Names: filesOf(rev).names(), Work: work})
}

// Run watches over the user's Shepherd.
func (l homeLayer) Run(ctx context.Context) { l.Vigil.Run(ctx) }

// Woken signals that the user's Shepherd has died.
func (l homeLayer) Woken() <-chan struct{} { return l.Vigil.Woken() }

var errOnlyShepherd = errors.New("only the end of the user's Shepherd is noticed at once")

// Sees reports that looks mustn't be rarer because of what wakes the keeper.
func (l homeLayer) Sees() error { return errOnlyShepherd }

// file describes this home in a revision, if any does.
func (l homeLayer) file(files view) (name string, is bool) {
	if own := "home/" + l.User + ".scm"; files.has(own) {
		return own, true
	}
	return "home.scm", l.main && files.has("home.scm")
}

// by is the home that file describes, as the guix of a profile makes it.
func (l homeLayer) by(profile, file string) *guix.Home {
	home := *l.Home
	home.File, home.Guix = file, profile
	return &home
}

// asItIs is the home that the user has. Where there is none, but is to be, it is an empty one, whose making takes seconds.
func (l homeLayer) asItIs(ctx context.Context, rev rollout.Revision, tell func(rollout.Progress)) (rollout.Target, error) {
	root := rootName(l.name, rollout.Baseline, "")
	item, err := l.Live(ctx)
	none := item == ""
	_, named := l.file(filesOf(rev))
	switch {
	case err != nil:
		return rollout.Target{}, err
	case none && !named:
		return rollout.Target{}, rollout.ErrAbsent
	case none:
		item, err = l.BuildEmpty(ctx, root, l.watch(rev, tell, new(guix.Work)))
	default:
		err = l.Roots.Keep(root, item)
	}
	if err != nil {
		return rollout.Target{}, err
	}
	return guixTarget(l.name, rollout.Baseline, guixItem{Item: item, None: none})
}

// stillNone reports whether there was no home, and is none.
func (l homeLayer) stillNone(ctx context.Context, item guixItem) bool {
	if !item.None {
		return false
	}
	live, err := l.Live(ctx)
	return err == nil && live == ""
}

func (l homeLayer) Diff(ctx context.Context, t rollout.Target) ([]rollout.Change, error) {
	return with(t, func(item guixItem) ([]rollout.Change, error) {
		if l.stillNone(ctx, item) {
			return nil, nil
		}
		changes, err := l.Home.Diff(ctx, item.Item)
		return guixChanges(changes), err
	})
}

// Plan is Diff for a person, with everything that the store shows.
func (l homeLayer) Plan(ctx context.Context, _, t rollout.Target) ([]rollout.Change, error) {
	return with(t, func(item guixItem) ([]rollout.Change, error) {
		if l.stillNone(ctx, item) {
			return nil, nil
		}
		details, err := l.Home.Plan(ctx, item.Item)
		return guixDetails(details), err
	})
}

func (l homeLayer) Switch(ctx context.Context, t rollout.Target) error {
	return holding(t, func(item guixItem) error {
		if err := l.settle(ctx); err != nil {
			return err
		}
		return forgive(inRepository(l.by(item.Guix, item.File).Switch(ctx, item.Item, treeOf(item)), item.Names))
	})
}

func (l homeLayer) Heal(ctx context.Context, t rollout.Target) error {
	var item guixItem
	if err := t.Decode(&item); err != nil {
		return err
	}
	if err := l.settle(ctx); err != nil {
		return err
	}
	return forgive(inRepository(l.by(item.Guix, item.File).Heal(ctx, item.Item, treeOf(item)), item.Names))
}

// Release stops services of the home that leave it. The rest is not a home that could be kept.
func (l homeLayer) Release(ctx context.Context, now, t rollout.Target) (rollout.Target, error) {
	return with(t, func(item guixItem) (rollout.Target, error) {
		stopped, err := l.Home.Release(ctx, item.Item)
		if err != nil || stopped {
			return rollout.Target{}, forgive(err)
		}
		return now, nil
	})
}

func (l homeLayer) Revive(ctx context.Context, t rollout.Target) error {
	var item guixItem
	if err := t.Decode(&item); err != nil || l.stillNone(ctx, item) {
		return err
	}
	return l.Home.Revive(ctx, item.Item)
}

// Stopped reports whether all that is wrong is that the user's Shepherd doesn't run, which else only a login would start, and
// that to start it was cut short.
func (l homeLayer) Stopped(changes []rollout.Change) bool {
	return !slices.ContainsFunc(changes, func(c rollout.Change) bool { return !c.Waits && !l.Resumes(c.Does, c.Subject) })
}

func (l homeLayer) Problems(ctx context.Context, t rollout.Target, since time.Time) ([]rollout.Problem, error) {
	return with(t, func(item guixItem) ([]rollout.Problem, error) {
		if l.stillNone(ctx, item) {
			return nil, nil
		}
		problems, err := l.Home.Problems(ctx, item.Item, since)
		return guixProblems(problems), err
	})
}

func (l homeLayer) Prune(ctx context.Context, ts []rollout.Target) error {
	items, err := keepRoots(l.Roots, l.name, ts)
	if err != nil {
		return err
	}
	return l.DropGenerations(ctx, items, l.trees)
}

func (l homeLayer) Stored(t rollout.Target) (rollout.Stored, error) { return storedOf(t) }

func (l homeLayer) ID(item string) string { return guixID(l.name, item) }

func (l homeLayer) All() ([]api.Generation, error) {
	all, err := l.Home.All()
	return numbered(l.name, all, err)
}

func (l homeLayer) Restart(ctx context.Context, service string) (api.Restarted, error) {
	return restarted(l.Home.Restart(ctx, service))
}
