// Package cmdline reads the command lines of processes.
//
// A command line lies in the memory of its process, and the kernel reads it there. A process may have put that part of its memory
// into a file of a file system that it serves by itself, and never answer: then whoever reads waits until the process ends. So a
// read has a time limit. After that it continues in the background; the number of such reads is bounded for each user.
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
	most  = 4           // processes of one user of which a read may hang; then no more of that user's are read
)

// ErrHeld says that a process doesn't let its command line be read, or that others of its user didn't.
var ErrHeld = errors.New("the process holds whoever reads its command line")

// A Reader reads below one /proc. The zero Reader is ready, for many goroutines.
type Reader struct {
	mu   sync.Mutex
	hang map[string]string // reads that are late, by file: whose process it is
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
	if r.held(file, owner) {
		return nil, fmt.Errorf("%s: %w", file, ErrHeld)
	}
	type answer struct {
		line []byte
		err  error
	}
	done := make(chan answer)
	late := make(chan struct{})
	go func() { // it ends with the process that it reads from
		line, err := readHead(file, bytes)
		select {
		case done <- answer{line, err}:
		case <-late:
			r.ended(file)
		}
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case a := <-done:
		return a.line, a.err
	case <-timer.C:
		r.hangs(file, owner)
		close(late)
		return nil, fmt.Errorf("%s: %w", file, ErrHeld)
	}
}

// held reports whether a read would hang, or might: too many for that user's processes do.
func (r *Reader) held(file, owner string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, is := r.hang[file]; is {
		return true
	}
	others := 0
	for _, of := range r.hang {
		if of == owner {
			others++
		}
	}
	return others >= most
}

func (r *Reader) hangs(file, owner string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hang == nil {
		r.hang = map[string]string{}
	}
	r.hang[file] = owner
}

func (r *Reader) ended(file string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.hang, file)
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
