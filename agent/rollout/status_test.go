package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.org/collie/agent/api"
	"example.org/collie/agent/source"
)

// A listingLayer has pods and Jobs to show.
type listingLayer struct {
	*fakeLayer
	err *error // of Podman
}

func (l listingLayer) Pods(_ context.Context, t Target) ([]api.Pod, error) {
	return []api.Pod{{Name: "web", Ready: true, Revision: t.Revision}}, *l.err
}

func (listingLayer) Jobs(Target) ([]api.Job, []api.CronJob, error) {
	return []api.Job{{Name: "migrate", State: "completed", Tries: 1}}, []api.CronJob{{Name: "backup", Schedule: "@daily"}}, nil
}

// status is what a program sees: after JSON, so that what is missing there is noticed.
func (w *world) status(t *testing.T, a *Conductor) (s api.Status) {
	t.Helper()
	s = a.Status(t.Context())
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range []string{"layers", "pods", "failed", "problems"} {
		if strings.Contains(string(b), `"`+list+`":null`) {
			t.Errorf("%s is null, want a list", list)
		}
	}
	return s
}

func TestStatusTellsAllOfARollout(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.c
		pass(time.Second)
		s := w.status(t, a)
		if s.Phase != "idle" || s.Revisions != (api.Revisions{Current: Baseline, Good: Baseline}) || len(s.Layers) != 3 || !s.Layers[0].InSync {
			t.Errorf("before the first commit: %+v", s)
		}

		block := make(chan struct{})
		w.layers[0].mu.Lock()
		w.layers[0].block = block
		w.layers[0].mu.Unlock()
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		s = w.status(t, a)
		if p := s.Preparing; p == nil || p.Revision != "a" || time.Since(p.Since) != time.Minute || p.Error != "" || s.Revisions.Newest != "a" {
			t.Errorf("preparing: %+v", s)
		}
		close(block)
		pass(3*time.Second + testSoak/2)
		s = w.status(t, a)
		if want := (api.Revisions{Newest: "a", Current: "a", Good: Baseline}); s.Phase != "soaking" || s.Revisions != want || s.Wanted.Revision != "a" || s.Wanted.Because == "" {
			t.Errorf("soaking: %+v", s)
		}
		pass(testSoak)
		s = w.status(t, a)
		if want := (api.Revisions{Newest: "a", Current: "a", Good: "a"}); s.Phase != "idle" || s.Revisions != want || s.Preparing != nil || len(s.Problems) != 0 {
			t.Errorf("good: %+v", s)
		}
		for _, l := range s.Layers {
			if !l.InSync || l.Error != "" || len(l.Changes) != 0 {
				t.Errorf("good, and layer %+v isn't in sync", l)
			}
		}
		if want := []api.Pod{{Name: "web", Ready: true, Revision: "a"}}; !reflect.DeepEqual(s.Pods, want) {
			t.Errorf("pods %+v, want %+v", s.Pods, want)
		}

		w.push("b", "system=bad b", "home=1", "pods=1")
		pass(time.Second)
		if s = w.status(t, a); len(s.Failed) != 1 || s.Failed[0].Revision != "b" || s.Failed[0].Reason != "system:1: bad b" || s.Failed[0].At.IsZero() {
			t.Errorf("failed: %+v", s.Failed)
		}
		w.push("c", "system=unreachable", "home=1", "pods=1")
		pass(time.Second)
		w.layers[0].mu.Lock()
		w.layers[0].live, w.layers[0].always = "by hand", []Problem{{Subject: "service ntpd", Says: "stopped"}}
		w.layers[0].mu.Unlock()
		pass(40 * time.Second)
		s = w.status(t, a)
		if len(s.Failed) != 0 {
			t.Errorf("failed, though a newer commit came: %+v", s.Failed)
		}
		if p := s.Preparing; p == nil || p.Revision != "c" || p.Error != "unreachable" || !p.Retry.After(time.Now()) {
			t.Errorf("tried again: %+v", p)
		}
		if l := s.Layers[0]; l.InSync || len(l.Changes) != 1 || l.Changes[0].Says != "by hand → 1" {
			t.Errorf("drift: %+v", l)
		}
		if want := []Problem{{Layer: "system", Subject: "service ntpd", Says: "stopped"}}; !reflect.DeepEqual(s.Problems, want) {
			t.Errorf("problems %+v, want %+v", s.Problems, want)
		}
	})
}

func TestStatusComesThoughPodmanDoesNot(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.c
		w.silent = errors.New("Podman doesn't answer")
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		if s := w.status(t, a); !slices.Equal(s.Notes, []string{"pods: Podman doesn't answer"}) || s.Revisions.Good != "a" {
			t.Errorf("status %+v", s)
		}
		w.silent = nil
		w.push("b", "system=2")
		pass(time.Minute)
		if s := w.status(t, a); !slices.Equal(s.Notes, []string{"home: revision b doesn't name it; it is left alone", "pods: revision b doesn't name it; it is left alone"}) {
			t.Errorf("layers that a revision doesn't name: notes %q", s.Notes)
		}
	})
}

// Notes on a revision's files are shown also while it is bad, until another is prepared.
func TestStatusHasTheNotesOfALayout(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.c
		const left, signed = "home.scm~: is left out", ".guix-authorizations: signatures aren't checked yet"
		for _, step := range []struct {
			commit string
			files  []string
			want   []string
		}{
			{"a", []string{"notes=" + left + "," + signed}, []string{left, signed}},
			{"b", nil, nil},
			{"c", []string{"notes=" + left, "wrong=collie.yaml:1: no"}, []string{left}}, // a bad one
			{"d", nil, nil},
		} {
			w.push(step.commit, append(step.files, "system=1", "home=1", "pods=1")...)
			pass(time.Minute)
			if s := w.status(t, a); !slices.EqualFunc(s.Notes, step.want, strings.HasPrefix) {
				t.Errorf("%s: notes %q, want %q", step.commit, s.Notes, step.want)
			}
		}
	})
}

// What a later commit took back is in the history alone.
func TestStatusTellsMistakesOfTheNewestOnly(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.c
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		w.layers[2].set(func(l *fakeLayer) { l.ill["2"] = 0 })
		for _, step := range []struct {
			commit, system, pods string
			failed               []string
		}{
			{"b", "bad", "1", []string{"b rejected"}},
			{"c", "1", "2", []string{"c rolled back"}}, // in the soak
			{"d", "bad", "bad", []string{"d rejected"}},
			{"e", "1", "1", nil},
			{"f", "bad", "1", []string{"f rejected"}},
			{"g", "3", "1", nil},
		} {
			w.push(step.commit, "system="+step.system, "home=1", "pods="+step.pods)
			pass(2 * time.Minute)
			var failed []string
			for _, f := range w.status(t, a).Failed {
				failed = append(failed, f.Revision+" "+f.Outcome)
			}
			if !slices.Equal(failed, step.failed) {
				t.Errorf("after %s the status has %q as failed, want %q", step.commit, failed, step.failed)
			}
		}
		if all := w.state().Bad; len(all) != 4 {
			t.Errorf("it forgot some: %v", all)
		}
	})
}

// What is held waits for a person, or a window: `collie sync --wait` ends then. What another reason keeps from being switched to isn't.
func TestStatusTellsWhatIsHeld(t *testing.T) {
	for _, row := range []struct {
		name   string
		closed bool
		push   []string
		want   string
	}{
		{"no window is open", true, []string{"a"}, "outside its windows: the next opens "},
		{"one is", false, []string{"a"}, ""},
		{"nothing is newer", true, nil, ""},
		{"suspended", true, []string{"a", "suspend"}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				if row.closed {
					now := time.Now()
					window, err := parseWindow("daily " + now.Add(2*time.Hour).Format("15:04") + "-" + now.Add(3*time.Hour).Format("15:04"))
					if err != nil {
						t.Fatal(err)
					}
					w.windows = []Window{window}
				}
				w.start()
				defer w.stop()
				a := w.c
				for _, what := range row.push {
					if what != "suspend" {
						w.push(what, "system=1")
					} else if err := a.Suspend(t.Context(), "holidays"); err != nil {
						t.Fatal(err)
					}
					pass(time.Minute)
				}
				if s := w.status(t, a); !strings.HasPrefix(s.Held, row.want) || row.want == "" && s.Held != "" {
					t.Errorf("held: %q, want %q; wanted because: %s", s.Held, row.want, s.Wanted.Because)
				}
			})
		})
	}
}

func TestStatusSaysStuck(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.c
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		for i, value := range map[int]string{2: "2", 1: "1"} {
			w.layers[i].mu.Lock()
			w.layers[i].refuse[value] = fmt.Errorf("%s won't", w.layers[i].name)
			w.layers[i].mu.Unlock()
		}
		w.push("b", "system=2", "home=2", "pods=2")
		pass(2 * time.Minute)
		s := w.status(t, a)
		i := slices.IndexFunc(s.Problems, func(p Problem) bool { return p.Subject == "collie" })
		if s.Phase != "stuck" || i < 0 || !strings.HasPrefix(s.Problems[i].Says, "stuck: ") || !strings.Contains(s.Problems[i].Says, "home won't") {
			t.Errorf("status %+v", s)
		}
	})
}

func TestPlanIsWhatWaits(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.c
		ask := func(name string, want api.Plan) {
			t.Helper()
			got, err := a.Plan(t.Context(), "")
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %+v (%v), want %+v", name, got, err, want)
			}
		}
		nothing := api.Plan{Layers: []api.PlanLayer{}}
		ask("at first", nothing)
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		ask("deployed", nothing)
		if err := a.Suspend(t.Context(), "disks"); err != nil {
			t.Fatal(err)
		}
		w.push("b", "system=1", "pods=2")
		pass(time.Second)
		ask("suspended", api.Plan{Revision: "b", Because: "suspended: disks", Layers: []api.PlanLayer{
			{Name: "system", Changes: []Change{}},
			{Name: "pods", Changes: []Change{{Does: "update", Subject: "pods", Says: "1 → 2", Cost: api.CostRunning}}},
		}})
		if err := a.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		ask("resumed", nothing)
		if past, err := a.Deployments(); err != nil || len(past) != 2 || past[0].Revision != "b" || past[0].Outcome != "good" {
			t.Errorf("history %+v (%v)", past, err)
		} else if want := map[string][]Change{"pods": {{Does: "update", Subject: "pods", Says: "1 → 2"}}}; !reflect.DeepEqual(past[0].Changes, want) {
			t.Errorf("b changed %v, want %v", past[0].Changes, want)
		}
		w.push("c", "system=bad c", "pods=2")
		pass(time.Second)
		ask("after a bad one", nothing)
	})
}

func TestRetryTriesABadRevisionAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.c
		w.push("a", "system=1", "pods=1")
		pass(time.Minute)
		refuse := func(err error) {
			w.layers[2].mu.Lock()
			defer w.layers[2].mu.Unlock()
			w.layers[2].refuse["2"] = err
		}
		refuse(errors.New("no"))
		w.push("b", "system=2", "pods=2")
		pass(time.Hour)
		w.is("1", "old", "1")
		refuse(nil)
		if err := a.Retry(t.Context()); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		w.is("2", "old", "2")
		w.good("b")
		if s := w.status(t, a); len(s.Failed) != 0 {
			t.Errorf("failed: %+v", s.Failed)
		}
		var outcomes []string
		past, err := a.Deployments()
		for _, d := range past {
			outcomes = append(outcomes, fmt.Sprint(d.Revision, " ", d.Outcome, " ", d.Author, " ", len(d.Changes)))
		}
		if want := []string{"b good ann 2", "b rolled back ann 2", "a good ann 2"}; err != nil || !slices.Equal(outcomes, want) {
			t.Errorf("history %q (%v), want %q", outcomes, err, want)
		}
	})
}

// Whoever asks while the agent ends is told to ask again, and isn't left waiting.
func TestWhatIsAskedOfAnAgentThatEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		a := w.c
		w.stop()
		for name, err := range map[string]error{
			"suspend": a.Suspend(t.Context(), ""), "resume": a.Resume(t.Context()), "retry": a.Retry(t.Context()),
		} {
			if !errors.Is(err, api.ErrStopping) {
				t.Errorf("%s: %v", name, err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		c := &Conductor{calls: make(chan func()), gone: make(chan struct{})}
		if err := c.ask(ctx, func() error { return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("asked by somebody who left: %v", err)
		}
	})
}

// What was answered is what the next status tells: `collie sync --wait` relies on it.
func TestAnAnswerComesAfterItsStatus(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.c
		for i := range 10 {
			why := fmt.Sprint(i)
			if err := a.Suspend(t.Context(), why); err != nil {
				t.Fatal(err)
			}
			if s := w.c.look().state; s.Suspended == nil || s.Suspended.Why != why {
				t.Fatalf("suspended for %q, and the status tells %+v", why, s.Suspended)
			}
			if err := w.c.ask(t.Context(), func() error { w.c.newest(source.Revision{ID: why}); return nil }); err != nil {
				t.Fatal(err)
			}
			if s := w.c.look().state; s.Newest.ID != why {
				t.Fatalf("the newest is %q, and the status tells %q", why, s.Newest.ID)
			}
		}
	})
}

func TestABadRevisionIsForgottenAtLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Conductor{}
		for i := range 150 {
			c.markBad(fmt.Sprint(i), "no")
			time.Sleep(time.Second)
		}
		if n := len(c.state.Bad); n != 100 {
			t.Errorf("%d are remembered, want 100", n)
		}
		if c.state.bad("49") != nil || c.state.bad("50") == nil || c.state.bad("149") == nil {
			t.Error("it isn't the oldest that were forgotten")
		}
	})
}

func TestLaterIsLaterEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l *backoff
		var waits []time.Duration
		for range 12 {
			l = l.again("a", "no route")
			waits = append(waits, time.Until(l.Next))
		}
		s, m := time.Second, time.Minute
		if want := []time.Duration{30 * s, 1 * m, 2 * m, 4 * m, 8 * m, 16 * m, 30 * m, 30 * m, 30 * m, 30 * m, 30 * m, 30 * m}; !slices.Equal(waits, want) {
			t.Errorf("tried again after %v, want %v", waits, want)
		}
		if l = l.again("b", "no route"); l.Attempts != 1 || time.Until(l.Next) != 30*s {
			t.Errorf("another revision: %+v", l)
		}
	})
}

func TestOfferKeepsTheLatest(t *testing.T) {
	a := &Conductor{source: make(chan source.Revision, 1)}
	for _, id := range []string{"a", "b", "c"} {
		a.Offer(source.Revision{ID: id})
	}
	if rev := <-a.source; rev.ID != "c" {
		t.Errorf("the mailbox has %s, want c", rev.ID)
	}
	select {
	case rev := <-a.source:
		t.Errorf("the mailbox has %s too", rev.ID)
	default:
	}
}

// Between the end of a preparation and what is written down of it, whoever waits isn't told that nothing goes on.
func TestTheNewestIsPreparedUntilItIsKnownHowItEnded(t *testing.T) {
	newest := source.Revision{ID: strings.Repeat("a", 40)}
	for name, row := range map[string]struct {
		state State
		want  bool
	}{
		"nothing was pushed": {State{}, false},
		"it just came":       {State{Newest: newest}, true},
		"it is prepared":     {State{Newest: newest, Prepared: Set{Revision: newest.ID}}, false},
		"an older one is":    {State{Newest: newest, Prepared: Set{Revision: "b"}}, true},
		"it is bad":          {State{Newest: newest, Bad: map[string]failure{newest.ID: {}}}, false},
	} {
		if got := new(preparer).status(row.state); (got != nil) != row.want {
			t.Errorf("%s: preparing %+v, want any: %v", name, got, row.want)
		}
	}
}

// An agent that replaced itself says how its layers are, and not that it doesn't know yet.
func TestANewLifeIsAskedAtOnce(t *testing.T) {
	for _, row := range []struct {
		name   string
		takes  time.Duration // the first look
		inSync bool
	}{
		{"a look of two seconds", 2 * time.Second, true},
		{"one without an end", time.Hour, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.start()
				w.push("a", "system=1", "home=1", "pods=1")
				pass(time.Minute)
				w.stop()
				w.begins, w.pods = true, func(l *fakeLayer) Layer { return tardyLayer{l, row.takes} }
				w.start()
				defer w.stop()
				begun := time.Now()
				s := w.c.Status(t.Context())
				if pods := s.Layers[2]; pods.InSync != row.inSync || time.Since(begun) > sightLimit {
					t.Errorf("after %v: %+v", time.Since(begun), pods)
				}
				begun = time.Now()
				if s := w.c.Status(t.Context()); s.Layers[2].InSync != row.inSync || time.Since(begun) > 0 {
					t.Errorf("asked again, after %v: %+v", time.Since(begun), s.Layers[2])
				}
			})
		})
	}
}

// A tardyLayer takes its time for each comparison.
type tardyLayer struct {
	*fakeLayer
	takes time.Duration
}

func (l tardyLayer) Diff(ctx context.Context, t Target) ([]Change, error) {
	select {
	case <-time.After(l.takes):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return l.fakeLayer.Diff(ctx, t)
}
