package layers

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/collie/agent/rollout"
	"example.org/collie/guix"
)

// A layer whose evaluation read nothing that a commit changes is taken as it was made before.
func TestOnlyWhatChangedIsEvaluated(t *testing.T) {
	w := newWorkshop(t)
	b := w.builder()
	tree := func(name string, files ...string) string { // "NAME=TEXT"
		t.Helper()
		dir := w.folder("trees/" + name)
		for _, f := range files {
			name, text, _ := strings.Cut(f, "=")
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	builds := 0
	make := func(layer, dir, under string, evaluate bool, item string, opens ...string) (string, int) {
		t.Helper()
		before := builds
		e := evaluation{layer: layer, rev: rollout.Revision{Tree: dir, Evaluate: evaluate}, tree: dir, under: under}
		got, err := b.make(e, func(root string, reads *guix.Reads) (string, error) {
			builds++
			if len(opens) > 0 {
				var err error
				if *reads, err = guix.ReadsOf(dir, opens, under); err != nil {
					return "", err
				}
			}
			return w.folder(item), b.roots.Keep(root, filepath.Join(w.dir, item))
		})
		if err != nil {
			t.Fatal(err)
		}
		return filepath.Base(got), builds - before
	}
	is := func(what, got string, built int, item string, want int) {
		t.Helper()
		if got != item || built != want {
			t.Errorf("%s: %s after %d builds, want %s after %d", what, got, built, item, want)
		}
	}
	t1 := tree("t1", "system.scm=1", "home.scm=1")
	t2 := tree("t2", "system.scm=1", "home.scm=2")
	t3 := tree("t3", "system.scm=2", "home.scm=2")
	t4 := tree("t4", "system.scm=1", "home.scm=3")
	got, built := make("system", t1, "u", false, "s1", "system.scm")
	is("at first", got, built, "s1", 1)
	got, built = make("home:ann", t1, "u", false, "h1", "home.scm")
	is("a home at first", got, built, "h1", 1)

	got, built = make("system", t2, "u", false, "x")
	is("another home", got, built, "s1", 0)
	got, built = make("home:ann", t2, "u", false, "h2", "home.scm")
	is("another home, for itself", got, built, "h2", 1)
	got, built = make("home:anna", t2, "u", false, "h3", "home.scm")
	is("a home of another user", got, built, "h3", 1)
	got, built = make("home:ann", t3, "u", false, "x")
	is("another system, for a home", got, built, "h2", 0)
	got, built = make("system", t3, "u", false, "s2", "system.scm")
	is("another system", got, built, "s2", 1)

	if err := b.roots.Drop(rootName("system", t1, "")); err != nil { // what was taken over holds for itself
		t.Fatal(err)
	}
	got, built = make("system", t4, "u", false, "x")
	is("by way of another tree", got, built, "s1", 0)
	got, built = make("system", tree("t5", "system.scm=1", "home.scm=5"), "v", false, "s3", "system.scm")
	is("another Collie", got, built, "s3", 1)
	got, built = make("system", t4, "u", true, "s4", "system.scm")
	is("as somebody asked", got, built, "s4", 1)
	got, built = make("system", tree("t6", "system.scm=1", "home.scm=6"), "u", false, "x")
	is("the newest counts", got, built, "s4", 0)

	if err := os.RemoveAll(filepath.Join(w.dir, "s4")); err != nil {
		t.Fatal(err)
	}
	_ = b.roots.Drop(rootName("system", t2, "")) // else the former would do
	_ = b.roots.Drop(rootName("system", t1, ""))
	got, built = make("system", tree("t7", "system.scm=1", "home.scm=7"), "u", false, "s5", "system.scm")
	is("what is gone from the store", got, built, "s5", 1)
	got, built = make("system", tree("t8", "system.scm=8"), "u", false, "s6") // it isn't known what it read
	is("unknown", got, built, "s6", 1)
	got, built = make("system", tree("t9", "system.scm=8"), "u", false, "s7", "system.scm")
	is("after an unknown", got, built, "s7", 1)

	// Lost or damaged notes lead to an evaluation.
	for i, text := range []string{"", "{cut sh", "null", "[]", `{"system:t9:x": {"item": 1}}`, `{"system:t9:x": {"item": "/x", "reads": {}}}`} {
		if err := os.WriteFile(b.evaluated.file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		item := "n" + string(rune('0'+i))
		got, built = make("system", tree("d"+item, "system.scm=8"), "u", false, item, "system.scm")
		is("notes "+text, got, built, item, 1)
	}
	for i := range 2 * mostEvaluated {
		name := "many" + string(rune('a'+i%26)) + strings.Repeat("x", i/26)
		make("system", tree(name, "system.scm="+name), "u", false, name, "system.scm")
	}
	if all, err := b.evaluated.all(); err != nil || len(all) != mostEvaluated {
		t.Errorf("%d evaluations are noted (%v), want %d", len(all), err, mostEvaluated)
	}
}

func TestRootsThatDifferInTheTreeAlone(t *testing.T) {
	for _, row := range []struct {
		a, b string
		want bool
	}{
		{"system:t1:aa", "system:t2:aa", true},
		{"system:t1:aa", "system:t1:bb", false},
		{"home:ann:t1:aa", "home:ann:t2:aa", true},
		{"home:ann:t1:aa", "home:bob:t1:aa", false},
		{"home:system:t1:aa", "system:t1:aa", false},
		{"system:t1", "system:t2", false}, // which guix isn't known
		{"", "", false},
	} {
		if got := alike(row.a, row.b); got != row.want {
			t.Errorf("%q and %q: %v, want %v", row.a, row.b, got, row.want)
		}
	}
}

// A mirror has the same files, whatever was in its place; what is opened there is not opened in the tree.
func TestMirrorHasTheSameFiles(t *testing.T) {
	tree := filepath.Join(t.TempDir(), "abc")
	put := func(name, text string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	put(filepath.Join(tree, "system.scm"), "1")
	put(filepath.Join(tree, "modules/a.scm"), "a")
	if err := os.Symlink("a.scm", filepath.Join(tree, "modules/b.scm")); err != nil {
		t.Fatal(err)
	}
	into, err := mirror(tree, "home:ann")
	if err != nil || filepath.Base(into) != "abc.home-ann" {
		t.Fatal(into, err)
	}
	put(filepath.Join(into, "system.scm.new"), "damaged")
	if err := os.Rename(filepath.Join(into, "system.scm.new"), filepath.Join(into, "system.scm")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(into, "modules/b.scm")); err != nil {
		t.Fatal(err)
	}
	if again, err := mirror(tree, "home:ann"); err != nil || again != into {
		t.Fatal(again, err)
	}
	for name, want := range map[string]string{"system.scm": "1", "modules/a.scm": "a", "modules/b.scm": "a"} {
		if text, err := os.ReadFile(filepath.Join(into, name)); err != nil || string(text) != want {
			t.Errorf("%s has %q (%v), want %q", name, text, err, want)
		}
	}
	if _, err := mirror(filepath.Join(tree, "none"), "home:ann"); err == nil {
		t.Error("a tree that isn't there has a mirror")
	}
}
