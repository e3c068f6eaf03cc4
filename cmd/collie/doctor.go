package main

import (
	"errors"
	"path/filepath"

	"github.com/spf13/cobra"

	"example.org/collie/agent"
)

func doctorCmd(c *cli) *cobra.Command {
	var config string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check everything that Collie needs on the machine, and show what to do",
		Long: "Check everything that Collie needs on the machine: agent, sockets, repository, clock, disk, Guix, Shepherd, and what\n" +
			"rootless pods need. Each check is a line: ok, warn or fail. The line below says what to do. The command changes nothing\n" +
			"and needs no agent. Without root, checks that need root warn, and the first line counts them. The exit code is 1 if a\n" +
			"check failed.",
		Example: "  collie doctor\n  collie doctor --json",
		Args:    takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.scope == scopeUser {
				return &exitError{exitUsage, errors.New("doctor checks what the machine's Collie needs: leave --scope user out")}
			}
			found := agent.Examine(cmd.Context(), config, filepath.Dir(c.agent.Socket), c.agent.Status)
			if err := cmd.Context().Err(); err != nil {
				return err // what couldn't be asked any more isn't ill
			}
			if err := c.show(found, found.Text(), asJSON); err != nil {
				return err
			}
			if found.Ill() {
				return &exitError{code: exitFailed}
			}
			return nil
		},
	}
	jsonFlag(cmd, &asJSON)
	cmd.Flags().StringVar(&config, "config", "/etc/collie.yaml", "the guest's configuration")
	return cmd
}
