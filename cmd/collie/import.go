package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"example.org/collie/agent/foreign"
)

func importCmd(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "import NAME",
		Short: "Write the YAML of a pod, or a container, that was made by hand",
		Long: "Write for the repository what Podman knows of a pod, or of a single container, that was made by hand. A pod bears the\n" +
			"annotation by which Collie takes its place; its volumes keep their names and what is in them. Read what it writes, and\n" +
			"have `collie validate` look at it: environment variables are there in plain.",
		Example: "  collie import web",
		Args:    usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			is, err := c.agent.Import(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(foreign.Writer{Writer: c.out}, is.Text())
			return err
		},
	}
}
