package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func suspendCmd(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "suspend [WHY…]",
		Short:   "Deploy no new revision until `collie resume`; what runs is still healed",
		Example: "  collie suspend moving the disks",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.did("suspended", c.agent.Suspend(cmd.Context(), strings.Join(args, " ")))
		},
	}
}

func resumeCmd(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "resume",
		Short:   "Deploy again after `collie suspend`",
		Example: "  collie resume",
		Args:    takes(0, 0),
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.did("resumed", c.agent.Resume(cmd.Context())) },
	}
}

func retryCmd(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:     "retry",
		Short:   "Try the newest revision again after it failed",
		Example: "  collie retry",
		Args:    takes(0, 0),
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.did("tried again", c.agent.Retry(cmd.Context())) },
	}
}

// did shows what was done, unless err says that it wasn't.
func (c *cli) did(what string, err error) error {
	if err == nil {
		fmt.Fprintln(c.out, what)
	}
	return err
}
