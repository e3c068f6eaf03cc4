package layers

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/collie/agent/rollout"
	"example.org/collie/guix"
)

// What Guix refused is known by its files, in whatever commit and layer they come, also to another life of the agent.
func TestRefusedFilesNeedNoGuix(t *testing.T) {
	w := newWorkshop(t)
	tree := w.folder("trees/t1")
	system := systemLayer{&guix.System{Runner: w.runner, Roots: w.roots}, w.builder(), "podman"}
	home := homeLayer{&guix.Home{Runner: w.runner, User: "ann", Roots: w.roots}, w.builder(), "home:ann", true, ""}
	asked := func() int {
		text, _ := os.ReadFile(w.asked())
		return strings.Count(string(text), "\n")
	}
	prepareFor := func(l rollout.Layer, rev rollout.Revision, calls int) {
		t.Helper()
		before := asked()
		_, err := l.Prepare(t.Context(), rev, quiet)
		if blamed := new(rollout.BadError); !errors.As(err, &blamed) || !strings.HasPrefix(err.Error(), "system.scm:7:2: error: foo") {
			t.Errorf("%v, want what guix said, as the commit's fault", err)
		}
		if asked() != before+calls {
			t.Errorf("guix was asked %d times, want %d", asked()-before, calls)
		}
	}
	prepare := func(l rollout.Layer, tree string, calls int) {
		t.Helper()
		prepareFor(l, revisionOf(tree, "system.scm", "home.scm"), calls)
	}
	plan := func(l rollout.Layer, calls int) { // it has other rights
		t.Helper()
		rev := revisionOf(tree, "system.scm", "home.scm")
		rev.Plan = true
		prepareFor(l, rev, calls)
	}
	plan(system, 1)
	plan(system, 0)
	plan(home, 0)
	prepare(system, tree, 1)
	prepare(system, tree, 0)
	prepare(home, tree, 0)
	plan(system, 0)
	prepare(home, w.folder("trees/t2"), 1)
	w.guix("new")
	prepare(system, tree, 1)
	w.guix("old")
	prepare(system, tree, 0)
	if err := system.refused.forget(); err != nil {
		t.Fatal(err)
	}
	prepare(system, tree, 1)
	if err := os.WriteFile(system.refused.file, []byte("{cut sh"), 0o600); err != nil {
		t.Fatal(err)
	}
	prepare(system, tree, 1)
	prepare(system, tree, 0)
	for i := range 2 * mostRefused {
		if err := system.refused.note(fmt.Sprint(i), &guix.BuildError{Says: "no"}); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := system.refused.all(); err != nil || len(all) != mostRefused {
		t.Errorf("%d refusals (%v)", len(all), err)
	}
	prepare(system, tree, 1) // it was the oldest
}

// What passes isn't remembered.
func TestOnlyRefusalsAreRemembered(t *testing.T) {
	r := &refused{file: filepath.Join(t.TempDir(), "refused.json")}
	for _, err := range []error{errors.New("no daemon"), &guix.WaitError{}, &guix.TransientError{Err: errors.New("no network")}} {
		if noted := r.note("t1", err); noted != nil || r.why("t1") != nil {
			t.Errorf("%v is remembered (%v)", err, noted)
		}
	}
}
