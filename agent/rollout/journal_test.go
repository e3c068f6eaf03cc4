package rollout

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with testdata/NAME, or writes it there with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v: write it with `go test ./agent -update`, and read it", err)
	}
	if got != string(want) {
		t.Errorf("%s (rewrite it with -update):\n--- got\n%s--- want\n%s", file, got, want)
	}
}

func openForTest(t *testing.T, name string) *journal {
	t.Helper()
	j, err := openJournal(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.close() })
	return j
}

func revisionsIn(t *testing.T, name string) []string {
	t.Helper()
	entries, err := readJournal(name, journalLimit)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Revision)
	}
	return all
}

func TestJournalKeepsWhatWasWritten(t *testing.T) {
	name := filepath.Join(t.TempDir(), "journal")
	if entries, err := readJournal(name, journalLimit); err != nil || len(entries) != 0 {
		t.Fatalf("before the first: %v, %v", entries, err)
	}
	want := []entry{
		{At: time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC), Event: evPreparing, Revision: "a", Author: "ann", Subject: "two\nlines"},
		{At: time.Date(2026, 7, 1, 12, 0, 1, 0, time.UTC), Event: evSwitching, Revision: "a", Because: "new", Before: []Problem{{Layer: "pods", Subject: "pod web", Says: "ill"}}},
		{At: time.Date(2026, 7, 1, 12, 0, 2, 0, time.UTC), Event: evLayer, Revision: "a", Layer: "pods"},
	}
	for i, e := range want {
		j := openForTest(t, name) // a life for each
		if err := j.write(e); err != nil {
			t.Fatal(err)
		}
		if err := j.close(); err != nil {
			t.Fatal(err)
		}
		if got, err := readJournal(name, journalLimit); err != nil || len(got) != i+1 {
			t.Fatalf("after %d entries: %v, %v", i+1, got, err)
		}
	}
	got, err := readJournal(name, journalLimit)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v (%v)\nwant %+v", got, err, want)
	}
	if info, err := os.Stat(name); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v (%v), want 0600", info.Mode(), err)
	}
}

// A kill in the middle of a write leaves half a line: it costs that entry, never the next one.
func TestJournalHealsATornLine(t *testing.T) {
	line := func(revision string) string {
		b, err := json.Marshal(entry{Event: evGood, Revision: revision})
		if err != nil {
			t.Fatal(err)
		}
		return string(b) + "\n"
	}
	whole := line("a") + line("b")
	for cut := len(line("a")); cut <= len(whole); cut++ {
		name := filepath.Join(t.TempDir(), "journal")
		if err := os.WriteFile(name, []byte(whole[:cut]), 0o600); err != nil {
			t.Fatal(err)
		}
		j := openForTest(t, name)
		if err := j.write(entry{Event: evGood, Revision: "c"}); err != nil {
			t.Fatal(err)
		}
		want := []string{"a", "c"}
		if cut >= len(whole)-1 { // all of b but for its end of line
			want = []string{"a", "b", "c"}
		}
		if got := revisionsIn(t, name); !reflect.DeepEqual(got, want) {
			t.Errorf("torn after %d bytes: %q, want %q", cut, got, want)
		}
	}
}

func TestJournalPassesOverWhatIsNoEntry(t *testing.T) {
	name := filepath.Join(t.TempDir(), "journal")
	text := `{"event":"good","revision":"a"}` + "\n\n\x00\x00\x00\nno JSON\n[1]\n{\"event\":7}\n" + `{"event":"moon","revision":"b","new":true}` + "\n"
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, want := revisionsIn(t, name), []string{"a", "b"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestJournalDropsItsOlderHalf(t *testing.T) {
	name := filepath.Join(t.TempDir(), "journal")
	var text strings.Builder
	n := 0
	for text.Len() < journalLimit {
		fmt.Fprintf(&text, `{"event":"good","revision":"%d","subject":"%s"}`+"\n", n, strings.Repeat("x", 1000))
		n++
	}
	short := text.String()[:text.Len()-1100] // below the limit: stays
	for _, row := range []struct {
		name, text  string
		least, most int // entries that are left
	}{
		{"below the limit", short, n - 2, n - 1},
		{"at the limit", text.String(), n/2 - 1, n / 2},
	} {
		if err := os.WriteFile(name, []byte(row.text), 0o600); err != nil {
			t.Fatal(err)
		}
		j := openForTest(t, name)
		if err := j.write(entry{Event: evGood, Revision: "last"}); err != nil {
			t.Fatal(err)
		}
		got := revisionsIn(t, name)
		if kept := len(got) - 1; kept < row.least || kept > row.most {
			t.Errorf("%s: %d of %d entries are left, want %d to %d", row.name, kept, n, row.least, row.most)
		}
		if got[len(got)-1] != "last" {
			t.Errorf("%s: ends with %q", row.name, got[len(got)-1])
		}
		for i := 1; i < len(got)-1; i++ {
			if want := fmt.Sprint(atoi(t, got[i-1]) + 1); got[i] != want {
				t.Fatalf("%s: %q follows %q: a line was torn", row.name, got[i], got[i-1])
			}
		}
		if info, err := os.Stat(name); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: mode %v (%v), want 0600", row.name, info.Mode(), err)
		}
		if left, err := os.ReadDir(filepath.Dir(name)); err != nil || len(left) != 1 {
			t.Errorf("%s: beside the journal is %v (%v)", row.name, left, err)
		}
	}
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	var n int
	if _, err := fmt.Sscan(s, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestJournalThatCannotBeOpened(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("circle", filepath.Join(dir, "circle")); err != nil {
		t.Fatal(err)
	}
	if _, err := openJournal(filepath.Join(dir, "circle", "journal")); err == nil || !strings.HasPrefix(err.Error(), "journal: ") {
		t.Errorf("a circle of links for a journal: %v", err)
	}
	if _, err := openJournal(filepath.Join(dir, "none", "journal")); err == nil || !strings.HasPrefix(err.Error(), "journal: ") {
		t.Errorf("in a folder that isn't there: %v", err)
	}
}

// Each story is what the journal says, a second a line; the golden file is what the history makes of them.
func TestHistory(t *testing.T) {
	stories := []struct {
		name    string
		entries []entry
	}{
		{"nothing yet", nil},
		{"good", tell("preparing a", "baseline baseline", "prepared a", "switching a: newest", "layer a system", "layer a pods", "soaking a", "good a")},
		{"nothing to switch", tell("preparing a", "prepared a", "switching a: newest", "good a")},
		{"rejected", tell("preparing a", "failed a: pods/web.yaml:3: spec: unknown key")},
		{"rejected while another soaks", tell("preparing a", "prepared a", "switching a: newest", "layer a pods", "soaking a", "preparing b", "failed b: system.scm:1: unbound variable", "good a")},
		{"a layer failed, all rolled back", tell("preparing a", "prepared a", "switching a: newest", "layer a system", "layer a pods", "failed a: pod web: exited",
			"rolling-back a: the last good: pod web: exited", "layer z system", "layer z pods", "rolled-back a")},
		{"died in the soak, all rolled back", tell("preparing a", "prepared a", "switching a: newest", "layer a system", "soaking a", "failed a: service web: exited",
			"rolling-back a: the last good: service web: exited", "layer z system", "rolled-back a")},
		{"superseded in its soak", tell("preparing a", "prepared a", "switching a: newest", "layer a system", "soaking a", "preparing b", "prepared b",
			"switching b: newest", "layer b system", "soaking b", "good b")},
		{"superseded while it was prepared", tell("preparing a", "preparing b", "prepared b", "switching b: newest", "layer b system", "soaking b", "good b")},
		{"overtaken while it was prepared, by a rejected one", tell("preparing a", "preparing b", "failed b: no")},
		{"overtaken while it waited to be tried again", tell("preparing a", "later a: no route to host", "preparing b", "failed b: no")},
		{"prepared, then a rejected one", tell("preparing a", "prepared a", "preparing b", "failed b: no")},
		{"nobody's fault, rolled back and tried again", tell("preparing a", "prepared a", "switching a: newest", "layer a pods", "rolling-back a: the last good: no space left", "layer z pods", "rolled-back a",
			"switching a: newest", "layer a pods", "soaking a", "good a")},
		{"stuck", tell("preparing a", "prepared a", "switching a: newest", "layer a system", "failed a: no", "rolling-back a: the last good: no", "layer z system", "stuck a: revision a failed, and the roll-back did too")},
		{"stuck, then a fix", tell("preparing a", "prepared a", "switching a: newest", "layer a system", "failed a: no", "rolling-back a: the last good: no", "stuck a: home won't",
			"preparing b", "prepared b", "switching b: newest", "layer b system", "soaking b", "good b")},
		{"preparing", tell("preparing a")},
		{"prepared", tell("preparing a", "prepared a")},
		{"switching", tell("preparing a", "prepared a", "switching a: newest", "layer a system")},
		{"soaking", tell("preparing a", "prepared a", "switching a: newest", "layer a system", "soaking a")},
		{"rolling back", tell("preparing a", "prepared a", "switching a: newest", "layer a system", "failed a: no", "rolling-back a: the last good: no", "layer z system")},
		{"tried again later", tell("preparing a", "later a: no route to host", "preparing a", "later a: no route to host")},
		{"tried again later, then good", tell("preparing a", "later a: no route to host", "preparing a", "prepared a", "switching a: newest", "layer a pods", "soaking a", "good a")},
		{"suspended", tell("suspended : disks", "preparing a", "prepared a")},
		{"suspended and resumed", tell("suspended : disks", "preparing a", "prepared a", "resumed ", "switching a: newest", "layer a pods", "soaking a", "good a")},
		{"rejected, then retried", tell("preparing a", "failed a: image not found", "retry a", "preparing a", "prepared a", "switching a: newest", "layer a pods", "soaking a", "good a")},
		{"forward, back, forward", tell("preparing a", "prepared a", "switching a: newest", "layer a pods", "soaking a", "good a",
			"preparing b", "prepared b", "switching b: newest", "layer b pods", "soaking b", "good b",
			"preparing a", "prepared a", "switching a: newest", "layer a pods", "soaking a", "good a")},
		{"accepted by hand", tell("preparing b", "prepared b", "switching b: newest", "layer b pods", "soaking b", "good b",
			"accepted a: by hand, in place of b, from which it doesn't descend", "preparing a", "prepared a", "switching a: newest", "layer a pods", "soaking a", "good a")},
		{"a killed agent's next life", tell("preparing a", "preparing a", "prepared a", "switching a: newest", "layer a system", "layer a system", "layer a pods", "soaking a", "good a")},
		{"the journal begins in the middle", tell("layer a pods", "soaking a", "good a", "rolled-back b", "soaking c")},
		{"Collie replaced itself", tell("preparing a", "prepared a", "switching a: newest", "layer a system", "soaking a", "good a", "replaced a: its definition changed")},
	}
	var out strings.Builder
	for _, s := range stories {
		fmt.Fprintf(&out, "%s:\n", s.name)
		for _, d := range history(s.entries, nil, start.Add(time.Hour)) {
			fmt.Fprintf(&out, "  %s %s, from %s for %v, layers %v", d.Revision, d.Outcome, d.Started.Format(time.TimeOnly), d.Duration, d.Layers)
			for _, extra := range []struct{ name, value string }{{"by", d.Author}, {"subject", d.Subject}, {"because", d.Because}, {"reason", d.Reason}} {
				if extra.value != "" {
					fmt.Fprintf(&out, ", %s %q", extra.name, extra.value)
				}
			}
			out.WriteString("\n")
		}
	}
	golden(t, "history.golden", out.String())
}

var start = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// tell makes entries of lines "EVENT REVISION [LAYER][: BECAUSE]", with - for the spaces in an event.
func tell(lines ...string) []entry {
	var all []entry
	for i, line := range lines {
		e := entry{At: start.Add(time.Duration(i) * time.Second)}
		head, because, _ := strings.Cut(line, ": ")
		e.Because = because
		words := append(strings.SplitN(head, " ", 3), "", "")
		e.Event, e.Revision, e.Layer = event(strings.ReplaceAll(words[0], "-", " ")), words[1], words[2]
		if e.Event == evPreparing {
			e.Author, e.Subject = "ann", "commit "+e.Revision
		}
		all = append(all, e)
	}
	return all
}

// The journal may be shortened, torn and of other versions: its reader takes whatever is there.
func FuzzHistory(f *testing.F) {
	for _, seed := range []string{
		`{"event":"preparing","revision":"a"}` + "\n" + `{"event":"good","revision":"a"}` + "\n",
		`{"event":"layer","layer":"pods"}` + "\n", `{"event":"switching","revision":"a"}` + "\n" + `{"event":"rolled back","revision":"b"}`,
		"{}\n{}\n", "null\n", "\x00", `{"at":"9999-12-31T23:59:59Z","event":"stuck"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		name := filepath.Join(t.TempDir(), "journal")
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		j := openForTest(t, name)
		if err := j.write(entry{At: start, Event: evPreparing, Revision: "the last"}); err != nil {
			t.Fatal(err)
		}
		entries, err := readJournal(name, journalLimit)
		if err != nil {
			t.Fatal(err)
		}
		all := history(entries, nil, start)
		if len(all) == 0 || len(all) > len(entries) {
			t.Fatalf("%d deployments of %d entries", len(all), len(entries))
		}
		for _, d := range all {
			if d.Outcome == "" || d.Layers == nil {
				t.Errorf("a deployment without outcome or layers: %+v", d)
			}
		}
		if entries[len(entries)-1].Revision != "the last" {
			t.Errorf("the last entry was lost: %+v", entries[len(entries)-1])
		}
	})
}
