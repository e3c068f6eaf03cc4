package guix

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"example.org/collie/agent/limits"
)

// A transcript is what a guix that runs as a user says, on its way into a log of root's. That user has a pipe: what guix started
// could keep the log open, and fill the disk. The agent reads the pipe until guix has ended. What a switch started, as the user's
// Shepherd, lives on with the pipe, and a write to one that nobody reads would end it; so a relay reads on.
type transcript struct {
	log    *os.File
	says   *os.File // where the pipe is read
	into   *os.File // where it is written
	over   *os.File // closed without a word, it says that the agent has died; nil: there is no relay
	left   io.LimitedReader
	copied sync.WaitGroup
	err    error // while the log was written; once copied
}

// The relay has the rights of the agent, so that the user can't end it, or take its files. It waits for the agent's last word. Without
// one, the log gets the beginning of what guix goes on to say.
const relay = `type head cat >/dev/null || exit
{ read -r over <&4 || head -c "$0" <&3 >&5; exec cat <&3 >/dev/null 4<&- 5>&-; } &`

// newTranscript makes the pipe, and a relay if what guix starts may live on.
func newTranscript(ctx context.Context, log *os.File, livesOn bool) (*transcript, error) {
	says, into, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	t := &transcript{log: log, says: says, into: into, left: io.LimitedReader{R: says, N: longestLog + 1}} // with the last byte, follow ends it
	if livesOn {
		if err := t.startRelay(ctx); err != nil {
			t.close()
			return nil, fmt.Errorf("starting what reads its output later: %w", err)
		}
	}
	return t, nil
}

func (t *transcript) startRelay(ctx context.Context) error {
	var number uintptr
	raw, err := t.says.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { number = fd })
	}
	if err != nil {
		return err
	}
	says, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", number)) // cat needs one that blocks, the agent one that doesn't
	if err != nil {
		return err
	}
	defer says.Close()
	gate, over, err := os.Pipe()
	if err != nil {
		return err
	}
	defer gate.Close()
	t.over = over
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", relay, strconv.Itoa(longestLog))
	cmd.Env, cmd.Dir = environment(nil), "/"
	cmd.ExtraFiles = []*os.File{says, gate, t.log}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return limits.Run(cmd) // the shell ends at once, and leaves the relay to PID 1
}

// begin copies until finish, once guix has its end of the pipe. failed gets the error at once if the log can't be written.
func (t *transcript) begin(failed func(error)) {
	t.into.Close()
	t.copied.Go(func() {
		if _, err := io.Copy(t.log, &t.left); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.err = err
			failed(err)
		}
		_, _ = io.Copy(io.Discard, t.says) // of too much, the beginning is kept; returns at once after a deadline
	})
}

// finish is for when guix has ended. All that it said is in the pipe by then, and nobody else reads it.
func (t *transcript) finish() error {
	_ = t.says.SetReadDeadline(time.Unix(1, 0))
	t.copied.Wait()
	_ = t.says.SetReadDeadline(time.Time{})
	if t.err == nil {
		t.err = t.copyRest()
	}
	if t.over != nil {
		_, _ = io.WriteString(t.over, "over\n")
	}
	return t.err
}

func (t *transcript) copyRest() error {
	raw, err := t.says.SyscallConn()
	if err != nil {
		return err
	}
	var rest int
	var failed error
	if err := raw.Control(func(fd uintptr) { rest, failed = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }); err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	_, err = io.Copy(t.log, io.LimitReader(&t.left, int64(rest)))
	return err
}

func (t *transcript) close() {
	for _, f := range []*os.File{t.says, t.into, t.over} {
		if f != nil {
			f.Close()
		}
	}
}
