package source

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestPause(t *testing.T) {
	for _, c := range []struct {
		interval time.Duration
		failures int
		chance   float64
		want     time.Duration
	}{
		{30 * time.Second, 0, 0, 27 * time.Second},
		{30 * time.Second, 0, 0.5, 30 * time.Second},
		{30 * time.Second, 0, 1, 33 * time.Second},
		{time.Hour, 0, 0.5, time.Hour},
		{30 * time.Second, 1, 0.5, 30 * time.Second},
		{30 * time.Second, 2, 0.5, time.Minute},
		{30 * time.Second, 4, 0.5, 4 * time.Minute},
		{30 * time.Second, 5, 0.5, 5 * time.Minute},
		{30 * time.Second, 1000, 0.5, 5 * time.Minute},
		{time.Second, 1, 0.5, time.Second},
		{time.Second, 3, 0.5, 4 * time.Second},
		{time.Hour, 1, 0.5, 30 * time.Second}, // nobody waits an hour for a server that was restarted
		{time.Hour, 1000, 1, 330 * time.Second},
	} {
		if got := pause(c.interval, c.failures, c.chance); got != c.want {
			t.Errorf("pause(%v, %d, %v) = %v, want %v", c.interval, c.failures, c.chance, got, c.want)
		}
	}
}

// A run polls in a bubble, where time is exact, and notes when.
func polls(t *testing.T, interval, total time.Duration, results []error, prod func(wake, events chan struct{})) []time.Duration {
	var at []time.Duration
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), total)
		defer cancel()
		wake, events := make(chan struct{}, 1), make(chan struct{}, 1)
		if prod != nil {
			go prod(wake, events)
		}
		start := time.Now()
		every(ctx, interval, events, wake, func(context.Context) error {
			at = append(at, time.Since(start))
			if len(at) <= len(results) {
				return results[len(at)-1]
			}
			return nil
		})
		if got := time.Since(start); got != total {
			t.Errorf("it ended after %v, and its context after %v", got, total)
		}
	})
	return at
}

func within10(t *testing.T, at []time.Duration, gaps ...time.Duration) {
	t.Helper()
	if len(at) == 0 || at[0] != 0 {
		t.Fatalf("polls at %v, want the first at once", at)
	}
	if len(at) != len(gaps)+1 {
		t.Fatalf("polls at %v, want %d more after the first", at, len(gaps))
	}
	for i, want := range gaps {
		if got := at[i+1] - at[i]; got < want*9/10 || got > want*11/10 {
			t.Errorf("poll %d came after %v, want %v ±10 %%", i+1, got, want)
		}
	}
}

func TestPollsComeByInterval(t *testing.T) {
	at := polls(t, 30*time.Second, 91*time.Second, nil, nil)
	within10(t, at[:3], 30*time.Second, 30*time.Second)
	gaps := map[time.Duration]bool{}
	for i, p := range polls(t, time.Minute, time.Hour, nil, nil) {
		gaps[p-time.Duration(i)*time.Minute] = true
	}
	if len(gaps) < 10 {
		t.Errorf("an hour of polls has only %d different distances: a fleet would ask in step", len(gaps))
	}
}

func TestFailuresBackOffAndProblemsDont(t *testing.T) {
	down, wrong, moved := errors.New("connection refused"), problem("no branch"), &refusal{}
	at := polls(t, 30*time.Second, 10*time.Minute, []error{down, down, down, nil}, nil)
	within10(t, at[:5], 30*time.Second, time.Minute, 2*time.Minute, 30*time.Second)
	at = polls(t, 30*time.Second, 10*time.Minute, []error{wrong, wrong, moved, moved, wrong}, nil)
	within10(t, at[:6], 30*time.Second, 30*time.Second, 30*time.Second, 30*time.Second, 30*time.Second)
}

func TestAWakePollsAtOnceAndAPushOnceItSettled(t *testing.T) {
	at := polls(t, time.Hour, 30*time.Minute, []error{errors.New("down")}, func(wake, events chan struct{}) {
		time.Sleep(time.Second)
		wake <- struct{}{}
		time.Sleep(time.Second)
		for range 3 { // the files of one push
			select {
			case events <- struct{}{}:
			default:
			}
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Second)
		wake <- struct{}{}
	})
	want := []time.Duration{0, time.Second, 2*time.Second + settle, 3030 * time.Millisecond}
	if !slices.Equal(at, want) {
		t.Errorf("polls at %v, want %v", at, want)
	}
}

// follow runs s until the test ends, and returns what it tells.
func follow(t *testing.T, s *Source) <-chan Revision {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	told, done := make(chan Revision, 16), make(chan error, 1)
	go func() { done <- s.Run(ctx, func(r Revision) { told <- r }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return told
}

func TestAPushIsSeenWithAnIntervalOfAnHour(t *testing.T) {
	hourly := func(c *Config) { c.Interval = time.Hour }
	t.Run("from the first commit on", func(t *testing.T) {
		o := newOps(t)
		s := open(t, o.bare, hourly)
		told := follow(t, s)
		expect := func(id string) {
			t.Helper()
			if got := (<-told).ID; got != id {
				t.Fatalf("told of %s, want %s", got, id)
			}
		}
		expect(o.push("the branch is created while it is watched"))
		expect(o.push("another"))
		git(t, o.bare, "pack-refs", "--all", "--prune")
		expect(o.push("after packing the refs"))
		git(t, o.bare, "gc", "-q", "--prune=now")
		expect(o.push("after gc"))
		// A poll by someone else: Run tells of it too, once.
		id := o.push("synced by hand")
		poll(t, s, id)
		expect(id)
	})
	t.Run("a branch in a folder", func(t *testing.T) {
		o := newOps(t)
		s := open(t, o.bare, hourly, func(c *Config) { c.Branch = "prod/eu/1" })
		o.push("main")
		told := follow(t, s)
		for s.Status().Error == "" { // until it looked: the folder isn't there yet
			runtime.Gosched()
		}
		for range 2 {
			id := o.commit("one")
			o.git("push", "-q", o.bare, "HEAD:refs/heads/prod/eu/1")
			if got := (<-told).ID; got != id {
				t.Fatalf("told of %s, want %s", got, id)
			}
		}
	})
	t.Run("a repository that was replaced", func(t *testing.T) {
		o := newOps(t)
		s := open(t, o.bare, hourly)
		told := follow(t, s)
		if id := o.push("one"); (<-told).ID != id {
			t.Fatal("the first push wasn't told of")
		}
		git(t, filepath.Dir(o.bare), "clone", "-q", "--bare", "--template=", o.bare, o.bare+".new")
		must(t, os.Rename(o.bare, o.bare+".old"))
		must(t, os.Rename(o.bare+".new", o.bare))
		for range 2 { // the first may have begun before
			last := s.Status().LastPoll
			for s.Wake(); s.Status().LastPoll.Equal(last); {
				runtime.Gosched()
			}
		}
		if id := o.push("two"); (<-told).ID != id {
			t.Fatal("the push to the new one wasn't told of")
		}
	})
}

func TestRunTellsTheTipFirstAndOnlyWhatIsNewThen(t *testing.T) {
	o := newOps(t)
	a := o.push("one")
	s := open(t, o.bare, func(c *Config) { c.Interval = time.Hour })
	poll(t, s, a)
	again := open(t, o.bare, inDir(s.clone.dir), func(c *Config) { c.Interval = time.Hour })
	told := follow(t, again)
	if got := (<-told).ID; got != a {
		t.Fatalf("told of %s first, want the tip %s", got, a)
	}
	for range 5 {
		again.Wake()
		poll(t, again, a)
	}
	b := o.push("two")
	if got := (<-told).ID; got != b {
		t.Errorf("told of %s, want %s", got, b)
	}
	if err := again.Run(t.Context(), nil); err == nil {
		t.Error("a second Run is allowed beside the first")
	}
}
