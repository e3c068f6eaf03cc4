package podman

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestMain makes of the test a process that switches and can be killed in it, where the environment asks for one.
func TestMain(m *testing.M) {
	if file := os.Getenv("COLLIE_TEST_SWITCH"); file != "" {
		if err := switchAs(file); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// A killable is what the process that is killed needs to know.
type killable struct {
	Socket string
	Fake   bool
	Target Rendered
}

func switchAs(file string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var k killable
	if err := json.Unmarshal(raw, &k); err != nil {
		return err
	}
	p := Connect(k.Socket)
	p.steady = 0
	if k.Fake {
		p.alive = func(int) bool { return true }
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return p.Switch(ctx, k.Target)
}

// killedAt switches to r in a process that is killed at the crash point.
func (w *world) killedAt(point string, r Rendered) {
	w.t.Helper()
	dir := w.t.TempDir()
	raw, err := json.Marshal(killable{w.socket, w.fake != nil, r})
	w.must(err)
	task, armed := filepath.Join(dir, "task"), filepath.Join(dir, "armed")
	w.must(os.WriteFile(task, raw, 0o600))
	w.must(os.WriteFile(armed, []byte(point), 0o600))
	cmd := exec.CommandContext(w.t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "COLLIE_TEST_SWITCH="+task, "COLLIE_CRASH="+armed)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		w.t.Fatalf("the process should have been killed: %v, %s", err, out)
	}
	if _, err := os.Stat(armed); !errors.Is(err, os.ErrNotExist) {
		w.t.Fatalf("%s wasn't reached: %v", point, err)
	}
}

func TestAKilledSwitchGoesOnOrBack(t *testing.T) {
	for _, point := range []string{"pods.created", "pods.stopped"} {
		t.Run(point, func(t *testing.T) {
			w := newWorld(t)
			one := w.deploy("r1", newPod("web", hostPort(18080)), newPod("api"))
			before := w.containers("web", "api")
			two := w.prepare("r2", newPod("web", hostPort(18080), env("A", "b")), newPod("api"))

			w.killedAt(point, two)
			w.switchTo(two)
			w.same("running", w.running(), []string{of(two, "api").id(), of(two, "web").id()})

			w.switchTo(one)
			w.must(w.Keep(t.Context(), []Rendered{one}))
			w.killedAt(point, two)
			w.switchTo(one)
			w.must(w.Keep(t.Context(), []Rendered{one}))
			w.same("containers", w.containers("web", "api"), before)
		})
	}
}
