package lab

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// tour FILE TEXT: run the commands of a page of this repository that come after the line that begins with TEXT, in the
// guest, where the commands before it led.
func (l *lab) tour(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: tour FILE TEXT")
	}
	page, err := os.ReadFile(filepath.Join("../..", args[0]))
	ts.Check(err)
	_, after, found := strings.Cut("\n"+string(page), "\n"+args[1])
	_, block, begins := strings.Cut(after, "\n```sh\n")
	commands, _, ends := strings.Cut(block, "\n```\n")
	if !found || !begins || !ends {
		ts.Fatalf("%s has no commands after %q", args[0], args[1])
	}
	l.guest(ts, neg, []string{"bash", "-ec", "cd /root/ops 2>/dev/null || cd /root\n" + commands})
}
