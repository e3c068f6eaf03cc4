package guix

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"example.org/collie/shepherd"
)

// What Shepherd gave up is told whoever had started it; what a person stopped or disabled isn't.
func TestWhatShepherdGaveUpIsAProblem(t *testing.T) {
	g := newGuest(t)
	g.system("A", "one web", "one hand !by-hand", "one idle !by-hand", "one off !by-hand")
	g.boots("A")
	for _, name := range []string{"hand", "off"} {
		g.starts(g.find(name))
	}
	g.stops(g.find("off"))
	g.find("off").disabled = true
	dies(g, "hand")
	g.wants("what stopped by itself", g.ill("A"), "hand: stopped: disabled, died 2 times")
}

// The last line that a service wrote may have nothing to do with its end, so it is shown as the last line, and as no more.
func TestTheLastLineIsNoReason(t *testing.T) {
	g := newGuest(t)
	g.system("A", "one web", "one quiet")
	g.boots("A")
	dies(g, "web")
	dies(g, "quiet")
	g.find("web").exits, g.find("web").messages = "(9 . 2000)", `(17 . "\x1b[31mall is \"well\"\u200b\x1b[0m") (16 . "before")`
	g.wants("what is said", g.ill("A"), `web: stopped: disabled, died 2 times, killed by signal 9; last line: all is "well"`, "quiet: stopped: disabled, died 2 times")
}

func TestTheLastLines(t *testing.T) {
	file := func(text string) string {
		name := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	many := strings.Repeat("a line\n", 2000) + "the last\n"
	fifo := filepath.Join(t.TempDir(), "fifo")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(file("secret\n"), link); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	root := shepherd.Service{Name: "root", Messages: []string{"sh[7] older", "web[8] one", "sh[9] other", "web[8] two", "Service web (PID 8) exited with 1."}}
	for _, row := range []struct {
		name  string
		live  shepherd.Service
		log   string
		lines []string
	}{
		{"its messages come first", shepherd.Service{Name: "web", Messages: []string{"x", "y\x1b[31m red\ttab"}}, file("old\n"), []string{"x", "y red tab"}},
		{"its log", shepherd.Service{Name: "web"}, file("one\ntwo\n"), []string{"one", "two"}},
		{"the end of a long log", shepherd.Service{Name: "web"}, file(many), append(slices.Repeat([]string{"a line"}, 9), "the last")},
		{"an empty log", shepherd.Service{Name: "web"}, file(""), []string{"one", "two"}},
		{"Shepherd's own log", shepherd.Service{Name: "web"}, "", []string{"one", "two"}},
		{"a log that is a link", shepherd.Service{Name: "web"}, link, []string{"one", "two"}},
		{"a log that nobody writes", shepherd.Service{Name: "web"}, fifo, []string{"one", "two"}},
		{"nothing", shepherd.Service{Name: "other"}, "", nil},
	} {
		s := newGuest(t).services
		lines, log := s.lastLines(t.Context(), row.live, startedService{Log: row.log}, []shepherd.Service{root})
		if !slices.Equal(lines, row.lines) {
			t.Errorf("%s: %q, want %q", row.name, lines, row.lines)
		}
		if (log != "") != strings.Contains(row.name, "its log") && row.name != "the end of a long log" {
			t.Errorf("%s: from %q", row.name, log)
		}
	}
}
