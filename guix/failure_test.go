package guix

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write the golden files anew")

const sampleTree = "/var/lib/collie/trees/0123456789abcdef"

// testdata/failure has what guix 1.5.0 really said; beside it, what a person reads. Put together from that are
// busywarning, gone (each server answers as the first did) and testsrefused (another download went well).
func TestFailureNamesWhoseFaultItIs(t *testing.T) {
	logs, err := filepath.Glob("testdata/failure/*.log")
	if err != nil || len(logs) == 0 {
		t.Fatal("no samples", err)
	}
	for _, log := range logs {
		name := strings.TrimSuffix(filepath.Base(log), ".log")
		t.Run(name, func(t *testing.T) {
			text, err := readClean(log)
			if err != nil {
				t.Fatal(err)
			}
			file := "system.scm"
			switch { // it was given to
			case strings.Contains(text, "guix home: "):
				file = "home.scm"
			case strings.Contains(text, "guix time-machine: "), strings.Contains(text, "guix git: "):
				file = channelsFile
			}
			failure := outcome{what: "system-build", code: 1, log: "LOG", text: text}.failure(sampleTree, file)
			got := "unknown\n" + failure.Error() + "\n"
			if passing := (*TransientError)(nil); errors.As(failure, &passing) {
				got = "transient\n" + failure.Error() + "\n"
			}
			if bad := (*BuildError)(nil); errors.As(failure, &bad) {
				got = fmt.Sprintf("the commit's fault, at %q:%d:%d\n%s\n", bad.File, bad.Line, bad.Column, bad.Says)
			}
			golden := strings.TrimSuffix(log, ".log") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
			if strings.Contains(got, sampleTree) || strings.ContainsRune(got, '\x1b') {
				t.Errorf("shows the machine's own matters:\n%s", got)
			}
		})
	}
}

// testdata/clues has what guix 1.5.0 really said of a tree, the tree, and what a person reads.
func TestFailureNamesThePlace(t *testing.T) {
	samples, err := filepath.Glob("testdata/clues/*.txtar")
	if err != nil || len(samples) == 0 {
		t.Fatal("no samples", err)
	}
	for _, sample := range samples {
		t.Run(strings.TrimSuffix(filepath.Base(sample), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(sample)
			if err != nil {
				t.Fatal(err)
			}
			tree := t.TempDir()
			var text, want string
			var golden *txtar.File
			for i, f := range archive.Files {
				switch name, of, _ := strings.Cut(f.Name, "/"); name {
				case "log":
					text = clean(strings.ReplaceAll(string(f.Data), sampleTree, tree))
				case "says":
					golden, want = &archive.Files[i], string(f.Data)
				case "tree":
					if err := os.MkdirAll(filepath.Dir(filepath.Join(tree, of)), 0o755); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(filepath.Join(tree, of), f.Data, 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}
			failure := outcome{what: "system-build", code: 1, log: "LOG", text: text}.failure(tree, "system.scm")
			bad := (*BuildError)(nil)
			if !errors.As(failure, &bad) {
				t.Fatalf("blames nobody: %v", failure)
			}
			got := fmt.Sprintf("at %s:%d\n%s\n", bad.File, bad.Line, bad.Says)
			if *update {
				golden.Data = []byte(got)
				if err := os.WriteFile(sample, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func FuzzFailure(f *testing.F) {
	logs, _ := filepath.Glob("testdata/failure/*.log")
	for _, log := range logs {
		text, _ := os.ReadFile(log)
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		says := outcome{what: "system-build", code: 1, text: clean(text)}.failure(sampleTree, "system.scm").Error()
		if len([]rune(says)) > 13*400+500 || !utf8.ValidString(says) || says == "" {
			t.Errorf("%d letters, valid %v", len(says), utf8.ValidString(says))
		}
	})
}

func TestLongLinesKeepBothEnds(t *testing.T) {
	got := shorten("FIRST " + strings.Repeat("ä", 5000) + " LAST")
	if !strings.HasPrefix(got, "FIRST") || !strings.HasSuffix(got, "LAST") || len([]rune(got)) > 310 {
		t.Errorf("%d letters: %.60s", len([]rune(got)), got)
	}
}

func TestFilesAreRenamedWhereverTheyAreNamed(t *testing.T) {
	names := map[string]string{"system.scm": "hosts/web/system.scm", "modules/a/b.scm": "hosts/web/modules/a/b.scm"}
	for says, want := range map[string]string{
		"system.scm:3:1: error: foo: unbound variable":                "hosts/web/system.scm:3:1: error: foo: unbound variable",
		"system.scm: no-such couldn't be built":                       "hosts/web/system.scm: no-such couldn't be built",
		"one\nmodules/a/b.scm:1:2: two\nsystem.scm:1:2: three":        "one\nhosts/web/modules/a/b.scm:1:2: two\nhosts/web/system.scm:1:2: three",
		"'system.scm' does not return an operating system":            "'hosts/web/system.scm' does not return an operating system",
		"home.scm:3:1: other/system.scm, system.scm.in, mysystem.scm": "home.scm:3:1: other/system.scm, system.scm.in, mysystem.scm",
	} {
		e := &BuildError{File: "system.scm", Says: says}
		if e.Rename(names); e.Says != want || e.File != "hosts/web/system.scm" {
			t.Errorf("%q became %q of %s, want %q", says, e.Says, e.File, want)
		}
	}
}

// What programs say is text, whatever they want of a terminal or of a reader's eye.
func TestClean(t *testing.T) {
	for text, want := range map[string]string{
		"plain, é 😀\ttab":                                    "plain, é 😀\ttab",
		"\x1b[32mINFO\x1b[0m up":                             "INFO up",
		"\x1b[38:2::1:2:3mred\x1b[?25l\x1b[1 q":              "red",
		"\x1b]0;a title\x07up \x1b]8;;http://x\x1b\\link":    "up link",
		"\x1bP1;2q data\x1b\\\x1b(B\x1bcup":                  "up",
		"\u009b31mred\u009b0m":                               "red",
		"\x00nul\x7fdel\u00adsoft\u200bzero\u202eback\u2066": "nuldelsoftzeroback",
		"a\u2028b\u0085c\ufeffd\ue000e":                      "abcde",
		"50%\r100%":                                          "100%",
		"\xff\xfe bad":                                       "� bad",
		"lone \x1b":                                          "lone ",
	} {
		if got := clean(text); got != want+"\n" {
			t.Errorf("%q became %q; want %q", text, got, want)
		}
	}
}

// What only root may read is named by what closes it, whether there is something below or not.
func TestClosed(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "closed") // TMPDIR may be in a folder that isn't open to all
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if at := closed(dir); at != "" {
		t.Fatal("it isn't open to all: ", at)
	}
	for name, mode := range map[string]os.FileMode{"shut": 0o700, "entered": 0o711, "open": 0o755} {
		if err := errors.Join(os.Mkdir(filepath.Join(dir, name), 0o755), os.WriteFile(filepath.Join(dir, name, "own"), nil, 0o600),
			os.WriteFile(filepath.Join(dir, name, "file"), nil, 0o644), os.Symlink(filepath.Join(dir, "shut"), filepath.Join(dir, name, "link")),
			os.Chmod(filepath.Join(dir, name), mode)); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"shut": "shut", "shut/file": "shut", "shut/none": "shut", "shut/../shut/none": "shut", "entered": "entered", "entered/file": "",
		"entered/own": "entered/own", "entered/none": "", "open": "", "open/own": "open/own", "open/file": "", "open/link/file": ""} {
		if want != "" {
			want = filepath.Join(dir, want)
		}
		if got := closed(dir + "/" + name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// Whatever is in a tree's files, and whatever guix says, a few places in it are named.
func FuzzClues(f *testing.F) {
	f.Add(`(load "x") (include "../../y") (local-file "/etc/none")`, "No such file or directory")
	f.Add(`(define-module (site) #:use-module ((rde a) #:select (b)))`, "error: x: unbound variable")
	f.Add(`(use-modules (nongnu packages linux) (a (b)) ())`, "no code for module (nongnu packages linux)")
	f.Add(`(delete-file "/etc/x") (local-file "/root/x/../..") (mkdir "/")`, "Permission denied")
	f.Add(`((((`, "Unable to find file \"x\"")
	f.Fuzz(func(t *testing.T, text, says string) {
		tree := t.TempDir()
		if err := os.WriteFile(filepath.Join(tree, "system.scm"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		found := clues(tree, clean(says))
		if len(found) > explained+1 {
			t.Errorf("%d places", len(found))
		}
		for _, f := range found {
			if len([]rune(f.String())) > 1500 || f.file != "system.scm" || f.line < 1 || f.line > strings.Count(text, "\n")+1 {
				t.Errorf("%q", f)
			}
		}
	})
}
