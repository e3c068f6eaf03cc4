package guix

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"example.org/collie/shepherd"
)

// A switch waits for a Shepherd that is silent. Where that lasts for too long, the commit is at fault if what it had Shepherd
// do may be why.
func TestWhoseFaultSilenceIs(t *testing.T) {
	const patience = 3 * time.Minute
	for _, row := range []struct {
		name   string
		new    string // the service that the switch starts
		before time.Duration
		does   string
		takes  time.Duration
		want   string // "", "later", or what is said of the commit
	}{
		{"for a while before the switch", "two new", 2 * time.Minute, "R", 2 * time.Minute, ""},
		{"for too long before the switch", "two new", time.Hour, "R", patience, "later"},
		{"for a while in a start", "two new !pauses", 0, "T", time.Minute, ""},
		{"for a while in a start that keeps it", "two new !pauses", 0, "R", time.Minute, ""},
		{"stopped in a start", "two new !blocks", 0, "T", patience + 30*time.Second, "later"},
		{"traced in a start", "two new !blocks", 0, "t", patience + 30*time.Second, "later"},
		{"waiting for a disk in a start", "two new !blocks", 0, "D", patience + 30*time.Second, "later"},
		{"dead in a start", "two new !blocks", 0, "X", patience + 30*time.Second, "later"},
		{"kept by a start that computes", "two new !blocks", 0, "R", patience + 30*time.Second, "since it was asked to start new"},
		{"kept by a start that waits", "two new !blocks", 0, "S", patience + 30*time.Second, "since it was asked to start new"},
		{"a service alone doesn't start", "two new !late-start", 0, "R", 30 * time.Second, "service new: starting"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGuest(t)
				g.system("A", "one web")
				g.system("B", "one web", row.new)
				g.boots("A")
				g.timeout, g.does = 30*time.Second, func(int) string { return row.does }
				begun := time.Now()
				g.silent = begun.Add(row.before)
				if row.before == 0 {
					g.silent = time.Time{}
				}
				s := g.patient(patience)
				err := s.excuse(s.make(t.Context(), "A", "B", filepath.Join(t.TempDir(), "note"), func() error {
					g.current = "B"
					return nil
				}))
				passes := (*TransientError)(nil)
				switch later := errors.As(err, &passes); {
				case row.want == "" && err != nil, row.want == "later" && !later:
					t.Errorf("got %v", err)
				case row.want != "" && row.want != "later" && (err == nil || later || !strings.Contains(err.Error(), row.want)):
					t.Errorf("got %v (later: %t), want %s", err, later, row.want)
				}
				if took := time.Since(begun); took < row.takes || took > row.takes+40*time.Second {
					t.Errorf("it took %v, want %v", took, row.takes)
				}
			})
		})
	}
}

// A guix that waits for a Shepherd that is silent is ended once that lasts for too long.
func TestAGuixThatWaitsForASilentShepherd(t *testing.T) {
	for _, row := range []struct {
		name   string
		silent time.Duration
		does   string
		takes  time.Duration
		want   string
	}{
		{"for a while", 2 * time.Minute, "R", 2 * time.Minute, ""},
		{"stopped", time.Hour, "T", 3 * time.Minute, "later"},
		{"kept", time.Hour, "S", 3 * time.Minute, "since guix began the switch"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGuest(t)
				g.system("A", "one web")
				g.boots("A")
				g.does = func(int) string { return row.does }
				s, begun := g.patient(3*time.Minute), time.Now()
				g.silent = begun.Add(row.silent)
				out, err := s.heard(t.Context(), func(ctx context.Context) (outcome, error) {
					if _, err := g.shepherd.Services(ctx); err != nil && ctx.Err() == nil { // it asks without a limit
						select {
						case <-ctx.Done():
							return outcome{text: "cut"}, context.Cause(ctx)
						case <-time.After(time.Until(g.silent)):
						}
					}
					return outcome{}, nil
				})
				err = s.excuse(err)
				passes := (*TransientError)(nil)
				later := errors.As(err, &passes)
				if (out.text == "cut") != (row.want != "") || later != (row.want == "later") || !later && row.want != "" && !strings.Contains(err.Error(), row.want) {
					t.Errorf("got %q, %v", out.text, err)
				}
				if took := time.Since(begun); took < row.takes || took > row.takes+10*time.Second {
					t.Errorf("it took %v, want %v", took, row.takes)
				}
			})
		})
	}
}

// A Shepherd is only ended for what its children died of if none of them became a program.
func TestWhichShepherdIsStillborn(t *testing.T) {
	const aborted, exited = 6, 256
	for _, row := range []struct {
		name  string
		exits map[string]int // wait status
		runs  string
		want  bool
	}{
		{"all aborted", map[string]int{"bell": aborted, "rope": aborted | 0x80}, "", true},
		{"one runs", map[string]int{"bell": aborted}, "rope", false},
		{"one has ended", map[string]int{"bell": aborted, "rope": exited}, "", false},
		{"one was killed", map[string]int{"bell": aborted, "rope": 9}, "", false},
		{"none was started", nil, "", false},
		{"one aborted, none else was started", map[string]int{"bell": aborted}, "", true},
		{"a job of the user's runs", map[string]int{"bell": aborted}, "job", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGuest(t)
				g.system("A", "one bell", "one rope", "one job")
				g.boots("A")
				for _, s := range g.pretence.services {
					if s.name() == "root" {
						continue
					}
					g.is(s, "stopped")
					s.pid, s.disabled, s.transient = 0, true, s.name() == "job"
					if status, ended := row.exits[s.name()]; ended {
						s.exits = fmt.Sprintf("(%d . %d)", status, g.clock)
					}
					if row.runs == s.name() {
						g.is(s, "running")
						s.pid = 4711
					}
				}
				if _, is := g.stillborn(t.Context()); is != row.want {
					t.Errorf("got %t", is)
				}
			})
		})
	}
}

// What a process does is read as the kernel tells it.
func TestWhatAProcessDoes(t *testing.T) {
	pid := spawned(t, "sleep 60", nil)
	process, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); processDoes(pid) != "T"; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("stopped, it is %q", processDoes(pid))
		}
	}
	if does := processDoes(1 << 30); does != "X" {
		t.Errorf("a process that isn't there is %q", does)
	}
}

// A Shepherd that is there and takes no connections, as too many wait already, isn't a Shepherd that doesn't run.
func TestAFullQueueIsSilence(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: socket}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	waiting, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	if l := look(t.Context(), t.TempDir(), socket); !l.Shepherd || l.Stale || l.Gone {
		t.Errorf("it looks as if it didn't run: %+v", l)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := shepherd.At(socket).Services(ctx); err == nil || errors.Is(err, shepherd.ErrUnreachable) {
		t.Errorf("got %v", err)
	}
}
