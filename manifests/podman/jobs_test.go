package podman

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/collie/manifests"
)

func TestNextOfARun(t *testing.T) {
	now := time.Date(2026, 11, 25, 5, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	live := func(states ...container) *livePod {
		return &livePod{containers: states, infra: &container{State: "exited"}}
	}
	runs := container{State: "running", StartedAt: ago(time.Minute).Unix()}
	ended := container{State: "exited", StartedAt: ago(time.Minute).Unix(), ExitedAt: ago(time.Second).Unix()}
	cut := container{State: "exited", StartedAt: ago(time.Minute).Unix(), ExitedAt: -62135596800}
	never := container{State: "created", StartedAt: -62135596800, ExitedAt: -62135596800}
	minute := 60
	for _, c := range []struct {
		name string
		job  manifests.Job
		run  run
		live *livePod
		want move
		in   time.Duration // of a rest: until when; 0: not looked at
	}{
		{name: "it hasn't begun", want: begin},
		{name: "suspended", job: manifests.Job{Suspend: true}, want: rest},
		{name: "suspended while it runs", job: manifests.Job{Suspend: true}, run: run{Tries: 1, Began: ago(time.Minute)}, live: live(runs), want: stop},
		{name: "halted", run: run{Halted: true}, want: rest},
		{name: "it runs", run: run{Tries: 1, Began: ago(8 * time.Second)}, live: live(runs), want: rest, in: 2 * time.Second},
		{name: "it has run for long", run: run{Tries: 1, Began: ago(time.Hour)}, live: live(runs), want: rest, in: 5 * time.Second},
		{name: "one of two runs", run: run{Tries: 1, Began: ago(8 * time.Second)}, live: live(ended, runs), want: rest},
		{name: "its init containers are at work", run: run{Tries: 1, Began: ago(time.Minute)},
			live: &livePod{containers: []container{never}, infra: &container{State: "running"}}, want: rest},
		{name: "the agent was killed before it started", run: run{Tries: 1, Began: ago(time.Minute)},
			live: &livePod{containers: []container{never}, infra: &container{State: "created"}}, want: begin},
		{name: "the agent was killed just now", run: run{Tries: 1, Began: ago(2 * time.Second)},
			live: &livePod{containers: []container{never}, infra: &container{State: "created"}}, want: rest, in: 3 * time.Second},
		{name: "it ended", run: run{Tries: 1, Began: ago(time.Minute)}, live: live(ended), want: note},
		{name: "it ended in time, and nobody looked", job: manifests.Job{Deadline: 5}, run: run{Tries: 1, First: ago(time.Hour), Began: ago(time.Hour)}, live: live(ended), want: note},
		{name: "the machine stopped", run: run{Tries: 1, Began: ago(time.Minute)}, live: live(cut), want: begin},
		{name: "the machine stopped for long", job: manifests.Job{Deadline: 5}, run: run{Tries: 1, First: ago(time.Hour), Began: ago(time.Hour)}, live: live(cut), want: begin},
		{name: "somebody removed it", run: run{Tries: 1, Began: ago(time.Minute)}, want: begin},
		{name: "its time is over", job: manifests.Job{Deadline: 30}, run: run{Tries: 1, First: ago(30 * time.Second), Began: ago(9 * time.Second)}, live: live(runs), want: stop},
		{name: "its time is over soon", job: manifests.Job{Deadline: 61}, run: run{Tries: 1, First: ago(time.Minute), Began: ago(time.Minute)}, live: live(runs), want: rest, in: time.Second},
		{name: "a first try failed", run: run{Tries: 1, Began: ago(time.Minute), Ended: ago(9 * time.Second)}, live: live(ended), want: rest, in: time.Second},
		{name: "and is over", run: run{Tries: 1, Began: ago(time.Minute), Ended: ago(10 * time.Second)}, live: live(ended), want: begin},
		{name: "a third one failed", run: run{Tries: 3, Began: ago(time.Minute), Ended: ago(10 * time.Second)}, live: live(ended), want: rest, in: 30 * time.Second},
		{name: "a hundredth one failed", run: run{Tries: 100, Began: ago(time.Hour), Ended: now}, want: rest, in: 6 * time.Minute},
		{name: "there is no time for another", job: manifests.Job{Deadline: 60}, run: run{Tries: 1, First: ago(59 * time.Second), Began: ago(59 * time.Second), Ended: ago(9 * time.Second)}, want: begin - 1, in: time.Second},
		{name: "nor is there now", job: manifests.Job{Deadline: 60}, run: run{Tries: 3, First: ago(time.Minute), Began: ago(9 * time.Second), Ended: ago(9 * time.Second)}, want: stop},
		{name: "it completed", run: run{Outcome: completed, Ended: ago(time.Hour)}, live: live(ended), want: rest},
		{name: "it completed, and isn't kept so long", job: manifests.Job{TTL: &minute}, run: run{Outcome: completed, Ended: ago(time.Minute)}, live: live(ended), want: remove},
		{name: "it completed, and is kept for now", job: manifests.Job{TTL: &minute}, run: run{Outcome: completed, Ended: ago(50 * time.Second)}, live: live(ended), want: rest, in: 10 * time.Second},
		{name: "its pod is gone", job: manifests.Job{TTL: &minute}, run: run{Outcome: failed, Ended: ago(time.Hour)}, want: rest},
	} {
		c.run.Pod.Job = &c.job
		got, at := c.run.next(now, c.live)
		if got != c.want || c.in > 0 && !at.Equal(now.Add(c.in)) {
			t.Errorf("%s: got %d in %v, want %d in %v", c.name, got, at.Sub(now), c.want, c.in)
		}
	}
}

func TestLogLines(t *testing.T) {
	frame := func(kind byte, text string) string {
		return string([]byte{kind, 0, 0, 0, 0, 0, byte(len(text) >> 8), byte(len(text))}) + text
	}
	for _, c := range []struct{ stream, want string }{
		{"", ""},
		{frame(1, "one\ntwo\n") + frame(2, "three\n"), "one|two|three"},
		{frame(1, "in ") + frame(1, "pieces\n"), "in pieces"},
		{"a terminal\r\nhas no frames\r\n", "a terminal|has no frames"},
		{frame(1, "1\n2\n3\n4\n5\n6\n7\n"), "3|4|5|6|7"},
		{frame(1, "\x1b[31mred\x1b[0m\x00\n"), "[31mred[0m"},
		{frame(1, strings.Repeat("x", 1000)), strings.Repeat("x", 300) + "…"},
		{"\x01\x00\x00\x00\xff\xff\xff\xffcut", "cut"},
		{"\x01\x00\x00", "\x01\x00\x00"[3:]},
	} {
		for _, piece := range []int{1, 3, 4096} {
			var log said
			for part := range slices.Chunk([]byte(c.stream), piece) {
				_, _ = log.Write(part)
			}
			if got := strings.Join(log.lines(5), "|"); got != c.want {
				t.Errorf("%q in pieces of %d: got %q, want %q", c.stream, piece, got, c.want)
			}
		}
	}
}

// jobs makes a world whose Jobs are tended, and remembered in a file.
func newJobWorld(t *testing.T) *world {
	w := newWorld(t)
	w.must(w.Remember(filepath.Join(t.TempDir(), "jobs.json")))
	w.tended()
	return w
}

func (w *world) tended() {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Run(ctx)
	}()
	w.t.Cleanup(func() {
		cancel()
		<-done
	})
}

// again is the world after a kill of the agent: only the file and the pods are left.
func (w *world) again() *world {
	next := &world{Podman: Connect(w.socket), t: w.t, fake: w.fake}
	next.alive = w.alive
	w.must(next.Remember(w.jobs.file))
	next.tended()
	return next
}

func job(retries int) change {
	return func(p *manifests.Pod, spec, _ map[string]any) {
		p.Kind, p.Job = "Job", &manifests.Job{Retries: retries}
		spec["restartPolicy"] = "Never"
	}
}

// soon waits until is says true.
func (w *world) soon(what string, is func() bool) {
	w.t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("%s: not within 30 s; jobs: %+v, pods: %q", what, w.jobs.runs(), w.running())
		}
	}
}

func (w *world) job(r Rendered, name string) JobStatus {
	w.t.Helper()
	all := w.Jobs(r)
	i := slices.IndexFunc(all, func(j JobStatus) bool { return j.Name == name })
	if i < 0 {
		w.t.Fatalf("no job %s in %+v", name, all)
	}
	return all[i]
}

func (w *world) ends(r Rendered, name, state string) JobStatus {
	w.t.Helper()
	w.soon(name+" is "+state, func() bool { return w.job(r, name).State == state })
	return w.job(r, name)
}

func TestAJobRunsOnce(t *testing.T) {
	w := newJobWorld(t)
	migrate := func() *manifests.Pod { return newPod("migrate", job(0), command("/bin/true")) }
	r := w.prepare("r1", migrate(), newPod("web"))
	w.same("diff", w.diff(r), []string{"run job migrate", "create pod web"})
	w.switchTo(r)
	done := w.ends(r, "migrate", "completed")
	pod := w.containers("migrate")
	w.same("problems", w.problems(r, time.Time{}), nil)

	r = w.deploy("r2", migrate(), newPod("web", env("A", "b")))
	w.must(w.Keep(t.Context(), []Rendered{r}))
	w.same("its pod stays", w.containers("migrate"), pod)

	w = w.again() // the agent was killed
	w.switchTo(r)
	w.call("DELETE", "/pods/%s", of(r, "migrate").id()) // somebody tidied up
	w.switchTo(r)
	time.Sleep(300 * time.Millisecond)
	if now := w.job(r, "migrate"); now.Tries != 1 || !now.Began.Equal(done.Began) || len(w.containers("migrate")) != 0 {
		t.Errorf("it ran again: %+v, was %+v", now, done)
	}

	r = w.deploy("r3", newPod("migrate", job(0), command("/bin/true"), env("A", "b")), newPod("web", env("A", "b")))
	w.ends(r, "migrate", "completed")
	if len(w.containers("migrate")) != 1 {
		t.Error("a changed job didn't run")
	}
}

func TestAJobThatFailsIsTriedAgainAndToldWithItsLastLines(t *testing.T) {
	w := newJobWorld(t)
	r := w.deploy("r1", newPod("migrate", job(1), command("/bin/sh", "-c", "echo no such table; exit 3")))
	first := w.ends(r, "migrate", "waits")
	if first.Exit != 3 || !slices.Equal(first.Log, []string{"no such table"}) || first.Next.Sub(first.Ended) != 10*time.Second {
		t.Errorf("after the first try: %+v", first)
	}
	problems, err := w.Problems(t.Context(), r, time.Time{})
	w.must(err)
	want := Problem{Subject: "job migrate", Says: "failed: exit code 3: it wrote: no such table (pods/migrate.yaml:1)", Transient: true, Unrelated: true}
	if len(problems) != 1 || problems[0] != want {
		t.Errorf("problems: %+v, want %+v", problems, want)
	}
	w.must(w.jobs.change(of(r, "migrate").id(), func(r *run) { r.Ended = r.Ended.Add(-10 * time.Second) }))
	last := w.ends(r, "migrate", "failed")
	if last.Tries != 2 {
		t.Errorf("after the last try: %+v", last)
	}
	w.same("problems", w.problems(r, time.Time{}), []string{"job migrate: failed 2 times: exit code 3: it wrote: no such table (pods/migrate.yaml:1)"})
	w.same("healing leaves it", w.diff(r), nil)
}

func TestAJobOfAFailedRevisionRunsAgainUnlessItCompleted(t *testing.T) {
	w := newJobWorld(t)
	one := w.deploy("r1", newPod("web"))
	two := w.prepare("r2", newPod("web"), newPod("good", job(0), command("/bin/true")), newPod("ill", job(0), command("/bin/sh", "-c", "echo x; exit 1")))
	w.switchTo(two)
	w.ends(two, "good", "completed")
	w.ends(two, "ill", "failed")
	w.switchTo(one)
	w.must(w.Keep(t.Context(), []Rendered{one}))
	w.same("what is left of them", w.containers("good", "ill"), nil)
	w.same("diff", w.diff(two), []string{"run job ill"})
}

func TestASwitchThatFailsLeavesNoJobBehind(t *testing.T) {
	w := newJobWorld(t)
	one := w.deploy("r1", newPod("web"), newPod("long", job(0)))
	w.ends(one, "long", "running")
	two := w.prepare("r2", newPod("web"), newPod("long", job(0), env("A", "b")), newPod("zz", command("/nope")))
	if err := w.Switch(t.Context(), two); err == nil {
		t.Fatal("a pod that can't start was taken")
	}
	w.ends(one, "long", "running")
	w.soon("the former job runs anew", func() bool {
		return slices.Equal(w.running(), []string{of(one, "long").id(), of(one, "web").id()})
	})
	w.same("diff", w.diff(two), []string{"run job long", "create pod zz"})
}

func TestAJobEndsWithItsDeadlineAndItsPodWithItsTime(t *testing.T) {
	w := newJobWorld(t)
	ttl := 0
	short := func(p *manifests.Pod, _, _ map[string]any) { p.Job.Deadline, p.Job.TTL = 1, &ttl }
	r := w.deploy("r1", newPod("long", job(5), short))
	w.ends(r, "long", "failed")
	w.soon("its pod is gone", func() bool { return len(w.containers("long")) == 0 })
	w.same("problems", w.problems(r, time.Time{}), []string{"job long: failed: took longer than activeDeadlineSeconds, which is 1 (pods/long.yaml:1)"})
}

func TestASuspendedJobWaits(t *testing.T) {
	w := newJobWorld(t)
	with := func(suspend bool) Rendered {
		return w.prepare("r", newPod("long", job(0), func(p *manifests.Pod, _, _ map[string]any) { p.Job.Suspend = suspend }))
	}
	r := with(true)
	w.switchTo(r)
	w.same("running", w.running(), nil)
	if s := w.job(r, "long"); s.State != "suspended" {
		t.Errorf("status: %+v", s)
	}
	going := with(false)
	if going.ID() == r.ID() {
		t.Fatal("the two are the same to Collie")
	}
	w.switchTo(going)
	w.ends(going, "long", "running")
	w.switchTo(r)
	w.soon("it stops", func() bool { return len(w.running()) == 0 })
}

func TestAJobWhoseLedgerIsLostDoesNotRunAgain(t *testing.T) {
	w := newJobWorld(t)
	r := w.deploy("r1", newPod("migrate", job(0), command("/bin/true")))
	w.ends(r, "migrate", "completed")
	pod := w.containers("migrate")
	w = &world{Podman: Connect(w.socket), t: t, fake: w.fake}
	w.tended()
	w.switchTo(r)
	w.ends(r, "migrate", "completed")
	w.same("its pod", w.containers("migrate"), pod)
}
