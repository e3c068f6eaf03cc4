package guix

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// A Log is what one run of guix said. Its file's name tells all that is known of it, so that nothing else has to be
// kept, and nothing can differ from it:
//
//	20260102T150405.000-system-build@REVISION.log
type Log struct {
	File string
	At   time.Time // when the run began
	What string    // system-build, home-USER-switch, time-machine…: the layer and what was done
	For  string    // what it was done for, as the caller named it; may be unknown
}

type whom struct{}

// For returns a context whose runs of guix have logs that name what they were for: letters and digits only, as of a revision.
func For(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, whom{}, name)
}

const logTime = "20060102T150405.000"

var (
	logName  = regexp.MustCompile(`^(\d{8}T\d{6}\.\d{3})-([^@/]+)(?:@([A-Za-z0-9]+))?\.log$`)
	logLabel = regexp.MustCompile(`^[A-Za-z0-9]{1,64}$`)
)

// nameLog is the name of the log of a run that begins now.
func nameLog(ctx context.Context, what string, now time.Time) string {
	name := now.UTC().Format(logTime) + "-" + what
	if label, _ := ctx.Value(whom{}).(string); logLabel.MatchString(label) {
		name += "@" + label
	}
	return name + ".log"
}

// Logs are the logs in dir, the oldest first.
func Logs(dir string) ([]Log, error) {
	entries, err := os.ReadDir(dir) // sorted: a name begins with the time
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing Guix's logs: %w", err)
	}
	var logs []Log
	for _, e := range entries {
		m := logName.FindStringSubmatch(e.Name())
		if m == nil || !e.Type().IsRegular() {
			continue
		}
		at, err := time.Parse(logTime, m[1])
		if err != nil {
			continue
		}
		logs = append(logs, Log{File: filepath.Join(dir, e.Name()), At: at, What: m[2], For: m[3]})
	}
	return logs, nil
}

// A Reader gives what guix says in a log as lines for a terminal. At the end of what is there it says io.EOF, and can be
// asked again for what came since.
type Reader struct {
	file *os.File
	raw  []byte // read, without the end of its line
	text []byte // to be given
}

// Open opens the log for reading.
func (l Log) Open() (*Reader, error) {
	f, err := os.Open(l.File)
	if err != nil {
		return nil, fmt.Errorf("reading what guix said: %w", err)
	}
	return &Reader{file: f}, nil
}

func (r *Reader) Read(p []byte) (int, error) {
	const longest = 64 << 10 // a longer line is given in parts
	for len(r.text) == 0 {
		block := make([]byte, 32<<10)
		n, err := r.file.Read(block)
		r.raw = append(r.raw, block[:n]...)
		end := bytes.LastIndexByte(r.raw, '\n') + 1
		if end == 0 && len(r.raw) > longest {
			end = len(r.raw)
		}
		if n == 0 && err != nil {
			return 0, err
		}
		r.text, r.raw = []byte(clean(string(r.raw[:end]))), append([]byte(nil), r.raw[end:]...)
	}
	n := copy(p, r.text)
	r.text = r.text[n:]
	return n, nil
}

// Rest is the line that has no end yet.
func (r *Reader) Rest() string {
	rest := clean(string(r.raw))
	r.raw = nil
	return rest
}

// Close ends the reading.
func (r *Reader) Close() error { return r.file.Close() }
