package manifests

import (
	"fmt"
	"strings"
)

// A FieldError is a mistake in a file that a user wrote.
type FieldError struct {
	File  string // inside the revision
	Line  int    // from 1
	Field string // spec.containers[0].image; empty if the mistake is in no field
	Says  string // in the user's words
	Hint  string // what to do; may be empty
}

func (e *FieldError) Error() string {
	if e.Field == "" {
		return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Says)
	}
	return fmt.Sprintf("%s:%d: %s: %s", e.File, e.Line, e.Field, e.Says)
}

// Errors are all mistakes of all files, by file and line.
type Errors []*FieldError

// Error names the first mistakes, a line each; who shows all walks the slice.
func (es Errors) Error() string {
	const most = 5
	var lines []string
	for i, e := range es {
		if i == most {
			lines = append(lines, fmt.Sprintf("and %d more", len(es)-most))
			break
		}
		lines = append(lines, e.Error())
	}
	return strings.Join(lines, "\n")
}

func (es Errors) Unwrap() []error {
	all := make([]error, len(es))
	for i, e := range es {
		all[i] = e
	}
	return all
}

// A Note says of a field that it passes, but does nothing on this machine.
type Note struct {
	File  string
	Line  int
	Field string
	Says  string
}

func (n Note) String() string {
	if n.Field == "" {
		return fmt.Sprintf("%s:%d: %s", n.File, n.Line, n.Says)
	}
	return fmt.Sprintf("%s:%d: %s: %s", n.File, n.Line, n.Field, n.Says)
}
