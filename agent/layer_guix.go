package agent

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
	"sync"
	"syscall"
	"time"

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

func guixTarget(layer, revision string, item guixItem) (Target, error) {
	return encode(layer, guixID(layer, item.Item), revision, item)
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

// keepRoots drops the GC roots of a layer that no target needs, and what killed builds left. It tells what is needed.
func keepRoots(roots guix.Roots, layer string, ts []Target) ([]string, error) {
	var needed []string
	for _, t := range ts {
		var item guixItem
		if err := decode(t, &item); err != nil {
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
	if refused := new(guix.BuildError); errors.As(err, &refused) {
		return &BadError{Err: err}
	}
	return err
}

// ofHome sorts the errors of preparing a user's home: what is neither the commit's fault, nor the machine's or the network's, is
// the user's, as a home that can't be read.
func ofHome(err error) error {
	bad, passing, full, waits := new(BadError), new(guix.TransientError), new(guix.SpaceError), new(guix.WaitError)
	switch {
	case err == nil, errors.Is(err, errAbsent), errors.As(err, &bad), errors.As(err, &passing), errors.As(err, &full), errors.As(err, &waits):
		return err
	}
	return &UserError{err}
}

// forgive sorts the errors of a switch: only what is known to be nobody's fault is tried again, as a disk that is full where the
// agent itself writes.
func forgive(err error) error {
	if passing := new(guix.TransientError); errors.As(err, &passing) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return &TransientError{err}
	}
	return err
}

// currentSystem names the channels of the machine, which build what names none.
const currentSystem = "/run/current-system"

// A settler waits once for the guix that a former life of the agent left running; until then no guix is run.
type settler struct {
	runner *guix.Runner
	mu     sync.Mutex
	done   bool
}

func (s *settler) settle(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		return nil
	}
	err := s.runner.Await(ctx)
	s.done = err == nil
	return err
}

// systemLayer makes a layer of the operating system.
type systemLayer struct {
	*guix.System
	*settler
	*builder
	podUser string
}

func (l systemLayer) Prepare(ctx context.Context, rev Revision, tell func(Progress)) (Target, error) {
	ctx = guix.For(ctx, rev.ID)
	if err := l.settle(ctx); err != nil {
		return Target{}, err
	}
	if rev.ID == baseline {
		item, err := l.Live(ctx)
		if err != nil {
			return Target{}, err
		}
		if err := l.Roots.Keep(rootName("system", baseline, ""), item); err != nil {
			return Target{}, err
		}
		return guixTarget("system", baseline, guixItem{Item: item})
	}
	if !rev.Files.has("system.scm") {
		return Target{}, errAbsent
	}
	var work guix.Work
	watch := l.watch(rev, tell, &work)
	profile, err := l.Runner.Pin(ctx, rev.Tree, currentSystem, l.planner(rev), l.Roots, watch)
	if err != nil {
		return Target{}, blame(err)
	}
	system := l.by(profile)
	system.As, system.Fetcher = l.evaluator(rev), l.planner(rev)
	if err := system.CheckForward(ctx, rev.Tree, rev.Good, watch); err != nil {
		return Target{}, blame(err)
	}
	e := evaluation{layer: "system", rev: rev, tree: rev.Tree, profile: profile, under: system.Circumstances()}
	item, err := l.make(e, func(root string, reads *guix.Reads) (string, error) {
		watch.Reads = reads
		return system.Build(ctx, rev.Tree, root, watch)
	})
	if err != nil {
		return Target{}, err
	}
	if err := l.CheckServices(ctx, item, "system.scm"); err != nil {
		return Target{}, blame(err)
	}
	leaves, err := mayLeave(ctx, l.System, rev.Files, item, "system", "system.scm")
	if err != nil {
		return Target{}, err
	}
	return guixTarget("system", rev.ID, guixItem{Item: item, Tree: rev.Tree, Leaves: leaves, Guix: profile, Names: rev.Files.names(), Work: work})
}

// by is the system as the guix of a profile makes it.
func (l systemLayer) by(profile string) *guix.System {
	system := *l.System
	system.Guix = profile
	return &system
}

func (l systemLayer) Diff(ctx context.Context, t Target) ([]Change, error) {
	var item guixItem
	if err := decode(t, &item); err != nil {
		return nil, err
	}
	changes, err := l.System.Diff(ctx, item.Item)
	return guixChanges(changes), err
}

// Plan is Diff for a person, with all that the store tells.
func (l systemLayer) Plan(ctx context.Context, _, t Target) ([]Change, error) {
	var item guixItem
	if err := decode(t, &item); err != nil {
		return nil, err
	}
	details, err := l.System.Plan(ctx, item.Item, treeOf(item))
	return guixDetails(details), err
}

func (l systemLayer) Switch(ctx context.Context, t Target) error {
	var item guixItem
	if err := decode(t, &item); err != nil {
		return err
	}
	if err := l.settle(ctx); err != nil {
		return err
	}
	return forgive(inRepository(l.by(item.Guix).Switch(ctx, item.Item, treeOf(item)), item.Names))
}

func (l systemLayer) Revive(ctx context.Context, t Target) error {
	var item guixItem
	if err := decode(t, &item); err != nil {
		return err
	}
	return l.System.Revive(ctx, item.Item)
}

func (l systemLayer) Problems(ctx context.Context, t Target, since time.Time) ([]Problem, error) {
	var item guixItem
	if err := decode(t, &item); err != nil {
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
func ofPods(problems []Problem, podUser string) []Problem {
	stands := map[string][]string{
		"service " + podmanService:  {"/etc/containers", "/etc/subuid", "/etc/subgid", "home of " + podUser},
		"service " + forwardService: {},
	}
	for i, p := range problems {
		if on, theirs := stands[p.Subject]; theirs {
			problems[i].Layer, problems[i].Unrelated, problems[i].Stands = "pods", true, on
		}
	}
	return problems
}

func (l systemLayer) Keep(_ context.Context, ts []Target) error {
	items, err := keepRoots(l.Roots, "system", ts)
	if err != nil {
		return err
	}
	return errors.Join(l.Forget(items), l.TidyMenu(commitsOf(ts)))
}

// homeLayer makes a layer of one user's home.
type homeLayer struct {
	*guix.Home
	*settler
	*builder
	name  string // home:USER
	main  bool   // the pod user's may be home.scm
	trees string // the folder of what Guix reads
}

func (l homeLayer) Prepare(ctx context.Context, rev Revision, tell func(Progress)) (Target, error) {
	ctx = guix.For(ctx, rev.ID)
	if err := l.settle(ctx); err != nil {
		return Target{}, err
	}
	if rev.ID == baseline {
		t, err := l.asItIs(ctx, rev, tell)
		return t, ofHome(err)
	}
	file, named := l.file(rev.Files)
	if !named {
		return Target{}, errAbsent
	}
	var work guix.Work
	watch := l.watch(rev, tell, &work)
	profile, err := l.Runner.Pin(ctx, rev.Tree, currentSystem, l.planner(rev), l.Roots, watch)
	if err != nil {
		return Target{}, blame(err)
	}
	tree, err := mirror(rev.Tree, l.name)
	if err != nil {
		return Target{}, err
	}
	home := l.by(profile, file)
	home.As = l.evaluator(rev)
	e := evaluation{layer: l.name, rev: rev, tree: tree, profile: profile, under: home.Circumstances()}
	item, err := l.make(e, func(root string, reads *guix.Reads) (string, error) {
		watch.Reads = reads
		return home.Build(ctx, tree, root, watch)
	})
	if err != nil {
		return Target{}, ofHome(err)
	}
	if err := l.CheckServices(ctx, item, file); err != nil {
		return Target{}, ofHome(blame(err))
	}
	var leaves bool
	if l.Self != "" {
		if leaves, err = mayLeave(ctx, l.Home, rev.Files, item, "home", file); err != nil {
			return Target{}, err
		}
	}
	return guixTarget(l.name, rev.ID, guixItem{Item: item, Tree: tree, File: file, Leaves: leaves, Guix: profile, Names: rev.Files.names(), Work: work})
}

// Run watches over the user's Shepherd.
func (l homeLayer) Run(ctx context.Context) { l.Vigil.Run(ctx) }

// Woken tells that the user's Shepherd has died.
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
func (l homeLayer) asItIs(ctx context.Context, rev Revision, tell func(Progress)) (Target, error) {
	root := rootName(l.name, baseline, "")
	item, err := l.Live(ctx)
	none := item == ""
	_, named := l.file(rev.Files)
	switch {
	case err != nil:
		return Target{}, err
	case none && !named:
		return Target{}, errAbsent
	case none:
		item, err = l.BuildEmpty(ctx, root, l.watch(rev, tell, new(guix.Work)))
	default:
		err = l.Roots.Keep(root, item)
	}
	if err != nil {
		return Target{}, err
	}
	return guixTarget(l.name, baseline, guixItem{Item: item, None: none})
}

// stillNone tells whether there was no home, and is none.
func (l homeLayer) stillNone(ctx context.Context, item guixItem) bool {
	if !item.None {
		return false
	}
	live, err := l.Live(ctx)
	return err == nil && live == ""
}

func (l homeLayer) Diff(ctx context.Context, t Target) ([]Change, error) {
	var item guixItem
	if err := decode(t, &item); err != nil {
		return nil, err
	}
	if l.stillNone(ctx, item) {
		return nil, nil
	}
	changes, err := l.Home.Diff(ctx, item.Item)
	return guixChanges(changes), err
}

// Plan is Diff for a person, with all that the store tells.
func (l homeLayer) Plan(ctx context.Context, _, t Target) ([]Change, error) {
	var item guixItem
	if err := decode(t, &item); err != nil {
		return nil, err
	}
	if l.stillNone(ctx, item) {
		return nil, nil
	}
	details, err := l.Home.Plan(ctx, item.Item)
	return guixDetails(details), err
}

func (l homeLayer) Switch(ctx context.Context, t Target) error {
	var item guixItem
	if err := decode(t, &item); err != nil {
		return err
	}
	if err := l.settle(ctx); err != nil {
		return err
	}
	return forgive(inRepository(l.by(item.Guix, item.File).Switch(ctx, item.Item, treeOf(item)), item.Names))
}

// Release stops services of the home that leave it. What is left is no home that could be kept.
func (l homeLayer) Release(ctx context.Context, now, t Target) (Target, error) {
	var item guixItem
	if err := decode(t, &item); err != nil {
		return Target{}, err
	}
	stopped, err := l.Home.Release(ctx, item.Item)
	if err != nil || stopped {
		return Target{}, forgive(err)
	}
	return now, nil
}

func (l homeLayer) Revive(ctx context.Context, t Target) error {
	var item guixItem
	if err := decode(t, &item); err != nil || l.stillNone(ctx, item) {
		return err
	}
	return l.Home.Revive(ctx, item.Item)
}

// Stopped tells whether all that is wrong is that the user's Shepherd doesn't run, which else only a login would start, and
// that to start it was cut short.
func (l homeLayer) Stopped(changes []Change) bool {
	return !slices.ContainsFunc(changes, func(c Change) bool { return !c.Waits && !l.Resumes(c.Does, c.Subject) })
}

func (l homeLayer) Problems(ctx context.Context, t Target, since time.Time) ([]Problem, error) {
	var item guixItem
	if err := decode(t, &item); err != nil {
		return nil, err
	}
	if l.stillNone(ctx, item) {
		return nil, nil
	}
	problems, err := l.Home.Problems(ctx, item.Item, since)
	return guixProblems(problems), err
}

func (l homeLayer) Keep(ctx context.Context, ts []Target) error {
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

func guixChanges(changes []guix.Change) []Change {
	var all []Change
	for _, c := range changes {
		all = append(all, Change{Does: c.Does, Subject: c.Subject, Says: c.Says, Waits: c.Waits()})
	}
	return all
}

func guixDetails(details []guix.Detail) []Change {
	var all []Change
	for _, d := range details {
		all = append(all, Change{Does: d.Does, Subject: d.Subject, Says: d.Says, Waits: d.Waits(), Cost: d.Cost, Old: d.Old, New: d.New, Diff: d.Diff})
	}
	return all
}

func guixProblems(problems []guix.Problem) []Problem {
	var all []Problem
	for _, p := range problems {
		all = append(all, Problem{Subject: p.Subject, Says: p.Says, Details: p.Details})
	}
	return all
}

// keepPins drops the GC roots of each guix that built no target that is needed.
func keepPins(roots guix.Roots, ts []Target) error {
	needed := map[string]bool{}
	for _, t := range ts {
		var item guixItem
		if decode(t, &item) == nil {
			needed[item.Guix] = true
		}
	}
	return roots.KeepPins(needed)
}

// wentBack says which channels a rollout takes to earlier commits: the history is to tell that.
func (r *Rollout) wentBack() string {
	var says []string
	for _, c := range r.Changes["system"] {
		if c.Does == guix.Downgrade || c.Does == guix.Sidestep {
			says = append(says, c.Does+" of "+c.Subject+", "+c.Says)
		}
	}
	return strings.Join(says, "; ")
}

// unpinned tells whether the guix on PATH made t of a revision, whichever that is.
func unpinned(t Target) bool {
	var item guixItem
	return decode(t, &item) == nil && item.Tree != "" && item.Guix == ""
}

// keepTrees removes the trees that no target needs.
func keepTrees(dir string, ts []Target) error {
	needed := map[string]bool{}
	for _, t := range ts {
		var item guixItem
		if decode(t, &item) == nil && item.Tree != "" {
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
