package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"example.org/collie/guix"
)

// Possible causes why a layer can't be checked or prepared, by the names of the doctor's checks.
var causes = []struct {
	layer  string // or what its name begins with
	checks []string
}{
	{"system", []string{"disk", "clock", "shepherd", "guix-daemon"}},
	{"home:", []string{"disk", "clock", "guix-daemon"}},
	{"pods", []string{"disk", "pod user", "subordinate ids", "newuidmap", "cgroups", "run-time directory", "linger", "podman"}},
}

// adviceLasts is how long an answer of the doctor is valid: a layer may be checked each second.
const adviceLasts = time.Minute

// advice is the doctor's, on a machine.
type advice struct {
	on func() *machine

	mu   sync.Mutex
	said map[string]*saying // by layer
}

type saying struct {
	says string
	at   time.Time
}

func (a *advice) of(ctx context.Context, layer string, err error) error {
	if err == nil {
		a.note(layer, nil) // what it says of the next error is new
		return nil
	}
	if full := new(guix.SpaceError); errors.As(err, &full) {
		return err // it says what the doctor would
	}
	a.mu.Lock()
	s := a.said[layer]
	a.mu.Unlock()
	if s == nil || time.Since(s.at) > adviceLasts {
		s = &saying{a.ask(ctx, layer, err), time.Now()}
		a.note(layer, s)
	}
	if s.says == "" {
		return err
	}
	return fmt.Errorf("%w (collie doctor says: %s)", err, s.says)
}

func (a *advice) note(layer string, s *saying) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.said == nil {
		a.said = map[string]*saying{}
	}
	a.said[layer] = s
}

// ask makes the checks, and returns those that fail.
func (a *advice) ask(ctx context.Context, layer string, err error) string {
	var wanted []check
	for _, c := range causes {
		if layer == c.layer || strings.HasSuffix(c.layer, ":") && strings.HasPrefix(layer, c.layer) {
			wanted = slices.DeleteFunc(slices.Clone(checks), func(check check) bool { return !slices.Contains(c.checks, check.name) })
		}
	}
	var says []string
	for _, f := range a.on().examine(ctx, wanted) {
		if f.Level != levelFail {
			continue
		}
		words := []string{f.Check}
		for _, part := range []string{f.Says, f.Do} {
			if part != "" && !strings.Contains(err.Error(), part) { // it may be the same error
				words = append(words, strings.Join(strings.Fields(part), " "))
			}
		}
		says = append(says, strings.Join(words, ": "))
	}
	return strings.Join(says, "; ")
}
