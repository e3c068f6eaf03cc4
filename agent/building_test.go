package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/collie/guix"
)

func TestSubstitutesAreWaitedFor(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		w.push("b", "system=large", "home=1", "pods=2")
		pass(time.Second)
		later := func(attempts int) {
			t.Helper()
			l := w.state().Later
			if l == nil || l.Revision != "b" || l.Attempts != attempts || !slices.Equal(l.WaitsFor, []string{"linux", "gcc"}) || len(w.state().Bad) != 0 {
				t.Errorf("later: %+v; bad: %+v", l, w.state().Bad)
			}
		}
		later(1)
		w.is("1", "1", "1")
		pass(35 * time.Second)
		later(2)
		w.stop()
		w.start() // neither what waits is forgotten, nor for how long
		pass(time.Second)
		later(2)
		pass(time.Hour)
		later(7)
		w.is("1", "1", "1")

		if err := w.c.ask(t.Context(), w.c.mayBuild); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		w.is("large", "1", "2")
		w.good("b")
		w.push("c", "system=larger", "home=1", "pods=2")
		pass(time.Minute)
		if l := w.state().Later; l == nil || l.Revision != "c" {
			t.Errorf("what was allowed for one revision is for another: %+v", l)
		}
	})
}

// What is allowed stays so, whatever comes between.
func TestMayBuildSurvives(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		block := make(chan struct{})
		w.layers[0].set(func(l *fakeLayer) { l.block = block })
		w.push("b", "system=large", "home=unreachable", "pods=1")
		pass(time.Second)
		if err := w.c.ask(t.Context(), w.c.mayBuild); err != nil { // as it is prepared
			t.Fatal(err)
		}
		close(block)
		pass(time.Hour)
		if l := w.state().Later; l == nil || l.Why != "unreachable" || l.WaitsFor != nil {
			t.Errorf("later: %+v", l)
		}
		w.stop()
		w.start()
		w.mu.Lock()
		w.commits["b"]["home"].Data = []byte("2")
		w.mu.Unlock()
		pass(time.Hour)
		w.is("large", "2", "1")
		w.good("b")
		entries, err := readJournal(filepath.Join(w.dir, "journal"), journalLimit)
		if err != nil || !slices.ContainsFunc(entries, func(e Entry) bool { return e.Event == evMayBuild && e.Revision == "b" }) {
			t.Errorf("the journal doesn't say that it was allowed (%v)", err)
		}
	})
}

func TestAllowedAsItIsPreparedIsBuiltAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		block := make(chan struct{})
		w.layers[0].set(func(l *fakeLayer) { l.block = block })
		w.push("b", "system=large", "home=1", "pods=1")
		pass(time.Second)
		if err := w.c.ask(t.Context(), w.c.mayBuild); err != nil {
			t.Fatal(err)
		}
		close(block)
		pass(10 * time.Second)
		w.is("large", "1", "1")
	})
}

// What Guix refused is known by its files, in whatever commit and layer they come, also to another life of the agent.
func TestRefusedFilesNeedNoGuix(t *testing.T) {
	w := newWorkshop(t)
	tree := w.folder("trees/t1")
	system := systemLayer{&guix.System{Runner: w.runner, Roots: w.roots}, &settler{runner: w.runner}, w.builder(), "podman"}
	home := homeLayer{&guix.Home{Runner: w.runner, User: "ann", Roots: w.roots}, &settler{runner: w.runner}, w.builder(), "home:ann", true, ""}
	asked := func() int {
		text, _ := os.ReadFile(w.asked())
		return strings.Count(string(text), "\n")
	}
	prepareFor := func(l Layer, rev Revision, calls int) {
		t.Helper()
		before := asked()
		_, err := l.Prepare(t.Context(), rev, quiet)
		if blamed := new(BadError); !errors.As(err, &blamed) || !strings.HasPrefix(err.Error(), "system.scm:7:2: error: foo") {
			t.Errorf("%v, want what guix said, as the commit's fault", err)
		}
		if asked() != before+calls {
			t.Errorf("guix was asked %d times, want %d", asked()-before, calls)
		}
	}
	prepare := func(l Layer, tree string, calls int) {
		t.Helper()
		prepareFor(l, revisionOf(tree, "system.scm", "home.scm"), calls)
	}
	plan := func(l Layer, calls int) { // it has other rights
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
