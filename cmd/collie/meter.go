package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"example.org/collie/agent/api"
)

// A meter tells on the way what is going on. On a terminal the last line is written over, with a bar if there is something
// to count; elsewhere a new line comes at once for a new step, and every few seconds within one.
type meter struct {
	out   io.Writer
	steps map[string]bool // that were shown
	told  string          // the last line
	at    time.Time       // when that was
}

const (
	linePause    = 5 * time.Second
	defaultWidth = 80
)

func (m *meter) show(s api.Status) {
	step, line := s.Step(), s.Going()
	if line == m.told {
		return
	}
	fresh := !m.steps[step]
	width, terminal := width(m.out)
	switch {
	case terminal:
		if fresh && m.told != "" {
			fmt.Fprintln(m.out)
		}
		fmt.Fprintf(m.out, "\r\x1b[K%s", s.GoingIn(width-1)) // the last column wraps on some
	case fresh || time.Since(m.at) >= linePause:
		fmt.Fprintln(m.out, line)
	default:
		return
	}
	if m.steps == nil {
		m.steps = map[string]bool{}
	}
	m.steps[step] = true
	m.told, m.at = line, time.Now()
}

// end leaves the cursor at the beginning of a line.
func (m *meter) end() {
	if _, terminal := width(m.out); terminal && m.told != "" {
		fmt.Fprintln(m.out)
	}
}

// width is that of the terminal that w is, if it is one on which the cursor can be moved.
func width(w io.Writer) (int, bool) {
	f, is := w.(*os.File)
	if !is || os.Getenv("TERM") == "dumb" {
		return 0, false
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, false
	}
	if size.Col == 0 {
		return defaultWidth, true
	}
	return int(size.Col), true
}
