package main

import (
	"github.com/spf13/cobra"
)

func restartCmd(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "restart [USER/]SERVICE",
		Short:   "Restart a service of the system or of a user's home, with its newest definition",
		Example: "  collie restart nginx\n  collie restart podman/syncthing",
		Args:    takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			done, err := c.agent.Restart(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := c.show(done, done.Text(), asJSON); err != nil || len(done.Problems) == 0 {
				return err
			}
			return &exitError{code: exitFailed}
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}
