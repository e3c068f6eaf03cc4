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
		Short: "Look at all that Collie needs on the machine, and say what to do where it isn't well",
		Long: "Look at all that Collie needs on the machine: agent, sockets, repository, clock, disk, Guix, Shepherd, and what\n" +
			"rootless pods need. Each check is a line: ok, warn or fail, and below it what to do. It changes nothing, needs no agent,\n" +
			"and sees all only as root: a check that needs root warns, and the first line says how many do. It exits with 1 if a\n" +
			"check failed.",
		Example: "  collie doctor\n  collie doctor --json",
		Args:    usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.scope == scopeUser {
				return &exitError{exitUsage, errors.New("doctor looks at what the machine's Collie needs: leave --scope user out")}
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
