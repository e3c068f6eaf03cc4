package main

import (
	"github.com/spf13/cobra"

	"example.org/collie/agent/api"
)

func generationsCmd(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "generations",
		Short: "List Guix's generations, with the commit and the verdict of each",
		Long: `List Guix's generations of the system and the homes, newest first. For each, show whether it runs, whether the profile points to
it, whether the next boot uses it, the commit that made it, and the verdict on that commit.

A commit that doesn't change the system makes no new generation. So a generation names the first commit that it was good with. A
generation that was rolled back is kept until another commit is good. You can inspect it below /var/guix/profiles.`,
		Example: "  collie generations\n  collie generations --json",
		Args:    takes(0, 0),
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
