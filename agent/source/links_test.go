package source

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// withLinks has files, and links after "->", by name.
func withLinks(names ...string) fstest.MapFS {
	m := fstest.MapFS{}
	for _, name := range names {
		if link, to, is := strings.Cut(name, " -> "); is {
			m[link] = &fstest.MapFile{Data: []byte(to), Mode: fs.ModeSymlink | 0o777}
		} else {
			m[name] = &fstest.MapFile{Data: []byte("this is " + name)}
		}
	}
	return m
}

func TestWhatLinksLeadTo(t *testing.T) {
	for _, row := range []struct {
		name  string
		files []string
		want  map[string]string // what is read, by name; an error after "!"
	}{
		{"a file", []string{"a/x", "b/y -> ../a/x"}, map[string]string{"a/x": "this is a/x", "b/y": "this is a/x"}},
		{"a folder", []string{"a/x", "a/sub/y", "l -> a"}, map[string]string{"l/x": "this is a/x", "l/sub/y": "this is a/sub/y"}},
		{"a folder by a link below a link", []string{"a/x", "m/n -> ../a", "l -> m"}, map[string]string{"l/n/x": "this is a/x"}},
		{"dots and slashes", []string{"a/x", "l -> ./a//./x"}, map[string]string{"l": "this is a/x"}},
		{"up from where a link leads, not from where it is", []string{"a/b/x", "a/y", "y", "l -> a/b", "up -> l/../y"}, map[string]string{"up": "this is a/y"}},
		{"a row of links", []string{"x", "l1 -> l2", "l2 -> l3", "l3 -> x"}, map[string]string{"l1": "this is x"}},
		{"an editor's lock", []string{"system.scm", ".#system.scm -> ann@guest.7:1"}, map[string]string{".#system.scm": `!is a symbolic link to "ann@guest.7:1", which isn't in the repository`}},
		{"an absolute link", []string{"l -> /etc/shadow"}, map[string]string{"l": `!is a symbolic link to "/etc/shadow", which isn't a path from where the link is`}},
		{"out of the tree", []string{"a/l -> ../../etc/shadow", "a/m -> ../.."}, map[string]string{"a/l": "!leads out of the repository", "a/m": "!leads out of the repository"}},
		{"out by another link", []string{"a/b/x", "l -> a/b", "out -> l/../../../etc/passwd"}, map[string]string{"out": "!leads out of the repository"}},
		{"out and back in", []string{"x", "l -> ../tree/x"}, map[string]string{"l": "!leads out of the repository"}},
		{"nowhere", []string{"l -> gone", "x", "m -> x/y", "n -> l"}, map[string]string{"l": "!isn't in the repository", "m": "!isn't in the repository", "n": "!leads nowhere, as l isn't taken"}},
		{"git's own", []string{".git/config", "l -> .git/config", "m -> .GIT"}, map[string]string{"l": "!isn't in the repository", "m": "!isn't in the repository"}},
		{"itself", []string{"l -> l", "m -> n", "n -> m", "d/x -> ../d/x/y"}, map[string]string{"l": "!leads to itself", "n": "!leads to itself", "m": "!", "d/x": "!leads to itself"}},
		{"a folder that it is in", []string{"a/x", "a/l -> ../a", "a/b/m -> ../..", "a/b/y"}, map[string]string{"a/l": "!to a folder that it is in", "a/b/m": "!to a folder that it is in", "a/b/y": "this is a/b/y"}},
		{"a circle of two folders", []string{"a/x", "b/y", "a/l -> ../b", "b/m -> ../a"}, map[string]string{"a/l/y": "this is b/y", "b/m": "!to a folder that it is in"}},
		{"nothing below a link that isn't taken", []string{"l -> /etc", "x"}, map[string]string{"l/passwd": "!file does not exist"}},
		{"no path", []string{"l -> ", "m -> \xff", "n -> " + strings.Repeat("a/", maxLinkText)}, map[string]string{"l": "!to what is no path", "m": "!to what is no path", "n": "!to what is no path"}},
		{"too many in a row", slices.Collect(func(yield func(string) bool) {
			for i := range maxLinks + 1 {
				yield(fmt.Sprintf("l%02d -> l%02d", i, i+1))
			}
			yield(fmt.Sprintf("l%02d", maxLinks+1))
		}), map[string]string{"l00": "!", "l40": "!through more than 40 links"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			fsys, err := Linked(withLinks(row.files...))
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range slices.Sorted(maps.Keys(row.want)) {
				got, err := fs.ReadFile(fsys, name)
				want, refused := strings.CutPrefix(row.want[name], "!")
				switch {
				case refused && (err == nil || !strings.Contains(err.Error(), want)):
					t.Errorf("%s: %q, %v; want %q", name, got, err, want)
				case !refused && (err != nil || string(got) != want):
					t.Errorf("%s: %q, %v; want %q", name, got, err, want)
				}
				if _, err := fsys.Open(name); refused == (err == nil) {
					t.Errorf("%s: opened: %v", name, err)
				}
			}
			seen := 0
			err = fs.WalkDir(fsys, ".", func(at string, e fs.DirEntry, err error) error { // it ends
				if seen++; seen > 1000 {
					t.Fatal("no end to be seen")
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestLinkedIsAFileSystem(t *testing.T) {
	fsys, err := Linked(withLinks("a/x", "a/sub/y", "l -> a", "b/z -> ../a/sub/y"))
	must(t, err)
	must(t, fstest.TestFS(fsys, "a/x", "l/x", "l/sub/y", "b/z"))
	plain := withLinks("a/x")
	if same, err := Linked(plain); err != nil || Real(same, "a/x") != "a/x" || fmt.Sprintf("%T", same) != fmt.Sprintf("%T", plain) {
		t.Errorf("without links: %T, %v", same, err)
	}
	if got := Real(fsys, "l/sub/y"); got != "a/sub/y" {
		t.Errorf("l/sub/y is really %s", got)
	}
}

// A few links make a tree of a million files, or one without end.
func TestLinksThatMultiply(t *testing.T) {
	var many []string
	for i := range 7 {
		for j := range 10 {
			many = append(many, fmt.Sprintf("d%d/l%d -> ../d%d", i, j, i+1))
		}
	}
	many = append(many, "d7/x")
	_, err := Linked(withLinks(many...))
	if blamed := new(TreeError); !errors.As(err, &blamed) || !strings.Contains(err.Error(), "symbolic links lead to more than 20000 files") {
		t.Errorf("many: %v", err)
	}
	var deep []string
	for i := range maxDepth + 2 {
		deep = append(deep, fmt.Sprintf("d%d/l -> ../d%d", i, i+1))
	}
	deep = append(deep, fmt.Sprintf("d%d/x", maxDepth+2))
	if _, err := Linked(withLinks(deep...)); err == nil || !strings.Contains(err.Error(), "deeper than 64 folders") && !strings.Contains(err.Error(), "isn't taken") {
		t.Errorf("deep: %v", err)
	}
	big := withLinks("x")
	big["x"].Data = make([]byte, maxFile)
	for i := range maxTotal/maxFile + 1 {
		big[fmt.Sprintf("l%d", i)] = &fstest.MapFile{Data: []byte("x"), Mode: fs.ModeSymlink}
	}
	fsys, err := Linked(big)
	must(t, err)
	if _, err := Export(fsys, asItIs, t.TempDir()); err == nil || !strings.Contains(err.Error(), "beyond the 256 MiB") {
		t.Errorf("big: %v", err)
	}
}

// Of a revision: git's own objects say where a link leads, whatever is on the machine.
func TestLinksOfARevision(t *testing.T) {
	o := newOps(t)
	o.commit("one", "common/system.scm", "s", "hosts/web/x", "x", "pods/web.yaml", "p")
	for link, to := range map[string]string{"hosts/web/system.scm": "../../common/system.scm", "hosts/db": "web", "out": "/etc/passwd", "up": "../up", "sub": "lib/sub", "long": strings.Repeat("x", 2000)} {
		must(t, os.Symlink(to, filepath.Join(o.work, link)))
	}
	git(t, o.work, "update-index", "--add", "--cacheinfo", "160000,"+strings.Repeat("1", 40)+",lib/sub")
	git(t, o.work, "add", "hosts", "out", "up", "sub", "long")
	git(t, o.work, "commit", "-q", "-m", "links")
	git(t, o.work, "push", "-q", o.bare, "HEAD:main")
	s := open(t, o.bare)
	rev, err := s.Poll(t.Context())
	must(t, err)
	files, err := s.Tree(t.Context(), rev.ID)
	must(t, err)
	fsys, err := Linked(files)
	must(t, err)
	dir, err := Export(fsys, func(p string) string {
		if slices.Contains([]string{"out", "up", "sub", "lib", "long"}, p) {
			return ""
		}
		return p
	}, t.TempDir())
	must(t, err)
	must(t, fstest.TestFS(os.DirFS(dir), "hosts/db/system.scm", "hosts/db/x", "hosts/web/system.scm"))
	if info, err := os.Lstat(filepath.Join(dir, "hosts/db/system.scm")); err != nil || !info.Mode().IsRegular() {
		t.Errorf("written as %v, %v", info, err)
	}
	for name, says := range map[string]string{"out": "isn't a path from where the link is", "up": "leads out of the repository", "sub": "is neither a file nor a folder", "long": "is a symbolic link of 2000 bytes"} {
		_, err := Export(fsys, func(p string) string {
			if p == name {
				return p
			}
			return ""
		}, t.TempDir())
		if blamed := new(TreeError); !errors.As(err, &blamed) || blamed.Path != name || !strings.Contains(blamed.Says, says) {
			t.Errorf("%s: %v, want %q", name, err, says)
		}
	}
}

func FuzzLinked(f *testing.F) {
	f.Add("a/l", "../b", "b/m", "../a", "b/x")
	f.Add("l", "/etc", "m", "l/passwd", "x")
	f.Add("a/l", "../../..", "b", "a/l", "a/x")
	f.Add("/l", "../b", "b/m", "\x10./a", "b/x")
	f.Fuzz(func(t *testing.T, l1, to1, l2, to2, file string) {
		for _, name := range []string{l1, l2, file} {
			if !fs.ValidPath(name) || name == "." {
				return // no tree has it, and fstest looks for it without end
			}
		}
		m := fstest.MapFS{file: {Data: []byte("file")}, l1: {Data: []byte(to1), Mode: fs.ModeSymlink}, l2: {Data: []byte(to2), Mode: fs.ModeSymlink}}
		fsys, err := Linked(m)
		if err != nil {
			return
		}
		seen := 0
		_ = fs.WalkDir(fsys, ".", func(at string, e fs.DirEntry, err error) error {
			if seen++; seen > maxEntries {
				t.Fatalf("no end: %q -> %q, %q -> %q", l1, to1, l2, to2)
			}
			if err == nil && e.Type().IsRegular() {
				if text, err := fs.ReadFile(fsys, at); err == nil && string(text) != "file" {
					t.Fatalf("%s leads to %q, which isn't in the tree", at, text)
				}
			}
			return nil
		})
	})
}
