package source

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"
)

func files(pairs ...string) fstest.MapFS {
	m := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1]), Mode: 0o600}
	}
	return m
}

func TestExportIsNamedByContent(t *testing.T) {
	into := filepath.Join(t.TempDir(), "trees")
	noPods := func(p string) string {
		if p == "pods" || p == "collie.yaml" {
			return ""
		}
		return p
	}
	a := files("system.scm", "s", "modules/m.scm", "m", "pods/web.yaml", "1", "collie.yaml", "c")
	a["run"] = &fstest.MapFile{Data: []byte("#!"), Mode: 0o700}
	dir, err := Export(a, noPods, into)
	must(t, err)
	must(t, fstest.TestFS(os.DirFS(dir), "system.scm", "modules/m.scm", "run"))
	for name, want := range map[string]fs.FileMode{".": 0o755 | fs.ModeDir, "modules": 0o755 | fs.ModeDir, "system.scm": 0o644, "run": 0o755} {
		info, err := os.Lstat(filepath.Join(dir, name))
		must(t, err)
		if info.Mode() != want {
			t.Errorf("%s has the mode %v, want %v", name, info.Mode(), want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "pods")); err == nil {
		t.Error("pods/ was exported, though skipped")
	}

	before, err := os.Stat(filepath.Join(dir, "system.scm"))
	must(t, err)
	a["pods/web.yaml"].Data = []byte("2")
	same, err := Export(a, noPods, into)
	must(t, err)
	after, err := os.Stat(filepath.Join(dir, "system.scm"))
	must(t, err)
	if same != dir || !os.SameFile(before, after) {
		t.Error("a change of what is skipped wrote the files again")
	}

	seen := map[string]string{dir: "the first"}
	for what, change := range map[string]func(m fstest.MapFS){
		"content":     func(m fstest.MapFS) { m["system.scm"] = &fstest.MapFile{Data: []byte("S")} },
		"mode":        func(m fstest.MapFS) { m["run"] = &fstest.MapFile{Data: []byte("#!"), Mode: 0o600} },
		"a name":      func(m fstest.MapFS) { m["modules/n.scm"] = m["modules/m.scm"]; delete(m, "modules/m.scm") },
		"a file more": func(m fstest.MapFS) { m["more"] = &fstest.MapFile{} },
		"shifted":     func(m fstest.MapFS) { m["system.scm"], m["system.scms"] = &fstest.MapFile{}, &fstest.MapFile{} },
		"nothing left": func(m fstest.MapFS) {
			for name := range m {
				delete(m, name)
			}
		},
	} {
		m := fstest.MapFS{}
		for name, f := range a {
			m[name] = f
		}
		change(m)
		other, err := Export(m, noPods, into)
		must(t, err)
		if seen[other] != "" {
			t.Errorf("changed %s: the same folder as %s", what, seen[other])
		}
		seen[other] = what
	}
	if left, _ := filepath.Glob(filepath.Join(into, ".tmp-*")); len(left) > 0 {
		t.Errorf("left over: %s", left)
	}
}

func TestExportWritesAgainWhatWasDamaged(t *testing.T) {
	into := t.TempDir()
	m := files("a/b", "1", "c", "2")
	for what, damage := range map[string]func(dir string) error{
		"a file is gone": func(dir string) error { return os.Remove(filepath.Join(dir, "a/b")) },
		"a file more":    func(dir string) error { return os.WriteFile(filepath.Join(dir, "x"), nil, 0o644) },
		"truncated":      func(dir string) error { return os.Truncate(filepath.Join(dir, "c"), 0) },
		"a link instead": func(dir string) error {
			return os.Rename(filepath.Join(dir, "c"), filepath.Join(into, "away"))
		},
		"nothing": func(string) error { return nil },
	} {
		dir, err := Export(m, asItIs, into)
		must(t, err)
		must(t, damage(dir))
		if what == "a link instead" {
			must(t, os.Symlink("../away", filepath.Join(dir, "c")))
		}
		again, err := Export(m, asItIs, into)
		must(t, err)
		if again != dir || !holds(dir, filepath.Base(dir)) {
			t.Errorf("%s: the files aren't as they should be", what)
		}
	}
	old, young := filepath.Join(into, ".tmp-old"), filepath.Join(into, ".tmp-young")
	must(t, os.MkdirAll(filepath.Join(old, "x"), 0o755))
	must(t, os.MkdirAll(young, 0o755))
	must(t, os.Chtimes(old, time.Time{}, time.Now().Add(-2*time.Hour)))
	_, err := Export(files("other", "x"), asItIs, into)
	must(t, err)
	if _, err := os.Stat(old); err == nil {
		t.Error("what a kill left is still there")
	}
	if _, err := os.Stat(young); err != nil {
		t.Error("another's work in progress was deleted")
	}
}

func TestExportsAtTheSameTime(t *testing.T) {
	into := t.TempDir()
	var all sync.WaitGroup
	dirs := make([]string, 8)
	for i := range dirs {
		all.Go(func() {
			dir, err := Export(files("a", "1", "b/c", "2"), asItIs, into)
			if err != nil {
				t.Error(err)
			}
			dirs[i] = dir
		})
	}
	all.Wait()
	for _, dir := range dirs {
		if dir != dirs[0] || !holds(dir, filepath.Base(dir)) {
			t.Errorf("%s and %s", dir, dirs[0])
		}
	}
}

func TestExportRefuses(t *testing.T) {
	into := t.TempDir()
	for says, m := range map[string]fstest.MapFS{
		"a/link is a symbolic link": {"a/link": {Mode: fs.ModeSymlink, Data: []byte("x")}},
		"pipe is no regular file":   {"pipe": {Mode: fs.ModeNamedPipe}},
		"control character":         {"a\nb": {}},
	} {
		if _, err := Export(m, asItIs, into); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("Export says %v, want %q", err, says)
		}
	}
	if entries, _ := os.ReadDir(into); len(entries) > 0 {
		t.Errorf("a refused export left %v", entries)
	}
}

func FuzzExport(f *testing.F) {
	f.Add("a/b", "content", uint32(0o644))
	f.Add("../../escaped", "x", uint32(0o755))
	f.Add("/abs", "x", uint32(fs.ModeSymlink))
	f.Fuzz(func(t *testing.T, name, data string, mode uint32) {
		outer := t.TempDir()
		into := filepath.Join(outer, "trees")
		m := fstest.MapFS{"ok": {Data: []byte("1")}, name: {Data: []byte(data), Mode: fs.FileMode(mode)}}
		dir, err := Export(m, asItIs, into)
		entries, _ := os.ReadDir(outer)
		if len(entries) > 1 {
			t.Fatalf("%q was written outside: %v", name, entries)
		}
		if err == nil && !holds(dir, filepath.Base(dir)) {
			t.Fatalf("%q: the folder doesn't hold what its name says", name)
		}
	})
}
