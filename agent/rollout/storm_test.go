package rollout

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// Commits that come faster than a soak starve neither the verdict nor the tidying.
func TestCommitsFasterThanTheSoak(t *testing.T) {
	for _, row := range []struct {
		name  string
		every time.Duration
		slow  time.Duration // each preparation
	}{
		{"a few in each soak", 12 * time.Second, 0},
		{"a new one as soon as one is prepared", 6 * time.Second, 6 * time.Second},
		{"more than can be prepared", 2 * time.Second, 5 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.push("a", "system=1", "home=1", "pods=0")
				pass(time.Minute)
				w.good("a")
				w.layers[1].set(func(l *fakeLayer) { l.slow = row.slow })
				goods, most := map[string]bool{}, 0
				for i := range int(10 * time.Minute / row.every) {
					w.push(fmt.Sprintf("c%d", i), "system=1", "home=1", fmt.Sprintf("pods=%d", i+1))
					pass(row.every)
					goods[w.state().Good.Revision] = true
					files, err := os.ReadDir(filepath.Join(w.dir, "targets"))
					if err != nil {
						t.Fatal(err)
					}
					most = max(most, len(files))
				}
				if len(goods) < 4 {
					t.Errorf("in ten minutes only these were good: %v", goods)
				}
				// system, home, and of the pods: good, those of soaks that were cut short, what soaks, what is prepared.
				if most > 12 {
					t.Errorf("up to %d targets were kept", most)
				}
				kept := w.layers[2].lastKept()
				if len(kept) > 4 || !slices.Contains(kept, w.state().Good.Targets["pods"]) {
					t.Errorf("at last %q of the pods were kept, good is %v", kept, w.state().Good)
				}
				pass(3 * time.Minute)
				if s := w.state(); s.Good.Revision != s.Newest.ID || s.phase() != idle || s.Cut != 0 {
					t.Errorf("in the end %s is good in phase %s, newest %s", s.Good.Revision, s.phase(), s.Newest.ID)
				}
			})
		})
	}
}

// A revision whose soak is cut short is judged by the next one: what is ill since then wasn't there before.
func TestWhatCameWithARevisionThatWasNotJudgedCounts(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		w.push("b", "system=1", "home=1", "pods=2")
		pass(5 * time.Second)
		w.layers[2].set(func(l *fakeLayer) {
			l.always = []Problem{{Subject: "pod web", Says: "isn't ready yet", Transient: true}}
		})
		pass(5 * time.Second)
		w.push("c", "system=2", "home=1", "pods=2")
		pass(5 * time.Minute)
		if s := w.state(); s.Good.Revision != "a" || s.bad("c") == nil {
			t.Errorf("good is %s, bad %v", s.Good.Revision, s.Bad)
		}
	})
}
