package manifests

import "fmt"

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
