package rollout

import (
	"errors"
	"fmt"
	"testing"

	"example.org/collie/agent/source"
)

func TestFilesThatCannotBeRead(t *testing.T) {
	tree := unreadable(source.Revision{ID: "abc"}, fmt.Errorf("reading: %w", &source.TreeError{Path: "x", Says: "is a symbolic link"}))
	if bad := new(BadError); !errors.As(tree, &bad) {
		t.Errorf("%v doesn't blame the commit", tree)
	}
	damaged := unreadable(source.Revision{ID: "abc"}, errors.New("the clone is damaged"))
	if bad := new(BadError); errors.As(damaged, &bad) || damaged.Error() != "revision abc: the clone is damaged" {
		t.Errorf("%v blames the commit", damaged)
	}
}
