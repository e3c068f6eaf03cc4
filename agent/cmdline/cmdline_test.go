package cmdline

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is one in a /proc of its own; without a line, it holds who reads it, as a FIFO does.
func process(t *testing.T, proc string, pid, uid int, line string) string {
	t.Helper()
	dir := filepath.Join(proc, fmt.Sprint(pid))
	err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "status"), fmt.Appendf(nil, "Name:\tx\nUid:\t%d\t0\t0\t0\n", uid), 0o644))
	if line == "" {
		err = errors.Join(err, syscall.Mkfifo(filepath.Join(dir, "cmdline"), 0o644))
		t.Cleanup(func() { // lets the reader go
			if f, err := os.OpenFile(filepath.Join(dir, "cmdline"), os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
				f.Close()
			}
		})
	} else {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, "cmdline"), []byte(line), 0o644))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestAProcessThatHoldsItsReaderIsGivenUp(t *testing.T) {
	proc, r := t.TempDir(), new(Reader)
	good := process(t, proc, 1, 0, "guix\x00system")
	evil := process(t, proc, 2, 1000, "")
	beside := process(t, proc, 3, 1000, "guix\x00home")
	if line, err := r.Read(good, 4); string(line) != "guix" || err != nil {
		t.Errorf("%q, %v", line, err)
	}
	if _, err := r.Read(evil, 100); !errors.Is(err, ErrHeld) {
		t.Errorf("a process that says nothing: %v", err)
	}
	reads := runtime.NumGoroutine()
	if _, err := r.Read(evil, 100); !errors.Is(err, ErrHeld) {
		t.Errorf("the second time: %v", err)
	}
	if now := runtime.NumGoroutine(); now > reads {
		t.Errorf("the second read began another: %d goroutines, then %d", reads, now)
	}
	if line, err := r.Read(beside, 100); string(line) != "guix\x00home" || err != nil {
		t.Errorf("another of the user's: %q, %v", line, err)
	}
	f, err := os.OpenFile(filepath.Join(evil, "cmdline"), os.O_WRONLY, 0) // as the end of the process does
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		r.mu.Lock()
		left := len(r.hang)
		r.mu.Unlock()
		if left == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the read doesn't end")
		}
	}
}

// However many processes a user has that hold their readers, few reads hang, and root's are read.
func TestReadsThatHangAreBounded(t *testing.T) {
	proc, r := t.TempDir(), new(Reader)
	for i := range 50 {
		if _, err := r.Read(process(t, proc, 100+i, 1000, ""), 10); !errors.Is(err, ErrHeld) {
			t.Fatalf("process %d: %v", i, err)
		}
	}
	if len(r.hang) != most {
		t.Errorf("%d reads hang", len(r.hang))
	}
	if line, err := r.Read(process(t, proc, 1, 0, "guix"), 10); string(line) != "guix" || err != nil {
		t.Errorf("root's: %q, %v", line, err)
	}
	if _, err := r.Read(filepath.Join(proc, "none"), 10); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("none: %v", err)
	}
}

func TestReadThisProcess(t *testing.T) {
	line, err := System.Read("/proc/self", 16<<10)
	if err != nil || !strings.HasPrefix(string(line), os.Args[0]+"\x00") {
		t.Errorf("%q, %v", line, err)
	}
}

// Many may look at once: a read that is underway is no read that hangs.
func TestReadsAtOnceHideNothing(t *testing.T) {
	proc, r := t.TempDir(), new(Reader)
	dir := process(t, proc, 1, 0, "guix\x00system")
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 500 {
				if line, err := r.Read(dir, 100); string(line) != "guix\x00system" || err != nil {
					t.Errorf("%q, %v", line, err)
					return
				}
			}
		})
	}
	all.Wait()
}
