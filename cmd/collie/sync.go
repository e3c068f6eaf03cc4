package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/spf13/cobra"

	"example.org/collie/agent/api"
)

func syncCmd(c *cli) *cobra.Command {
	var wait, build, now, evaluate bool
	var accept string
	var only []string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "sync",
		Short: "Poll the repository now; with --wait, wait for the verdict on its newest revision",
		Long: "Poll the repository now. With --wait it follows the newest revision, and exits with 0 if that is good, with 4 if it was\n" +
			"rejected or rolled back, and with 1 if there is no verdict: it waits for something, the time is up, or the machine is stuck.\n" +
			"After a fault of the network or the machine, Collie tries the revision again until the time is up.",
		Example: "  collie sync --wait --timeout 30m\n  collie sync --accept 5d700ef276cf7b1bc6d2b0e0f6a9c4b1d3e8f7a0 --wait\n" +
			"  collie sync --build\n  collie sync --now --wait\n  collie sync --evaluate --wait\n  collie sync --only system --wait",
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("accept") && !fullID.MatchString(accept) {
				return &exitError{exitUsage, fmt.Errorf("--accept %s: give the commit's full id, all 40 digits, as the refusal shows it", accept)}
			}
			ctx, cancel := context.WithTimeoutCause(cmd.Context(), timeout, fmt.Errorf("no answer within %v", timeout))
			defer cancel()
			sync := c.agent.Sync
			switch {
			case accept != "":
				sync = func(ctx context.Context) (api.Synced, error) { return c.agent.Accept(ctx, accept) }
			case wait:
				sync = c.agent.SyncPatiently
			}
			synced, err := sync(ctx)
			if err == nil && build {
				err = c.agent.Build(ctx)
			}
			if err == nil && len(only) > 0 {
				err = c.agent.Only(ctx, only)
			}
			if err == nil && now {
				err = c.agent.Now(ctx)
			}
			if err == nil && evaluate {
				err = c.agent.Evaluate(ctx)
			}
			switch {
			case err != nil:
				return err
			case wait:
				return c.wait(ctx)
			}
			fmt.Fprint(c.out, synced.Text())
			return nil
		},
	}
	cmd.Flags().StringVar(&accept, "accept", "", "accept `COMMIT` (its full id), which was force-pushed")
	cmd.Flags().BoolVar(&build, "build", false, "build everything on this machine instead of waiting for substitutes")
	cmd.Flags().BoolVar(&now, "now", false, "switch even if no window of the configuration is open")
	cmd.Flags().BoolVar(&evaluate, "evaluate", false, "evaluate system and homes even if no file changed that the last evaluation read")
	cmd.Flags().StringSliceVar(&only, "only", nil, "deploy to these `LAYERS` at once, without waiting for other layers of users; those follow")
	_ = cmd.RegisterFlagCompletionFunc("only", c.completeLayers) // it fails for what isn't a flag
	cmd.Flags().BoolVar(&wait, "wait", false, "wait for the verdict")
	cmd.Flags().DurationVar(&timeout, "timeout", time.Hour, "how long to wait")
	return cmd
}

var fullID = regexp.MustCompile(`^[0-9a-f]{40}$`)

// wait follows the newest revision to its verdict, and tells on the way what is going on.
func (c *cli) wait(ctx context.Context) error {
	m := meter{out: c.err}
	var failed *api.Failed
	s, err := c.agent.Poll(ctx, func(s api.Status) bool {
		m.show(s)
		failed = nil
		for _, f := range s.Failed {
			if f.Revision == s.Revisions.Newest {
				failed = &f
			}
		}
		switch s.Phase {
		case "idle":
			return failed != nil || isGood(s) && !s.Evaluates() || (s.Suspended != nil || s.Held != "") && s.Preparing == nil
		case "stuck":
			return s.Preparing == nil // else what is prepared may mend it
		}
		return false
	})
	m.end()
	switch {
	case s.Phase != "" && errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no verdict yet on revision %s: %s", api.Short(s.Revisions.Newest), s.Going())
	case s.Phase != "" && errors.Is(err, context.Canceled):
		return fmt.Errorf("interrupted: no verdict yet on revision %s: %s", api.Short(s.Revisions.Newest), s.Going())
	case err != nil:
		return err
	case s.Phase == "stuck":
		return errors.New(s.Wanted.Because)
	case failed != nil:
		err := fmt.Errorf("revision %s was %s: %s", api.Short(failed.Revision), failed.Outcome, failed.Reason)
		if s.Incomplete != "" {
			err = fmt.Errorf("%w\n%s", err, s.Incomplete)
		}
		return &exitError{exitRejected, err}
	case !isGood(s):
		return fmt.Errorf("revision %s waits: %s", api.Short(s.Revisions.Newest), s.Wanted.Because)
	}
	fmt.Fprintf(c.out, "revision %s is good%s\n", api.Short(s.Revisions.Good), without(s))
	return nil
}

// without says which layers a verdict isn't about.
func without(s api.Status) string {
	var text string
	for _, w := range s.Without {
		text += fmt.Sprintf("; without %s: %s", w.Layer, w.Why)
	}
	return text
}

func isGood(s api.Status) bool {
	return s.Revisions.Newest != "" && s.Revisions.Good == s.Revisions.Newest
}
