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
	if q.Lines > 0 {
		last := &lastLines{most: q.Lines}
		l.out = last
		if err := l.write(); err != nil {
			return err
		}
		if l.out = w; !q.Follow {
			l.endLine(last)
		}
		if _, err := io.WriteString(w, last.String()); err != nil {
			return err
		}
	} else if err := l.write(); err != nil {
		return err
	}
	if l.shown == "" {
		fmt.Fprintf(w, "Guix ran nothing for revision %s, or it was long ago: only the newest logs are kept.\n", short(revision))
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
	return l.endLine(w)
}

// logRevision is the one revision whose id begins with prefix, or the newest.
func logRevision(state, prefix string) (string, error) {
	var s State
	if err := readJSON(store{state}.stateFile(), &s); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("state: %w", err)
	}
	if prefix == "" {
		if s.Newest.ID == "" {
			return "", errors.New("there is no revision yet: push one, then `collie sync`")
		}
		return s.Newest.ID, nil
	}
	entries, err := readJournal(filepath.Join(state, "journal"))
	if err != nil {
		return "", err
	}
	logs, err := guix.Logs(filepath.Join(state, logsDir))
	if err != nil {
		return "", err
	}
	known := []string{s.Newest.ID}
	for _, e := range entries {
		known = append(known, e.Revision)
	}
	for _, l := range logs {
		known = append(known, l.For)
	}
	slices.Sort(known)
	known = slices.DeleteFunc(slices.Compact(known), func(id string) bool { return !strings.HasPrefix(id, strings.ToLower(prefix)) })
	switch len(known) {
	case 0:
		return "", fmt.Errorf("no revision begins with %.40q: `collie history` lists them", prefix)
	case 1:
		return known[0], nil
	}
	return "", fmt.Errorf("%d revisions begin with %.40q, as %s and %s: write more of it", len(known), prefix, short(known[0]), short(known[1]))
}

// A logWriter writes the logs of a revision to out, as far as they go; called again, what came since.
type logWriter struct {
	dir, revision string
	out           io.Writer
	shown         string       // the file of the log that is open, or was
	log           *guix.Reader // of it
}

func (l *logWriter) write() error {
	all, err := guix.Logs(l.dir) // before more of the open one is read: what follows it means that it has ended
	if err != nil {
		return err
	}
	if err := l.copy(); err != nil {
		return err
	}
	for _, next := range all {
		if next.For != l.revision || next.File <= l.shown {
			continue
		}
		reader, err := next.Open()
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was one of the oldest
		}
		if err != nil {
			return err
		}
		if err := l.endLine(l.out); err != nil {
			return errors.Join(err, reader.Close())
		}
		l.close()
		l.shown, l.log = next.File, reader
		if _, err := fmt.Fprintf(l.out, "==> %s, %s, for revision %s <==\n", next.What, next.At.Local().Format(time.DateTime), short(l.revision)); err != nil {
			return err
		}
		if err := l.copy(); err != nil {
			return err
		}
	}
	return nil
}

func (l *logWriter) copy() error {
	if l.log == nil {
		return nil
	}
	_, err := io.Copy(l.out, l.log)
	return err
}

// endLine writes what the open log says after its last full line.
func (l *logWriter) endLine(w io.Writer) error {
	if l.log == nil {
		return nil
	}
	_, err := io.WriteString(w, l.log.Rest())
	return err
}

func (l *logWriter) close() {
	if l.log != nil {
		_ = l.log.Close() // it was only read
		l.log = nil
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
