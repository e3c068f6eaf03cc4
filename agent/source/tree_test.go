package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"unicode/utf8"
)

func TestTreeIsAFileSystem(t *testing.T) {
	o := newOps(t)
	// git sorts a folder as if its name ended in a slash: a, a-b, a/ is not the order of file names.
	files := []string{"system.scm", "1", "a/b", "2", "a-b", "3", "a.b", "4", "pods/web.yaml", "5", "ünïcode", "6", "deep/er/still/f", "7", "empty", " "}
	id := o.push("one", files...)
	must(t, os.Chmod(filepath.Join(o.work, "system.scm"), 0o755))
	o.git("add", "-A")
	id2 := o.push("executable")
	s := open(t, o.bare)
	poll(t, s, id2)
	tree, err := s.Tree(t.Context(), id2)
	must(t, err)
	var names []string
	for i := 0; i < len(files); i += 2 {
		names = append(names, files[i])
	}
	must(t, fstest.TestFS(tree, names...))
	info, err := fs.Stat(tree, "system.scm")
	must(t, err)
	if info.Mode() != 0o755 || info.Size() != 1 || info.ModTime().IsZero() {
		t.Errorf("system.scm is %v", fs.FormatFileInfo(info))
	}
	for _, name := range []string{"nothing", "../x", "/system.scm", "a/../system.scm", "", "a/b/c"} {
		if _, err := tree.Open(name); err == nil {
			t.Errorf("%q could be opened", name)
		}
	}
	for _, bad := range []string{"", "main", id[:12], strings.Repeat("0", 40)} {
		if _, err := s.Tree(t.Context(), bad); err == nil {
			t.Errorf("revision %q could be read", bad)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Tree(ctx, id2); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled Tree says %v", err)
	}
}

func TestLinksAndSubmodulesAreNamed(t *testing.T) {
	o := newOps(t)
	o.commit("one", "f", "1")
	must(t, os.Symlink("/etc/shadow", filepath.Join(o.work, "link")))
	git(t, o.work, "update-index", "--add", "--cacheinfo", "160000,"+strings.Repeat("1", 40)+",lib/sub")
	git(t, o.work, "add", "link")
	git(t, o.work, "commit", "-q", "-m", "links")
	git(t, o.work, "push", "-q", o.bare, "HEAD:main")
	s := open(t, o.bare)
	rev, err := s.Poll(t.Context())
	must(t, err)
	tree, err := s.Tree(t.Context(), rev.ID)
	must(t, err)
	for name, c := range map[string]struct {
		mode fs.FileMode
		says string
	}{
		"link":    {fs.ModeSymlink, "open link: is a symbolic link"},
		"lib/sub": {fs.ModeIrregular, "open lib/sub: is a submodule"},
	} {
		info, err := fs.Stat(tree, name)
		must(t, err)
		if info.Mode().Type() != c.mode {
			t.Errorf("%s has the mode %v", name, info.Mode())
		}
		for _, read := range []func() error{
			func() error { _, err := tree.Open(name); return err },
			func() error { _, err := fs.ReadFile(tree, name); return err },
		} {
			if err := read(); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("opening %s says %v, want %q", name, err, c.says)
			}
		}
	}
	into := t.TempDir()
	if _, err := Export(tree, asItIs, into); err == nil || !strings.Contains(err.Error(), "link") && !strings.Contains(err.Error(), "lib/sub") {
		t.Errorf("exporting links says %v", err)
	}
	dir, err := Export(tree, func(p string) string {
		if p == "lib" || p == "link" {
			return ""
		}
		return p
	}, into)
	must(t, err)
	must(t, fstest.TestFS(os.DirFS(dir), "f"))
}

func TestTreesThatAreTooLarge(t *testing.T) {
	o := newOps(t)
	s := open(t, o.bare)
	o.commit("zero")
	big := strings.Repeat("x", maxFile+1)
	id := o.push("one", "big", big, "most", big[1:])
	poll(t, s, id)
	files, err := s.Tree(t.Context(), id)
	must(t, err)
	if _, err := fs.ReadFile(files, "big"); err == nil || !strings.Contains(err.Error(), "open big: has 8388609 bytes") {
		t.Errorf("reading a large file says %v", err)
	}
	for range 2 { // a file that is read again doesn't count again
		_, err := fs.ReadFile(files, "most")
		must(t, err)
	}
	if left := files.(*tree).left; left != maxTotal-maxFile {
		t.Errorf("%d bytes may still be read, want %d", left, maxTotal-maxFile)
	}
	other := filepath.Join(o.work, "other")
	must(t, os.WriteFile(other, []byte("12"), 0o600))
	o.git("add", "-A")
	id = o.push("two")
	poll(t, s, id)
	fsys, err := s.Tree(t.Context(), id)
	must(t, err)
	fsys.(*tree).left = 1 // of 256 MiB
	if _, err := fs.ReadFile(fsys, "other"); err == nil || !strings.Contains(err.Error(), "open other: is where the revision goes beyond the 256 MiB") {
		t.Errorf("reading beyond the total says %v", err)
	}
}

// hostile makes a commit of a tree as no git would write it: lines of git mktree, unchecked.
func (o *ops) hostile(entries ...string) string {
	o.t.Helper()
	blob := o.stdin("x", "hash-object", "-w", "--stdin")
	raw := []byte{}
	for _, e := range entries {
		mode, name, _ := strings.Cut(e, " ")
		raw = fmt.Appendf(raw, "%s %s\x00", mode, name)
		for i := 0; i < 40; i += 2 {
			var b byte
			_, err := fmt.Sscanf(blob[i:i+2], "%02x", &b)
			must(o.t, err)
			raw = append(raw, b)
		}
	}
	tree := o.stdin(string(raw), "hash-object", "-w", "-t", "tree", "--literally", "--stdin")
	id := o.git("commit-tree", "-m", "hostile", tree)
	o.git("push", "-q", "-f", o.bare, id+":refs/heads/main")
	return id
}

func (o *ops) stdin(in string, args ...string) string {
	o.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Env, cmd.Stdin = o.work, gitEnv(), strings.NewReader(in)
	out, err := cmd.Output()
	must(o.t, err)
	return strings.TrimSpace(string(out))
}

func TestNamesThatCantBeFilesAreRefused(t *testing.T) {
	for _, c := range []struct{ name, says string }{
		{"..", "is no name"},
		{".", "is no name"},
		{".git", "git's own name"},
		{".GiT", "git's own name"},
		{"../../etc/passwd", "slash"},
		{"a/b", "slash"},
		{`a\b`, "slash"},
		{"/abs", "slash"},
		{"bell\a", "control"},
		{"line\nbreak", "control"},
		{"\xff\xfe", "UTF-8"},
		{strings.Repeat("n", 256), "255"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := newOps(t)
			id := o.hostile("100644 " + c.name)
			s := open(t, o.bare)
			poll(t, s, id)
			_, err := s.Tree(t.Context(), id)
			if err == nil || !strings.Contains(err.Error(), c.says) || !utf8.ValidString(err.Error()) || strings.ContainsAny(err.Error(), "\a\n") {
				t.Errorf("a tree with %q says %v, want %q", c.name, err, c.says)
			}
		})
	}
	t.Run("one name twice", func(t *testing.T) {
		o := newOps(t)
		id := o.hostile("100644 a", "100644 a")
		s := open(t, o.bare)
		poll(t, s, id)
		if _, err := s.Tree(t.Context(), id); err == nil || !strings.Contains(err.Error(), "twice") {
			t.Errorf("a tree with a name twice says %v", err)
		}
	})
}

// A few objects make a tree of a billion files, as each folder has the same folder many times.
func TestATreeBombEndsEarly(t *testing.T) {
	o := newOps(t)
	blob := o.stdin("x", "hash-object", "-w", "--stdin")
	tree := o.stdin("100644 blob "+blob+"\tf\n", "mktree")
	for range 9 {
		var in strings.Builder
		for i := range 10 {
			fmt.Fprintf(&in, "040000 tree %s\td%d\n", tree, i)
		}
		tree = o.stdin(in.String(), "mktree")
	}
	wide := o.git("commit-tree", "-m", "wide", tree)
	o.stdin("commit refs/heads/deep\ncommitter Bob <bob@example.org> 1715000000 +0000\ndata 4\ndeep\n"+
		"M 100644 "+blob+" "+strings.Repeat("d/", maxDepth+1)+"f\n", "fast-import", "--quiet")
	deep := o.git("rev-parse", "deep")
	s := open(t, o.bare)
	for id, says := range map[string]string{wide: "more than 20000 files", deep: "deeper than 64"} {
		o.git("push", "-q", "-f", o.bare, id+":refs/heads/main")
		s.accepted = Revision{}
		poll(t, s, id)
		if _, err := s.Tree(t.Context(), id); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("the bomb says %v, want %q", err, says)
		}
	}
}
