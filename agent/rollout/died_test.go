package rollout

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A mortalLayer has a service that died once, and was started again.
type mortalLayer struct {
	*fakeLayer
	at *time.Time // when; zero: it never did
}

func (l mortalLayer) Problems(ctx context.Context, t Target, since time.Time) ([]Problem, error) {
	problems, err := l.fakeLayer.Problems(ctx, t, since)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.at.IsZero() && !l.at.Before(since) && !l.at.After(time.Now()) {
		problems = append(problems, Problem{Subject: "service", Says: "died since " + since.Format(time.TimeOnly) + " and was started again"})
	}
	return problems, err
}

// What dies in a switch and is started again has the soak to show that it stays.
func TestWhatDiedBeforeTheSoakDoesNotCount(t *testing.T) {
	for _, row := range []struct {
		name     string
		dies     time.Duration // after the push; each of three switches takes a second
		good     string
		problems bool // right after the verdict
	}{
		{"within the first switch", 500 * time.Millisecond, "a", false},
		{"between two switches", 1500 * time.Millisecond, "a", false},
		{"as the last switch ends", 2999 * time.Millisecond, "a", false},
		{"in the soak", 4 * time.Second, Baseline, false},
		{"after the verdict", 3*time.Second + testSoak + 500*time.Millisecond, "a", true},
	} {
		for _, mortal := range []string{"system", "pods"} {
			t.Run(row.name+", "+mortal, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w, died := newWorld(t), time.Time{}
					part := func(l *fakeLayer) Layer { return mortalLayer{l, &died} }
					if mortal == "system" {
						w.system = part
					} else {
						w.pods = part
					}
					w.start()
					defer w.stop()
					began := time.Now()
					w.push("a", "system=1", "home=1", "pods=1")
					i := slices.Index([]string{"system", "home", "pods"}, mortal)
					w.layers[i].set(func(*fakeLayer) { died = began.Add(row.dies) })
					pass(time.Minute)
					w.good(row.good)
					if row.good == Baseline {
						return
					}
					if ill := len(w.status(t, w.c).Problems) > 0; ill != row.problems {
						t.Errorf("status has problems: %v, want %v", ill, row.problems)
					}
				})
			})
		}
	}
}
