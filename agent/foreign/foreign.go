// Package foreign makes text from elsewhere fit to be shown to a person: what commits, services, pods, servers and files say.
//
// A terminal obeys control characters, and marks of direction turn around what follows them, so neither is kept.
package foreign

import (
	"fmt"
	"io"
	"strings"
	"unicode"
)

// Text keeps the lines of a text and the space around it. A tab becomes a space. The result is valid UTF-8.
func Text(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r != '\n' && unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r):
			return -1
		}
		return r
	}, text)
}

// Line makes one line of a text, and cuts it. White space becomes a space; other characters that can't be seen are left out.
func Line(text string, most int) string {
	var kept strings.Builder
	length := 0
	for _, r := range strings.TrimSpace(text) {
		if unicode.IsSpace(r) && r != '\r' {
			r = ' '
		}
		if !unicode.IsPrint(r) {
			continue
		}
		if length == most {
			return kept.String() + "…"
		}
		kept.WriteRune(r)
		length++
	}
	return kept.String()
}

// Cut returns at most most characters of a text, and "…" if there were more. The result is valid UTF-8.
func Cut(text string, most int) string {
	length := 0
	for i := range text {
		if length == most {
			return strings.ToValidUTF8(text[:i], "\ufffd") + "…"
		}
		length++
	}
	return strings.ToValidUTF8(text, "\ufffd")
}

// Bound returns at most most bytes of a text, and says how many more there were. It is for what is kept.
func Bound(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return fmt.Sprintf("%s … and %d more bytes", strings.ToValidUTF8(text[:most], ""), len(text)-most)
}

// A Writer passes on what Text leaves. Each write has to end with a whole character.
type Writer struct{ io.Writer }

func (w Writer) Write(text []byte) (int, error) {
	if _, err := io.WriteString(w.Writer, Text(string(text))); err != nil {
		return 0, err
	}
	return len(text), nil
}
