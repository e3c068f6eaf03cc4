package rollout

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/collie/agent/api"
	"example.org/collie/guix"
)

// A fakeGuix is a layer that others can switch.
type fakeGuix struct{ *fakeLayer }

func (l fakeGuix) SwitchedByOthers(t Target) (Drift, bool) {
	live, since := l.is(), time.Time{}
	l.set(func(l *fakeLayer) { since = l.theirs })
	return Drift{Drift: api.Drift{Generation: len(live), Item: live, Since: since}, Live: l.name + "-" + live}, live != l.value(t)
}

// theirs is a switch by someone else.
func theirs(live string) func(*fakeLayer) {
	return func(l *fakeLayer) { l.live, l.theirs = live, time.Now() }
}

// repair is what a person does to the system at three in the morning.
func (w *world) repair(live string) {
	w.layers[0].set(theirs(live))
	pass(time.Minute)
}

func (w *world) journal(t *testing.T) []entry {
	t.Helper()
	entries, err := readJournal(filepath.Join(w.dir, "journal"), journalLimit)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// events are the journal's entries of these kinds, with their reasons.
func (w *world) events(t *testing.T, kinds ...event) (all []string) {
	t.Helper()
	for _, e := range w.journal(t) {
		if slices.Contains(kinds, e.Event) && (e.Event != evLayer || e.Because != "") {
			all = append(all, string(e.Event)+" "+e.Layer+": "+e.Because)
		}
	}
	return all
}

func TestDriftIsLeftUntilTheNextCommit(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		w.good("a")
		w.repair("repaired")
		w.is("repaired", "1", "1")
		if d := w.state().Drift["system"]; d.Live != "system-repaired" || d.Newest != "a" {
			t.Fatalf("drift of the system: %+v", d)
		}
		w.stop() // a restart leaves it,
		w.start()
		pass(time.Minute)
		w.is("repaired", "1", "1")
		w.push("b", "system=1", "home=1", "pods=2") // a commit that changes only pods too,
		pass(time.Minute)
		w.is("repaired", "1", "2")
		w.good("b")
		w.push("c", "system=1", "home=1", "pods=bad") // and one that is bad.
		pass(time.Minute)
		w.is("repaired", "1", "2")
		w.push("d", "system=2", "home=1", "pods=2") // the next one of the system wins
		pass(time.Minute)
		w.is("2", "1", "2")
		w.good("d")
		if len(w.state().Drift) != 0 {
			t.Errorf("drift is left: %+v", w.state().Drift)
		}
		got := w.events(t, evDrift, evLayer)
		if len(got) != 2 || !strings.HasPrefix(got[0], "drift system: at generation 8, to which someone else") ||
			!strings.HasPrefix(got[1], "layer system: takes back: at generation 8, to which") {
			t.Errorf("the journal tells %q", got)
		}
	})
}

func TestDriftHoldsWhatWasPushedBefore(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		w.layers[1].set(func(l *fakeLayer) { l.refuse["2"] = &TransientError{errors.New("no route to host")} })
		w.push("b", "system=2", "home=2", "pods=1")
		pass(10 * time.Second)
		w.is("1", "1", "1") // it returned, and is tried again later
		w.layers[1].set(func(l *fakeLayer) { delete(l.refuse, "2") })
		w.layers[0].set(theirs("repaired"))
		pass(time.Hour)
		w.is("repaired", "1", "1")
		if got := w.c.look(); !strings.HasPrefix(got.because, "system is at generation 8") || got.wanted.Revision != "a" {
			t.Errorf("wanted is %s, because %s", got.wanted.Revision, got.because)
		}
		if err := w.c.ask(t.Context(), w.c.retry); err != nil { // but a person may ask for it
			t.Fatal(err)
		}
		pass(time.Minute)
		w.is("2", "2", "1")
		w.good("b")
	})
}

func TestWhatIsPushedAfterDriftWinsThoughNobodyLooked(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=1", "home=1", "pods=1")
		pass(47 * time.Second)
		w.layers[0].set(theirs("repaired"))
		pass(time.Second) // no look is due yet
		w.push("b", "system=2", "home=1", "pods=1")
		pass(time.Minute)
		w.is("2", "1", "1")
		w.good("b")
	})
}

func TestDriftIsSeenBeforeARollout(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		if err := w.c.ask(t.Context(), func() error { return w.c.suspend("") }); err != nil {
			t.Fatal(err)
		}
		w.push("b", "system=2", "home=1", "pods=1")
		pass(61 * time.Second) // looks are every half minute, and none is at the very instant of the repair
		w.layers[0].set(theirs("repaired"))
		if err := w.c.ask(t.Context(), w.c.resumeDeploying); err != nil { // at once: nobody has looked since
			t.Fatal(err)
		}
		pass(time.Minute)
		w.is("repaired", "1", "1")
	})
}

func TestProblemsOfDriftAreNoRevisionsFault(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		w.push("b", "system=2", "home=1", "pods=1")
		pass(10 * time.Second) // it soaks
		w.layers[0].set(func(l *fakeLayer) {
			l.live, l.always = "repaired", []Problem{{Subject: "service new", Says: "stopped"}}
		})
		pass(time.Minute)
		w.is("repaired", "1", "1")
		w.good("b")
		w.push("c", "system=2", "home=1", "pods=2")
		pass(time.Minute)
		w.good("c")
		w.is("repaired", "1", "2")
	})
}

func TestDriftThatIsGoneIsForgotten(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		w.repair("repaired")
		w.repair("1")
		if len(w.state().Drift) != 0 {
			t.Errorf("drift is left: %+v", w.state().Drift)
		}
	})
}

func TestDriftIsHealed(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.stop()
		w.heal = true
		w.start()
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		w.repair("repaired")
		w.is("1", "1", "1")
		w.layers[0].set(func(l *fakeLayer) { l.refuse["1"] = errors.New("no"); l.switches = nil })
		w.repair("broken")
		if got := len(w.layers[0].switched()); got != 2 { // at once, and after half a minute
			t.Errorf("healing that fails was tried %d times in a minute, want 2", got)
		}
		w.layers[0].set(func(l *fakeLayer) { delete(l.refuse, "1") })
		pass(10 * time.Minute)
		w.is("1", "1", "1")
		w.good("a")
		var outcomes []string
		for _, d := range history(w.journal(t), nil, time.Now()) {
			outcomes = append(outcomes, d.Outcome)
		}
		if got := strings.Join(outcomes, " "); got != "healed healed good" {
			t.Errorf("history has %s", got)
		}
	})
}

func TestWhatNoRevisionNamesIsNotHealed(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.stop()
		w.heal = true
		w.start()
		w.push("a", "home=1", "pods=1")
		pass(time.Minute)
		w.good("a")
		w.repair("deployed")
		w.is("deployed", "1", "1")
		w.push("b", "system=1", "home=1", "pods=1") // from now on it is Collie's
		pass(time.Minute)
		w.is("1", "1", "1")
		w.repair("repaired")
		w.is("1", "1", "1")
	})
}

func TestRolloutWaitsForOthers(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		others := func(all ...string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.others = nil
			for _, says := range all {
				w.others = append(w.others, Other{Says: says})
			}
		}
		others("guix system reconfigure of root")
		w.push("b", "system=1", "home=1", "pods=2")
		pass(guix.DefaultPatience - time.Minute)
		w.is("1", "1", "1")
		if got := w.c.look().because; got != "waits for guix system reconfigure of root" {
			t.Errorf("because %s", got)
		}
		pass(2 * time.Minute)
		if l := w.state().Later; l == nil || !strings.HasPrefix(l.Why, "waited 20m0s for guix system reconfigure of root") {
			t.Errorf("later: %+v", l)
		}
		others()
		pass(5 * time.Minute)
		w.is("1", "1", "2")
		w.good("b")
	})
}

// `collie retry' takes back what someone else did, though the newest commit is deployed: the plan shows it, and the history.
func TestRetryTakesBackWhatSomeoneElseDid(t *testing.T) {
	for _, row := range []struct {
		name  string
		worse bool // a bad commit came after the deployed one
		again bool // the agent is started again between request and switch
	}{
		{"the newest is deployed", false, false},
		{"the newest is bad", true, false},
		{"a restart comes between", false, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.push("a", "system=1", "home=1", "pods=1")
				pass(time.Minute)
				if row.worse {
					w.push("b", "system=1", "home=1", "pods=bad")
					pass(time.Minute)
				}
				w.repair("repaired")
				pass(time.Hour)
				w.is("repaired", "1", "1")
				plan := w.plan(w.c, "")
				if !plan.Pending() || len(plan.Layers) != 1 || plan.Layers[0].Changes[0].Does != "take back" || !strings.Contains(plan.Because, "collie retry") {
					t.Errorf("the plan is %+v", plan)
				}
				if row.again {
					w.layers[0].set(func(l *fakeLayer) { l.refuse["1"] = errors.New("no") })
				}
				if err := w.c.ask(t.Context(), w.c.retry); err != nil {
					t.Fatal(err)
				}
				pass(5 * time.Second)
				if row.again {
					w.stop()
					w.layers[0].set(func(l *fakeLayer) { delete(l.refuse, "1") })
					w.start()
				}
				pass(5 * time.Minute)
				w.is("1", "1", "1")
				w.good("a")
				s := w.state()
				if len(s.Drift) > 0 || !row.worse && len(s.Bad) > 0 {
					t.Errorf("drift %+v, bad %+v", s.Drift, s.Bad)
				}
				h := w.history()
				if i := slices.IndexFunc(h, func(d api.Deployment) bool { return d.Outcome == "healed" }); i < 0 || !strings.Contains(h[i].Reason, "someone else") {
					t.Errorf("history: %+v", h)
				}
				w.repair("repaired")
				pass(time.Hour)
				w.is("repaired", "1", "1") // the request was for the one before
			})
		})
	}
}
