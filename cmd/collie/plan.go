package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.org/collie/agent/api"
	"example.org/collie/agent/foreign"
)

func planCmd(c *cli) *cobra.Command {
	var asJSON, exitCode, wait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "plan [NAME]",
		Short: "Show what a switch would change, to the newest revision or to a branch plan/NAME",
		Long: "Show which revision waits, why, and what a switch to it would change. With a NAME, show what a switch to the branch\n" +
			"plan/NAME would change. Collie prepares such a branch like the followed one, but never switches to it.",
		Example: "  collie plan\n  collie plan try-nginx --wait\n  collie plan --exit-code",
		Args:    takes(0, 1),

		ValidArgsFunction: c.completePlans,
		RunE: func(cmd *cobra.Command, args []string) error {
			name := ""
			if len(args) > 0 {
				name = args[0]
			}
			ask := func(ctx context.Context) (api.Plan, error) { return c.agent.Plan(ctx, name) }
			if wait {
				ask = func(ctx context.Context) (api.Plan, error) {
					return c.waitForPlan(ctx, name, timeout, c.progress(asJSON))
				}
			}
			p, err := ask(cmd.Context())
			if err != nil {
				return err
			}
			if err := c.show(p, p.Text(), asJSON); err != nil {
				return err
			}
			switch {
			case p.Rejected != "":
				return &exitError{code: exitRejected}
			case exitCode && p.Name != "" && p.Preparing != nil:
				return &exitError{exitNoVerdict, fmt.Errorf("plan %s isn't prepared yet, so what it changes isn't known: --wait waits for it", p.Name)}
			case exitCode && p.Pending():
				return &exitError{code: exitPending}
			case exitCode && len(p.Unknown()) > 0:
				return fmt.Errorf("what would change isn't known of %s", strings.Join(p.Unknown(), ", "))
			}
			return nil
		},
	}
	jsonFlag(cmd, &asJSON)
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with 3 if changes are pending")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until the plan is prepared")
	cmd.Flags().DurationVar(&timeout, "timeout", time.Hour, "how long to wait")
	return cmd
}

// waitForPlan asks until it is prepared, or can't be, and tells on the way how far it is.
func (c *cli) waitForPlan(ctx context.Context, name string, timeout time.Duration, progress io.Writer) (api.Plan, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %v", timeout))
	defer cancel()
	if _, err := c.agent.SyncPatiently(ctx); err != nil { // it may have been pushed just now
		return api.Plan{}, err
	}
	told := ""
	p, err := c.agent.PollPlan(ctx, name, func(p api.Plan) bool {
		if p.Preparing == nil {
			return true
		}
		if line := p.Preparing.Text(); line != told {
			told = line
			fmt.Fprintln(foreign.Writer{Writer: progress}, line)
		}
		return false
	})
	if errors.Is(err, context.DeadlineExceeded) && p.Preparing != nil {
		return p, &exitError{exitNoVerdict, fmt.Errorf("not prepared yet: it %s", p.Preparing.Text())}
	}
	if errors.Is(err, context.Canceled) && p.Preparing != nil {
		return p, &exitError{exitNoVerdict, fmt.Errorf("interrupted: not prepared yet: it %s", p.Preparing.Text())}
	}
	return p, err
}
