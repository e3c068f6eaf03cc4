package guix

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"example.org/collie/agent/statefile"
)

// The command lines are as they were seen in the lab, or are how Guix's own packages make them.
func TestRecognize(t *testing.T) {
	const item = "/gnu/store/gai5i4ba2xf084big8h56q6pc0vwx2sj-"
	for _, row := range []struct{ line, does, runs string }{
		{`/usr/lib/x86_64-linux-gnu/guix/guile|\|/run/current-system/profile/bin/guix|system|reconfigure|/root/slow.scm`, doesSystem, "guix system reconfigure /root/slow.scm"},
		{item + `guile-3.0.9/bin/guile|--no-auto-compile|` + item + `guix-1.5.0/bin/.guix-real|system|-L|modules|reconfigure|c.scm`, doesSystem, "guix system -L modules reconfigure c.scm"},
		{item + `guile-wrapper/bin/guile|--no-auto-compile|` + item + `guix-command|home|reconfigure|home.scm`, doesHome, "guix home reconfigure home.scm"},
		{`guile|\|/usr/bin/guix.real|system|roll-back`, doesSystem, "guix system roll-back"},
		{`guile|\|/usr/bin/guix|system|switch-generation|4`, doesSystem, "guix system switch-generation 4"},
		{`guile|\|/usr/bin/guix|system|delete-generations`, doesSystem, "guix system delete-generations"},
		{`guile|\|/usr/bin/guix|time-machine|-C|c.scm|--|system|reconfigure|f.scm`, doesSystem, "guix time-machine -C c.scm -- system reconfigure f.scm"},
		{`guile|\|/usr/bin/guix|time-machine|-C|c.scm`, doesChannels, "guix time-machine -C c.scm"},
		{`guile|\|/usr/bin/guix|pull|--commit=1`, doesChannels, "guix pull --commit=1"},
		{`guile|\|/usr/bin/guix|repl|-t|machine`, doesSystem, "guix repl -t machine"},
		{`/usr/bin/guile|--no-auto-compile|-L|` + item + `module-import|-C|` + item + `module-import|-c|(begin (use-modules (guix repl)) (send-repl-response (quote (with-output-to-port (current-error-port) (lambda () (primitive-load "/gnu/store/axzffz71mv5m1p108hbc5gkcvh9z78xw-remote-exp.scm")))) (current-output-port)) (force-output))`, doesSystem, "guix deploy"},

		{`guile|\|/usr/bin/guix|system|reconfigure|--dry-run|f.scm`, "", ""},
		{`guile|\|/usr/bin/guix|system|build|f.scm`, "", ""},
		{`guile|\|/usr/bin/guix|deploy|deploy.scm`, "", ""}, // what it does on this machine shows by itself
		{`guile|\|/usr/bin/guix|repl`, "", ""},
		{`guile|\|/usr/bin/guix|gc`, "", ""},
		{`guile|\|/usr/bin/guix`, "", ""},
		{`sudo|guix|system|reconfigure|f.scm`, "", ""}, // its child is
		{`sh|-c|guix system reconfigure f.scm`, "", ""},
		{`vim|guix|system|reconfigure`, "", ""},
		{`guile|--no-auto-compile|/gnu/store/x-shepherd/bin/shepherd|--config|guix`, "", ""},
		{``, "", ""},
	} {
		if does, runs := recognize(strings.Split(row.line, "|")); does != row.does || runs != row.runs {
			t.Errorf("%s: %q %q, want %q %q", row.line, does, runs, row.does, row.runs)
		}
	}
}

// fakeProc is a /proc with one process in it.
type fakeProc string

func (dir fakeProc) add(t *testing.T, pid, session, uid int, line string) {
	t.Helper()
	at := filepath.Join(string(dir), fmt.Sprint(pid))
	stat := fmt.Sprintf("%d (gu) ix) S 1 %d %d 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 1500 1 1 1", pid, session, session)
	for name, text := range map[string]string{
		"cmdline": strings.ReplaceAll(line, " ", "\x00") + "\x00", "stat": stat,
		"status": fmt.Sprintf("Name:\tguix\nUid:\t%d\t0\t0\t0\n", uid),
	} {
		if err := os.MkdirAll(at, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(at, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func newFakeProc(t *testing.T) fakeProc {
	dir := fakeProc(t.TempDir())
	if err := os.WriteFile(filepath.Join(string(dir), "stat"), []byte("cpu 1\nbtime 1000\nx 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestOthersAreNotOurs(t *testing.T) {
	proc, logs := newFakeProc(t), t.TempDir()
	proc.add(t, 10, 10, 0, `guile \ /usr/bin/guix system reconfigure theirs.scm`)
	proc.add(t, 20, 20, 0, `guile \ /usr/bin/guix system reconfigure ours.scm`)
	proc.add(t, 21, 20, 0, `guile \ /usr/bin/guix system reconfigure ours-too.scm`)
	proc.add(t, 30, 30, 1000, `guile \ /usr/bin/guix home reconfigure home.scm`)
	proc.add(t, 40, 40, 1000, `guile \ /usr/bin/guix system reconfigure in-vain.scm`)
	if err := statefile.WriteJSON(filepath.Join(logs, "a.log.running"), running{Process: process{PID: 20}}); err != nil {
		t.Fatal(err)
	}
	r := &Runner{Logs: logs, proc: string(proc)}
	all := r.Others()
	if len(all) != 3 || all[0].PID+all[1].PID+all[2].PID != 80 || !all[0].Since.Equal(time.Unix(1015, 0)) {
		t.Fatalf("%v, want those of the processes 10, 30 and 40, since second 1015", all)
	}
	podman, ann := &User{UID: 1000}, &User{UID: 1001}
	for _, row := range []struct {
		home *User
		want int // how many hold that switch
	}{{nil, 1}, {podman, 2}, {ann, 1}} {
		n := 0
		for _, o := range all {
			if o.Switches(row.home) {
				n++
			}
		}
		if n != row.want {
			t.Errorf("%d of %v hold a switch of the home of %v, want %d", n, all, row.home, row.want)
		}
	}
}

// A process that doesn't let its arguments be read, as a FIFO doesn't, holds no look, and hides no other.
func TestAProcessWithoutArgumentsHoldsNobody(t *testing.T) {
	proc := newFakeProc(t)
	proc.add(t, 10, 10, 1000, "x")
	proc.add(t, 11, 11, 0, `guile \ /usr/bin/guix system reconfigure theirs.scm`)
	line := filepath.Join(string(proc), "10", "cmdline")
	if err := errors.Join(os.Remove(line), syscall.Mkfifo(line, 0o644)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // lets the read end
		if f, err := os.OpenFile(line, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
			f.Close()
		}
	})
	r := &Runner{Logs: t.TempDir(), proc: string(proc)}
	soon(t, "two looks", func() {
		for range 2 {
			if all := r.Others(); len(all) != 1 || all[0].PID != 11 {
				t.Errorf("others: %v", all)
			}
		}
	})
}

func TestDeployHasPausesBetweenSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		proc := newFakeProc(t)
		r := &Runner{Logs: t.TempDir(), proc: string(proc)}
		step := func(pid int, line string) func() {
			proc.add(t, pid, pid, 0, line)
			return func() { _ = os.RemoveAll(filepath.Join(string(proc), fmt.Sprint(pid))) }
		}
		is := func(when string, want ...int) {
			t.Helper()
			var pids []int
			for _, o := range r.Others() {
				pids = append(pids, o.PID)
			}
			if !slices.Equal(pids, want) {
				t.Errorf("%s: the processes %v, want %v", when, pids, want)
			}
		}
		is("before")
		end := step(10, `guile \ /usr/bin/guix repl -t machine`)
		is("at the first step", 10)
		end()
		time.Sleep(9 * time.Second)
		is("soon after it", 10)
		end = step(20, `guile \ /usr/bin/guix repl -t machine`)
		is("at the second", 20)
		end()
		time.Sleep(9 * time.Second)
		is("soon after that", 20)
		time.Sleep(time.Second)
		is("long after it")
		end = step(30, `guile \ /usr/bin/guix system reconfigure theirs.scm`)
		is("at a reconfigure", 30)
		end()
		is("just after it")
	})
}

func TestGiveWay(t *testing.T) {
	proc := newFakeProc(t)
	proc.add(t, 10, 10, 0, `guile \ /usr/bin/guix system reconfigure theirs.scm`)
	r := &Runner{Logs: t.TempDir(), proc: string(proc), Patience: 300 * time.Millisecond}
	system := func(o Other) bool { return o.Switches(nil) }
	err := r.waitForOthers(t.Context(), system, Watch{})
	if passes := (*TransientError)(nil); !errors.As(err, &passes) || !strings.Contains(err.Error(), "process 10, since") {
		t.Errorf("who doesn't end: %v, want that it passes, and the process", err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if err := r.waitForOthers(stopped, system, Watch{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a wait that was ended: %v", err)
	}
	r.Patience = time.Minute
	told := make(chan Progress, 1)
	tell := Watch{Tell: func(p Progress) {
		select {
		case told <- p:
		default:
		}
	}}
	go func() {
		time.Sleep(50 * time.Millisecond)
		_ = os.RemoveAll(filepath.Join(string(proc), "10"))
	}()
	if err := r.waitForOthers(t.Context(), system, tell); err != nil {
		t.Errorf("who has ended: %v", err)
	}
	if p := <-told; !strings.HasPrefix(p.Item, "waiting for `guix system reconfigure theirs.scm` of root (process 10, since") {
		t.Errorf("told %q", p.Item)
	}
}

// Any user chooses the command lines of processes, and so what is read here.
func FuzzRecognize(f *testing.F) {
	f.Add("guile\x00\\\x00/usr/bin/guix\x00system\x00reconfigure\x00f")
	f.Add("guix\x00time-machine\x00--\x00time-machine\x00--")
	f.Add("guix\x00time-machine\x00\r\x00")
	f.Fuzz(func(t *testing.T, line string) {
		does, runs := recognize(strings.Split(line, "\x00"))
		if (does == "") != (runs == "") || strings.ContainsAny(runs, "\n\x1b") {
			t.Errorf("%q: %q, %q", line, does, runs)
		}
	})
}
