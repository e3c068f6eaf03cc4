package source

import (
	"os"
	"testing"
)

// A clone that somebody removes while it is followed is made again, and knows what a new commit must descend from.
func TestACloneThatWasRemovedIsMadeAgain(t *testing.T) {
	o, last := pushedOps(t)
	s := openAt(t, Repository{URL: "file://" + o.bare})
	poll(t, s, last)
	for _, what := range []string{"", "HEAD", "objects", "refs"} {
		must(t, os.RemoveAll(s.clone.dir+"/"+what))
		last = o.push("without "+what, "f", "x"+what)
		poll(t, s, last)
		if got := s.clone.accepted().String(); got != last {
			t.Errorf("without %s: accepted is %s, want %s", what, got, last)
		}
		content(t, s, last, "f", "x"+what)
	}
	must(t, os.RemoveAll(s.clone.dir))
	o.git("checkout", "-q", "--orphan", "alien")
	o.commit("alien", "f", "alien")
	o.git("push", "-q", "-f", o.bare, "HEAD:main")
	if _, err := s.Poll(t.Context()); err == nil {
		t.Error("a commit that doesn't descend from the accepted one is followed")
	}
}
