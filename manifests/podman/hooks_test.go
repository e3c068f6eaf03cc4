package podman

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/collie/manifests"
)

func hook(when string) change {
	return func(p *manifests.Pod, spec, container map[string]any) {
		job(0)(p, spec, container)
		p.Job.Deadline, p.Options.Hook = 30, when
	}
}

// rollOut does what a keeper does, up to the first error.
func (w *world) rollOut(r Rendered, rollout string) error {
	if err := w.Before(w.t.Context(), r, rollout); err != nil {
		return err
	}
	if err := w.Switch(w.t.Context(), r); err != nil {
		return err
	}
	return w.After(w.t.Context(), r, rollout)
}

// ran tells which Jobs did, as "NAME STATE" for each whose latest run began since the last call.
func (w *world) ran(r Rendered, since *time.Time) []string {
	var names []string
	for _, j := range w.Jobs(r) {
		if j.Began.After(*since) {
			names = append(names, j.Name+" "+j.State)
		}
	}
	*since = time.Now()
	return names
}

func TestHooksRunInEachRolloutThatChangesPods(t *testing.T) {
	w := newJobWorld(t)
	var since time.Time
	with := func(revision, value string) Rendered {
		return w.prepare(revision, newPod("web", env("A", value)), newPod("first", hook("before"), command("/bin/true")),
			newPod("last", hook("after"), command("/bin/true")), newPod("sorry", hook("failure"), command("/bin/true")))
	}
	one := with("r1", "1")
	w.must(w.rollOut(one, "rollout 1"))
	w.same("of the first", w.ran(one, &since), []string{"first completed", "last completed"})
	w.same("drift", w.diff(one), nil)

	// Not again in a rollout that goes on in a next life, nor when pods are healed.
	w = w.again()
	w.must(w.rollOut(one, "rollout 1"))
	w.call("POST", "/pods/%s/kill", of(one, "web").id())
	w.switchTo(one)
	w.same("of the same", w.ran(one, &since), nil)

	// Not in one that changes nothing, but in one that does, though they are as they were.
	w.must(w.rollOut(with("r2", "1"), "rollout 2"))
	w.same("of one that changes nothing", w.ran(one, &since), nil)
	three := with("r3", "3")
	changes, err := w.Plan(t.Context(), one, three)
	w.must(err)
	var lines []string
	for _, c := range changes {
		lines = append(lines, c.Does+" "+c.Subject)
	}
	w.same("plan", lines, []string{"replace pod web", "run job first", "run job last"})
	w.must(w.rollOut(three, "rollout 3"))
	w.same("of one that changes a pod", w.ran(three, &since), []string{"first completed", "last completed"})

	// On the way back none but that for the failure.
	w.switchTo(one)
	w.must(w.Failed(three, "return 3"))
	w.ends(one, "sorry", "completed")
	w.must(w.Failed(three, "return 3"))
	w.same("of a return", w.ran(one, &since), []string{"sorry completed"})
	time.Sleep(200 * time.Millisecond)
	w.same("of a return, told twice", w.ran(one, &since), nil)
}

func TestAHookThatFailsBeforeTheSwitchStopsNothing(t *testing.T) {
	w := newJobWorld(t)
	one := w.deploy("r1", newPod("web"))
	web := w.containers("web")
	two := w.prepare("r2", newPod("web", env("A", "b")), newPod("migrate", hook("before"), command("/bin/sh", "-c", "echo no such table; exit 3")),
		newPod("last", hook("after"), command("/bin/true")))
	err := w.rollOut(two, "rollout 2")
	if err == nil || err.Error() != "job migrate (pods/migrate.yaml:1), which runs before the switch, failed: exit code 3: it wrote: no such table" {
		t.Fatalf("got %v", err)
	}
	w.same("the old one", w.containers("web"), web)
	w.same("diff", w.diff(one), nil)
	if again := w.rollOut(two, "rollout 2"); again == nil || again.Error() != err.Error() {
		t.Errorf("the same rollout: %v", again)
	}
	if s := w.job(two, "migrate"); s.Tries != 1 {
		t.Errorf("tried %d times", s.Tries)
	}
	began := w.job(two, "migrate").Began
	if w.rollOut(two, "a retry") == nil || !w.job(two, "migrate").Began.After(began) {
		t.Error("a retry doesn't run it again")
	}
	if s := w.job(two, "last"); s.State != "waits" {
		t.Errorf("the hook after that: %+v", s)
	}
	w.must(w.Keep(t.Context(), []Rendered{one}))
	w.same("what is left", w.containers("migrate", "last"), nil)
}

func TestHooksRunOnlyIfAllPodsCanBeMade(t *testing.T) {
	w := newJobWorld(t)
	w.deploy("r1", newPod("web"))
	two := w.prepare("r2", newPod("web", func(_ *manifests.Pod, spec, container map[string]any) {
		spec["volumes"] = []any{map[string]any{"name": "v", "hostPath": map[string]any{"path": "/not/there", "type": "Directory"}}}
		container["volumeMounts"] = []any{map[string]any{"name": "v", "mountPath": "/v"}}
	}), newPod("migrate", hook("before"), command("/bin/true")))
	if w.fake != nil {
		w.fake.answers["POST /play/kube"] = func(rw http.ResponseWriter, _ *http.Request) {
			reject(rw, 500, "faccessat /not/there: no such file or directory")
		}
	}
	if err := w.rollOut(two, "rollout 2"); err == nil || !strings.Contains(err.Error(), "/not/there") {
		t.Fatalf("got %v", err)
	}
	if s := w.job(two, "migrate"); s.Tries > 0 {
		t.Error("the hook ran")
	}
}

func TestAHookUnderwayGoesOnInTheNextLife(t *testing.T) {
	w := newJobWorld(t)
	w.deploy("r1", newPod("web"))
	two := w.prepare("r2", newPod("web", env("A", "b")), newPod("slow", hook("before")))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- w.Before(ctx, two, "rollout 2") }()
	w.soon("it runs", func() bool { return slices.Contains(w.running(), of(two, "slow").id()) })
	slow := ids(w.containers("slow"), "slow")
	cancel()
	if err := <-ended; err == nil {
		t.Fatal("it was taken for done")
	}
	w = w.again()
	go func() { ended <- w.Before(t.Context(), two, "rollout 2") }()
	time.Sleep(500 * time.Millisecond)
	w.same("its pod", ids(w.containers("slow"), "slow"), slow)
	w.call("POST", "/pods/%s/kill", of(two, "slow").id())
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "exit code 137") {
		t.Errorf("got %v", err)
	}
	if s := w.job(two, "slow"); s.Tries != 1 {
		t.Errorf("tried %d times", s.Tries)
	}
}

func TestHealingLeavesAHookAlone(t *testing.T) {
	w := newJobWorld(t)
	one := w.deploy("r1", newPod("web"))
	two := w.prepare("r2", newPod("web", env("A", "b")), newPod("slow", hook("before")))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- w.Before(ctx, two, "rollout 2") }()
	w.soon("it runs", func() bool { return slices.Contains(w.running(), of(two, "slow").id()) })
	w.call("POST", "/pods/%s/kill", of(one, "web").id())
	w.switchTo(one)
	w.same("running", w.running(), []string{of(two, "slow").id(), of(one, "web").id()})
	cancel()
	<-ended
}
