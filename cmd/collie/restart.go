package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func restartCmd(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "restart [USER/]SERVICE",
		Short:   "Restart a service of the system or of a user's home, with its newest definition",
		Example: "  collie restart nginx\n  collie restart podman/syncthing",
		Args:    usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			done, err := c.agent.Restart(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if _, err := fmt.Fprint(c.out, done.Text()); err != nil || len(done.Problems) == 0 {
				return err
			}
			return &exitError{code: exitFailed}
		},
	}
}
