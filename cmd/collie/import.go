package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"example.org/collie/agent/foreign"
)

func importCmd(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "import NAME",
		Short: "Write the YAML of a pod or container that was made by hand",
		Long: "Write YAML for the repository, from what Podman knows about a pod or a single container that was made by hand. A pod gets\n" +
			"the annotation that allows Collie to replace it. Its volumes keep their names and content. Read the YAML and check it\n" +
			"with `collie validate`: it has environment variables in plain text.",
		Example: "  collie import web",
		Args:    takes(1, 1),
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
