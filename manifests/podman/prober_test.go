package podman

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.org/collie/manifests"
)

// A patient is a pod with one container that is asked, and what it answers.
type patient struct {
	pr    *prober
	r     Rendered
	live  *livePod
	mu    sync.Mutex
	asked []time.Duration // since the beginning
	ended []time.Duration
	woken int
	begun time.Time
	fails func(*manifests.Probe) error
}

func newPatient(t *testing.T, probes manifests.Probes) *patient {
	probes.Container = "c"
	for _, p := range []*manifests.Probe{probes.Startup, probes.Liveness, probes.Readiness} {
		if p != nil {
			p.Period, p.Timeout = max(p.Period, 1), max(p.Timeout, 1)
			p.Successes, p.Failures = max(p.Successes, 1), max(p.Failures, 1)
		}
	}
	x := &patient{pr: newProber(), begun: time.Now(), fails: func(*manifests.Probe) error { return nil },
		r: Rendered{Pods: []RenderedPod{{Name: "web", Hash: "11111111", Probes: []manifests.Probes{probes}}}}}
	x.pr.ask = func(_ context.Context, _ life, p *manifests.Probe) error {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.asked = append(x.asked, time.Since(x.begun))
		return x.fails(p)
	}
	x.pr.end = func(context.Context, life, time.Duration) error {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.ended = append(x.ended, time.Since(x.begun))
		return nil
	}
	x.pr.wake = func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.woken++
	}
	x.pr.follow(x.r)
	x.start(1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { x.pr.agenda.run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	return x
}

// start gives the container another life.
func (x *patient) start(pid int) {
	x.live = livePodWith("web-11111111", 0, nil)
	x.live.infra.Pid = 99
	x.live.containers = []container{{ID: "c", Names: []string{"web-11111111-c"}, State: "running", Pid: pid, StartedAt: time.Now().Unix()}}
	x.look()
}

func (x *patient) look() { x.pr.see(map[string]*livePod{"web-11111111": x.live}) }

func (x *patient) answer(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.fails = func(*manifests.Probe) error { return err }
}

func (x *patient) questions() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.asked)
}

func (x *patient) ends() []time.Duration {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.ended)
}

func wait(d time.Duration) { time.Sleep(d); synctest.Wait() }

func (x *patient) unready() string {
	why, known := x.pr.unready("web-11111111")
	if !known {
		return "unknown: " + why
	}
	return why
}

var get = manifests.HTTPProbe{Port: 80, Path: "/x"}

func TestReadiness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newPatient(t, manifests.Probes{Readiness: &manifests.Probe{HTTPGet: &get, Delay: 2, Period: 3, Successes: 2, Failures: 2}})
		x.answer(errors.New("no"))
		same := func(when, want string) {
			t.Helper()
			if got := x.unready(); got != want {
				t.Errorf("%s: %q, want %q", when, got, want)
			}
		}
		same("before the delay is over", "unknown: container c isn't ready: GET /x on port 80: it wasn't asked yet")
		wait(2 * time.Second)
		same("it fails once", "unknown: container c isn't ready: GET /x on port 80: no")
		wait(3 * time.Second)
		same("it fails twice", "container c isn't ready: GET /x on port 80: no")
		x.answer(nil)
		wait(3 * time.Second)
		same("it passed once of twice", "container c isn't ready: GET /x on port 80: no")
		wait(3 * time.Second)
		same("it passed twice", "")
		x.answer(errors.New("not now"))
		wait(3 * time.Second)
		same("it failed once of twice", "")
		wait(3 * time.Second)
		same("it failed twice", "container c isn't ready: GET /x on port 80: not now")
		if len(x.ends()) > 0 || x.woken < 2 {
			t.Errorf("ended %v, woken %d times", x.ends(), x.woken)
		}
		x.start(2)
		same("in its next life", "unknown: container c isn't ready: GET /x on port 80: it wasn't asked yet")
	})
}

func TestLivenessEndsAContainerOncePerLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newPatient(t, manifests.Probes{Liveness: &manifests.Probe{TCPSocket: &manifests.TCPProbe{Port: 80}, Period: 5, Failures: 3}})
		wait(20 * time.Second)
		x.answer(errors.New("refused"))
		wait(16 * time.Second)
		if len(x.ends()) != 1 || x.ends()[0] != 35*time.Second {
			t.Fatalf("ended after %v", x.ends())
		}
		asked := x.questions()
		wait(time.Minute)
		if x.questions() != asked || len(x.ends()) != 1 {
			t.Error("what was ended is asked again")
		}
		x.start(2)
		wait(16 * time.Second)
		if len(x.ends()) != 2 {
			t.Errorf("its next life isn't ended: %v", x.ends())
		}
	})
}

func TestOthersWaitForTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		startup := &manifests.Probe{Exec: &manifests.ExecProbe{Command: []string{"up"}}, Period: 1, Failures: 5}
		x := newPatient(t, manifests.Probes{Startup: startup, Liveness: &manifests.Probe{HTTPGet: &get, Period: 1}, Readiness: &manifests.Probe{HTTPGet: &get, Period: 1}})
		x.mu.Lock()
		x.fails = func(p *manifests.Probe) error {
			if p.Exec == nil {
				t.Error("another was asked before the start")
			}
			return errors.New("exit code 1")
		}
		x.mu.Unlock()
		wait(3 * time.Second)
		if got := x.unready(); got != "unknown: container c hasn't started: exec up: exit code 1" {
			t.Error(got)
		}
		x.answer(nil)
		wait(2 * time.Second)
		if got := x.unready(); got != "" {
			t.Error(got)
		}
		x.start(2)
		x.answer(errors.New("exit code 1"))
		wait(10 * time.Second)
		if len(x.ends()) != 1 {
			t.Errorf("a start that fails ends the container: %v", x.ends())
		}
	})
}

func TestAPodThatIsBeingStoppedIsAskedNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newPatient(t, manifests.Probes{Liveness: &manifests.Probe{HTTPGet: &get, Period: 1}})
		wait(3 * time.Second)
		x.pr.leave("web-11111111")
		asked := x.questions()
		x.answer(errors.New("no"))
		x.look()
		wait(time.Minute)
		if x.questions() != asked || len(x.ends()) > 0 {
			t.Errorf("asked %d times more, ended %v", x.questions()-asked, x.ends())
		}
		x.answer(nil)
		x.pr.come("web-11111111")
		x.look()
		wait(3 * time.Second)
		if x.questions() == asked {
			t.Error("it runs again, and isn't asked")
		}
		x.pr.follow(Rendered{}) // it left the repository, and goes on until it is stopped
		asked = x.questions()
		wait(3 * time.Second)
		if x.questions() == asked {
			t.Error("it isn't asked while it goes on")
		}
		x.live.containers[0].State = "exited"
		x.live.infra.State = "exited"
		x.look()
		if len(x.pr.pods) != 0 {
			t.Error("it has ended, and isn't forgotten")
		}
	})
}

// Probes that differ are asked from the next look on, without a new pod; those that don't keep what is known.
func TestProbesThatChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newPatient(t, manifests.Probes{Readiness: &manifests.Probe{HTTPGet: &get, Period: 1}})
		wait(2 * time.Second)
		x.pr.follow(x.r)
		if got := x.unready(); got != "" {
			t.Errorf("the same again: %s", got)
		}
		changed := *x.r.Pods[0].Probes[0].Readiness
		changed.Period = 2
		x.pr.follow(Rendered{Pods: []RenderedPod{{Name: "web", Hash: "11111111", Probes: []manifests.Probes{{Container: "c", Readiness: &changed}}}}})
		x.look()
		asked := x.questions()
		wait(10 * time.Second)
		if got := x.questions() - asked; got < 5 || got > 6 {
			t.Errorf("asked %d times in 10 s", got)
		}
		x.pr.follow(Rendered{Pods: []RenderedPod{{Name: "web", Hash: "11111111"}}})
		if len(x.pr.pods) != 0 {
			t.Error("it has no probes any more")
		}
	})
}

// 500 containers, of which 10 hang at each question, are all asked at their own pace.
func TestFiveHundredProbesKeepTheirPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const pods, hang, minutes = 500, 10, 5
		var (
			r     Rendered
			live  = map[string]*livePod{}
			mu    sync.Mutex
			asked = map[string][]time.Time{}
		)
		pr := newProber()
		pr.ask = func(ctx context.Context, c life, p *manifests.Probe) error {
			mu.Lock()
			asked[c.pod] = append(asked[c.pod], time.Now())
			mu.Unlock()
			var n int
			if _, err := fmt.Sscanf(c.pod, "p%d", &n); err == nil && n < hang {
				time.Sleep(time.Duration(p.Timeout) * time.Second)
				return errors.New("no answer")
			}
			time.Sleep(5 * time.Millisecond)
			return nil
		}
		for i := range pods {
			one := RenderedPod{Name: fmt.Sprintf("p%d", i), Hash: "11111111", Probes: []manifests.Probes{{Container: "c",
				Readiness: &manifests.Probe{HTTPGet: &get, Period: 10, Timeout: 1, Successes: 1, Failures: 3}}}}
			r.Pods = append(r.Pods, one)
			l := livePodWith(one.id(), 0, nil)
			l.containers = []container{{ID: one.id(), Names: []string{one.id() + "-c"}, State: "running", Pid: i + 1, StartedAt: time.Now().Unix()}}
			live[one.id()] = l
		}
		pr.follow(r)
		pr.see(live)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		begun := time.Now()
		go func() { pr.agenda.run(ctx); close(done) }()
		wait(minutes * time.Minute)
		cancel()
		<-done
		for pod, times := range asked {
			if len(times) < minutes*6 {
				t.Errorf("%s was asked %d times in %d minutes", pod, len(times), minutes)
			}
			for n, at := range times { // each when it is due, with what waits before it
				if late := at.Sub(begun.Add(time.Duration(n) * 10 * time.Second)); late < 0 || late > 2*time.Second {
					t.Fatalf("%s: question %d is %v late", pod, n, late)
				}
			}
		}
		if len(asked) != pods {
			t.Errorf("%d of %d are asked", len(asked), pods)
		}
	})
}
