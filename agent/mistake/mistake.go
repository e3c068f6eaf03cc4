// Package mistake is about mistakes in files that a person wrote: what is wrong, where, and what to do about it.
//
// It reads YAML strictly, and reports what is wrong in the words of a person who edits the file, not in those of the library. It
// knows nothing of what the files are for.
package mistake

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// An Error is a mistake in a file that a person wrote.
type Error struct {
	File  string // as the person knows it; in a repository, its path there
	Line  int    // from 1; 0: it is in no line
	Field string // spec.containers[0].image; empty if the mistake is in no field
	Says  string // in the person's words
	Hint  string // what to do; may be empty
}

// Error is one line, without the hint.
func (e *Error) Error() string {
	var at strings.Builder
	at.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&at, ":%d", e.Line)
	}
	if e.Field != "" {
		at.WriteString(": " + e.Field)
	}
	return at.String() + ": " + e.Says
}

// Text is the line of Error, and below it the hint.
func (e *Error) Text() string {
	if e.Hint == "" {
		return e.Error()
	}
	return e.Error() + "\n  hint: " + e.Hint
}

// A List is all mistakes of some files.
type List []*Error

// shown is how many mistakes an error names; who shows all walks the list.
const shown = 20

// Error has the first mistakes with their hints.
func (l List) Error() string {
	var lines []string
	for _, e := range l[:min(shown, len(l))] {
		lines = append(lines, e.Text())
	}
	if len(l) > shown {
		lines = append(lines, fmt.Sprintf("and %d more", len(l)-shown))
	}
	return strings.Join(lines, "\n")
}

func (l List) Unwrap() []error {
	all := make([]error, len(l))
	for i, e := range l {
		all[i] = e
	}
	return all
}

// Err is the list as an error, and nil if it is empty.
func (l List) Err() error {
	if len(l) == 0 {
		return nil
	}
	return l
}

// Sorted has the mistakes by file and line, each once.
func (l List) Sorted() List {
	all := slices.Clone(l)
	slices.SortStableFunc(all, func(a, b *Error) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	var once List
	for i, e := range all {
		same := func(other *Error) bool { return *other == *e }
		first := i
		for first > 0 && all[first-1].File == e.File && all[first-1].Line == e.Line {
			first--
		}
		if !slices.ContainsFunc(all[first:i], same) {
			once = append(once, e)
		}
	}
	return once
}

// Of are the mistakes that an error consists of, and nothing if it is of another kind.
func Of(err error) List {
	var l List
	errors.As(err, &l)
	return l
}

// Guess finds the word that was probably meant, and puts it into a hint. Both are empty if none of words is near.
func Guess(word string, words []string) (meant, hint string) {
	if len(word) > 64 {
		return "", ""
	}
	best, least := "", 3
	for _, w := range words {
		d := distance(strings.ToLower(word), strings.ToLower(w))
		if d < least && d*2 < max(len(word), len(w)) {
			best, least = w, d
		}
	}
	switch {
	case best == "":
		return "", ""
	case strings.EqualFold(best, word):
		return best, "upper and lower case differ: " + best
	}
	return best, "did you mean " + best + "?"
}

// distance counts the letters to insert, delete, replace, or swap with their neighbour.
func distance(a, b string) int {
	two, one, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		two, one, row = one, row, two
		row[0] = i
		for j := 1; j <= len(b); j++ {
			differs := 1
			if a[i-1] == b[j-1] {
				differs = 0
			}
			row[j] = min(one[j]+1, row[j-1]+1, one[j-1]+differs)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], two[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
