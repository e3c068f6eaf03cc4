package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.org/collie/agent"
	"example.org/collie/agent/api"
	"example.org/collie/agent/foreign"
)

const (
	hookPatience = time.Minute            // a push isn't held up for longer
	hookPause    = 300 * time.Millisecond // between two questions
	hookRefs     = 8                      // of one push are shown
)

// pushedCmd is what a repository on this machine runs after a push, as the user who pushed. Whatever happens, it ends
// well, and soon.
func pushedCmd(c *cli) *cobra.Command {
	client := api.Client{Patience: patience}
	var limit time.Duration
	cmd := &cobra.Command{
		Use:    "pushed",
		Hidden: true,
		Args:   takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), limit)
			defer cancel()
			for _, p := range pushedRefs(cmd.InOrStdin()) {
				c.follow(ctx, client, p)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&client.Socket, "push-socket", "/run/collie/push.sock", "the agent's socket for hooks")
	cmd.Flags().DurationVar(&limit, "patience", hookPatience, "how long to wait")
	return cmd
}

// A pushedRef is a branch that a push made or moved.
type pushedRef struct{ ref, commit string }

// pushedRefs reads what git tells a post-receive hook: lines of OLD NEW REF.
func pushedRefs(in io.Reader) (all []pushedRef) {
	lines := bufio.NewScanner(io.LimitReader(in, 1<<20))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) == 3 && strings.Trim(words[1], "0") != "" && strings.HasPrefix(words[2], "refs/heads/") && len(all) < hookRefs {
			all = append(all, pushedRef{ref: words[2], commit: words[1]})
		}
	}
	return all
}

// follow shows what the agent has to say of a ref.
func (c *cli) follow(ctx context.Context, client api.Client, p pushedRef) {
	told := ""
	out := foreign.Writer{Writer: c.out}
	for {
		answer, err := client.Pushed(ctx, p.ref, p.commit)
		switch {
		case ctx.Err() != nil:
			if name, is := strings.CutPrefix(p.ref, "refs/heads/plan/"); is {
				fmt.Fprintf(out, "That takes longer: ask `collie plan %s`.\n", name)
			}
			return
		case api.Away(err), errors.Is(err, fs.ErrPermission):
			fmt.Fprintln(out, "The agent doesn't run, so nothing is known of this push yet: see `herd status collie`.")
			return
		case err != nil:
			fmt.Fprintf(out, "collie: %v\n", err)
			return
		}
		if answer.Says != told {
			told = answer.Says
			fmt.Fprint(out, answer.Says)
		}
		if answer.Done {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(hookPause):
		}
	}
}

// addHookCmd makes the hook; the repository's owner runs it.
func addHookCmd(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:    "add-hook URL",
		Hidden: true,
		Args:   takes(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			note, err := agent.AddHook(args[0])
			if note != "" {
				fmt.Fprintln(c.err, note)
			}
			return err
		},
	}
}
