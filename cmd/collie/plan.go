package main

import "github.com/spf13/cobra"

func planCmd(c *cli) *cobra.Command {
	var asJSON, exitCode bool
	cmd := &cobra.Command{
		Use:     "plan",
		Short:   "Show what waits, and what its switch would change",
		Example: "  collie plan\n  collie plan --exit-code",
		Args:    usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := c.agent.Plan(cmd.Context())
			if err != nil {
				return err
			}
			if err := c.show(p, p.Text(), asJSON); err != nil {
				return err
			}
			if exitCode && p.Pending() {
				return &exitError{code: exitPending}
			}
			return nil
		},
	}
	jsonFlag(cmd, &asJSON)
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with 3 if changes are pending")
	return cmd
}
