package rollout

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A givenUpLayer has a service that its supervisor gives up when told so, until it was revived so often.
type givenUpLayer struct {
	*fakeLayer
	ill     bool
	needs   int
	revived int
	blind   time.Duration // since the first time it can't be looked at for so long
	first   time.Time
}

func (l *givenUpLayer) Revive(context.Context, Target) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.revived++; l.revived == 1 {
		l.first = time.Now()
	}
	l.ill = l.ill && l.revived < l.needs
	return nil
}

func (l *givenUpLayer) Problems(ctx context.Context, t Target, since time.Time) ([]Problem, error) {
	problems, err := l.fakeLayer.Problems(ctx, t, since)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !l.first.IsZero() && time.Since(l.first) < l.blind:
		return nil, errors.New("Shepherd doesn't answer")
	case l.ill:
		problems = append(problems, Problem{Subject: "service door", Says: "stopped: disabled"})
	}
	return problems, err
}

// After a return all of good is looked at, also a layer that had nothing to return from: what was given up is started again,
// and what isn't well then makes the return incomplete.
func TestAReturnRevivesWhatWasGivenUp(t *testing.T) {
	for _, row := range []struct {
		name    string
		needs   int // revivals; 0: nothing is given up
		before  bool
		blind   time.Duration
		outcome string
		revived int
	}{
		{"all is well", 0, false, 0, "rolled back", 1},
		{"it starts at once", 1, false, 0, "rolled back", 1},
		{"it starts at the third time", 3, false, 0, "rolled back", 3},
		{"it never does", 100, false, 0, "incomplete", rollBackAttempts},
		{"it was so before the revision", 100, true, 0, "rolled back", 1},
		{"it can't be looked at for a while", 1, false, time.Minute, "rolled back", 1},
		{"it can't be looked at", 1, false, 5 * time.Minute, "incomplete", 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				l := &givenUpLayer{fakeLayer: w.layers[0], needs: row.needs, blind: row.blind}
				w.startWith(l)
				defer w.stop()
				w.push("a", "system=1", "home=1", "pods=1")
				pass(time.Minute)
				w.good("a")
				giveUp := func() { l.set(func(*fakeLayer) { l.ill = row.needs > 0 }) }
				if row.before {
					giveUp()
					pass(time.Minute)
				}
				w.layers[2].set(func(l *fakeLayer) { l.ill["2"] = 10 * time.Second })
				w.push("b", "system=1", "home=1", "pods=2")
				pass(5 * time.Second)
				if s := w.state(); s.phase() != soaking {
					t.Errorf("phase %s, want soaking", s.phase())
				}
				giveUp()
				pass(4 * time.Minute)
				w.good("a")
				w.is("1", "1", "1")
				if h := w.history()[0]; h.Outcome != row.outcome {
					t.Errorf("history: %+v, want it %s", h, row.outcome)
				}
				if l.revived != row.revived {
					t.Errorf("revived %d times, want %d", l.revived, row.revived)
				}
			})
		})
	}
}

// An incomplete return is shown until what was ill is well, or another revision is good.
func TestAnIncompleteReturnIsShown(t *testing.T) {
	for _, row := range []struct {
		name string
		ends func(w *world, l *givenUpLayer)
	}{
		{"it is well", func(_ *world, l *givenUpLayer) { l.set(func(*fakeLayer) { l.ill = false }) }},
		{"another is good", func(w *world, _ *givenUpLayer) { w.push("c", "system=1", "home=1", "pods=3") }},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				l := &givenUpLayer{fakeLayer: w.layers[0], needs: 100}
				w.startWith(l)
				w.push("a", "system=1", "home=1", "pods=1")
				pass(time.Minute)
				w.layers[2].set(func(l *fakeLayer) { l.ill["2"] = 10 * time.Second })
				w.push("b", "system=1", "home=1", "pods=2")
				pass(5 * time.Second)
				l.set(func(*fakeLayer) { l.ill = true })
				pass(5 * time.Minute)
				const says = "the roll-back from revision b to a is incomplete: service door: stopped: disabled"
				told := func() string { return w.status(t, w.c).Incomplete }
				if got := told(); got != says {
					t.Errorf("status: %q, want %q", got, says)
				}
				if h := w.history()[0]; h.Outcome != "incomplete" || !strings.HasSuffix(h.Reason, "; "+says) {
					t.Errorf("history: %+v", h)
				}
				w.stop()
				w.startWith(l)
				defer w.stop()
				pass(time.Minute)
				if got := told(); got != says {
					t.Errorf("status of the next life: %q, want %q", got, says)
				}
				row.ends(w, l)
				pass(time.Minute)
				if got := told(); got != "" {
					t.Errorf("status after that: %q", got)
				}
			})
		})
	}
}
