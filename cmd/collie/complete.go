package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.org/collie/agent/api"
	"example.org/collie/agent/foreign"
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
		all = append(all, cobra.CompletionWithDesc(api.Short(d.Revision), foreign.Line(d.Subject, mostDescribed)))
	}
	return all, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

const mostDescribed = 200 // characters of the description of a word

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
		all = append(all, cobra.CompletionWithDesc(p.Name, foreign.Line(p.Subject, mostDescribed)))
	}
	return all, cobra.ShellCompDirectiveNoFileComp
}

// completeLayers offers the layers of this machine that a list of them doesn't name yet.
func (c *cli) completeLayers(cmd *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	const directive = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace // a comma may follow
	ctx, cancel := context.WithTimeout(cmd.Context(), completionLimit)
	defer cancel()
	status, err := c.agent.Status(ctx)
	if err != nil {
		return nil, directive
	}
	named := begun[:strings.LastIndexByte(begun, ',')+1]
	var all []cobra.Completion
	for _, l := range status.Layers {
		if !slices.Contains(strings.Split(named, ","), l.Name) {
			all = append(all, named+l.Name)
		}
	}
	return all, directive
}
