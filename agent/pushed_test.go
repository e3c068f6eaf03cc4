package agent

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestWhatAPushShows(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.agentOf(t)
		a.cfg.Source.Branch = "main"
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		shows := func(name, ref, commit string, done bool, says string) {
			t.Helper()
			got, err := a.pushed(t.Context(), ref, commit)
			if err != nil || got.Done != done || !strings.HasPrefix(got.Says, says) || says == "" && got.Says != "" {
				t.Errorf("%s: %+v (%v), want done %v, and %q", name, got, err, done, says)
			}
		}
		shows("the branch that is followed", "refs/heads/main", "a", true, "Revision a is seen: `collie sync --wait` tells")
		if err := a.answers().Suspend(t.Context(), "disks"); err != nil {
			t.Fatal(err)
		}
		shows("while suspended", "refs/heads/main", "a", true, "Revision a is seen, and waits: suspended: disks.\n")
		shows("a repository that can't be read", "refs/heads/main", "b", true, "collie: repository ")
		for _, ref := range []string{"refs/tags/plan/try", "main", ""} {
			shows("what is nothing to us: "+ref, ref, "a", true, "")
		}
		for _, branch := range []string{"other", "planned", "Main", "main/x"} {
			shows("a branch that isn't followed", "refs/heads/"+branch, "a", true, "Branch "+branch+" isn't followed: this machine follows main. ")
		}

		block := make(chan struct{})
		w.layers[0].set(func(l *fakeLayer) { l.block = block })
		w.propose("try b system=2", "bad c system=bad", "away d home=unreachable")
		pass(time.Second)
		shows("a plan", "refs/heads/plan/try", "b", false, "Plan try, revision b, is being prepared: waits for its turn\n")
		close(block)
		pass(time.Second)
		shows("a plan", "refs/heads/plan/try", "b", true, "Plan try, revision b, would change:\nsystem, what runs:\n  update    system: 1 → 2\n")
		shows("a bad one", "refs/heads/plan/bad", "c", true, "Plan bad, revision c, can't be deployed: system:1: bad\n")
		shows("one that is tried again", "refs/heads/plan/away", "d", true, "Plan away, revision d, is tried again at ")
		shows("one that is older", "refs/heads/plan/try", "older", true, "collie: repository ")
	})
}

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
