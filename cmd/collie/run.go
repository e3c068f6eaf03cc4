package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/spf13/cobra"

	"example.org/collie/agent"
)

func runCmd(c *cli) *cobra.Command {
	var config, runtime string
	cmd := &cobra.Command{
		Use:     "run",
		Short:   "Run the agent; Shepherd does this",
		Example: "  collie run --config /etc/collie.yaml\n  collie --scope user run",
		Args:    usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if os.Getenv("GOGC") == "" {
				debug.SetGCPercent(50) // the agent is idle nearly always: memory counts more than speed
			}
			level := slog.LevelInfo
			if c.verbose {
				level = slog.LevelDebug
			}
			log := slog.New(slog.NewTextHandler(c.err, &slog.HandlerOptions{Level: level}))
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
			a, err := agent.New(cfg, runtime, version, log)
			if err != nil {
				return err
			}
			return a.Run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&config, "config", "/etc/collie.yaml", "the guest's configuration")
	cmd.Flags().StringVar(&runtime, "runtime", "/run/collie", "folder of the control socket and of Podman's")
	return cmd
}

// asUserCmd is what the agent runs as a user, because root touches nothing of a user's own.
func asUserCmd() *cobra.Command {
	return &cobra.Command{
		Use:    "as-user VERB…",
		Hidden: true,
		Args:   usage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return agent.AsUser(cmd.Context(), args, os.Stdin, os.Stdout)
		},
	}
}
