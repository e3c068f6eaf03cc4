package rollout

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"example.org/collie/agent/waits"
)

// A tellingLayer tells what happens to it.
type tellingLayer struct {
	*fakeLayer
	woken chan struct{}
	blind error
}

func (l tellingLayer) Run(ctx context.Context) { <-ctx.Done() }

func (l tellingLayer) Woken() <-chan struct{} { return l.woken }

func (l tellingLayer) Sees() error { return l.blind }

func (l tellingLayer) wake() {
	select {
	case l.woken <- struct{}{}:
	default:
	}
}

// keeping runs a keeper of l; the times of its looks, since it began, come on the channel.
func keeping(t *testing.T, l tellingLayer) (looks func() []time.Duration) {
	t.Helper()
	target, err := Encode("pods", "pods-a", "r", "a")
	if err != nil {
		t.Fatal(err)
	}
	reports := make(chan report)
	k := &keeper{mark: unmarked,
		Part: Part{Name: "pods", Layer: l, Heals: true}, log: slog.New(slog.DiscardHandler), orders: make(chan order, 1),
		asked: make(chan func(context.Context)), reports: reports, target: target, every: 5 * time.Second,
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	var all []time.Duration
	begun := time.Now()
	go func() {
		defer close(reports)
		k.run(ctx)
	}()
	go func() {
		defer close(done)
		for r := range reports {
			all = append(all, r.at.Sub(begun))
		}
	}()
	return func() []time.Duration {
		stop()
		<-done
		return all
	}
}

func TestLooksAreRareWhileALayerIsWellAndTells(t *testing.T) {
	for _, c := range []struct {
		name  string
		layer tellingLayer
		want  time.Duration // between two looks
	}{
		{"well and telling", tellingLayer{fakeLayer: &fakeLayer{live: "a"}}, calm},
		{"not telling", tellingLayer{fakeLayer: &fakeLayer{live: "a"}, blind: errors.New("a link is in the way")}, 5 * time.Second},
		{"ill", tellingLayer{fakeLayer: &fakeLayer{live: "a", always: []Problem{{Subject: "pod web"}}}}, 5 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				looks := keeping(t, c.layer)
				time.Sleep(2*c.want + time.Millisecond)
				if got := looks(); !slices.Equal(got, []time.Duration{0, c.want, 2 * c.want}) {
					t.Errorf("looks at %v", got)
				}
			})
		})
	}
}

// What nobody tells of, as a Podman that its user broke, is looked at soon enough to be in the status within a minute.
func TestWhatNobodyTellsIsShownWithinAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks := keeping(t, tellingLayer{fakeLayer: &fakeLayer{live: "a"}})
		time.Sleep(time.Minute)
		if all := looks(); len(all) != 2 || all[1] > time.Minute-waits.Long-time.Second {
			t.Errorf("looks at %v", all)
		}
	})
}

func TestAStormCostsALookEachBounce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := tellingLayer{fakeLayer: &fakeLayer{live: "a"}, woken: make(chan struct{}, 1)}
		looks := keeping(t, l)
		time.Sleep(time.Second)
		for range 100 {
			l.wake()
			time.Sleep(10 * time.Millisecond)
		}
		synctest.Wait()
		all := looks()
		if first := all[1]; first != time.Second+wakeBounce {
			t.Errorf("the first look is at %v: a storm puts it off", first)
		}
		if len(all) < 5 || len(all) > 6 {
			t.Errorf("a storm of a second costs looks at %v", all[1:])
		}
	})
}

// A system may take minutes to switch: its services stop and start.
func TestPodsAreHealedWhileTheSystemSwitches(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		w.good("a")
		goOn := make(chan struct{})
		w.layers[0].set(func(l *fakeLayer) {
			l.onSwitch = func(when string) {
				if when == "within" {
					<-goOn
				}
			}
		})
		w.push("b", "system=2", "home=1", "pods=1")
		pass(time.Minute)
		w.is("half 2", "1", "1")
		w.layers[2].set(func(l *fakeLayer) { l.live = "stopped by somebody" })
		pass(time.Minute)
		w.is("half 2", "1", "1")
		close(goOn)
		pass(time.Minute)
		w.is("2", "1", "1")
		w.good("b")
	})
}

func TestWhatWasHealedIsLookedAtAgainSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := tellingLayer{fakeLayer: &fakeLayer{live: "b"}}
		looks := keeping(t, l)
		time.Sleep(calm)
		all := looks()
		if len(l.switches) != 1 || len(all) < 2 || all[1] > 10*time.Second {
			t.Errorf("healed %q, looks at %v", l.switches, all)
		}
	})
}

// A stoppedLayer is a home whose Shepherd runs while running is set, and as soon as it is switched.
type stoppedLayer struct {
	*fakeLayer
	running bool
	starts  int
}

func (l *stoppedLayer) Diff(context.Context, Target) ([]Change, error) {
	if l.running {
		return nil, nil
	}
	return []Change{{Does: "start", Subject: "Shepherd of ann", Says: "it doesn't run"}}, nil
}

func (l *stoppedLayer) Switch(context.Context, Target) error {
	l.running = true
	l.starts++
	return nil
}

func (l *stoppedLayer) Stopped(changes []Change) bool {
	return len(changes) == 1 && changes[0].Does == "start"
}

func TestWhatABootStoppedIsStartedAndWhatARevisionStoppedIsNot(t *testing.T) {
	for _, row := range []struct {
		name     string
		revision string
		rollout  bool
		looked   bool
		want     int
	}{
		{"after a boot", "r", false, false, 1},
		{"after a boot in a rollout", "r", true, false, 1},
		{"it died", "r", false, true, 1},
		{"it died in a rollout", "r", true, true, 0},
		{"nobody's revision", Baseline, false, false, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			target, err := Encode("home:ann", "home-a", row.revision, "a")
			if err != nil {
				t.Fatal(err)
			}
			l := &stoppedLayer{fakeLayer: &fakeLayer{name: "home:ann"}}
			k := &keeper{mark: unmarked, Part: Part{Name: "home:ann", Layer: l}, log: slog.New(slog.DiscardHandler), target: target, looked: row.looked}
			if row.rollout {
				k.since = time.Now()
			}
			r := k.look(t.Context())
			if l.starts != row.want || r.healed != (row.want > 0) {
				t.Errorf("started %d times, healed %v, want %d", l.starts, r.healed, row.want)
			}
		})
	}
}

// Healing that has to wait, as another layer is switched, is done by a later look, in a rollout too.
func TestHealingThatWaitsIsStillDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		target, err := Encode("home:ann", "home-a", "r", "a")
		if err != nil {
			t.Fatal(err)
		}
		l := &stoppedLayer{fakeLayer: &fakeLayer{name: "home:ann"}}
		busy := &busyOnce{stoppedLayer: l}
		k := &keeper{mark: unmarked, Part: Part{Name: "home:ann", Layer: busy}, log: slog.New(slog.DiscardHandler), target: target, since: time.Now()}
		if r := k.look(t.Context()); r.err == nil || r.healed || l.starts != 0 {
			t.Errorf("while another is switched: %v, healed %v, started %d times", r.err, r.healed, l.starts)
		}
		time.Sleep(retryMost)
		if r := k.look(t.Context()); r.err != nil || !r.healed || l.starts != 1 {
			t.Errorf("later: %v, healed %v, started %d times", r.err, r.healed, l.starts)
		}
	})
}

type busyOnce struct {
	*stoppedLayer
	asked bool
}

func (l *busyOnce) Heal(ctx context.Context, t Target) error {
	if !l.asked {
		l.asked = true
		return &TransientError{errors.New("another layer is switched")}
	}
	return l.Switch(ctx, t)
}

// A standingLayer stands on something that is broken until it is repaired.
type standingLayer struct {
	*fakeLayer
	broken  string
	refuses error
}

func (l *standingLayer) Broken() string { return l.broken }

func (l *standingLayer) Repair(context.Context) error {
	if l.refuses == nil {
		l.broken = ""
	}
	return l.refuses
}

func (l *standingLayer) Problems(context.Context, Target, time.Time) ([]Problem, error) {
	if l.broken == "" {
		return nil, nil
	}
	return []Problem{{Subject: "network of pods", Says: l.broken}}, nil
}

func TestWhatALayerStandsOnIsToldThenRepairedThenToldAgain(t *testing.T) {
	for _, row := range []struct {
		name    string
		broken  string
		refuses error
		want    []string // of each report: healing, whether it is healed, how many problems
	}{
		{"all is well", "", nil, []string{" false 0"}},
		{"repaired", "no names", nil, []string{"no names false 1", "no names true 0"}},
		{"not repaired", "no names", errors.New("no"), []string{"no names false 1", " false 1"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			target, err := Encode("pods", "pods-a", "r", "a")
			if err != nil {
				t.Fatal(err)
			}
			l := &standingLayer{&fakeLayer{name: "pods", live: "a"}, row.broken, row.refuses}
			reports := make(chan report, 2)
			k := &keeper{mark: unmarked, Part: Part{Name: "pods", Layer: l, Heals: true}, log: slog.New(slog.DiscardHandler), reports: reports, target: target}
			reports <- k.look(t.Context())
			close(reports)
			var got []string
			for r := range reports {
				got = append(got, fmt.Sprint(r.healing, " ", r.healed, " ", len(r.problems)))
			}
			if !slices.Equal(got, row.want) {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}
