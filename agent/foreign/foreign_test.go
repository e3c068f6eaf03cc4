package foreign

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestLine(t *testing.T) {
	for _, test := range []struct {
		text string
		most int
		want string
	}{
		{"  a\tb\r\nc  ", 10, "a b c"},
		{"\x1b[31mred\x1b[0m", 20, "[31mred[0m"},
		{"\u202etxt.exe\u200f", 20, "txt.exe"},
		{"änderung", 8, "änderung"},
		{"änderungen", 8, "änderung…"},
		{"a\xffb", 8, "a\ufffdb"},
		{"", 8, ""},
	} {
		if got := Line(test.text, test.most); got != test.want {
			t.Errorf("Line(%q, %d) is %q, want %q", test.text, test.most, got, test.want)
		}
	}
}

func TestCut(t *testing.T) {
	for _, test := range []struct {
		text string
		most int
		want string
	}{
		{" as it is\n", 10, " as it is\n"},
		{"longer than that", 6, "longer…"},
		{"ää", 2, "ää"},
		{"äää", 2, "ää…"},
		{"\xff\xff\xff", 2, "\ufffd…"},
	} {
		if got := Cut(test.text, test.most); got != test.want {
			t.Errorf("Cut(%q, %d) is %q, want %q", test.text, test.most, got, test.want)
		}
	}
}

func TestBound(t *testing.T) {
	for _, test := range []struct {
		text string
		most int
		want string
	}{
		{"as it is", 8, "as it is"},
		{"abcdé", 5, "abcd … and 1 more bytes"},
		{"longer than that", 6, "longer … and 10 more bytes"},
	} {
		if got := Bound(test.text, test.most); got != test.want {
			t.Errorf("Bound(%q, %d) is %q, want %q", test.text, test.most, got, test.want)
		}
	}
}

// FuzzForeign: a terminal obeys nothing of what is shown, and what is bounded is short.
func FuzzForeign(f *testing.F) {
	f.Add("a \x1b[31mred\x1b[0m\tword\r\nnext")
	f.Add("\u202etxt.exe \u2066\u200f \u009b1m \x9b1m \x7f\x00")
	f.Fuzz(func(t *testing.T, text string) {
		var b strings.Builder
		n, err := Writer{&b}.Write([]byte(text))
		if n != len(text) || err != nil {
			t.Fatal(n, err)
		}
		for _, says := range []string{b.String(), Text(text), Line(text, 40)} {
			bad := func(r rune) bool { return r != '\n' && unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }
			if strings.ContainsFunc(says, bad) || !utf8.ValidString(says) {
				t.Errorf("%q is shown as %q", text, says)
			}
		}
		if line := Line(text, 40); utf8.RuneCountInString(line) > 41 || strings.Contains(line, "\n") {
			t.Errorf("%q is the line %q", text, line)
		}
		if cut := Cut(text, 40); utf8.RuneCountInString(cut) > 41 || !utf8.ValidString(cut) {
			t.Errorf("%q is cut to %q", text, cut)
		}
		if kept := Bound(text, 40); len(kept) > 80 {
			t.Errorf("%q is bounded to %q", text, kept)
		}
	})
}
