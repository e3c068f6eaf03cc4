package agent

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.org/collie/agent/api"
	"example.org/collie/agent/rollout"
)

// localConfig follows a repository on this machine, and pods of a Podman that isn't there.
func localConfig(t *testing.T) Config {
	t.Helper()
	cfg, err := parseConfig("test.yaml", []byte("source: {url: "+filepath.Join(t.TempDir(), "ops.git")+"}\nsystem: false\nuser: nobody\nstate: "+filepath.Join(t.TempDir(), "state")+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func newAgent(t *testing.T, cfg Config, runtime string) (*Agent, error) {
	t.Helper()
	return New(cfg, runtime, "test", slog.New(slog.DiscardHandler))
}

func TestOneAgentForAState(t *testing.T) {
	cfg := localConfig(t)
	a, err := newAgent(t, cfg, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	_, err = newAgent(t, cfg, t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "another agent works on "+cfg.State) {
		t.Errorf("a second agent: %v", err)
	}
	a.lock.Close()
	if a, err = newAgent(t, cfg, t.TempDir()); err != nil {
		t.Fatalf("after the first ended: %v", err)
	}
	a.lock.Close()
}

func TestStateIsForItsOwnerAlone(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	cfg := localConfig(t)
	a, err := newAgent(t, cfg, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	a.lock.Close()
	for name, want := range map[string]fs.FileMode{".": 0o711, "targets": 0o700, "logs": 0o700, "trees": 0o755, "state.json": 0o600, "journal": 0o600} {
		info, err := os.Stat(filepath.Join(cfg.State, name))
		if err != nil {
			t.Error(err)
			continue
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", name, got, want)
		}
	}
}

func TestHostNameIsKept(t *testing.T) {
	cfg := localConfig(t)
	a, err := newAgent(t, cfg, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	a.lock.Close()
	s, err := rollout.Folder(cfg.State).Load()
	if err != nil {
		t.Fatal(err)
	}
	s.Host = "as-it-was-called"
	if err := rollout.Folder(cfg.State).Save(s); err != nil {
		t.Fatal(err)
	}
	if a, err = newAgent(t, cfg, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	a.lock.Close()
	if got := a.conductor.Host(); got != "as-it-was-called" {
		t.Errorf("host %q", got)
	}
	cfg.Host = "configured"
	if a, err = newAgent(t, cfg, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	a.lock.Close()
	if got := a.conductor.Host(); got != "configured" {
		t.Errorf("host %q, though the configuration names it", got)
	}
}

// The whole agent, over its socket: a real repository, and a Podman that isn't there.
func TestAgentAnswersWhileALayerIsAway(t *testing.T) {
	cfg, runtime := localConfig(t), t.TempDir()
	if os.Getuid() == 0 {
		cfg.User = "daemon"
	}
	repo := cfg.Source.URL
	git := func(dir string, args ...string) { t.Helper(); git(t, dir, args...) }
	git("/", "init", "-q", "--bare", "-b", "main", repo)
	work := t.TempDir()
	git(work, "init", "-q", "-b", "main")
	if err := os.Mkdir(filepath.Join(work, "pods"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(work, "pods", "README"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	git(work, "add", ".")
	git(work, "commit", "-qm", "first")
	git(work, "push", "-q", repo, "main")

	a, err := newAgent(t, cfg, runtime)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	client := api.Client{Socket: filepath.Join(runtime, "collie.sock")}
	limit, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s, err := client.Poll(limit, func(s api.Status) bool { return s.Preparing != nil && s.Preparing.Error != "" })
	if err != nil {
		t.Fatalf("waited for the preparation that misses Podman: %v, status %+v", err, s)
	}
	if !strings.Contains(s.Preparing.Error, "Podman API") || len(s.Failed) != 0 || s.Revisions.Newest == "" || s.Phase != "idle" {
		t.Errorf("status %+v", s)
	}
	if info, err := os.Stat(client.Socket); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("control socket: %v, %v", info, err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=ann", "-c", "user.email=ann@example.org"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// A state folder that can't be made when the agent starts is a problem, until it can.
func TestAnAgentStartsWithoutAFolderToWriteTo(t *testing.T) {
	cfg, runtime := localConfig(t), t.TempDir()
	if err := os.Symlink("nowhere/at/all", cfg.State); err != nil {
		t.Fatal(err)
	}
	a, err := newAgent(t, cfg, runtime)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	client := api.Client{Socket: filepath.Join(runtime, "collie.sock")}
	limit, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	unwritten := func(s api.Status) bool {
		return slices.ContainsFunc(s.Problems, func(p api.Problem) bool {
			return p.Subject == "state" && strings.Contains(p.Says, "can't be written") && strings.Contains(p.Says, cfg.State)
		})
	}
	if s, err := client.Poll(limit, unwritten); err != nil {
		t.Fatalf("waited for the problem: %v, status %+v", err, s)
	}
	if err := client.Suspend(limit, "it can't be written"); err == nil {
		t.Error("it can be suspended")
	}
	if err := os.Remove(cfg.State); err != nil {
		t.Fatal(err)
	}
	if s, err := client.Poll(limit, func(s api.Status) bool { return !unwritten(s) }); err != nil {
		t.Fatalf("waited for it to go on: %v, status %+v", err, s)
	}
	if err := client.Suspend(limit, "it can be written"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"lock", "state.json", "journal", "targets", "logs", "keys", "trees"} {
		if _, err := os.Stat(filepath.Join(cfg.State, name)); err != nil {
			t.Error(err)
		}
	}
	if _, err := newAgent(t, cfg, t.TempDir()); err == nil || !strings.Contains(err.Error(), "another agent works on") {
		t.Errorf("a second agent: %v", err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// Another commit is accepted, and the journal says so, or neither.
func TestAcceptIsDoneWhollyOrNotAtAll(t *testing.T) {
	cfg := localConfig(t)
	repo, work := cfg.Source.URL, t.TempDir()
	git(t, "/", "init", "-q", "--bare", "-b", "main", repo)
	git(t, work, "init", "-q", "-b", "main")
	commit := func(subject string) string {
		git(t, work, "commit", "-q", "--allow-empty", "-m", subject)
		git(t, work, "push", "-qf", repo, "HEAD:main")
		return git(t, work, "rev-parse", "HEAD")
	}
	first := commit("first")
	a, err := newAgent(t, cfg, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.conductor.Run(ctx) }()
	if _, err := a.sync(ctx); err != nil {
		t.Fatal(err)
	}
	git(t, work, "checkout", "-q", "--orphan", "other")
	other := commit("other")

	refs := filepath.Join(cfg.State, "repo.git", "refs", "collie") // no ref can be written into what is no folder
	is := func(want string, noted bool) {
		t.Helper()
		if rev, _ := a.source.Accepted(); rev.ID != want {
			t.Errorf("accepted is %s, want %s", rev.ID, want)
		}
		text, err := os.ReadFile(filepath.Join(a.cfg.State, "journal"))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(text), `"event":"accepted"`); got != noted {
			t.Errorf("the journal says that %s was accepted: %v", other, got)
		}
	}
	if err := errors.Join(os.Rename(refs, refs+"-away"), os.WriteFile(refs, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := a.accept(ctx, other); err == nil || !strings.Contains(err.Error(), "noting commit "+other) {
		t.Errorf("without a place for it: %v", err)
	}
	is(first, false)
	if err := errors.Join(os.Remove(refs), os.Rename(refs+"-away", refs)); err != nil {
		t.Fatal(err)
	}
	if _, err := a.accept(ctx, other); err != nil {
		t.Error(err)
	}
	is(other, true)
	stop()
	if err := <-ended; err != nil {
		t.Errorf("run: %v", err)
	}
	a.lock.Close()
}
