//go:debug default=go1.25

// Command collie is the agent and what people use to talk with it: one file for each subcommand.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"example.org/collie/agent"
	"example.org/collie/agent/api"
	"example.org/collie/agent/foreign"
)

// version is set by the build.
var version = "development"

// exitCodes is the table of the help; every exit of the command is one of these.
var exitCodes = []struct {
	code  int
	means string
}{
	{exitDone, "done"},
	{exitFailed, "failed"},
	{exitUsage, "wrong usage"},
	{exitPending, "changes are pending (plan --exit-code)"},
	{exitRejected, "the revision was rejected or rolled back (sync --wait, plan NAME)"},
}

const (
	exitDone = iota
	exitFailed
	exitUsage
	exitPending
	exitRejected
)

// An exitError ends the command with a code of its own; without an error it says nothing.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

const patience = 3 * time.Second // for an agent that is about to start again

// A cli is what the subcommands share.
type cli struct {
	agent   api.Client
	verbose bool
	scope   string
	user    agent.UserFolders // with scopeUser
	out     io.Writer         // answers
	err     io.Writer         // all else
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the whole command; its result is the exit code.
func run(ctx context.Context, args []string, out, errs io.Writer) int {
	c := &cli{agent: api.Client{Patience: patience}, out: out, err: errs}
	root := rootCmd(c)
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errs)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	if ended := (*api.EndedError)(nil); ctx.Err() != nil && errors.Is(err, context.Canceled) && !errors.As(err, &ended) {
		err = errors.New("interrupted")
	}
	code := exitFailed
	if exit := new(exitError); errors.As(err, &exit) {
		code = exit.code
	}
	c.complain(err)
	return code
}

// complain shows one line of an error, or with --verbose the whole chain.
func (c *cli) complain(err error) {
	text := strings.TrimSpace(err.Error())
	if text == "" {
		return
	}
	plain := foreign.Writer{Writer: c.err} // what servers, services and files say is in it
	fmt.Fprintf(plain, "collie: %s\n", text)
	if !c.verbose {
		return
	}
	for cause := errors.Unwrap(err); cause != nil; cause = errors.Unwrap(cause) {
		fmt.Fprintf(plain, "  because: %s\n", cause)
	}
}

func rootCmd(c *cli) *cobra.Command {
	var table strings.Builder
	for _, e := range exitCodes {
		fmt.Fprintf(&table, "  %d  %s\n", e.code, e.means)
	}
	root := &cobra.Command{
		Use:           "collie",
		Short:         "Keep a Guix machine at the newest good commit of a git repository",
		Long:          "Collie keeps a Guix System guest (its system, homes and rootless pods) at the newest good commit\nof a git repository.\n\nExit codes:\n" + table.String(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          usage(cobra.NoArgs),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	socket := "/run/collie/collie.sock"
	if s := os.Getenv("COLLIE_SOCKET"); s != "" {
		socket = s
	}
	root.PersistentFlags().StringVar(&c.agent.Socket, "socket", socket, "the agent's control socket (COLLIE_SOCKET)")
	root.PersistentFlags().StringVar(&c.scope, "scope", scopeMachine, "machine (as root: system, homes, pods) or user (without root: your own home and pods)")
	root.PersistentPreRunE = c.atScope
	root.PersistentFlags().BoolVarP(&c.verbose, "verbose", "v", false, "show the whole chain of an error")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &exitError{exitUsage, err} })
	root.AddCommand(runCmd(c), statusCmd(c), syncCmd(c), suspendCmd(c), resumeCmd(c), retryCmd(c), restartCmd(c), planCmd(c), historyCmd(c), generationsCmd(c), logsCmd(c), doctorCmd(c),
		validateCmd(c), initCmd(c), bootstrapCmd(c), versionCmd(c), asUserCmd(), pushedCmd(c), addHookCmd(c), forwardCmd(c), keyCmd(c), importCmd(c), uninstallCmd(c), forgetCmd(c), deliverCmd(), secretCmd(c), updateCmd(c))
	return root
}

const (
	scopeMachine = "machine"
	scopeUser    = "user"
)

// atScope points the flags that weren't given at what is the user's, where --scope says so.
func (c *cli) atScope(cmd *cobra.Command, _ []string) (err error) {
	switch c.scope {
	case scopeMachine:
		return nil
	case scopeUser:
	default:
		return &exitError{exitUsage, fmt.Errorf("--scope %s: write machine or user", c.scope)}
	}
	if c.user, err = agent.FoldersOfUser(); err != nil {
		return err
	}
	for name, value := range map[string]string{"config": c.user.Config, "state": c.user.State, "control": c.user.Forwarder(), "runtime": c.user.Runtime, "socket": filepath.Join(c.user.Runtime, "collie.sock")} {
		flag := cmd.Flags().Lookup(name)
		if flag == nil || flag.Changed || name == "socket" && os.Getenv("COLLIE_SOCKET") != "" {
			continue
		}
		if err := flag.Value.Set(value); err != nil {
			return err
		}
	}
	return nil
}

// usage makes a wrong number of arguments a mistake of usage.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return &exitError{exitUsage, fmt.Errorf("%w; see `%s --help`", err, cmd.CommandPath())}
		}
		return nil
	}
}
