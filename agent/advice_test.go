package agent

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"example.org/collie/guix"
)

// The reason why a layer can't be looked at comes with what the doctor knows, which is asked once a minute.
func TestAdvice(t *testing.T) {
	p := newPatient(t)
	cause := errors.New("podman.sock: no answer")
	asked := 0
	a := &advice{on: func() *machine { asked++; return &p.machine }}
	if err := a.of(t.Context(), "pods", nil); err != nil {
		t.Error(err)
	}
	full := &guix.SpaceError{Path: "/gnu/store", Mount: "/"}
	if err := a.of(t.Context(), "system", full); err != error(full) || asked != 0 {
		t.Errorf("a full disk: %v", err)
	}
	if err := a.of(t.Context(), "home:ann", cause); err != cause {
		t.Errorf("on a machine that is well: %v", err)
	}
	p.write("/etc/subuid", "bob:100000:65536\n", 0o644)
	for range 2 {
		err := a.of(t.Context(), "pods", cause)
		if !errors.Is(err, cause) || !strings.HasPrefix(err.Error(), "podman.sock: no answer (collie doctor says: subordinate ids: ") {
			t.Errorf("without subordinate ids: %v", err)
		}
	}
	if asked != 2 {
		t.Errorf("asked %d times, want once of each layer", asked)
	}
	if err := a.of(t.Context(), "pods", nil); err != nil {
		t.Error(err)
	}
	_ = a.of(t.Context(), "pods", cause)
	if asked != 3 {
		t.Errorf("asked %d times, want 3: once more after it was well", asked)
	}
}

func TestAdviceNamesChecks(t *testing.T) {
	for _, c := range causes {
		for _, name := range c.checks {
			if !slices.ContainsFunc(checks, func(c check) bool { return c.name == name }) {
				t.Errorf("%s: the doctor has no check %q", c.layer, name)
			}
		}
	}
}
