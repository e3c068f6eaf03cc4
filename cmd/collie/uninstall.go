package main

import (
	"fmt"
	"os/user"

	"github.com/spf13/cobra"

	"example.org/collie/agent"
)

func uninstallCmd(c *cli) *cobra.Command {
	var state string
	var yes bool
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Remove what Collie keeps on a machine that it left",
		Long: "Say what Collie still keeps on a machine that a commit with `leave: true` took it off, and with --yes remove it. Pods,\n" +
			"services, homes and volumes stay. It refuses as long as Collie is configured, or an agent runs.",
		Example: "  collie uninstall\n  collie uninstall --yes",
		Args:    takes(0, 0),
		RunE: func(*cobra.Command, []string) error {
			remains := agent.OfMachine(state)
			if c.scope == scopeUser {
				me, err := user.Current()
				if err != nil {
					return fmt.Errorf("who runs this: %w", err)
				}
				remains = agent.OfUser(state, me.Username)
			}
			if err := remains.Check(); err != nil {
				return err
			}
			said := "nothing was removed; `collie uninstall --yes` does it"
			if yes {
				if err := remains.Remove(); err != nil {
					return err
				}
				said = "removed"
			}
			_, err := fmt.Fprintf(c.out, "%s%s\n", remains.Text(), said)
			return err
		},
	}
	cmd.Flags().StringVar(&state, "state", "/var/lib/collie", "the agent's state folder")
	cmd.Flags().BoolVar(&yes, "yes", false, "remove it")
	return cmd
}

// forgetCmd is what uninstall was called: the log of a Collie that left may name it.
func forgetCmd(c *cli) *cobra.Command {
	cmd := uninstallCmd(c)
	cmd.Use, cmd.Hidden, cmd.Example = "forget", true, ""
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		fmt.Fprintln(c.err, "collie: `collie forget` is called `collie uninstall` now")
		return run(cmd, args)
	}
	return cmd
}
