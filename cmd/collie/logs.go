package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"example.org/collie/agent"
	"example.org/collie/agent/api"
	"example.org/collie/agent/foreign"
)

func logsCmd(c *cli) *cobra.Command {
	var q api.LogQuery
	var config string
	cmd := &cobra.Command{
		Use:   "logs [REVISION]",
		Short: "Show Guix's output for a revision, by default the newest",
		Long: "Show Guix's output from building a revision and switching to it, by default the newest. The beginning of a revision's id is\n" +
			"enough. If no agent runs, root can still read the logs: they come from the state folder.",
		Example:           "  collie logs\n  collie logs 5585d04a --lines 50\n  collie logs --follow",
		Args:              takes(0, 1),
		ValidArgsFunction: c.completeRevisions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				q.Revision = args[0]
			}
			if cmd.Flags().Changed("lines") && q.Lines < 1 {
				return &exitError{exitUsage, errors.New("--lines: at least 1")}
			}
			out := foreign.Writer{Writer: c.out} // what is built may write anything
			err := c.agent.Logs(cmd.Context(), q, out)
			if !api.Away(err) {
				return err
			}
			cfg, unread := agent.ReadConfig(config)
			if unread != nil {
				return err
			}
			fault := agent.Logs(cmd.Context(), cfg.State, q, out)
			if errors.Is(fault, fs.ErrPermission) || errors.Is(fault, fs.ErrNotExist) {
				return fmt.Errorf("%w; and reading the logs without it: %w", err, fault)
			}
			return fault
		},
	}
	cmd.Flags().IntVarP(&q.Lines, "lines", "n", 0, "show only this number of last lines")
	cmd.Flags().BoolVarP(&q.Follow, "follow", "f", false, "continue with new output of Guix")
	cmd.Flags().StringVar(&config, "config", "/etc/collie.yaml", "the guest's configuration, for when no agent answers")
	return cmd
}
