// Package cmdline reads the command lines of processes.
//
// A command line lies in the memory of its process, and the kernel reads it there. A process may have put that part of its memory
// into a file of a file system that it serves by itself, and never answer: then whoever reads waits until the process ends. So a
// read has a time, and goes on beside when that is over. How many do, for one user's processes, is bounded.
package cmdline

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"
)

const (
	limit = time.Second // for the kernel, which needs microseconds
	most  = 4           // reads that may hang for the processes of one user; then no more of these are read
)

// ErrHeld says that a process doesn't let its command line be read, or that others of its user didn't.
var ErrHeld = errors.New("the process holds whoever reads its command line")

// A Reader reads below one /proc. The zero Reader is ready, for many goroutines.
type Reader struct {
	mu    sync.Mutex
	reads map[string]string // underway, by file: whose process it is
}

// System reads the command lines of this machine's processes.
var System Reader

// Read reads the first bytes of the command line of a process, whose folder in /proc is dir.
func (r *Reader) Read(dir string, bytes int64) ([]byte, error) {
	owner, err := ownerOf(dir)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "cmdline")
	if !r.begin(file, owner) {
		return nil, fmt.Errorf("%s: %w", file, ErrHeld)
	}
	type answer struct {
		line []byte
		err  error
	}
	done := make(chan answer, 1)
	go func() { // it ends with the process that it reads from
		defer r.end(file)
		line, err := readHead(file, bytes)
		done <- answer{line, err}
	}()
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case a := <-done:
		return a.line, a.err
	case <-late.C:
		return nil, fmt.Errorf("%s: %w", file, ErrHeld)
	}
}

func (r *Reader) begin(file, owner string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	others := 0
	for _, of := range r.reads {
		if of == owner {
			others++
		}
	}
	if _, is := r.reads[file]; is || others >= most {
		return false
	}
	if r.reads == nil {
		r.reads = map[string]string{}
	}
	r.reads[file] = owner
	return true
}

func (r *Reader) end(file string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.reads, file)
}

var realUID = regexp.MustCompile(`(?m)^Uid:\s+(\d+)`)

// ownerOf is whose process it is: the folder belongs to root if the process wants that.
func ownerOf(dir string) (string, error) {
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return "", err
	}
	uid := realUID.FindSubmatch(status)
	if uid == nil {
		return "", fmt.Errorf("%s/status names no user", dir)
	}
	return string(uid[1]), nil
}

func readHead(file string, bytes int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, bytes))
}
