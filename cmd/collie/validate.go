package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"example.org/collie/agent/foreign"
	"example.org/collie/agent/layers"
)

func validateCmd(c *cli) *cobra.Command {
	var host string
	cmd := &cobra.Command{
		Use:     "validate DIR",
		Short:   "Check the files of a repository without an agent",
		Long:    "Check the files of a repository: its layout and all Kubernetes YAML. Only Guix checks Scheme, when a revision is prepared. If\nthe repository has folders of hosts, it is checked as each host sees it.",
		Example: "  collie validate .\n  collie validate --host web1 .",
		Args:    takes(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			root, err := os.OpenRoot(args[0])
			if err != nil {
				return err
			}
			defer root.Close()
			notes, mistakes := layers.Validate(root.FS(), host)
			plain := foreign.Writer{Writer: c.err}
			for _, n := range notes {
				fmt.Fprintf(plain, "note: %s\n", n)
			}
			if len(mistakes) == 0 {
				fmt.Fprintln(c.out, "no mistake found")
				return nil
			}
			for _, m := range mistakes {
				fmt.Fprintln(plain, m)
			}
			if len(mistakes) == 1 {
				return errors.New("1 mistake")
			}
			return fmt.Errorf("%d mistakes", len(mistakes))
		},
	}
	cmd.Flags().StringVar(&host, "host", "", "check only what this host sees, instead of what each host in hosts/ sees")
	return cmd
}
