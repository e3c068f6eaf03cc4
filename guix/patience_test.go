package guix

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// A guix that waits for an answer of Shepherd that never comes is ended, once all that it does before that is done.
func TestAGuixThatShepherdNeverAnswersIsEnded(t *testing.T) {
	for _, row := range []struct {
		name   string
		speaks bool
		silent bool          // Shepherd answers nobody
		busy   time.Duration // for so long something happens to services
		late   time.Duration // after which the links name the system
		want   time.Duration
	}{
		{"it waits", true, false, 0, 5 * time.Second, 2 * time.Minute},
		{"Shepherd is blocked", true, true, 0, 5 * time.Second, 3 * time.Minute},
		{"Shepherd is blocked, and it is at work elsewhere", false, true, 0, 5 * time.Second, 19 * time.Minute},
		{"services come and go", true, false, 10 * time.Minute, 5 * time.Second, 12 * time.Minute},
		{"it is at work elsewhere", false, false, 0, 5 * time.Second, 19 * time.Minute},
		{"it isn't there yet", true, false, 0, 18 * time.Minute, 19 * time.Minute},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGuest(t)
				g.system("A", "one web")
				g.system("B", "one web", "one new")
				g.boots("A")
				g.timeout = 2 * time.Minute
				begun := time.Now()
				if row.silent {
					g.silent = begun.Add(time.Hour)
				}
				g.live = func() (string, error) {
					if time.Since(begun) < row.late {
						return "A", nil
					}
					return "B", nil
				}
				out, err := g.patient(3*time.Minute).attended(t.Context(), "B", func() bool { return row.speaks }, func(ctx context.Context) (outcome, error) {
					end := time.After(19 * time.Minute)
					tick := time.NewTicker(time.Minute)
					defer tick.Stop()
					for {
						select {
						case <-ctx.Done():
							return outcome{text: "cut"}, context.Cause(ctx)
						case <-end:
							return outcome{}, nil
						case <-tick.C:
						}
						if time.Since(begun) <= row.busy {
							g.mu.Lock()
							g.clock++
							dies(g, "web")
							g.mu.Unlock()
						}
					}
				})
				if took := time.Since(begun); (err != nil) != (row.silent && row.speaks) || took < row.want || took > row.want+20*time.Second || (out.text == "cut") != (row.want < 19*time.Minute) {
					t.Errorf("%q, %v after %v; want it after %v", out.text, err, took, row.want)
				}
			})
		})
	}
}

// A start that Shepherd never answers ends at the service's limit, and counts as its answer.
func TestAStartThatIsNeverAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuest(t)
		g.system("A", "one web", "one mute !mute", "one after")
		g.boots("A")
		g.timeout = 30 * time.Second
		begun := time.Now()
		log := g.converges("A")
		if took := time.Since(begun); took < 30*time.Second || took > 40*time.Second {
			t.Errorf("it took %v: %q", took, log)
		}
		g.wants("what is said", g.ill("A"), "mute: stopped: it didn't start within 30s")
	})
}
