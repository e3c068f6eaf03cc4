package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// An error may hold what a server, a pod or a commit says: a terminal obeys none of it, with --verbose neither.
func TestErrorsAreShownPlain(t *testing.T) {
	foreign := errors.New("pod \x1b]0;title\x07web\u202e says \x9b1m\x00")
	for _, verbose := range []bool{false, true} {
		var errs bytes.Buffer
		c := &cli{err: &errs, verbose: verbose}
		c.complain(fmt.Errorf("asking: %w", foreign), exitFailed, false)
		want := "collie: asking: pod ]0;titleweb says \ufffd1m\n"
		if verbose {
			want += "  because: pod ]0;titleweb says \ufffd1m\n"
		}
		if errs.String() != want {
			t.Errorf("got %q, want %q", errs.String(), want)
		}
		errs.Reset()
		c.complain(fmt.Errorf("asking: %w", foreign), exitFailed, true)
		want = `{"error":"asking: pod ]0;titleweb says �1m","exitCode":1}` + "\n"
		if verbose {
			want = strings.Replace(want, "}", `,"because":["pod ]0;titleweb says �1m"]}`, 1)
		}
		if errs.String() != want {
			t.Errorf("as JSON: got %q, want %q", errs.String(), want)
		}
	}
}
