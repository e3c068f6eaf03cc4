package layers

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

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

// with hands what a target holds to do.
func with[D, R any](t rollout.Target, do func(D) (R, error)) (R, error) {
	var d D
	if err := t.Decode(&d); err != nil {
		return *new(R), err
	}
	return do(d)
}

// holding is with where there is only an error to return.
func holding[D any](t rollout.Target, do func(D) error) error {
	_, err := with(t, func(d D) (struct{}, error) { return struct{}{}, do(d) })
	return err
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
	OwnService     = "collie" // the agent's own
	PodmanService  = "podman-api"
	ForwardService = "collie-forward"
)

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
