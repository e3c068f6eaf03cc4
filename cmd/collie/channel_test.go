package main

import (
	goversion "go/version"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

const news = "../../guix/news.scm"

// Guix's Go makes the channel, so go.mod asks for no newer one.
func TestGuixsGoIsNewEnough(t *testing.T) {
	wants := regexp.MustCompile(`(?m)^go (\S+)$`).FindStringSubmatch(read(t, "../../go.mod"))
	has := regexp.MustCompile(`(?m)^guix_go := go(\S+)$`).FindStringSubmatch(read(t, "../../Makefile"))
	if wants == nil || has == nil {
		t.Fatal("go.mod and the Makefile aren't understood here")
	}
	if goversion.Compare("go"+wants[1], "go"+has[1]) > 0 {
		t.Errorf("go.mod asks for Go %s, but Guix has %s: take versions of libraries that allow it, as `go get go@%[2]s` does", wants[1], has[1])
	}
}

// Who updates reads what is new in the channel's news, so each option is in an entry.
func TestNewsHaveAllOptions(t *testing.T) {
	text := read(t, news)
	for _, r := range records(t) {
		for _, f := range r.fields {
			if !strings.Contains(text, "@code{"+f.name+"}") {
				t.Errorf("%s has no entry with @code{%s}, the field of %s: write one, with the commit that brought it", news, f.name, r.name)
			}
		}
	}
}

// An entry is shown to who gets its commit, which has to be in the history.
func TestNewsNameCommitsOfTheHistory(t *testing.T) {
	if _, err := os.Stat("../../.git"); err != nil {
		t.Log("these sources aren't a Git checkout, so their history isn't known")
		return
	}
	if out, err := exec.Command("git", "rev-parse", "--is-shallow-repository").Output(); err != nil || string(out) != "false\n" {
		t.Skipf("this clone has no whole history: %s %v", out, err)
	}
	commits := regexp.MustCompile(`\(commit "(.*?)"\)`).FindAllStringSubmatch(read(t, news), -1)
	if len(commits) < 2 {
		t.Fatalf("%s has %d commits", news, len(commits))
	}
	for _, c := range commits {
		if out, err := exec.Command("git", "merge-base", "--is-ancestor", c[1], "HEAD").CombinedOutput(); err != nil {
			t.Errorf("%s names %s, which isn't in the history of HEAD: %v %s", news, c[1], err, out)
		}
	}
}
