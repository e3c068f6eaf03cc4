package lab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// tour FILE TEXT [COMMAND...]: run the commands of a page of this repository that come after the line that begins with TEXT,
// in the guest, where the commands before it led; by COMMAND, if there is one, as for another user.
func (l *lab) tour(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: tour FILE TEXT [COMMAND...]")
	}
	page, err := os.ReadFile(filepath.Join("../..", args[0]))
	ts.Check(err)
	_, after, found := strings.Cut("\n"+string(page), "\n"+args[1])
	_, block, begins := strings.Cut(after, "\n```sh\n")
	commands, _, ends := strings.Cut(block, "\n```\n")
	if !found || !begins || !ends {
		ts.Fatalf("%s has no commands after %q", args[0], args[1])
	}
	l.guest(ts, neg, append(args[2:], "bash", "-ec", "cd /root/ops 2>/dev/null || cd /root 2>/dev/null || cd\n"+commands))
}

// Each block of commands in docs/install.md is run by a script, by the line that it comes after.
func TestInstallIsRun(t *testing.T) {
	page, err := os.ReadFile("../../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	scripts, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	var tours strings.Builder
	for _, script := range scripts {
		text, err := os.ReadFile(script)
		if err != nil {
			t.Fatal(err)
		}
		tours.Write(text)
	}
	sections := strings.Split(string(page), "\n## ")
	blocks := 0
	for _, section := range sections {
		heading, body, _ := strings.Cut(section, "\n")
		switch n := strings.Count(body, "\n```sh\n"); {
		case n > 1:
			t.Errorf("%q has %d blocks of commands: a tour runs one", heading, n)
		case n == 1:
			blocks++
			if !strings.Contains(tours.String(), "tour docs/install.md '## "+heading+"'") {
				t.Errorf("no script runs the commands of %q", heading)
			}
		}
	}
	if blocks < 4 {
		t.Errorf("%d blocks were found", blocks)
	}
}
