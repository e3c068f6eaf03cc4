package lab

import (
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

var (
	optionItem = regexp.MustCompile(`(?s)@item @code\{(\S+)\}(?: \(default: @code\{(.*?)\}\))? \(type: (\S+)\)\n(.*?)\n\n`)
	command    = regexp.MustCompile(`@\w+\{([^}]*)\}`)
)

// documented FILE: docs/options.md, which is made of Scheme's text, says of each option what Guix does in FILE.
func documented(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: documented FILE")
	}
	page, err := os.ReadFile("../../docs/options.md")
	ts.Check(err)
	items := optionItem.FindAllStringSubmatch(ts.ReadFile(args[0]), -1)
	for _, item := range items {
		name, initial, kind := item[1], item[2], strings.TrimPrefix(item[3], "maybe-")
		says := strings.Join(strings.Fields(command.ReplaceAllString(item[4], "`$1`")), " ")
		row := regexp.MustCompile(fmt.Sprintf("(?m)^\\|.* `%s`.* \\| %s \\| .*%s.* \\| %s \\|$",
			regexp.QuoteMeta(name), regexp.QuoteMeta(kind), regexp.QuoteMeta(initial), regexp.QuoteMeta(strings.ReplaceAll(says, "|", `\|`))))
		if !row.Match(page) && !strings.HasPrefix(kind, "collie-") && !strings.HasPrefix(kind, "list-of-collie-") {
			ts.Fatalf("Guix says of %s, type %s, default %s: %s\ndocs/options.md says otherwise: run `make docs`", name, kind, initial, says)
		}
	}
	if rows := strings.Count(string(page), "\n| `"); len(items) < rows {
		ts.Fatalf("docs/options.md has %d options, Guix %d", rows, len(items))
	}
}
