package guix

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// What guix 1.5.0 said in the lab: of `guix publish', of a port where nobody listens, of a host without a network.
func TestWhatWeatherSaysOfAServer(t *testing.T) {
	const glibc = "/gnu/store/i57hp47sdyc277d882gvhjl16kvay0w5-glibc-2.41"
	for name, want := range map[string]struct {
		lacks []string
		why   string
	}{
		"authorized": {lacks: []string{glibc}},
		"part":       {why: "guix-daemon takes nothing of it, since its key isn't authorized: see `guix archive --authorize`"},
		"refused":    {why: "connection failed: Connection refused"},
		"nohost":     {why: "host not found: Temporary failure in name resolution"},
	} {
		t.Run(name, func(t *testing.T) {
			lacks, why := readWeather(sample(t, name+".out"), sample(t, name+".err"), 47)
			if !slices.Equal(lacks, want.lacks) || why != want.why {
				t.Errorf("lacks %q, %q; want %q, %q", lacks, why, want.lacks, want.why)
			}
		})
	}
	for name, out := range map[string]string{
		"nothing":        "",
		"a list cut off": strings.Replace(sample(t, "authorized.out"), glibc, "", 1),
		"other items":    strings.ReplaceAll(sample(t, "authorized.out"), "out of 47", "out of 48"),
	} {
		if lacks, why := readWeather(out, "computing 47 package derivations for x86_64-linux...\n", 47); lacks != nil || why == "" {
			t.Errorf("%s: lacks %q, %q", name, lacks, why)
		}
	}
}

func sample(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata/weather", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestWeatherForAPerson(t *testing.T) {
	item := func(name string) string { return "/gnu/store/" + strings.Repeat("a", 32) + "-" + name }
	a, b, c := item("a-1"), item("b-2"), item("c-3")
	many := strings.Fields(strings.Repeat("x ", 8))
	for i := range many {
		many[i] = item(fmt.Sprint("p-", i))
	}
	for _, row := range []struct {
		name string
		w    Weather
		want []string
	}{
		{"all is there", Weather{Items: 3, Servers: []Server{{URL: "u"}}}, []string{"for 100.0% of the 3 items that the system is made of; none to build here", "u: 100.0%"}},
		{"each server has what the other lacks", Weather{Items: 3, Lacks: []string{a, b}, Servers: []Server{{URL: "u", Lacks: []string{a, c}}, {URL: "v", Lacks: []string{b}}}},
			[]string{"for 100.0% of the 3 items that the system is made of; none to build here", "u: 33.3%", "v: 66.6%"}},
		{"what no server has", Weather{Items: 3, Lacks: []string{a}, Servers: []Server{{URL: "u", Lacks: []string{a, c}}, {URL: "v", Lacks: []string{a, b}}}},
			[]string{"for 66.6% of the 3 items that the system is made of; at least 1 to build here: a-1", "u: 33.3%", "v: 33.3%"}},
		{"what no server has is in the store", Weather{Items: 3, Servers: []Server{{URL: "u", Lacks: []string{a}}}},
			[]string{"for 66.6% of the 3 items that the system is made of; none to build here", "u: 66.6%"}},
		{"one doesn't answer", Weather{Items: 3, Lacks: []string{a}, Servers: []Server{{URL: "u", Silent: "connection failed"}, {URL: "v", Lacks: []string{a}}}},
			[]string{"for 66.6% of the 3 items that the system is made of; at least 1 to build here: a-1", "u: not known: connection failed", "v: 66.6%"}},
		{"none answers", Weather{Items: 3, Lacks: []string{a}, Servers: []Server{{URL: "u", Silent: "no answer within 2m0s"}, {URL: "v", Silent: "host not found"}}},
			[]string{"not known: u: no answer within 2m0s; v: host not found"}},
		{"no server", Weather{Items: 9, Lacks: many}, []string{"guix-daemon asks no server for substitutes: at least 8 to build here: p-0, p-1, p-2, p-3, p-4, and 3 more"}},
		{"no server, nothing to build", Weather{Items: 9}, []string{"guix-daemon asks no server for substitutes: none to build here"}},
		{"a system of nothing", Weather{Servers: []Server{{URL: "u"}}}, []string{"for 100% of the 0 items that the system is made of; none to build here", "u: 100%"}},
	} {
		if got := row.w.Lines(); !slices.Equal(got, row.want) {
			t.Errorf("%s:\n%s\nwant\n%s", row.name, strings.Join(got, "\n"), strings.Join(row.want, "\n"))
		}
	}
}

// forecaster is a guix that answers as the one that was seen. URLs with "silent" never get an answer.
const forecaster = `#!/bin/sh
echo "$*" >>"$FAKE/calls"
shift 4
case "$1" in
repl)
    [ -e "$FAKE/wrong" ] && { echo "warning: old"; echo "guix repl: error: bad.scm: unbound" ; exit 1; } >&2
    while [ "$1" != -- ]; do shift; done
    : >"$4"
    cat "$FAKE/needs" >"$5" ;;
weather)
    case "$*" in *silent*) exec sleep 600 ;; *refused*) name=refused ;; *) name=authorized ;; esac
    cat "$SAMPLES/$name.out"
    cat "$SAMPLES/$name.err" >&2
    exit 1 ;;
esac
`

func newForecaster(t *testing.T) (dir, tree string) {
	t.Helper()
	dir, tree = t.TempDir(), filepath.Join(t.TempDir(), "tree")
	samples, err := filepath.Abs("testdata/weather")
	if err = errors.Join(err, os.WriteFile(filepath.Join(dir, "guix"), []byte(forecaster), 0o755), os.MkdirAll(filepath.Join(tree, "modules"), 0o755)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("FAKE", dir)
	t.Setenv("SAMPLES", samples)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return dir, tree
}

func TestEachServerIsAskedForItself(t *testing.T) {
	dir, tree := newForecaster(t)
	var needs strings.Builder
	for _, url := range []string{"http://refused", "http://silent", "http://good"} {
		fmt.Fprintln(&needs, "server", url)
	}
	for i := range 46 {
		fmt.Fprintf(&needs, "has /gnu/store/%032d-x\n", i)
	}
	fmt.Fprintln(&needs, "lacks /gnu/store/i57hp47sdyc277d882gvhjl16kvay0w5-glibc-2.41")
	if err := os.WriteFile(filepath.Join(dir, "needs"), []byte(needs.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	w, err := AskWeather(t.Context(), tree, 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"for 97.8% of the 47 items that the system is made of; at least 1 to build here: glibc-2.41",
		"http://refused: not known: connection failed: Connection refused", "http://silent: not known: no answer within 2s", "http://good: 97.8%"}
	if got := w.Lines(); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	calls, _ := os.ReadFile(filepath.Join(dir, "calls"))
	if text := string(calls); strings.Count(text, "time-machine -C "+tree+"/channels.scm -- ") != 4 || !strings.Contains(text, "-L "+tree+"/modules -- ") ||
		!strings.Contains(text, " "+tree+"/system.scm ") {
		t.Errorf("guix was asked\n%s", text)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := AskWeather(ctx, tree, time.Second); !errors.Is(err, context.Canceled) {
		t.Errorf("a person who interrupts it gets %v", err)
	}
}

func TestASystemThatCantBeEvaluatedHasNoWeather(t *testing.T) {
	dir, tree := newForecaster(t)
	if err := os.WriteFile(filepath.Join(dir, "wrong"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := AskWeather(t.Context(), tree, time.Second)
	if err == nil || !strings.HasSuffix(err.Error(), "finding what the system is made of: exit status 1: bad.scm: unbound") {
		t.Errorf("error %v", err)
	}
}
