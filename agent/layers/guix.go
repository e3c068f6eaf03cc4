package layers

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"example.org/collie/agent/api"
	"example.org/collie/agent/mistake"
	"example.org/collie/agent/rollout"
	"example.org/collie/guix"
)

// guixItem is what a target of a Guix layer holds.
type guixItem struct {
	Item   string `json:"item"`             // /gnu/store/…-system or …-home
	Tree   string `json:"tree,omitempty"`   // from which it was built
	File   string `json:"file,omitempty"`   // the home's, in the tree
	Guix   string `json:"guix,omitempty"`   // the profile of the guix that built it; empty: the one on PATH
	Leaves bool   `json:"leaves,omitempty"` // it takes Collie off the machine
	None   bool   `json:"none,omitempty"`   // there was no home, which is as good as this empty one

	Names map[string]string `json:"names,omitempty"` // of Scheme files in the tree that the repository has elsewhere

	Work guix.Work `json:"work,omitzero"` // what there was to build and download for it
}

func guixTarget(layer, revision string, item guixItem) (rollout.Target, error) {
	return rollout.Encode(layer, guixID(layer, item.Item), revision, item)
}

// guixID names a target by its item.
func guixID(layer, item string) string {
	hash, _, _ := strings.Cut(filepath.Base(item), "-")
	kind, _, _ := strings.Cut(layer, ":")
	return kind + "-" + hash
}

// rootName is the GC root of what a guix, by its profile, or the one on PATH, makes of a tree for a layer: the same files
// and the same guix need no second build.
func rootName(layer, tree, profile string) string {
	name := layer + ":" + filepath.Base(tree)
	if profile == "" {
		command, err := exec.LookPath("guix")
		if err == nil {
			profile, err = filepath.EvalSymlinks(command)
		}
		if err != nil {
			return name // guix itself will say so
		}
	}
	sum := sha256.Sum256([]byte(profile))
	return fmt.Sprintf("%s:%x", name, sum[:4])
}

// seen is what was built before, by its root: the same files need no guix.
func seen(roots guix.Roots, root string) (string, bool) {
	all, err := roots.List()
	item := all[root]
	if err != nil || item == "" {
		return "", false
	}
	_, err = os.Stat(item)
	return item, err == nil
}

// keepRoots drops the GC roots of a layer that no target needs, and those that killed builds left. It returns what is needed.
func keepRoots(roots guix.Roots, layer string, ts []rollout.Target) ([]string, error) {
	var needed []string
	for _, t := range ts {
		var item guixItem
		if err := t.Decode(&item); err != nil {
			return nil, err
		}
		needed = append(needed, item.Item)
	}
	all, err := roots.List()
	for name, item := range all {
		left := strings.HasSuffix(name, ".build") || strings.HasSuffix(name, ".new")
		if strings.HasPrefix(name, layer+":") && (left || !slices.Contains(needed, item)) {
			err = errors.Join(err, roots.Drop(name))
		}
	}
	return needed, err
}

// blame sorts the errors of a preparation: what Guix says of the commit is the commit's fault.
func blame(err error) error {
	if refused := new(guix.BuildError); errors.As(err, &refused) || mistake.Of(err) != nil {
		return &rollout.BadError{Err: err}
	}
	return err
}

// ofHome sorts the errors of preparing a user's home: what is neither the commit's fault, nor the machine's or the network's, is
// the user's, as a home that can't be read.
func ofHome(err error) error {
	bad, passing, full, waits := new(rollout.BadError), new(guix.TransientError), new(guix.SpaceError), new(guix.WaitError)
	switch {
	case err == nil, errors.Is(err, rollout.ErrAbsent), errors.As(err, &bad), errors.As(err, &passing), errors.As(err, &full), errors.As(err, &waits):
		return err
	}
	return &rollout.UserError{Err: err}
}

// forgive sorts the errors of a switch: only what is known to be nobody's fault is tried again, as a disk that is full where the
// agent itself writes.
func forgive(err error) error {
	if passing := new(guix.TransientError); errors.As(err, &passing) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return &rollout.TransientError{Err: err}
	}
	return err
}

// currentSystem names the channels of the machine, which build what names none.
const currentSystem = "/run/current-system"

// Services of the system that run as the pod user.
const (
	PodmanService  = "podman-api"
	ForwardService = "collie-forward"
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
	var item guixItem
	if err := t.Decode(&item); err != nil {
		return nil, err
	}
	changes, err := l.System.Diff(ctx, item.Item)
	return guixChanges(changes), err
}

// Plan is Diff for a person, with everything that the store shows.
func (l systemLayer) Plan(ctx context.Context, _, t rollout.Target) ([]rollout.Change, error) {
	var item guixItem
	if err := t.Decode(&item); err != nil {
		return nil, err
	}
	details, err := l.System.Plan(ctx, item.Item, treeOf(item))
	return guixDetails(details), err
}

func (l systemLayer) Switch(ctx context.Context, t rollout.Target) error {
	var item guixItem
	if err := t.Decode(&item); err != nil {
		return err
	}
	if err := l.settle(ctx); err != nil {
		return err
	}
	return forgive(inRepository(l.by(item.Guix).Switch(ctx, item.Item, treeOf(item)), item.Names))
}

func (l systemLayer) Revive(ctx context.Context, t rollout.Target) error {
	var item guixItem
	if err := t.Decode(&item); err != nil {
		return err
	}
	return l.System.Revive(ctx, item.Item)
}

func (l systemLayer) Problems(ctx context.Context, t rollout.Target, since time.Time) ([]rollout.Problem, error) {
	var item guixItem
	if err := t.Decode(&item); err != nil {
		return nil, err
	}
	problems, err := l.System.Problems(ctx, item.Item, since)
	return ofPods(guixProblems(problems), l.podUser), err
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

func (l systemLayer) Keep(_ context.Context, ts []rollout.Target) error {
	items, err := keepRoots(l.Roots, "system", ts)
	if err != nil {
		return err
	}
	return errors.Join(l.Forget(items), l.TidyMenu(commitsOf(ts)))
}

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

var errOnlyShepherd = errors.New("of a home, only the end of the user's Shepherd is told")

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
	var item guixItem
	if err := t.Decode(&item); err != nil {
		return nil, err
	}
	if l.stillNone(ctx, item) {
		return nil, nil
	}
	changes, err := l.Home.Diff(ctx, item.Item)
	return guixChanges(changes), err
}

// Plan is Diff for a person, with everything that the store shows.
func (l homeLayer) Plan(ctx context.Context, _, t rollout.Target) ([]rollout.Change, error) {
	var item guixItem
	if err := t.Decode(&item); err != nil {
		return nil, err
	}
	if l.stillNone(ctx, item) {
		return nil, nil
	}
	details, err := l.Home.Plan(ctx, item.Item)
	return guixDetails(details), err
}

func (l homeLayer) Switch(ctx context.Context, t rollout.Target) error {
	var item guixItem
	if err := t.Decode(&item); err != nil {
		return err
	}
	if err := l.settle(ctx); err != nil {
		return err
	}
	return forgive(inRepository(l.by(item.Guix, item.File).Switch(ctx, item.Item, treeOf(item)), item.Names))
}

// Release stops services of the home that leave it. The rest is not a home that could be kept.
func (l homeLayer) Release(ctx context.Context, now, t rollout.Target) (rollout.Target, error) {
	var item guixItem
	if err := t.Decode(&item); err != nil {
		return rollout.Target{}, err
	}
	stopped, err := l.Home.Release(ctx, item.Item)
	if err != nil || stopped {
		return rollout.Target{}, forgive(err)
	}
	return now, nil
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
	var item guixItem
	if err := t.Decode(&item); err != nil {
		return nil, err
	}
	if l.stillNone(ctx, item) {
		return nil, nil
	}
	problems, err := l.Home.Problems(ctx, item.Item, since)
	return guixProblems(problems), err
}

func (l homeLayer) Keep(ctx context.Context, ts []rollout.Target) error {
	items, err := keepRoots(l.Roots, l.name, ts)
	if err != nil {
		return err
	}
	return l.Forget(ctx, items, l.trees)
}

// treeOf is where item's configuration lies, if that is still there, and the guix to evaluate it.
func treeOf(item guixItem) string {
	if item.Tree == "" {
		return ""
	}
	for _, needed := range []string{item.Tree, item.Guix} {
		if _, err := os.Stat(needed); err != nil && needed != "" {
			return ""
		}
	}
	return item.Tree
}

func guixChanges(changes []guix.Change) []rollout.Change {
	var all []rollout.Change
	for _, c := range changes {
		all = append(all, rollout.Change{Does: c.Does, Subject: c.Subject, Says: c.Says, Waits: c.Waits(), Boot: guix.TakesBoot(c.Does, c.Subject), Back: c.Does == guix.Downgrade || c.Does == guix.Sidestep})
	}
	return all
}

func guixDetails(details []guix.Detail) []rollout.Change {
	var all []rollout.Change
	for _, d := range details {
		all = append(all, rollout.Change{Does: d.Does, Subject: d.Subject, Says: d.Says, Waits: d.Waits(), Cost: d.Cost, Old: d.Old, New: d.New, Diff: d.Diff})
	}
	return all
}

func guixProblems(problems []guix.Problem) []rollout.Problem {
	var all []rollout.Problem
	for _, p := range problems {
		all = append(all, rollout.Problem{Subject: p.Subject, Says: p.Says, Details: p.Details})
	}
	return all
}

// keepPins drops the GC roots of each guix that built no target that is needed.
func KeepPins(roots guix.Roots, ts []rollout.Target) error {
	needed := map[string]bool{}
	for _, t := range ts {
		var item guixItem
		if t.Decode(&item) == nil {
			needed[item.Guix] = true
		}
	}
	return roots.KeepPins(needed)
}

// storedOf is what there is to know of t in the store.
func storedOf(t rollout.Target) (rollout.Stored, error) {
	var item guixItem
	err := t.Decode(&item)
	return rollout.Stored{Item: item.Item, Leaves: item.Leaves, Unpinned: item.Tree != "" && item.Guix == "", Work: api.Work(item.Work)}, err
}

// numbered are the generations of a layer.
func numbered(layer string, all []guix.Numbered, err error) ([]api.Generation, error) {
	var told []api.Generation
	for _, n := range all {
		told = append(told, api.Generation{Layer: layer, Number: n.Number, Item: n.Item, Since: n.Since, Profile: n.Profile, Running: n.Running, NextBoot: n.NextBoot})
	}
	return told, err
}

func restarted(done guix.Restarted, err error) (api.Restarted, error) {
	return api.Restarted{Service: done.Service, With: done.With, Problems: guixProblems(done.Problems)}, err
}

func (l systemLayer) Stored(t rollout.Target) (rollout.Stored, error) { return storedOf(t) }

func (l homeLayer) Stored(t rollout.Target) (rollout.Stored, error) { return storedOf(t) }

func (l systemLayer) ID(item string) string { return guixID("system", item) }

func (l homeLayer) ID(item string) string { return guixID(l.name, item) }

func (l systemLayer) All() ([]api.Generation, error) {
	all, err := l.System.All()
	return numbered("system", all, err)
}

func (l homeLayer) All() ([]api.Generation, error) {
	all, err := l.Home.All()
	return numbered(l.name, all, err)
}

func (l systemLayer) Restart(ctx context.Context, service string) (api.Restarted, error) {
	return restarted(l.System.Restart(ctx, service))
}

func (l homeLayer) Restart(ctx context.Context, service string) (api.Restarted, error) {
	return restarted(l.Home.Restart(ctx, service))
}

// keepTrees removes the trees that no target needs.
func KeepTrees(dir string, ts []rollout.Target) error {
	needed := map[string]bool{}
	for _, t := range ts {
		var item guixItem
		if t.Decode(&item) == nil && item.Tree != "" {
			needed[filepath.Base(item.Tree)], needed[filepath.Base(guix.LinksOf(item.Tree))] = true, true
		}
	}
	trees, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("trees: %w", err)
	}
	for _, tree := range trees {
		if !needed[tree.Name()] {
			err = errors.Join(err, guix.RemoveTree(filepath.Join(dir, tree.Name())))
		}
	}
	return err
}

// commitsOf names the commits that made systems or homes, by item, for a person.
func commitsOf(ts []rollout.Target) map[string]string {
	commits := map[string]string{}
	for _, t := range ts {
		var item guixItem
		if t.Decode(&item) == nil && t.Revision != rollout.Baseline {
			commits[item.Item] = api.Short(rollout.CommitOf(t.Revision))
		}
	}
	return commits
}
