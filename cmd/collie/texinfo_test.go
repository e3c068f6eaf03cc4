package main

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

var descriptionForm = regexp.MustCompile(`(?s)\(define (\S+-service-type)\n.*?\(description "((?:[^"\\]|\\.)*)"\)`)

// texinfoPage is docs/collie.texi, a node for Guix's manual. Of records it says what Guix's `generate-documentation` does, which
// a test in the lab holds up to.
func texinfoPage(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	p("@c Written by `make docs'.\n@node GitOps Services\n@subsection GitOps Services\n\n@cindex GitOps\n")
	p("The modules of Collie, a GitOps agent, provide these services.\n")
	types, records := 0, 0
	for _, module := range []string{"services", "home", "repository"} {
		text := read(t, "../../guix/modules/collie/"+module+".scm")
		values := defaultsIn(text)
		for _, form := range descriptionForm.FindAllStringSubmatch(text, -1) {
			types++
			p("\n@defvar %s\n%s\n@end defvar\n", form[1], unquoted(form[2]))
		}
		for _, form := range recordForm.FindAllStringSubmatch(text, -1) {
			records++
			p("\n@deftp {Data Type} %s\nAvailable @code{%[1]s} fields are:\n\n@table @asis\n", form[1])
			fields := fieldForm.FindAllStringSubmatch(form[2], -1)
			for _, f := range fields {
				p("@item @code{%s}%s (type: %s)\n%s\n\n", f[1], texinfoDefault(cmp.Or(values[f[3]], f[3])), f[2], unquoted(f[4]))
			}
			p("@end table\n\n@end deftp\n")
			if len(fields) == 0 || len(fields) != strings.Count(form[2], "\n   \"") {
				t.Errorf("%s.scm: %d fields of %s are understood here", module, len(fields), form[1])
			}
		}
	}
	if types < 3 || records < 3 {
		t.Errorf("%d service types and %d records are understood here", types, records)
	}
	return b.String()
}

// texinfoDefault is how Guix shows a default: of what isn't plain data, it shows nothing.
func texinfoDefault(initial string) string {
	plain := strings.TrimPrefix(initial, "'")
	if plain == "" || plain == initial && strings.HasPrefix(initial, "(") {
		return ""
	}
	return " (default: @code{" + plain + "})"
}

func unquoted(text string) string {
	return strings.NewReplacer(`\"`, `"`, `\\`, `\`, "\\\n", "").Replace(text)
}
