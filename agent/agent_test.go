package agent

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.org/collie/agent/api"
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
	s := a.conductor.state
	a.lock.Close()
	s.Host = "as-it-was-called"
	if err := a.store.save(s); err != nil {
		t.Fatal(err)
	}
	if a, err = newAgent(t, cfg, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	a.lock.Close()
	if got := a.conductor.state.Host; got != "as-it-was-called" {
		t.Errorf("host %q", got)
	}
	cfg.Host = "configured"
	if a, err = newAgent(t, cfg, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	a.lock.Close()
	if got := a.conductor.state.Host; got != "configured" {
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
	git := func(dir string, args ...string) {
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=ann", "-c", "user.email=ann@example.org"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
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
	if !strings.Contains(s.Preparing.Error, "Podman API") || len(s.Bad) != 0 || s.Revisions.Newest == "" || s.Phase != "idle" {
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
