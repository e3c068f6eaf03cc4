package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// folder makes a module of these files, and goes there.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	files["go.mod"] = "module m\n\ngo 1.25\n"
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	return dir
}

const code = `package m

func Abs(n int) int {
	if n < 0 {
		return -n
	}
	if n > 1<<20 &&
		n%2 == 0 {
		return n / 2 * 2
	}
	return n
}

func Wait(c chan int) {
	for n := range c {
		if n == 0 {
			return
		}
	}
}
`

const test = `package m

import "testing"

func TestAbs(t *testing.T) {
	if Abs(-1) != 1 || Abs(1<<20+2) != 1<<20+2 {
		t.Error("no")
	}
}

func TestWait(t *testing.T) {
	c := make(chan int, 1)
	c <- 0
	Wait(c)
}

func TestMore(t *testing.T) { t.Skip("needs more") }
`

func TestWhichConditionsAreNoticed(t *testing.T) {
	dir := folder(t, map[string]string{"m.go": code, "m_test.go": test, "bare/bare.go": strings.Replace(code, "package m", "package bare", 1)})
	var out strings.Builder
	if err := run(t.Context(), dir, []string{"-n", "9", "-seed", "1", "-timeout", "1s", "./..."}, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`(?m)^skipped: m/bare has no tests, and 3 conditions$`,
		`(?m)^skipped: TestMore `,
		`(?m)^3 of 3 conditions, seed 1$`,
		`(?m)^m\.go:4: if n < 0: caught$`,
		`(?m)^m\.go:7: if n > 1<<20 && n%2 == 0: survived$`,
		`(?m)^m\.go:16: if n == 0: caught$`, // as it waits for ever
		`(?m)^2 caught, 1 survived, 0 not made \(seed 1\)$`,
	} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("nothing says %s:\n%s", want, out.String())
		}
	}
	if text, err := os.ReadFile("m.go"); err != nil || string(text) != code {
		t.Errorf("the tree was changed: %v", err)
	}
}

func TestTheSameSeedChoosesTheSame(t *testing.T) {
	dir := folder(t, map[string]string{"m.go": code, "m_test.go": test})
	said := func() string {
		var out strings.Builder
		if err := run(t.Context(), dir, []string{"-n", "1", "-seed", "4", "."}, &out); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	if a, b := said(), said(); a != b {
		t.Errorf("first\n%s\nthen\n%s", a, b)
	}
}

// Of tests that fail anyway nothing follows, nor of code that isn't Go.
func TestWhatCannotBeFoundOut(t *testing.T) {
	for name, row := range map[string]struct{ code, test, want string }{
		"the tests fail":      {code, strings.Replace(test, "!= 1 ", "!= 2 ", 1), "the tests fail as they are: exit status 1\n--- FAIL: TestAbs"},
		"the code is no Go":   {code + "func", test, "m.go:"},
		"no such package":     {"", "", "go list: "},
		"a seed is no number": {code, test, "invalid value"},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{"m.go": row.code, "m_test.go": row.test}
			args := []string{"-n", "1", "."}
			if row.code == "" {
				files, args = map[string]string{}, []string{"./none"}
			}
			if row.want == "invalid value" {
				args = []string{"-seed", "x"}
			}
			var out strings.Builder
			if err := run(t.Context(), folder(t, files), args, &out); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("%v, want %q", err, row.want)
			}
		})
	}
}

// What was changed since the conditions were found would be cut in the wrong place.
func TestAFileThatWasChangedMeanwhile(t *testing.T) {
	dir := folder(t, map[string]string{"m.go": code, "m_test.go": test})
	g := gopher{dir, time.Minute}
	all, err := g.list(t.Context(), []string{"."})
	if err != nil {
		t.Fatal(err)
	}
	found, err := all[0].conditions()
	if err != nil || len(found) != 3 {
		t.Fatalf("%v, %v", found, err)
	}
	for _, text := range []string{"// more\n" + code, "package m\n"} {
		if err := os.WriteFile("m.go", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := g.without(t.Context(), found[0]); err == nil || err.Error() != "the file was changed meanwhile" {
			t.Errorf("got %v", err)
		}
	}
}
