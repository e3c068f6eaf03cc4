package rollout

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"example.org/collie/agent/statefile"
)

// replace writes a file of the state, where the disk has room for it.
func (w *world) replace(file string, text []byte) error {
	if err := w.room(); err != nil {
		return err
	}
	return statefile.Write(file, text)
}

func (w *world) room() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.full == nil {
		return nil
	}
	return w.full()
}

// fill has all writes fail, or none.
func (w *world) fill(full bool) {
	if full {
		w.fails(func() error { return syscall.ENOSPC })
	} else {
		w.fails(nil)
	}
}

// fails has each write say what full does.
func (w *world) fails(full func() error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.full = full
}

// A fullFile writes half of what it is given where the disk is full.
type fullFile struct {
	journalFile
	w *world
}

func (f fullFile) Write(text []byte) (int, error) {
	if err := f.w.room(); err != nil {
		n, _ := f.journalFile.Write(text[:len(text)/2])
		return n, err
	}
	return f.journalFile.Write(text)
}

// A disk that is full for a while at any moment of two rollouts, one good and one not, changes nothing about how they end.
func TestADiskThatIsFullForAWhileOnlyDelays(t *testing.T) {
	story := func(w *world) (ends []string) {
		w.layers[2].refuse["2"] = errors.New("no")
		w.push("a", "system=1", "home=1", "pods=1")
		pass(5 * time.Minute)
		w.push("b", "system=2", "home=1", "pods=2")
		pass(5 * time.Minute)
		w.is("1", "1", "1")
		w.good("a")
		for _, d := range w.history() {
			ends = append(ends, fmt.Sprint(d.Revision, d.Author, d.Outcome, d.Reason, d.Layers))
		}
		return ends
	}
	var want []string
	writes := 0
	inBubble(t, func(t *testing.T, w *world) {
		w.fails(func() error { writes++; return nil })
		want = story(w)
	})
	if writes < 20 {
		t.Fatalf("the story has %d writes", writes)
	}
	for n := range writes {
		t.Run(fmt.Sprint("write ", n), func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				i := 0
				w.fails(func() error {
					i++
					if i > n && i <= n+4 {
						return syscall.ENOSPC
					}
					return nil
				})
				if got := story(w); !reflect.DeepEqual(got, want) {
					t.Errorf("history\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
			})
		})
	}
}

// While nothing can be written, the agent stays and heals, says why it deploys nothing, and goes on by itself.
func TestAFullDiskInAnyPhase(t *testing.T) {
	for _, row := range []struct {
		name string
		at   time.Duration // after the push
	}{
		{"idle", 0},
		{"switching", time.Second + time.Second/2},
		{"soaking", 10 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				a := w.c
				w.push("a", "system=1", "pods=1")
				pass(time.Minute)
				w.push("b", "system=2", "pods=2")
				time.Sleep(row.at)
				w.fill(true)
				pass(10 * time.Minute)
				s := w.status(t, a)
				i := slices.IndexFunc(s.Problems, func(p Problem) bool { return p.Subject == "state" })
				if i < 0 || !strings.Contains(s.Problems[i].Says, "no space left on device") || !strings.Contains(s.Problems[i].Says, w.dir) {
					t.Errorf("problems: %+v, want one of the state", s.Problems)
				}
				pods := w.layers[2].is()
				w.layers[2].set(func(l *fakeLayer) { l.live = "dead" })
				pass(time.Minute)
				if got := w.layers[2].is(); row.name != "switching" && got != pods {
					t.Errorf("the pods are %q and aren't healed", got)
				}
				w.fill(false)
				pass(2 * time.Minute)
				w.is("2", "old", "2")
				w.good("b")
				if s := w.status(t, a); len(s.Problems) > 0 {
					t.Errorf("problems: %+v", s.Problems)
				}
			})
		})
	}
}

// A request that can't be written down fails, and changes nothing.
func TestARequestThatFailsChangesNothing(t *testing.T) {
	for _, row := range []struct {
		name string
		ask  func(c *Conductor) error
	}{
		{"suspend", func(c *Conductor) error { return c.suspend("disks") }},
		{"resume", (*Conductor).resumeDeploying},
		{"retry", (*Conductor).retry},
		{"build", (*Conductor).mayBuild},
		{"now", (*Conductor).atOnce},
		{"evaluate", (*Conductor).evaluate},
		{"only", func(c *Conductor) error { c.state.Bad = nil; return c.only([]string{"system"}, "ann", time.Now()) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.push("a", "system=1", "pods=1")
				pass(time.Minute)
				w.push("b", "system=1", "pods=bad")
				pass(time.Minute)
				if row.name == "resume" {
					if err := w.c.ask(t.Context(), func() error { return w.c.suspend("before") }); err != nil {
						t.Fatal(err)
					}
				}
				before, said := w.state(), w.said()
				for _, sparing := range []int{0, 1} { // journal, and state after it
					left := sparing
					w.fails(func() error {
						if left--; left < 0 {
							return syscall.ENOSPC
						}
						return nil
					})
					if err := w.c.ask(t.Context(), func() error { return row.ask(w.c) }); !errors.Is(err, syscall.ENOSPC) {
						t.Errorf("it says %v", err)
					}
					if got := w.state(); !reflect.DeepEqual(got, before) {
						t.Errorf("in force is\n%+v\nwant\n%+v", got, before)
					}
					if got := w.said(); got != said {
						t.Errorf("the journal says\n%s\nwant\n%s", got, said)
					}
				}
				w.fill(false)
				pass(time.Minute)
				if got := w.said(); got != said {
					t.Errorf("later the journal says\n%s\nwant\n%s", got, said)
				}
				if err := w.c.ask(t.Context(), func() error { return row.ask(w.c) }); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func (w *world) said() string {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, "journal"))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// A restart of the agent while the disk is full is no reason not to run.
func TestAnAgentStartsOnAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		w.push("a", "system=1", "pods=1")
		pass(time.Minute)
		w.stop()
		f, err := os.OpenFile(filepath.Join(w.dir, "journal"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(`{"event":"torn`); err != nil {
			t.Fatal(err)
		}
		f.Close()
		w.fill(true)
		w.start()
		pass(time.Minute)
		w.layers[2].set(func(l *fakeLayer) { l.live = "dead" })
		pass(time.Minute)
		w.is("1", "old", "1")
		w.fill(false)
		w.push("b", "system=2", "pods=2")
		pass(2 * time.Minute)
		w.good("b")
		w.stop()
	})
}

// The journal is bounded while the agent runs, and what is read of it, too.
func TestTheJournalIsBoundedWhileTheAgentRuns(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=1", "pods=1")
		pass(time.Minute)
		why := strings.Repeat("x", 64<<10)
		for range 3 * journalLimit / len(why) {
			if err := w.c.ask(context.Background(), func() error { return w.c.suspend(why) }); err != nil {
				t.Fatal(err)
			}
			if n := len(w.said()); n > journalLimit+2*len(why) {
				t.Fatalf("it has %d bytes", n)
			}
		}
		entries, err := readJournal(filepath.Join(w.dir, "journal"), historyLimit)
		if err != nil || len(entries) == 0 || len(entries) > historyLimit/len(why) {
			t.Errorf("%d entries of the end are read: %v", len(entries), err)
		}
	})
}
