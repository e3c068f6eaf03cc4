package guix

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.org/collie/agent/statefile"
)

// eventually waits for what another process does.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range 1000 {
		if is() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("never: " + what)
}

func readPID(file string) int {
	text, _ := os.ReadFile(file)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid
}

func TestGuixHasASessionALogAndANote(t *testing.T) {
	m := newMachine(t)
	m.now("early", `read -r _ _ _ _ _ sid _ </proc/$$/stat; echo $sid >"$me/sid"; echo $$ >"$me/pid"; ls "$root/var/lib/collie/logs" >"$me/notes"; readlink /proc/$$/fd/1 >"$me/stdout"; ls /proc/$$/fd >"$me/fds"; env >"$me/environment"`)
	t.Setenv("SECRET", "x")
	out, err := m.runner().run(t.Context(), attempt{what: "test", args: []string{"system", "nothing"}})
	if err != nil || out.code != 0 {
		t.Fatal(out, err)
	}
	pid := readPID(m.path("fake/pid"))
	if sid := readPID(m.path("fake/sid")); sid != pid {
		t.Errorf("session %d of process %d", sid, pid)
	}
	if stdout, _ := os.ReadFile(m.path("fake/stdout")); strings.TrimSpace(string(stdout)) != out.log {
		t.Errorf("its stdout is %s", stdout)
	}
	if notes, _ := os.ReadFile(m.path("fake/notes")); !strings.Contains(string(notes), filepath.Base(out.log)+".running") {
		t.Errorf("no note of it as it ran: %s", notes)
	}
	if left, _ := filepath.Glob(m.path("var/lib/collie/logs/*.running")); len(left) > 0 {
		t.Errorf("notes left: %v", left)
	}
	if env, _ := os.ReadFile(m.path("fake/environment")); strings.Contains(string(env), "SECRET") || !strings.Contains(string(env), "LANG=C.UTF-8") {
		t.Errorf("environment:\n%s", env)
	}
}

func TestMissingGuixIsNotTheCommitsFault(t *testing.T) {
	m := newMachine(t)
	r := m.runner()
	r.Command = "no-such-guix"
	_, err := r.run(t.Context(), attempt{what: "test", args: []string{"system", "build"}})
	if err == nil || !strings.Contains(err.Error(), "no-such-guix can't be run") {
		t.Error("error:", err)
	}
}

// TERM is for the whole session, and KILL for what doesn't heed it.
func TestCancelledBuild(t *testing.T) {
	m := newMachine(t)
	m.now("early", `(trap "" TERM; exec sleep 1000) & echo $! >"$me/child"; echo $$ >"$me/pid"; wait`)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := m.runner().run(ctx, attempt{what: "test", args: []string{"system", "build"}, build: true})
		failed <- err
	}()
	eventually(t, "guix runs", func() bool { return readPID(m.path("fake/pid")) > 0 })
	child := identify(readPID(m.path("fake/child")))
	if !child.alive() {
		t.Fatal("it has no child")
	}
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Error("error:", err)
	}
	eventually(t, "its child is gone", func() bool { return !child.alive() })
}

func TestDeadline(t *testing.T) {
	m := newMachine(t)
	m.now("early", `exec sleep 1000`)
	r := m.runner()
	r.SwitchTimeout = 100 * time.Millisecond
	_, err := r.run(t.Context(), attempt{what: "test", args: []string{"system", "reconfigure"}})
	if err == nil || !strings.Contains(err.Error(), "longer than 100ms") {
		t.Error("error:", err)
	}
}

func TestGuixThatFillsTheDiskIsEnded(t *testing.T) {
	m := newMachine(t)
	m.now("early", `truncate -s 65M "$(readlink /proc/$$/fd/1)"; exec sleep 1000`) // it holds no blocks
	_, err := m.runner().run(t.Context(), attempt{what: "test"})
	if err == nil || !strings.Contains(err.Error(), "it said more than 64 MiB") {
		t.Error("error:", err)
	}
}

func TestRemoveTree(t *testing.T) {
	m := newMachine(t)
	t.Setenv("HOME", m.path("home/me"))
	tree := m.tree(m.item("a", "system"))
	compiled := m.write("home/me/.cache/guile/ccache/3.0-LE-8-4.7"+tree+"/system.scm.go", "")
	other := m.write("home/me/.cache/guile/ccache/3.0-LE-8-4.7/other.go", "")
	if err := RemoveTree(tree); err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{tree, compiled} {
		if _, err := os.Stat(gone); err == nil {
			t.Errorf("%s is still there", gone)
		}
	}
	if _, err := os.Stat(other); err != nil {
		t.Error(err)
	}
}

func TestNewestLogsAreKept(t *testing.T) {
	m := newMachine(t)
	r := m.runner()
	for i := range keptLogs + 10 {
		m.write(fmt.Sprintf("var/lib/collie/logs/20200101T0000%02d.000-old.log", i), "")
	}
	m.write("var/lib/collie/logs/20200101T000000.000-old.log.running", "{}")
	f, err := r.newLog(t.Context(), "new")
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	logs, _ := filepath.Glob(m.path("var/lib/collie/logs/*.log"))
	if len(logs) != keptLogs+1 { // and the one that still runs
		t.Errorf("%d logs", len(logs))
	}
	for _, kept := range []string{f.Name(), m.path("var/lib/collie/logs/20200101T000000.000-old.log")} {
		if _, err := os.Stat(kept); err != nil {
			t.Error(err)
		}
	}
}

// leave starts a process that another life of the agent left, and its note.
func (m *machine) leave(t *testing.T, build bool, script string, until time.Duration) process {
	t.Helper()
	p, err := os.StartProcess("/bin/sh", []string{"sh", "-c", script}, &os.ProcAttr{Sys: &syscall.SysProcAttr{Setsid: true}})
	if err != nil {
		t.Fatal(err)
	}
	go p.Wait()
	id := identify(p.Pid)
	if !id.alive() {
		t.Fatal("not alive")
	}
	m.write("var/lib/collie/logs/x.log", "")
	if err := statefile.WriteJSON(m.path("var/lib/collie/logs/x.log.running"), running{"x", id, time.Now().Add(until), build}); err != nil {
		t.Fatal(err)
	}
	return id
}

func TestAwait(t *testing.T) {
	tests := map[string]struct {
		build  bool
		script string
		until  time.Duration
		ended  bool // by us
	}{
		"a build is ended":                      {true, "sleep 1000", time.Hour, true},
		"a switch may finish":                   {false, "sleep 0.5; touch FINISHED", time.Hour, false},
		"a switch is ended at its own deadline": {false, "sleep 1000", 300 * time.Millisecond, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			left := m.leave(t, test.build, strings.ReplaceAll(test.script, "FINISHED", m.path("finished")), test.until)
			if err := m.runner().Await(t.Context()); err != nil {
				t.Fatal(err)
			}
			if left.alive() {
				t.Error("it runs on")
			}
			if _, err := os.Stat(m.path("finished")); (err != nil) != test.ended {
				t.Error("finished:", err)
			}
			if left, _ := filepath.Glob(m.path("var/lib/collie/logs/*.running")); len(left) > 0 {
				t.Errorf("notes left: %v", left)
			}
		})
	}
}

// A number is given again: a process that began at another time isn't ours.
func TestAwaitLeavesStrangersAlone(t *testing.T) {
	m := newMachine(t)
	stranger := m.leave(t, true, "sleep 1000", 0)
	defer syscall.Kill(stranger.PID, syscall.SIGKILL)
	other := stranger
	other.Start = "1"
	m.write("var/lib/collie/logs/y.log.running", "{cut short")
	if err := statefile.WriteJSON(m.path("var/lib/collie/logs/x.log.running"), running{"x", other, time.Time{}, true}); err != nil {
		t.Fatal(err)
	}
	if err := m.runner().Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !stranger.alive() {
		t.Error("a stranger was killed")
	}
}

func TestAwaitGivesUpWithItsContext(t *testing.T) {
	m := newMachine(t)
	left := m.leave(t, false, "sleep 1000", time.Hour)
	defer syscall.Kill(left.PID, syscall.SIGKILL)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := m.runner().Await(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error("error:", err)
	}
}

// What a user's build leaves running has nothing of root's open, holds nobody, and adds nothing to the log.
func TestAUsersBuildHasNoLogOfRoots(t *testing.T) {
	m := newMachine(t)
	me := &User{Name: "me", UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()), Home: m.path("home/me")}
	m.now("early", `readlink /proc/$$/fd/1 >"$me/stdout"; (trap "" PIPE; while :; do echo more; sleep 0.01; done) & echo $! >"$me/child"; seq 100000`)
	out, err := m.runner().run(t.Context(), attempt{what: "test", args: []string{"home", "nothing"}, as: me, build: true})
	child := readPID(m.path("fake/child"))
	t.Cleanup(func() { _ = syscall.Kill(child, syscall.SIGKILL) })
	if err != nil || out.code != 0 || !strings.Contains(out.text, "\n100000\n") {
		t.Errorf("%d bytes, code %d, %v", len(out.text), out.code, err)
	}
	if stdout, _ := os.ReadFile(m.path("fake/stdout")); !strings.HasPrefix(string(stdout), "pipe:") {
		t.Errorf("its stdout is %s", stdout)
	}
	if !identify(child).alive() {
		t.Error("what it left running has ended")
	}

	m.now("early", `exec yes`)
	if out, err = m.runner().run(t.Context(), attempt{what: "test", args: []string{"home", "nothing"}, as: me, build: true}); err == nil || !strings.Contains(err.Error(), "it said more than 64 MiB") {
		t.Errorf("%v", err)
	}
	if info, err := os.Stat(out.log); err != nil || info.Size() != longestLog+1 {
		t.Errorf("%d bytes are kept, %v", info.Size(), err)
	}
}

// What a user's switch leaves running, as the user's Shepherd, has a pipe that it can write to for ever. The log has all that guix
// said, and no more.
func TestAUsersSwitchLeavesNoLogOfRoots(t *testing.T) {
	m := newMachine(t)
	me := &User{Name: "me", UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()), Home: m.path("home/me")}
	for name, last := range map[string]string{"that said all": "seq 1000", "that is held by what goes on": `seq 1000; (exec yes more) & echo $! >"$me/yes"`} {
		t.Run(name, func(t *testing.T) {
			m.now("early", `(trap 'touch "$me/died"' EXIT; until [ -e "$me/go" ]; do sleep 0.01; done; head -c 200000 /dev/zero && touch "$me/alive"; exec sleep 1000) & echo $! >"$me/child"; `+last)
			out, err := m.runner().run(t.Context(), attempt{what: "test", args: []string{"home", "nothing"}, as: me})
			child := readPID(m.path("fake/child"))
			t.Cleanup(func() {
				_ = syscall.Kill(-child, syscall.SIGKILL)
				for _, file := range []string{"child", "yes"} {
					if pid := readPID(m.path("fake/" + file)); pid > 1 {
						_ = syscall.Kill(pid, syscall.SIGKILL)
					}
				}
				for _, file := range []string{"go", "alive", "died", "child", "yes"} {
					_ = os.Remove(m.path("fake/" + file))
				}
			})
			if err != nil || out.code != 0 || !strings.Contains(out.text, "\n1000\n") {
				t.Errorf("%d bytes, code %d, %v", len(out.text), out.code, err)
			}
			before, err := os.Stat(out.log)
			if err != nil {
				t.Fatal(err)
			}
			m.now("go", "")
			eventually(t, "write more than a pipe holds", func() bool {
				_, err := os.Stat(m.path("fake/alive"))
				return err == nil
			})
			if after, err := os.Stat(out.log); err != nil || after.Size() != before.Size() || after.Mode().Perm() != 0o600 {
				t.Errorf("the log grew from %d bytes to %d, %v, %v", before.Size(), after.Size(), after.Mode(), err)
			}
			if logs, _ := filepath.Glob(filepath.Join(filepath.Dir(out.log), "*")); len(logs) != 1 {
				t.Errorf("beside the log: %v", logs)
			}
			_ = os.Remove(out.log)
		})
	}
}

// A guix that outlives the agent goes on to write its log, up to a bound, and isn't ended by a pipe that nobody reads.
func TestAUsersSwitchOutlivesTheAgent(t *testing.T) {
	dir := t.TempDir()
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	said, err := newTranscript(t.Context(), log, true)
	if err != nil {
		t.Fatal(err)
	}
	guix := exec.Command("/bin/sh", "-c", `echo first; until [ -e go ]; do sleep 0.01; done; echo last && head -c 70000000 /dev/zero && exec yes`)
	guix.Dir, guix.Stdout = dir, said.into
	if err := guix.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = guix.Process.Kill(); _ = guix.Wait() })
	said.begin(func(error) {})
	size := func() int64 {
		info, err := os.Stat(log.Name())
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	eventually(t, "begin the log", func() bool { return size() == int64(len("first\n")) })
	said.close() // as the kernel does for an agent that was killed
	said.copied.Wait()
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "fill the log", func() bool { return size() == int64(len("first\n"))+longestLog })
	eventually(t, "go on to write", func() bool {
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", guix.Process.Pid))
		return string(cmdline) == "yes\x00"
	})
	text := make([]byte, 16)
	f, err := os.Open(log.Name())
	if err == nil {
		_, err = f.Read(text)
		f.Close()
	}
	if err != nil || string(text) != "first\nlast\n\x00\x00\x00\x00\x00" {
		t.Errorf("the log begins with %q, %v", text, err)
	}
	if size() != int64(len("first\n"))+longestLog {
		t.Errorf("the log has %d bytes", size())
	}
}

// The output of a guix is whole although what it started goes on to write, and whatever the pipe held when it ended.
func TestATranscriptIsWhole(t *testing.T) {
	for _, lines := range []int{0, 1, 5000, 60000} {
		log, err := os.Create(filepath.Join(t.TempDir(), "log"))
		if err != nil {
			t.Fatal(err)
		}
		said, err := newTranscript(t.Context(), log, false)
		if err != nil {
			t.Fatal(err)
		}
		guix := exec.Command("/bin/sh", "-c", fmt.Sprintf(`seq %d; (trap "" PIPE; exec sleep 1000) 3>&- & echo $! >&3`, lines))
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		guix.Stdout, guix.ExtraFiles = said.into, []*os.File{w}
		if err := guix.Start(); err != nil {
			t.Fatal(err)
		}
		w.Close()
		if lines <= 5000 { // all of it fits into the pipe: nothing is read before the end
			_ = guix.Wait()
			said.begin(func(err error) { t.Error(err) })
		} else {
			said.begin(func(err error) { t.Error(err) })
			_ = guix.Wait()
		}
		var child int
		if _, err := fmt.Fscan(r, &child); err != nil {
			t.Error(err)
		}
		if err := said.finish(); err != nil {
			t.Error(err)
		}
		said.close()
		_ = syscall.Kill(child, syscall.SIGKILL)
		text, err := os.ReadFile(log.Name())
		if got := strings.Count(string(text), "\n"); err != nil || got != lines {
			t.Errorf("%d of %d lines, %v", got, lines, err)
		}
	}
}

// Between its end and cmd.Wait, a process keeps the number of its group, so what is signalled then is the group's.
func TestAGroupIsSignalledBeforeItsNumberIsFree(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "exit 3")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	awaitEnd(cmd.Process.Pid)
	if does := processDoes(cmd.Process.Pid); does != "Z" {
		t.Errorf("its state is %s", does)
	}
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Errorf("its group: %v", err)
	}
	if exit := (*exec.ExitError)(nil); !errors.As(cmd.Wait(), &exit) || exit.ExitCode() != 3 {
		t.Errorf("it ended with %v", exit)
	}
}
