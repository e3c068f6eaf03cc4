package guix

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"example.org/collie/shepherd"
)

// What `guix substitute' of Guix 1.5.0 kept of what `guix publish' answered: with a cache of compressed archives, without one,
// and for an item that it hasn't. The daemon got 615, too.
var narinfos = map[string]int64{"sized": 615, "unsized": 0, "missing": 0}

func TestNarinfosOfGuix(t *testing.T) {
	for name, want := range narinfos {
		if got := smallest(filepath.Join("testdata", "narinfo", name)); got != want {
			t.Errorf("%s: %d bytes, want %d", name, got, want)
		}
	}
}

// What is in a narinfo a server chose: nothing but a size comes of it, of those that are there.
func FuzzNarinfo(f *testing.F) {
	for name := range narinfos {
		text, err := os.ReadFile(filepath.Join("testdata", "narinfo", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("(narinfo (version 2) (value \"StorePath: /gnu/store/x\nURL: nar/lzip/x\nCompression: lzip\nFileSize: 9000000\nURL: nar/zstd/x\nCompression: zstd\nFileSize: 7000000\nNarHash: sha256:x\nNarSize: 20000000\n\"))"))
	f.Add([]byte("FileSize: 999999999999999\nFileSize: 0\nFileSize: -1\nFileSize: 1e9"))
	f.Fuzz(func(t *testing.T, text []byte) {
		least := smallestIn(text)
		if least < 0 || least > 1e15 || least > 0 && !bytes.Contains(text, []byte(strconv.FormatInt(least, 10))) {
			t.Errorf("%q is %d bytes", text, least)
		}
	})
}

// What is in a home a user chose: each file of it, and where its links lead.
func FuzzHomeItem(f *testing.F) {
	for _, name := range []string{"store/setup-environment", "store/manifest", "services/home.conf"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text), "/gnu/store/"+strings.Repeat("b", 32)+"-x/file")
	}
	f.Add("export A=\"b\"\n(manifest (version 4) (packages ((\"a\" \"1\" \"out\" \"/x\"))))", "../../../../etc/passwd")
	f.Add("\x1b[31m\nsystem is good", "/proc/self/environ")
	f.Fuzz(func(t *testing.T, text, to string) {
		root := t.TempDir()
		item, empty := filepath.Join(root, inItem("a", "home")), filepath.Join(root, inItem("b", "home"))
		for _, dir := range []string{item + "/files/.config/shepherd", item + "/profile", empty} {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		conf := filepath.Join(root, inItem("c", "shepherd.conf"))
		for _, file := range []string{"setup-environment", "profile/manifest", "files/.bashrc"} {
			if err := os.WriteFile(filepath.Join(item, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, "secret"), []byte("top-secret\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		_ = os.Symlink(conf, item+"/files/.config/shepherd/init.scm")
		_ = os.Symlink(to, item+"/files/link") // a name with a zero byte makes none
		_ = os.Symlink(root+"/secret", item+"/files/secret")

		s := Store(root)
		files, _ := s.homeDefinitions(item)
		s.definedBy(files)
		shown := texts{store: s}
		shown.compare("~", filesOf(empty), filesOf(item))
		for _, d := range append(append(shown.details, s.variables(empty, item)...), s.packages(empty, item)...) {
			if strings.Contains(d.Diff+d.Says, "top-secret") && !strings.Contains(text, "top-secret") {
				t.Errorf("%+v", d)
			}
			if len(d.Diff) > 2*textBytes {
				t.Errorf("a diff of %d bytes", len(d.Diff))
			}
		}
	})
}

// An answer is a connection on which a Shepherd says one thing.
type answer struct{ io.Reader }

func (answer) Write(p []byte) (int, error) { return len(p), nil }
func (answer) Close() error                { return nil }

// A user's Shepherd is the user's own program: whatever it says of its services, a look ends and names what it may show.
func FuzzForeignServices(f *testing.F) {
	replies, err := filepath.Glob("../shepherd/testdata/status-*")
	if err != nil || len(replies) == 0 {
		f.Fatalf("no recorded replies: %v", err)
	}
	for _, reply := range replies {
		text, err := os.ReadFile(reply)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		conf, item := filepath.Join(dir, "conf"), filepath.Join(dir, "item")
		s := &services{
			shepherd: &shepherd.Client{Dial: func(context.Context) (io.ReadWriteCloser, error) { return answer{bytes.NewReader(text)}, nil }},
			started:  filepath.Join(dir, "started.json"), timeout: time.Second, theirs: true,
			tail: func(context.Context, string) []string { return nil },
			definitions: func(string) ([]ServiceFile, error) {
				return []ServiceFile{{Name: "web", Provides: []string{"web"}, File: conf, Starts: true}}, nil
			},
			live:   func() (string, error) { return item, nil },
			booted: func() (string, error) { return item, nil },
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		problems, _ := s.problems(ctx, item, time.Time{})
		changes, _ := s.diff(ctx, item)
		for _, c := range changes {
			if len(c.Subject) > 4096 {
				t.Errorf("a subject of %d bytes", len(c.Subject))
			}
		}
		for _, p := range problems {
			if len(p.Says) > 64<<10 || strings.ContainsFunc(p.Subject, unicode.IsControl) {
				t.Errorf("%d bytes of %q", len(p.Says), p.Subject)
			}
		}
		if ctx.Err() != nil {
			t.Error("the look doesn't end")
		}
	})
}
