package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"example.org/collie/agent/foreign"
)

func statusCmd(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show what the machine is at, and whether all is well",
		Example: "  collie status\n  collie status --json",
		Args:    usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := c.agent.Status(cmd.Context())
			if err != nil {
				return err
			}
			return c.show(s, s.Text(), asJSON)
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func jsonFlag(cmd *cobra.Command, asJSON *bool) {
	cmd.Flags().BoolVar(asJSON, "json", false, "print JSON")
}

// show prints an answer, for a person or for a program.
func (c *cli) show(v any, text string, asJSON bool) error {
	if !asJSON {
		_, err := fmt.Fprint(foreign.Writer{Writer: c.out}, text)
		return err
	}
	enc := json.NewEncoder(c.out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
