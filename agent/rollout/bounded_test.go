package rollout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.org/collie/agent/statefile"
)

// A loudLayer says as much as whoever is hostile likes.
type loudLayer struct {
	*fakeLayer
	changes  []Change
	problems []Problem
}

func loud(l *fakeLayer, number int, text string) loudLayer {
	said := loudLayer{fakeLayer: l}
	for i := range number {
		said.changes = append(said.changes, Change{Does: "remove", Subject: fmt.Sprint("pod x", i), Says: text})
		said.problems = append(said.problems, Problem{Subject: fmt.Sprint("pod y", i), Says: text, Details: []string{text}, Unrelated: true})
	}
	return said
}

func (l loudLayer) Diff(ctx context.Context, t Target) ([]Change, error) {
	changes, err := l.fakeLayer.Diff(ctx, t)
	if err != nil || len(changes) == 0 {
		return changes, err
	}
	return append(changes, l.changes...), nil
}

func (l loudLayer) Problems(ctx context.Context, t Target, since time.Time) ([]Problem, error) {
	problems, err := l.fakeLayer.Problems(ctx, t, since)
	return append(problems, l.problems...), err
}

func (l loudLayer) Switch(ctx context.Context, t Target) error {
	err := l.fakeLayer.Switch(ctx, t)
	if err == nil || len(l.changes) == 0 {
		return err
	}
	return fmt.Errorf("%w: %s", err, strings.Repeat(l.changes[0].Says, min(len(l.changes), 1000)))
}

// What layers say is bounded before it is kept: 200,000 pods once made a state of 19 MB, which couldn't be read back.
func TestWhatIsKeptOfWhatLayersSayIsBounded(t *testing.T) {
	for name, row := range map[string]struct {
		number int
		text   string
	}{
		"many":  {100_000, "is none of ours"},
		"long":  {3, strings.Repeat("ä", 1<<20)},
		"both":  {1000, strings.Repeat("\x01", 5000)},
		"quiet": {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.pods = func(l *fakeLayer) Layer { return loud(l, row.number, row.text) }
				w.start()
				defer w.stop()
				largest := 0
				a := w.c
				w.push("a", "system=1", "pods=1")
				pass(3 * time.Minute)
				w.good("a")
				w.layers[2].set(func(l *fakeLayer) { l.refuse["2"] = errors.New("no") })
				w.push("b", "system=2", "pods=2")
				for range 30 {
					pass(10 * time.Second)
					text, err := os.ReadFile(filepath.Join(w.dir, "state.json"))
					if err != nil {
						t.Fatal(err)
					}
					largest = max(largest, len(text))
				}
				w.is("1", "old", "1")
				w.good("a")
				if largest > 4<<20 {
					t.Errorf("the state had %d KiB", largest>>10)
				}
				if _, err := statefile.Read[State](filepath.Join(w.dir, "state.json")); err != nil {
					t.Errorf("reading back: %v", err)
				}
				journal, err := os.ReadFile(filepath.Join(w.dir, "journal"))
				if err != nil {
					t.Fatal(err)
				}
				for line := range bytes.Lines(journal) {
					if len(line) > mostEntry+1 {
						t.Errorf("the journal has a line of %d bytes", len(line))
					}
				}
				if h := w.history(); len(h) != 2 || h[0].Outcome != "rolled back" || h[1].Outcome != "good" {
					for _, d := range h {
						t.Errorf("%s %s: %.200s", d.Revision, d.Outcome, d.Reason)
					}
				}
				told := slices.ContainsFunc(w.status(t, a).Problems, func(p Problem) bool { return strings.Contains(p.Says, "more") })
				if told != (row.number > 0) {
					t.Errorf("status says that there is more: %v", told)
				}
			})
		})
	}
}

func TestBounds(t *testing.T) {
	if got := boundedLines(slices.Repeat([]string{"a"}, 45)); len(got) != 41 || got[40] != "and 5 more" {
		t.Errorf("lines: %q", got)
	}
	waits := boundedChanges(slices.Repeat([]Change{{Does: "update", Subject: "a", Waits: true}}, mostSaid+2), mostSaid, mostBytes)
	if last := waits[len(waits)-1]; len(waits) != mostSaid+1 || last.Subject != "2 more" || differs(waits) {
		t.Errorf("changes that wait: %+v", last)
	}
	some := slices.Concat(slices.Repeat([]Change{{Does: "update", Subject: "a", Waits: true}}, mostSaid+2), []Change{{Does: "remove", Subject: "b"}})
	if !differs(boundedChanges(some, mostSaid, mostBytes)) {
		t.Error("a change that doesn't wait is left out and not counted")
	}
	err := boundedError(fmt.Errorf("pods: %w", &BadError{Err: errors.New(strings.Repeat("x", 1<<20)), Retriable: true}))
	if blamed := new(BadError); !errors.As(err, &blamed) || len(blamed.Error()) > mostError+100 || !blamed.Retriable || !strings.Contains(blamed.Error(), "more bytes") {
		t.Errorf("an error of %d bytes", len(err.Error()))
	}
}
