package agent

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.org/collie/agent/api"
)

var (
	revA = "aaaa" + strings.Repeat("1", 36)
	revB = "aaab" + strings.Repeat("2", 36)
	revC = "c" + strings.Repeat("3", 39)
)

// logged is a state folder with logs of two revisions, and a third for which Guix ran nothing.
func logged(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	write("state.json", `{"newest": {"id": "`+revB+`"}}`)
	write("journal", `{"event": "preparing", "revision": "`+revC+`"}`+"\n")
	write("logs/20260701T120000.000-system-build@"+revA+".log", "a one\na two\n")
	write("logs/20260701T120100.000-system-build@"+revB+".log", "b one\nb two\n")
	write("logs/20260701T120200.000-time-machine.log", "of nobody\n")
	write("logs/20260701T120300.000-home-ann-reconfigure@"+revB+".log", "b three\nb \x1b[31mfour")
	write("logs/20260701T120350.000-system-check@"+revB+".log", "") // it says nothing
	return dir
}

// Times are written in UTC, from before anything else runs that reads which zone it is.
func init() { time.Local = time.UTC }

func TestLogsOfARevision(t *testing.T) {
	t.Setenv("TZ", "UTC")
	dir := logged(t)
	const heads = "==> system-build, 2026-07-01 12:01:00, for revision aaab22222222 <==\nb one\nb two\n" +
		"==> home-ann-reconfigure, 2026-07-01 12:03:00, for revision aaab22222222 <==\nb three\nb four\n"
	for _, row := range []struct {
		name  string
		q     api.LogQuery
		want  string
		fault string
	}{
		{"the newest", api.LogQuery{}, heads, ""},
		{"by the beginning of its id", api.LogQuery{Revision: "aaab"}, heads, ""},
		{"in capitals", api.LogQuery{Revision: "AAAB"}, heads, ""},
		{"its last lines", api.LogQuery{Revision: revB, Lines: 2}, "b three\nb four\n", ""},
		{"more lines than there are", api.LogQuery{Revision: "aaaa", Lines: 100}, "==> system-build, 2026-07-01 12:00:00, for revision aaaa11111111 <==\na one\na two\n", ""},
		{"without a guix", api.LogQuery{Revision: "c3"}, "Guix ran nothing for revision c33333333333, or it was long ago: only the newest logs are kept.\n", ""},
		{"two that fit", api.LogQuery{Revision: "aaa"}, "", `2 revisions begin with "aaa", as aaaa11111111 and aaab22222222: write more of it`},
		{"none that fits", api.LogQuery{Revision: "f\x1b"}, "", `no revision begins with "f\x1b": ` + "`collie history` lists them"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var got strings.Builder
			err := Logs(t.Context(), dir, row.q, &got)
			if fault := ""; err != nil {
				fault = err.Error()
				if fault != row.fault {
					t.Errorf("it says %s\nwant     %s", fault, row.fault)
				}
			} else if row.fault != "" {
				t.Errorf("no error, want %s", row.fault)
			}
			if got.String() != row.want {
				t.Errorf("got:\n%s\nwant:\n%s", got.String(), row.want)
			}
		})
	}
	if err := Logs(t.Context(), t.TempDir(), api.LogQuery{}, io.Discard); err == nil || !strings.Contains(err.Error(), "no revision yet") {
		t.Errorf("of a machine without a revision: %v", err)
	}
}

// What Guix goes on saying comes too, and the runs that follow.
func TestLogsAreFollowed(t *testing.T) {
	dir := logged(t)
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		var got strings.Builder
		ended := make(chan error)
		go func() { ended <- Logs(ctx, dir, api.LogQuery{Lines: 1, Follow: true}, &got) }()
		add := func(name, text string) {
			time.Sleep(3 * logPace / 2)
			f, err := os.OpenFile(filepath.Join(dir, "logs", name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.WriteString(text)
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
		}
		add("20260701T120300.000-home-ann-reconfigure@"+revB+".log", " and a half\nb five")
		add("20260701T120400.000-system-switch@"+revA+".log", "of another\n")
		add("20260701T120500.000-system-switch@"+revB+".log", "b six\n")
		add("20260701T120300.000-home-ann-reconfigure@"+revB+".log", "\nb seven\n") // beside the other
		add("20260701T120500.000-system-switch@"+revB+".log", "b eight\n")
		time.Sleep(2 * logPace)
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		const ann = "==> home-ann-reconfigure, 2026-07-01 12:03:00, for revision aaab22222222 <==\n"
		const system = "==> system-switch, 2026-07-01 12:05:00, for revision aaab22222222 <==\n"
		const want = "b three\nb four and a half\n" + system + "b six\n" + ann + "b five\nb seven\n" + system + "b eight\n"
		if got.String() != want {
			t.Errorf("got:\n%s\nwant:\n%s", got.String(), want)
		}
	})
}

func TestLastLinesAreBounded(t *testing.T) {
	last := &lastLines{most: 2}
	for _, part := range []string{"one\ntwo\nth", "ree\n", strings.Repeat("x", 1<<20), "\nfive", "\n"} {
		if n, err := last.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	if got := last.String(); len(got) != 4<<10+len("\nfive\n") || !strings.HasSuffix(got, "xx\nfive\n") {
		t.Errorf("%d bytes: %.20q", len(got), got)
	}
}
