package guix

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// site writes a tree: names and texts.
func site(t *testing.T, files map[string]string) string {
	t.Helper()
	tree := t.TempDir()
	for name, text := range files {
		put(t, tree, name, text)
	}
	return tree
}

func put(t *testing.T, tree, name, text string) {
	t.Helper()
	at := filepath.Join(tree, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// evaluation runs a guix that is a shell script, in tree, and returns what it read.
func evaluation(t *testing.T, tree, script string) Reads {
	t.Helper()
	t.Setenv("GUILE_LOAD_PATH", "")
	t.Setenv("GUILE_LOAD_COMPILED_PATH", "")
	dir := t.TempDir()
	guix := filepath.Join(dir, "guix")
	if err := os.WriteFile(guix, []byte("#!/bin/bash\ncd "+tree+"\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	r := &Runner{Command: guix, Logs: filepath.Join(dir, "logs")}
	var reads Reads
	if _, err := r.evaluate(context.Background(), attempt{what: "test", build: true, frees: true, watch: Watch{Reads: &reads}}, tree, "system.scm"); err != nil {
		t.Fatal(err)
	}
	return reads
}

// What was read decides whether a change of the tree needs an evaluation.
func TestWhatAnEvaluationReadDecides(t *testing.T) {
	files := map[string]string{
		"system.scm":         `(use-modules (site)) (operating-system (host-name "a"))`,
		"home.scm":           `(home-environment)`,
		"channels.scm":       `(list)`,
		"modules/site.scm":   `(define-module (site))`,
		"modules/homely.scm": `(define-module (homely))`,
		"files/motd":         "hello\n",
		"files/other":        "other\n",
		"files/texts.scm":    "'(texts)",
		"my/thing.scm":       `(define-module (my thing))`,
		"keys/a.pub":         "a\n",
		"keys/b.pub":         "b\n",
	}
	const plain = "cat system.scm modules/site.scm files/motd >/dev/null"
	put := func(name, text string) func(string) error {
		return func(tree string) error {
			at := filepath.Join(tree, name)
			return errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(text), 0o644))
		}
	}
	remove := func(name string) func(string) error {
		return func(tree string) error { return os.Remove(filepath.Join(tree, name)) }
	}
	for _, row := range []struct {
		name, script string
		change       func(tree string) error
		want         bool
	}{
		{"nothing", plain, func(string) error { return nil }, true},
		{"a module at the top that was loaded", plain + "; cat ../" + "$(basename $PWD)+modules/my/thing.scm >/dev/null", put("my/thing.scm", ";; a comment\n(define-module (my thing))"), false},
		{"a module at the top that nobody loaded", plain, put("my/thing.scm", ";; a comment\n(define-module (my thing))"), true},
		{"a file at the top became a module", plain, put("files/texts.scm", "(define-module (files texts))"), false},
		{"a file at the top ceased to be one", plain, put("my/thing.scm", "'(thing)"), false},
		{"what nobody read", plain, put("home.scm", "(home-environment (services '()))"), true},
		{"a module that nobody loaded", plain, put("modules/homely.scm", ";; a comment\n(define-module (homely))"), true},
		{"the file itself", plain, put("system.scm", "(operating-system)"), false},
		{"a comment in a module that was loaded", plain, put("modules/site.scm", ";; a comment\n(define-module (site))"), false},
		{"a file of local-file", plain, put("files/motd", "goodbye\n"), false},
		{"channels.scm, which Collie reads", plain, put("channels.scm", "(list) ; another comment"), false},
		{"channels.scm is gone", plain, remove("channels.scm"), false},
		{"a new module, which may shadow another", plain, put("modules/gnu/packages/base.scm", ""), false},
		{"a new file beside", plain, put("files/third", ""), false},
		{"a file is gone that nobody read", plain, remove("files/other"), false},
		{"a new folder", plain, func(tree string) error { return os.Mkdir(filepath.Join(tree, "modules/site"), 0o755) }, false},
		{"a file became a program", plain, func(tree string) error { return os.Chmod(filepath.Join(tree, "files/other"), 0o755) }, false},
		{"one of a folder that is taken whole", plain + "; cat keys/* >/dev/null", put("keys/b.pub", "c\n"), false},
		{"one that came to it", plain + "; cat keys/* >/dev/null", put("keys/c.pub", "c\n"), false},
		{"one that was opened by a process of its own", plain + "; (cat files/other >/dev/null &); sleep 0.2", put("files/other", "x"), false},
		{"opened twice", plain + "; " + plain, put("files/motd", "x"), false},
		{"replaced by a link to the same", plain, func(tree string) error {
			at := filepath.Join(tree, "files/motd")
			return errors.Join(os.Rename(at, at+".old"), os.Symlink("motd.old", at))
		}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			tree := site(t, files)
			if _, err := load(tree, "system.scm"); err != nil {
				t.Fatal(err)
			}
			reads := evaluation(t, tree, row.script)
			if !reads.Known() {
				t.Fatal("it isn't known what was read")
			}
			other := site(t, files) // as another commit has it
			if err := row.change(other); err != nil {
				t.Fatal(err)
			}
			if got := reads.Hold(other, reads.Under); got != row.want {
				t.Errorf("taken as it is: %v, want %v; it read %v", got, row.want, reads.Files)
			}
			if reads.Hold(other, "other") || reads.Hold(other, "") || reads.Hold(filepath.Join(tree, "none"), reads.Under) {
				t.Error("it holds in other circumstances, or of nothing")
			}
		})
	}
}

// Where it isn't known what a result depends on, all is evaluated.
func TestWhatIsNotKnownIsEvaluated(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "key.pub")
	if err := os.WriteFile(outside, []byte("key\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, system, script string
		known                bool
	}{
		{"plain", `(operating-system)`, "cat system.scm", true},
		{"the file wasn't opened", `(operating-system)`, "cat modules/site.scm", false},
		{"it reads the clock", `(operating-system (host-name (number->string (current-time))))`, "cat system.scm", false},
		{"it may read the clock", `(map current-time '(1))`, "cat system.scm", false},
		{"it runs a program", `(system "date")`, "cat system.scm", false},
		{"it is for a platform", `(package (system "x86_64-linux"))`, "cat system.scm", true},
		{"a module about systems", `(use-modules (gnu system) (gnu services))`, "cat system.scm", true},
		{"what is built runs a program", `(simple-service 'x #~(begin (system* "date") (current-time)))`, "cat system.scm", true},
		{"escaped from what is built", `(simple-service 'x #~(begin (display #$(number->string (current-time)))))`, "cat system.scm", false},
		{"escaped, deeper", `(simple-service 'x #~(begin (display #$(string-append "a" (getenv "HOME")))))`, "cat system.scm", false},
		{"what is built, in words", `(gexp (begin (system* "date") (ungexp (gethostname))))`, "cat system.scm", false},
		{"a checkout of a branch", `(git-checkout (url "https://example.org/x.git"))`, "cat system.scm", false},
		{"a string that says so", `(plain-file "x" "(current-time)")`, "cat system.scm", true},
		{"a comment that says so", "(operating-system) ; (current-time)", "cat system.scm", true},
		{"a module that is loaded reads the clock", `(operating-system)`, "cat system.scm modules/clock.scm", false},
		{"a module that isn't loaded reads the clock", `(operating-system)`, "cat system.scm modules/site.scm", true},
		{"it can't be read by us", `(operating-system`, "cat system.scm", false},
		{"a file outside", `(local-file "` + outside + `")`, "cat system.scm " + outside, false},
		{"a file outside that isn't opened", `(log-file "` + outside + `")`, "cat system.scm", true},
		{"a folder outside", `(local-file "` + filepath.Dir(outside) + `" #:recursive? #t)`, "cat system.scm; ls " + filepath.Dir(outside), false},
		{"a file in a folder outside", `(local-file (string-append "` + filepath.Dir(outside) + `" "/key.pub"))`, "cat system.scm " + outside, false},
		{"a file outside, seen from the file", `(local-file "../beside.pub")`, "cat system.scm ../beside.pub", false},
		{"a file whose name is computed", `(load (string-append "/etc/" name))`, "cat system.scm", false},
		{"files by a procedure", `(map local-file names)`, "cat system.scm", false},
		{"a file of the tree", `(load "modules/site.scm")`, "cat system.scm modules/site.scm", true},
		{"what is built reads a file", `#~(load (string-append "/etc/" name))`, "cat system.scm", true},
		{"programs", `(list "/bin/sh" "/bin/cat" "/")`, "cat system.scm", true},
		{"the tree changes meanwhile", `(operating-system)`, "cat system.scm; touch more.scm", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			tree := site(t, map[string]string{"system.scm": row.system, "modules/site.scm": "(define-module (site))", "modules/clock.scm": "(define-public now (current-time))"})
			put(t, filepath.Dir(tree), "beside.pub", "key\n")
			if reads := evaluation(t, tree, row.script+" >/dev/null"); reads.Known() != row.known {
				t.Errorf("known: %v, want %v (%v)", reads.Known(), row.known, reads.Files)
			}
		})
	}
}

// More than the kernel keeps of events is lost, and then nothing is known.
func TestLostEventsAreNoticed(t *testing.T) {
	tree := site(t, map[string]string{"system.scm": "", "a": "", "b": ""})
	reads := evaluation(t, tree, "cat system.scm; for i in $(seq 20000); do : <a; : <b; done")
	if reads.Known() {
		t.Error("40,000 events are said to be known")
	}
}

// A failed evaluation says nothing, nor does one of which nobody wants to know.
func TestAFailedEvaluationIsNotKnown(t *testing.T) {
	tree := site(t, map[string]string{"system.scm": ""})
	if reads := evaluation(t, tree, "cat system.scm; exit 1"); reads.Known() {
		t.Error("what a failed evaluation read is noted")
	}
}

// Notes that were damaged lead to an evaluation, whatever they say.
func TestDamagedNotesDoNotHold(t *testing.T) {
	tree := site(t, map[string]string{"system.scm": "x"})
	whole := evaluation(t, tree, "cat system.scm")
	if !whole.Hold(tree, whole.Under) {
		t.Fatal("it doesn't hold")
	}
	for name, r := range map[string]Reads{
		"empty":         {},
		"no files":      {Under: whole.Under, Paths: whole.Paths},
		"no paths":      {Under: whole.Under, Files: whole.Files},
		"outside":       {Under: whole.Under, Paths: whole.Paths, Files: map[string]string{"../" + filepath.Base(tree) + "/system.scm": whole.Files["system.scm"]}},
		"not there":     {Under: whole.Under, Paths: whole.Paths, Files: map[string]string{"gone.scm": whole.Files["system.scm"]}},
		"another sum":   {Under: whole.Under, Paths: whole.Paths, Files: map[string]string{"system.scm": strings.Repeat("0", 64)}},
		"an empty sum":  {Under: whole.Under, Paths: whole.Paths, Files: map[string]string{"system.scm": ""}},
		"without under": {Paths: whole.Paths, Files: whole.Files},
	} {
		if r.Hold(tree, whole.Under) {
			t.Errorf("%s: it holds", name)
		}
	}
}

// The environment of guix, and a folder of modules that anybody may change, are circumstances.
func TestCircumstances(t *testing.T) {
	t.Setenv("GUILE_LOAD_PATH", "")
	t.Setenv("GUILE_LOAD_COMPILED_PATH", "")
	t.Setenv("GUIX_BUILD_OPTIONS", "")
	plain := circumstances(nil, nil)
	all := []string{plain, circumstances(&User{Name: "ann", Home: "/home/ann"}, nil), circumstances(nil, []string{"USER=ann"})}
	t.Setenv("GUIX_BUILD_OPTIONS", "--cores=1")
	all = append(all, circumstances(nil, nil))
	slices.Sort(all)
	if plain == "" || len(slices.Compact(all)) != 4 {
		t.Errorf("circumstances %q, want four", all)
	}
	t.Setenv("GUILE_LOAD_PATH", t.TempDir())
	if got := circumstances(nil, nil); got != "" {
		t.Errorf("modules from a folder that may change are %q, want not known", got)
	}
}
