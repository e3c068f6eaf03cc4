package api

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// FuzzHistoryText: whatever commits and layers say, a terminal obeys none of it.
func FuzzHistoryText(f *testing.F) {
	f.Add("a \x1b[31mred\x1b[0m\tword\r\nnext")
	f.Add("\u202etxt.exe \u2066\u200f \u009b1m \x9b1m \x7f\x00")
	f.Add("x" + strings.Repeat("€", 13) + "+€€") // as long as a commit, with letters where an abbreviation ends
	f.Fuzz(func(t *testing.T, text string) {
		says := HistoryText([]Deployment{{Revision: text, Reason: text, Author: text, Subject: text, Moved: []string{text}}})
		bad := func(r rune) bool { return r != '\n' && unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }
		if strings.ContainsFunc(says, bad) || !utf8.ValidString(says) {
			t.Errorf("%q is shown as %q", text, says)
		}
	})
}
