package guix

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What a run was for is in the name of its log, and is read from there.
func TestALogTellsWhatItWasFor(t *testing.T) {
	m := newMachine(t)
	m.now("early", "echo hello")
	revision := strings.Repeat("a", 40)
	for _, row := range []struct{ what, label, labelled string }{
		{"system-build", revision, revision},
		{"home-ann-lee.x-reconfigure", "baseline", "baseline"},
		{"time-machine", "", ""},
		{"system-switch", "../../etc", ""}, // no label for a file's name
	} {
		ctx := t.Context()
		if row.label != "" {
			ctx = For(ctx, row.label)
		}
		out, err := m.runner().run(ctx, attempt{what: row.what, args: []string{"system", "nothing"}})
		if err != nil {
			t.Fatal(err)
		}
		all, err := Logs(m.path("var/lib/collie/logs"))
		if err != nil || len(all) == 0 {
			t.Fatal(all, err)
		}
		l := all[len(all)-1]
		if l.File != out.log || l.What != row.what || l.For != row.labelled || time.Since(l.At) > time.Minute {
			t.Errorf("%s for %q: the log is %+v", row.what, row.label, l)
		}
		time.Sleep(2 * time.Millisecond) // the time is in the name
	}
}

func TestLogsAreTheRunnersOwn(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"20260102T150405.000-b.log", "20260101T150405.000-a@ff.log", "20260102T150405.000-b.log.running", "x.log", "99999999T999999.999-c.log"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "20260103T150405.000-link.log")); err != nil {
		t.Fatal(err)
	}
	logs, err := Logs(dir)
	if err != nil || len(logs) != 2 || logs[0].For != "ff" || logs[1].What != "b" {
		t.Errorf("%+v, %v", logs, err)
	}
	if logs, err := Logs(filepath.Join(dir, "none")); logs != nil || err != nil {
		t.Errorf("no folder: %v, %v", logs, err)
	}
}

// A terminal obeys escape codes; progress bars write over themselves; a line may come in parts, or never end.
func TestAReaderGivesLinesForATerminal(t *testing.T) {
	file := filepath.Join(t.TempDir(), "20260102T150405.000-x.log")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := Log{File: file}.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	long := strings.Repeat("y", 200<<10)
	for _, row := range []struct{ said, given, rest string }{
		{"", "", ""},
		{"one\ntw", "one\n", ""},
		{"o\n", "two\n", ""},
		{"\x1b[31mred\x1b[0m\a\n 10%\r 50%\r100%\n", "red\n100%\n", ""},
		{long + "\n", long + "\n", ""},
		{"the end", "", "the end\n"},
	} {
		if _, err := f.WriteString(row.said); err != nil {
			t.Fatal(err)
		}
		given, err := io.ReadAll(r)
		if got := strings.ReplaceAll(string(given), "y\ny", "yy"); err != nil || got != row.given {
			t.Errorf("of %.40q it gave %.80q (%d), %v; want %.80q (%d)", row.said, got, len(got), err, row.given, len(row.given))
		}
		if row.rest != "" {
			if rest := r.Rest(); rest != row.rest {
				t.Errorf("the rest is %.80q, want %q", rest, row.rest)
			}
		}
	}
}
