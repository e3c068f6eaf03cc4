package main

import (
	"runtime"

	"github.com/spf13/cobra"
)

func versionCmd(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  collie version --json",
		Args:    takes(0, 0),
		RunE: func(*cobra.Command, []string) error {
			v := map[string]string{"version": version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
			return c.show(v, "collie "+version+"\n", asJSON)
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}
