package guix

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"
)

// A file outside of modules/ is on the load path if it begins with the definition of the module that its name says.
func TestModulesAtTheTop(t *testing.T) {
	for _, row := range []struct {
		at, text string
		want     bool
	}{
		{"thing.scm", "(define-module (thing))", true},
		{"my/thing.scm", "(define-module (my thing)\n  #:export (a))", true},
		{"my/own/thing.scm", "(define-module (my own thing))", true},
		{"thing.scm", ";;; A notice\n\n#| more |#\n(define-module\n  ;; a name\n  (thing))", true},
		{"thing.scm", "#!/usr/bin/guile\n!#\n(define-module (thing))", true},
		{"broken.scm", "(define-module (broken))\n(define a (list 1", true}, // Guile says what is wrong with it
		{"thing.scm", "", false},
		{"thing.scm", "(define-module", false},
		{"thing.scm", "(define-module thing)", false},
		{"thing.scm", "(define-module ((thing)))", false},
		{"thing.scm", "(define-module (other))", false},
		{"thing.scm", "(define-module (my thing))", false},
		{"thing.scm", "(define-modules (thing))", false},
		{"thing.scm", "(define a 1)\n(define-module (thing))", false},
		{"thing.scm", "\"(define-module (thing))\"", false},
		{"my thing.scm", "(define-module (my thing))", false},
		{"lib/my/thing.scm", "(define-module (my thing))", false},
		{"thing.txt", "(define-module (thing))", false},
		{"system.scm", "(define-module (system))", false},
		{"home.scm", "(define-module (home))", false},
		{"channels.scm", "(define-module (channels))", false},
		{"guix.scm", "(define-module (guix))", false},
		{"home/ann.scm", "(define-module (home ann))", false},
		{"home/services/mail.scm", "(define-module (home services mail))", true},
		{"my/system.scm", "(define-module (my system))", true},
		{"modules/thing.scm", "(define-module (modules thing))", false}, // it is (thing) there
		{"hosts/web/thing.scm", "(define-module (hosts web thing))", false},
		{"pods/thing.scm", "(define-module (pods thing))", false},
		{"secrets/thing.scm", "(define-module (secrets thing))", false},
		{"my/modules/thing.scm", "(define-module (my modules thing))", true},
		{".direnv/thing.scm", "(define-module (.direnv thing))", false},
		{".thing.scm", "(define-module (.thing))", false},
	} {
		got, err := TopModules(fstest.MapFS{row.at: {Data: []byte(row.text)}})
		if want := map[bool][]string{true: {row.at}}[row.want]; err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q: %q, %v; want %q", row.at, row.text, got, err, want)
		}
	}
}

// Guix finds modules/ first, then the top level's modules; of both nothing where there are none.
func TestWhatIsOnTheLoadPath(t *testing.T) {
	thing := "(define-module (my thing))"
	for _, row := range []struct {
		name  string
		files map[string]string
		want  []string // of what Guix is given, with the tree as T
	}{
		{"neither", map[string]string{"system.scm": "", "parts/a.scm": "1"}, []string{"T/system.scm"}},
		{"modules/", map[string]string{"system.scm": "", "modules/a.scm": "(define-module (a))"}, []string{"-L", "T/modules", "T/system.scm"}},
		{"the top", map[string]string{"system.scm": "", "my/thing.scm": thing}, []string{"-L", "T+modules", "T/system.scm"}},
		{"both", map[string]string{"system.scm": "", "my/thing.scm": thing, "modules/a.scm": ""}, []string{"-L", "T+modules", "-L", "T/modules", "T/system.scm"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			tree := site(t, row.files)
			var want []string
			for _, w := range row.want {
				if rest, is := cutTree(w); is {
					w = tree + rest
				}
				want = append(want, w)
			}
			for range 2 { // a build, and the switch
				if got, err := load(tree, "system.scm"); err != nil || !slices.Equal(got, want) {
					t.Fatalf("%q, %v; want %q", got, err, want)
				}
			}
		})
	}
}

func cutTree(word string) (string, bool) { return word[1:], word[0] == 'T' }

// A link leads to the file, whatever was in its place, and nothing but the modules has one.
func TestLinksToModules(t *testing.T) {
	tree := site(t, map[string]string{"my/thing.scm": "(define-module (my thing))", "my/machine.scm": "(operating-system)", "system.scm": "(define-module (system))", "thing.scm": "(define-module (thing))"})
	links := LinksOf(tree)
	put(t, links, "thing.scm", "damaged")
	if is, err := LinkModules(tree, links); !is || err != nil {
		t.Fatal(is, err)
	}
	var got []string
	for _, pattern := range []string{"*.scm", "*/*.scm"} {
		found, _ := filepath.Glob(filepath.Join(links, pattern))
		got = append(got, found...)
	}
	if want := []string{filepath.Join(links, "thing.scm"), filepath.Join(links, "my/thing.scm")}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	for _, name := range []string{"thing.scm", "my/thing.scm"} {
		if real, err := filepath.EvalSymlinks(filepath.Join(links, name)); err != nil || real != filepath.Join(tree, name) {
			t.Errorf("%s leads to %s, %v", name, real, err)
		}
	}
	if err := os.RemoveAll(links); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Dir(links), filepath.Base(links), "a file")
	if _, err := LinkModules(tree, links); err == nil {
		t.Error("that there can be no links is no error")
	}
}
