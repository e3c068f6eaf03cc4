package podman

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// What Kubernetes does with a container that ends again and again: a few times at once, then 10 s later, 20, 40, … 5 min.
func TestAContainerThatEndsAgainAndAgainIsHeldLongerEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b crashLoops
		c := container{ID: "c", State: "running", Labels: map[string]string{labelOwner: owner, labelObject: "Pod/web"}}
		see := func() {
			b.see(map[string]*livePod{"web-1": {name: "web-1", labels: c.Labels, containers: []container{c}}}, time.Now())
		}
		crash := func() (held time.Duration) {
			c.Restarts++
			c.StartedAt = time.Now().Unix()
			see()
			if b.next() == "" {
				return 0
			}
			held = time.Until(b.of["c"].until)
			c.State = "exited"
			for b.holds("c", time.Now()) != "" {
				time.Sleep(time.Second)
				see() // a look takes no part of it away
				if b.next() != "" {
					t.Fatal("it is held twice")
				}
			}
			c.State, c.Restarts, c.StartedAt = "running", 0, time.Now().Unix() // as a start by hand does
			see()
			return held
		}
		var held []time.Duration
		for range 11 {
			held = append(held, crash())
		}
		s := time.Second
		if want := []time.Duration{0, 0, 10 * s, 20 * s, 40 * s, 80 * s, 160 * s, 300 * s, 300 * s, 300 * s, 300 * s}; !slices.Equal(held, want) {
			t.Errorf("held for %v, want %v", held, want)
		}
		if !b.knows(&livePod{containers: []container{c}}) {
			t.Error("it isn't known to have been held")
		}
		time.Sleep(wellAfter + time.Second)
		see()
		if b.knows(&livePod{containers: []container{c}}) {
			t.Error("it ran well, and is still known")
		}
		for i := range 2 {
			if held := crash(); held != 0 {
				t.Errorf("after it ran well, crash %d holds it for %v", i, held)
			}
		}
	})
}

func TestSlowCrashesAndJobsAreNotHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for object, apart := range map[string]time.Duration{"Pod/web": 11 * time.Minute, "Job/once": 0} {
			var b crashLoops
			c := container{ID: "c", State: "running", Labels: map[string]string{labelOwner: owner, labelObject: object}, StartedAt: time.Now().Unix()}
			for range 20 {
				time.Sleep(apart)
				see := func() {
					b.see(map[string]*livePod{"x-1": {name: "x-1", labels: c.Labels, containers: []container{c}}}, time.Now())
				}
				see()
				c.Restarts++
				c.StartedAt = time.Now().Unix()
				see()
				if b.next() != "" {
					t.Fatalf("%s is held after %d restarts", object, c.Restarts)
				}
			}
		}
	})
}
