package main

import (
	"github.com/spf13/cobra"

	"example.org/collie/agent/api"
)

func historyCmd(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "history",
		Short:   "List deployments, newest first, with their results",
		Example: "  collie history\n  collie history --json",
		Args:    takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := c.agent.History(cmd.Context())
			if err != nil {
				return err
			}
			return c.show(all, api.HistoryText(all), asJSON)
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}
