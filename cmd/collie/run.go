package main

import (
	"cmp"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"example.org/collie/agent"
	"example.org/collie/agent/layers"
	"example.org/collie/agent/limits"
)

func runCmd(c *cli) *cobra.Command {
	var config, runtime string
	cmd := &cobra.Command{
		Use:     "run",
		Short:   "Run the agent; Shepherd does this",
		Example: "  collie run --config /etc/collie.yaml\n  collie --scope user run",
		Args:    takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if os.Getenv("GOGC") == "" {
				debug.SetGCPercent(50) // the agent is idle nearly always: memory counts more than speed
			}
			level := slog.LevelInfo
			if c.verbose {
				level = slog.LevelDebug
			}
			// A user's Shepherd may die, and the agent is to start it again: it mustn't end for a log line that nobody reads.
			signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // children have it as ever
			log := slog.New(slog.NewTextHandler(&logWriter{c.err, userLog()}, &slog.HandlerOptions{Level: level}))
			cfg, err := agent.ReadConfig(config)
			if err != nil {
				return err
			}
			if c.scope == scopeUser {
				if cfg, err = cfg.ForUser(c.user); err != nil {
					return err
				}
			}
			runtime, err := filepath.Abs(runtime) // Podman's address takes no other
			if err != nil {
				return err
			}
			limits.Protect(log)
			a, err := agent.New(cfg, runtime, version, log)
			if err != nil {
				return err
			}
			return a.Run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&config, "config", "/etc/collie.yaml", "the guest's configuration")
	cmd.Flags().StringVar(&runtime, "runtime", "/run/collie", "folder of the control socket and of Podman's socket")
	return cmd
}

// A logWriter writes to the pipe that Shepherd reads, and once that is dead to the file in which Shepherd kept what it read.
type logWriter struct {
	pipe io.Writer
	file string
}

func (w *logWriter) Write(line []byte) (int, error) {
	n, err := w.pipe.Write(line)
	if !errors.Is(err, syscall.EPIPE) || w.file == "" {
		return n, err
	}
	f, err := os.OpenFile(w.file, os.O_CREATE|os.O_WRONLY|os.O_APPEND|syscall.O_NOFOLLOW, 0o640)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.Write(line)
}

// userLog is where a user's Shepherd keeps what the agent writes; nowhere for root's, which can't die.
func userLog() string {
	if os.Getuid() == 0 {
		return ""
	}
	return filepath.Join(cmp.Or(os.Getenv("XDG_STATE_HOME"), filepath.Join(os.Getenv("HOME"), ".local/state")), "shepherd/collie.log")
}

// asUserCmd is what the agent runs as a user, because root touches nothing of a user's own.
func asUserCmd() *cobra.Command {
	return &cobra.Command{
		Use:    "as-user VERB…",
		Hidden: true,
		Args:   takes(1, many),
		RunE: func(cmd *cobra.Command, args []string) error {
			return layers.AsUser(cmd.Context(), args, os.Stdin, os.Stdout)
		},
	}
}
