package agent

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.org/collie/agent/rollout"
)

// Whatever is in place of a file of the state, the agent starts, answers, and says so.
func TestNoFileOfTheStateKeepsTheAgentFromStarting(t *testing.T) {
	files := []string{"state.json", "journal", "lock", "refused.json", "evaluated.json", "inventory.json", "jobs.json", "images.json", "started.json", "system.begun", "system.commits.json",
		"channels.json", "keys/hash", "repo.git/HEAD", "repo.git/config", "repo.git/refs/collie/accepted", "logs/1-build@a.log.running", "targets/pods-1.json"}
	text := func(s string) func(string) error {
		return func(file string) error { return os.WriteFile(file, []byte(s), 0o600) }
	}
	contents := map[string]func(file string) error{
		"list": text("[]"), "null": text("null"), "object": text("{}"), "string": text(`"x"`), "number": text("5"), "cut short": text(`{"newest": {"id": "`),
		"zeroes": text(strings.Repeat("\x00", 512)),
		"folder": func(file string) error { return os.MkdirAll(filepath.Join(file, "x"), 0o700) },
		"FIFO":   func(file string) error { return syscall.Mkfifo(file, 0o600) },
		"huge": func(file string) error {
			return errors.Join(os.WriteFile(file, nil, 0o600), os.Truncate(file, 100<<20))
		},
		"wrong newest": text(`{"newest": {"id": "no hash"}}`),
		"wrong inside": text(`{"newest": 1, "pods": {}, "runs": {"x": null}, "rollout": {"phase": 3}, "pulled": 4}`),
	}
	// Of these it makes no sense, and they are read at the start.
	senseless := []string{"list", "null", "string", "number", "cut short", "zeroes", "folder", "FIFO", "huge", "wrong inside"}
	for _, name := range files {
		for what, put := range contents {
			t.Run(name+" "+what, func(t *testing.T) {
				cfg := localConfig(t)
				file := filepath.Join(cfg.State, name)
				if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), put(file)); err != nil {
					t.Fatal(err)
				}
				ended := time.AfterFunc(20*time.Second, func() { panic("it hangs") })
				defer ended.Stop()
				a, err := newAgent(t, cfg, t.TempDir())
				if err != nil {
					t.Fatal(err)
				}
				defer a.lock.Close()
				status, err := a.status(t.Context())
				if err != nil {
					t.Error(err)
				}
				if _, err := a.conductor.Deployments(); err != nil {
					t.Error(err)
				}
				said := slices.ContainsFunc(status.Problems, func(p rollout.Problem) bool {
					return strings.Contains(p.Says, file) && strings.Contains(p.Says, "makes no sense")
				})
				if mustBeRead := slices.Contains([]string{"state.json", "inventory.json", "jobs.json"}, name); said != (mustBeRead && slices.Contains(senseless, what)) {
					t.Errorf("problems: %+v", status.Problems)
				}
				if _, err := os.Lstat(file + ".broken"); said && err == nil {
					t.Error("it was set aside")
				}
			})
		}
	}
}
