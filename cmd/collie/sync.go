package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"example.org/collie/agent/api"
)

func syncCmd(c *cli) *cobra.Command {
	var wait, build, now, evaluate, asJSON bool
	var accept string
	var only []string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "sync",
		Short: "Poll the repository now; with --wait, wait for the verdict on its newest revision",
		Long: "Poll the repository now. With --wait it follows the newest revision. The exit code is 0 if that is good, and 4 if it was\n" +
			"rejected or rolled back. It is 5 if there is no verdict yet: the revision waits for something, the time is up, or the machine\n" +
			"is stuck. After a fault of the network or the machine, Collie tries the revision again until the time is up.\n\n" +
			"With --wait --json, the answer has the outcome, in every case: good, rejected, rolled back, stuck, waiting or underway.",
		Example: "  collie sync --wait --timeout 30m\n  collie sync --accept 5d700ef276cf7b1bc6d2b0e0f6a9c4b1d3e8f7a0 --wait\n" +
			"  collie sync --build\n  collie sync --now --wait\n  collie sync --evaluate --wait\n  collie sync --only system --wait\n  collie sync --wait --json",
		Args: takes(0, 0),
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
				return c.wait(ctx, asJSON)
			}
			return c.show(synced, synced.Text(), asJSON)
		},
	}
	jsonFlag(cmd, &asJSON)
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

// A verdict is what a sync that waited came to.
type verdict struct {
	Revision   string        `json:"revision"`
	Outcome    string        `json:"outcome"`
	Reason     string        `json:"reason,omitempty"`
	Incomplete string        `json:"incomplete,omitempty"` // what isn't well since the roll-back
	Without    []api.Without `json:"without,omitempty"`    // layers that it isn't about
}

// The outcomes of a verdict, other than those of a revision that failed.
const (
	outcomeGood     = "good"
	outcomeStuck    = "stuck"
	outcomeWaiting  = "waiting"  // for somebody, or for a window
	outcomeUnderway = "underway" // the time is up
)

// wait follows the newest revision to its verdict, and shows on the way what is going on.
func (c *cli) wait(ctx context.Context, asJSON bool) error {
	m := meter{out: c.progress(asJSON)}
	v := verdict{Outcome: outcomeUnderway}
	s, err := c.agent.Poll(ctx, func(s api.Status) bool {
		m.show(s)
		var over bool
		v, over = judge(s)
		return over
	})
	m.end()
	if v.Revision = s.Revisions.Newest; v.Outcome == outcomeUnderway {
		v.Reason = s.Going()
	}
	switch {
	case s.Phase == "": // no agent answered
		return err
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), err == nil:
	default:
		return err
	}
	if err := c.show(v, v.text(), asJSON); err != nil {
		return err
	}
	return v.err(errors.Is(err, context.Canceled))
}

// judge reads the verdict on the newest revision from a status, and reports whether it is the last word for now.
func judge(s api.Status) (v verdict, over bool) {
	v = verdict{Outcome: outcomeUnderway, Without: s.Without}
	failed := slices.IndexFunc(s.Failed, func(f api.Failed) bool { return f.Revision == s.Revisions.Newest })
	switch {
	case s.Phase == "stuck" && s.Preparing == nil: // else what is prepared may mend it
		v.Outcome, v.Reason = outcomeStuck, s.Wanted.Because
		return v, true
	case s.Phase != "idle":
		return v, false
	case failed >= 0:
		v.Outcome, v.Reason, v.Incomplete = s.Failed[failed].Outcome, s.Failed[failed].Reason, s.Incomplete
		return v, true
	case isGood(s) && !s.Evaluates():
		v.Outcome = outcomeGood
		return v, true
	case (s.Suspended != nil || s.Held != "") && s.Preparing == nil:
		v.Outcome, v.Reason = outcomeWaiting, s.Wanted.Because
		return v, true
	}
	return v, false
}

// text is a good verdict for a person; any other is an error.
func (v verdict) text() string {
	if v.Outcome != outcomeGood {
		return ""
	}
	text := fmt.Sprintf("revision %s is good", api.Short(v.Revision))
	for _, w := range v.Without {
		text += fmt.Sprintf("; without %s: %s", w.Layer, w.Why)
	}
	return text + "\n"
}

func (v verdict) err(interrupted bool) error {
	revision := api.Short(v.Revision)
	switch v.Outcome {
	case outcomeGood:
		return nil
	case api.OutcomeRejected, api.OutcomeRolledBack:
		err := fmt.Errorf("revision %s was %s: %s", revision, v.Outcome, v.Reason)
		if v.Incomplete != "" {
			err = fmt.Errorf("%w\n%s", err, v.Incomplete)
		}
		return &exitError{exitRejected, err}
	case outcomeStuck:
		return &exitError{exitNoVerdict, errors.New(v.Reason)}
	case outcomeWaiting:
		return &exitError{exitNoVerdict, fmt.Errorf("revision %s waits: %s", revision, v.Reason)}
	}
	err := fmt.Errorf("no verdict yet on revision %s: %s", revision, v.Reason)
	if interrupted {
		err = fmt.Errorf("interrupted: %w", err)
	}
	return &exitError{exitNoVerdict, err}
}

func isGood(s api.Status) bool {
	return s.Revisions.Newest != "" && s.Revisions.Good == s.Revisions.Newest
}
