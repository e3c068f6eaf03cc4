package guix

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"unicode/utf8"
)

// Scheme is as Guix's own is: a licence, a commentary, and lines of at most 78 columns.
func TestSchemeIsAsUpstreamWouldTakeIt(t *testing.T) {
	listed, err := exec.Command("git", "-C", "..", "ls-files", "-z", "*.scm").Output()
	if err != nil {
		t.Skip("not in a clone: ", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(listed), "\x00"), "\x00") {
		text, err := os.ReadFile("../" + name)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{";;; Copyright © ", "\n;;; Commentary:\n;;;\n", "\n;;; Code:\n"} {
			if !strings.Contains(string(text), part) {
				t.Errorf("%s: has no %q", name, part)
			}
		}
		for i, line := range strings.Split(string(text), "\n") {
			if n := utf8.RuneCountInString(line); n > 78 {
				t.Errorf("%s:%d: has %d columns", name, i+1, n)
			}
		}
	}
}
