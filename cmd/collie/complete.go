package main

import (
	"context"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"example.org/collie/agent/api"
)

// completionLimit is as long as a shell waits for what could follow.
const completionLimit = time.Second

// completeRevisions offers the revisions of the history, the newest first, with what their commits say.
func (c *cli) completeRevisions(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionLimit)
	defer cancel()
	past, err := c.agent.History(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp // a shell has no place for errors
	}
	var all []cobra.Completion
	for _, d := range past {
		all = append(all, cobra.CompletionWithDesc(api.Short(d.Revision), printable(d.Subject)))
	}
	return all, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// completePlans offers the plans, with what their commits say.
func (c *cli) completePlans(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionLimit)
	defer cancel()
	plan, err := c.agent.Plan(ctx, "")
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var all []cobra.Completion
	for _, p := range plan.Plans {
		all = append(all, cobra.CompletionWithDesc(p.Name, printable(p.Subject)))
	}
	return all, cobra.ShellCompDirectiveNoFileComp
}

// printable leaves out what a terminal would obey.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, text)
}
