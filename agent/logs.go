package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.org/collie/agent/api"
	"example.org/collie/agent/rollout"
	"example.org/collie/guix"
)

const (
	logsDir = "logs"
	logPace = 200 * time.Millisecond // between two looks for more
)

// Logs writes what guix said for a revision, run after run; with Follow until ctx ends. It needs no agent, but the right
// to read the state folder.
func Logs(ctx context.Context, state string, q api.LogQuery, w io.Writer) error {
	revision, err := logRevision(state, q.Revision)
	if err != nil {
		return err
	}
	l := logWriter{dir: filepath.Join(state, logsDir), revision: revision, out: w}
	defer l.close()
	last := &lastLines{most: q.Lines}
	if q.Lines > 0 {
		l.out = last
	}
	err = l.write()
	if err == nil && !q.Follow {
		err = l.rest()
	}
	if err != nil {
		return err
	}
	l.out = w
	if _, err := io.WriteString(w, last.String()); err != nil {
		return err
	}
	if len(l.open) == 0 {
		fmt.Fprintf(w, "Guix ran nothing for revision %s, or it was long ago: only the newest logs are kept.\n", api.Short(revision))
	}
	for q.Follow {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(logPace):
		}
		if err := l.write(); err != nil {
			return err
		}
	}
	return nil
}

// logRevision is the one revision whose id begins with prefix, or the newest.
func logRevision(state, prefix string) (string, error) {
	logs, err := guix.Logs(filepath.Join(state, logsDir))
	if err != nil {
		return "", err
	}
	var logged []string
	for _, l := range logs {
		logged = append(logged, l.For)
	}
	return rollout.Folder(state).Find(prefix, logged)
}

// A logWriter writes the logs of a revision to out, as far as they go; called again, what came since. Several runs may write
// in parallel: a line marks where the text of another one begins.
type logWriter struct {
	dir, revision string
	out           io.Writer
	open          []*openLog // the oldest first
	last          *openLog   // whose text came last
}

type openLog struct {
	guix.Log
	*guix.Reader
	to *logWriter
}

func (l *logWriter) write() error {
	all, err := guix.Logs(l.dir)
	if err != nil {
		return err
	}
	for _, log := range all {
		if log.For != l.revision || slices.ContainsFunc(l.open, func(o *openLog) bool { return o.File == log.File }) {
			continue
		}
		reader, err := log.Open()
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was one of the oldest
		}
		if err != nil {
			return err
		}
		l.open = append(l.open, &openLog{log, reader, l})
	}
	for _, log := range l.open {
		if _, err := io.Copy(log, log.Reader); err != nil {
			return err
		}
	}
	return nil
}

// Write writes what the log says, below its name.
func (o *openLog) Write(p []byte) (int, error) {
	if o.to.last != o {
		o.to.last = o
		if _, err := fmt.Fprintf(o.to.out, "==> %s, %s, for revision %s <==\n", o.What, o.At.Local().Format(time.DateTime), api.Short(o.For)); err != nil {
			return 0, err
		}
	}
	return o.to.out.Write(p)
}

// rest writes what the logs say after their last full lines.
func (l *logWriter) rest() error {
	for _, log := range l.open {
		if rest := log.Rest(); rest != "" {
			if _, err := io.WriteString(log, rest); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *logWriter) close() {
	for _, log := range l.open {
		_ = log.Close() // it was only read
	}
}

// lastLines keeps the last lines of what is written to it, the beginning of each.
type lastLines struct {
	most  int
	lines []string // all but the last have ended
}

func (t *lastLines) Write(p []byte) (int, error) {
	const longest = 4 << 10
	for part := range strings.Lines(string(p)) {
		if n := len(t.lines); n == 0 || strings.HasSuffix(t.lines[n-1], "\n") {
			t.lines = append(t.lines, "")
		}
		last := &t.lines[len(t.lines)-1]
		ended := strings.HasSuffix(part, "\n")
		part = strings.TrimSuffix(part, "\n")
		*last += part[:min(len(part), max(0, longest-len(*last)))]
		if ended {
			*last += "\n"
		}
		if len(t.lines) > t.most {
			t.lines = t.lines[1:]
		}
	}
	return len(p), nil
}

func (t *lastLines) String() string { return strings.Join(t.lines, "") }
