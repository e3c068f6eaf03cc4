package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/collie/agent/rollout"
)

func TestUninstall(t *testing.T) {
	dir := t.TempDir()
	r := Remains{State: filepath.Join(dir, "state"), Roots: filepath.Join(dir, "roots"), Config: filepath.Join(dir, "collie.yaml")}
	refused := func(says string) {
		t.Helper()
		if err := r.Remove(); err == nil || !strings.Contains(err.Error(), says) {
			t.Fatalf("got %v, want %q", err, says)
		}
	}
	for _, d := range []string{filepath.Join(r.State, treesDir, "a"), r.Roots} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	refused("isn't the state of a Collie")

	if err := os.WriteFile(filepath.Join(r.State, "lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused("isn't the state of a Collie") // many a folder has a lock
	if err := os.WriteFile(rollout.Folder(r.State).StateFile(), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}

	a := &Agent{cfg: Config{State: r.State}}
	if err := a.lockState(); err != nil {
		t.Fatal(err)
	}
	refused("an agent works on")
	a.lock.Close()

	if err := os.WriteFile(r.Config, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused("still has Collie")
	if err := os.Remove(r.Config); err != nil {
		t.Fatal(err)
	}

	if err := r.Remove(); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
}

func TestUninstallsCommand(t *testing.T) {
	for want, cfg := range map[string]Config{
		" uninstall --yes":                         {State: stateFolder},
		" uninstall --scope user --state /s --yes": {State: "/s", alone: true},
	} {
		if got := cfg.uninstalls(); !strings.HasSuffix(got, want) {
			t.Errorf("%q doesn't end in %q", got, want)
		}
	}
}
