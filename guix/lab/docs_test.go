package lab

import (
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

var (
	optionItem  = regexp.MustCompile(`(?s)@item @code\{(\S+)\}(?: \(default: @code\{(.*?)\}\))? \(type: (\S+)\)\n(.*?)\n\n`)
	recordTable = regexp.MustCompile(`(?s)@deftp .*?@end deftp`)
	command     = regexp.MustCompile(`@\w+\{([^}]*)\}`)
)

// documented FILE: docs/options.md and docs/collie.texi, which are made of Scheme's text, say of each option what Guix does in
// FILE.
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
	// docs/collie.texi has each record as Guix writes it, but for how lines are filled.
	manual, err := os.ReadFile("../../docs/collie.texi")
	ts.Check(err)
	filled := func(text string) string { return strings.Join(strings.Fields(text), " ") }
	tables := recordTable.FindAllString(ts.ReadFile(args[0]), -1)
	for _, table := range tables {
		if !strings.Contains(filled(string(manual)), filled(table)) {
			ts.Fatalf("docs/collie.texi hasn't what Guix says, so run `make docs`:\n%s", table)
		}
	}
	if len(tables) < 2 {
		ts.Fatalf("Guix says something of %d records", len(tables))
	}
	if rows := strings.Count(string(page), "\n| `"); len(items) < rows {
		ts.Fatalf("docs/options.md has %d options, Guix %d", rows, len(items))
	}
}
