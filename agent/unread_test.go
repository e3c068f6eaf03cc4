package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/collie/agent/rollout"
	"example.org/collie/agent/statefile"
)

// What must not be forgotten and can't be read stops deployments, in each way in which it can't. The file stays as it is until
// somebody puts back a copy, or moves it away; then the agent's next life goes on.
func TestAStateThatCannotBeReadStopsDeployments(t *testing.T) {
	spoil := map[string]func(file string) error{
		"no JSON":   func(file string) error { return os.WriteFile(file, []byte("\x00\x00"), 0o600) },
		"cut short": func(file string) error { return os.WriteFile(file, []byte(`{"host": "gue`), 0o600) },
		"too large": func(file string) error {
			return errors.Join(os.WriteFile(file, nil, 0o600), os.Truncate(file, 65<<20))
		},
		"a fault of the disk": func(file string) error { return os.Symlink(filepath.Base(file), file) }, // ELOOP; not ENOENT, as EIO
	}
	for _, name := range []string{"state.json", "jobs.json", "inventory.json"} {
		for how, put := range spoil {
			for _, back := range []bool{true, false} {
				if back != (how == "cut short" || name == "jobs.json") {
					continue // either way with each file, and with each fault
				}
				t.Run(fmt.Sprintf("%s %s put back %v", name, how, back), func(t *testing.T) {
					t.Parallel()
					cfg := localConfig(t)
					file := filepath.Join(cfg.State, name)
					if err := errors.Join(os.MkdirAll(cfg.State, 0o700), put(file)); err != nil {
						t.Fatal(err)
					}
					before, err := os.Lstat(file)
					if err != nil {
						t.Fatal(err)
					}
					a, err := newAgent(t, cfg, t.TempDir())
					if err != nil {
						t.Fatal(err)
					}
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					ended := make(chan error, 1)
					go func() { ended <- a.Run(ctx) }()
					asked := a.answers()
					status, err := asked.Status(ctx)
					if err != nil || !slices.ContainsFunc(status.Problems, func(p rollout.Problem) bool {
						return p.Subject == "state" && strings.Contains(p.Says, file) && strings.Contains(p.Says, "nothing is deployed") && strings.Contains(p.Says, "move it away")
					}) {
						t.Errorf("problems %+v, %v", status.Problems, err)
					}
					for what, err := range map[string]error{
						"sync":    second(asked.Sync(ctx)),
						"accept":  second(asked.Accept(ctx, strings.Repeat("a", 40))),
						"plan":    second(asked.Plan(ctx, "")),
						"restart": second(asked.Restart(ctx, "podman/x")),
						"suspend": asked.Suspend(ctx, "why"), "resume": asked.Resume(ctx), "retry": asked.Retry(ctx),
						"now": asked.Now(ctx), "build": asked.Build(ctx), "evaluate": asked.Evaluate(ctx),
					} {
						if err == nil || what != "restart" && !strings.Contains(err.Error(), file) {
							t.Errorf("%s: %v", what, err)
						}
					}
					if now, err := os.Lstat(file); err != nil || !os.SameFile(before, now) || now.Size() != before.Size() {
						t.Errorf("the file is another: %v", err)
					}
					select {
					case err := <-ended:
						t.Fatalf("it ended: %v", err)
					default:
					}
					if err := os.Remove(file); err != nil {
						t.Fatal(err)
					}
					if back {
						if err := statefile.Write(file, []byte("{}")); err != nil {
							t.Fatal(err)
						}
					}
					if err := <-ended; err != nil || ctx.Err() != nil {
						t.Errorf("it ended: %v, %v", err, ctx.Err())
					}
					next, err := newAgent(t, cfg, t.TempDir())
					if err != nil {
						t.Fatal(err)
					}
					defer next.lock.Close()
					if len(next.unread) > 0 {
						t.Errorf("the next life can't read: %v", next.closed())
					}
				})
			}
		}
	}
}

func second[T any](_ T, err error) error { return err }
