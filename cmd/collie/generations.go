package main

import (
	"github.com/spf13/cobra"

	"example.org/collie/agent/api"
)

func generationsCmd(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "generations",
		Short: "List Guix's generations, with the commit that made each, and what became of it",
		Long: `List the generations that Guix has of the system and the homes, the newest of each first: which one runs, which one the profile
is at, which one the next boot begins, the commit that made it, and the verdict on that.

A commit that doesn't change the system makes no generation of it: the generation names the commit that it was good with first.
One that was rolled back stays until another commit is good, so that it can be looked at below /var/guix/profiles.`,
		Example: "  collie generations\n  collie generations --json",
		Args:    usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := c.agent.Generations(cmd.Context())
			if err != nil {
				return err
			}
			return c.show(all, api.GenerationsText(all), asJSON)
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}
