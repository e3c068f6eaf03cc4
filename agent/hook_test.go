package agent

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheHooksSocketIsForTheOwnerAlone(t *testing.T) {
	a := &Agent{cfg: Config{}, runtime: filepath.Join(t.TempDir(), "run")}
	a.cfg.Source.URL = "https://example.org/ops.git"
	if l, err := a.listenForPushes(); l != nil || err != nil {
		t.Errorf("a socket for a repository elsewhere: %v, %v", l, err)
	}
	a.cfg.Source.URL = "file:///srv/git/ops.git"
	for range 2 { // a former life's is in the way
		l, err := a.listenForPushes()
		if err != nil {
			t.Fatal(err)
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		defer l.Close()
		info, err := os.Stat(filepath.Join(a.runtime, pushSocket))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the socket is %v (%v), want it 0600", info, err)
		}
	}
	a.cfg.Source.Owner = "nobody-of-that-name"
	if l, err := a.listenForPushes(); err == nil {
		l.Close()
		t.Error("a socket for an owner who doesn't exist")
	}
}

func TestAddHook(t *testing.T) {
	dir := t.TempDir()
	repo := filepath.Join(dir, "ops.git")
	hook := filepath.Join(repo, "hooks/post-receive")
	install := func(url, says string) {
		t.Helper()
		note, err := AddHook(url)
		if err != nil || !strings.Contains(note, says) || says == "" && note != "" {
			t.Errorf("%s: %q, %v; want %q", url, note, err, says)
		}
	}
	read := func() string {
		t.Helper()
		text, err := os.ReadFile(hook)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(hook, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	install("https://example.org/ops.git", "")
	install("file://"+repo, "is no git repository yet")
	if err := os.MkdirAll(filepath.Join(repo, "refs"), 0o755); err != nil {
		t.Fatal(err)
	}
	install("file://"+repo, "")
	if info, err := os.Stat(hook); err != nil || info.Mode().Perm() != 0o755 || read() != hookText {
		t.Errorf("the hook is %v (%v): %s", info, err, read())
	}
	write("#!/bin/sh\n" + hookMark + "\nold\n") // an older Collie's
	install(repo, "")
	if read() != hookText {
		t.Errorf("an older hook stayed: %s", read())
	}
	write("#!/bin/sh\nexec mine\n")
	install(repo, "is there already: have it give what it reads to `collie pushed`")
	if read() != "#!/bin/sh\nexec mine\n" {
		t.Errorf("a person's hook became %s", read())
	}
	if left, _ := filepath.Glob(filepath.Join(repo, "hooks/.*")); len(left) > 0 {
		t.Errorf("left over: %q", left)
	}

	work := filepath.Join(dir, "work") // one with a worktree
	if err := os.MkdirAll(filepath.Join(work, ".git/refs"), 0o755); err != nil {
		t.Fatal(err)
	}
	install(work, "")
	if _, err := os.Stat(filepath.Join(work, ".git/hooks/post-receive")); err != nil {
		t.Error(err)
	}
}
