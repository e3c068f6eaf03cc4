//go:debug default=go1.25

// Command collie is the agent and what people use to talk with it: one file for each subcommand.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
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
	{exitNoVerdict, "there is no verdict yet: the time is up, or the machine waits or is stuck (sync --wait, plan NAME, update, bootstrap)"},
}

const (
	exitDone = iota
	exitFailed
	exitUsage
	exitPending
	exitRejected
	exitNoVerdict
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
	adopt(root)
	cmd, err := root.ExecuteContextC(ctx)
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
	c.complain(err, code, wantsJSON(cmd, args))
	return code
}

// A failure is an error as a program reads it.
type failure struct {
	Error   string   `json:"error"`
	Code    int      `json:"exitCode"`
	Because []string `json:"because,omitempty"` // with --verbose
}

// complain shows an error, with --verbose the whole chain: to a person, or with --json to a program.
func (c *cli) complain(err error, code int, asJSON bool) {
	f := failure{Error: foreign.Text(strings.TrimSpace(err.Error())), Code: code} // what servers, services and files say is in it
	if f.Error == "" {
		return
	}
	for cause := errors.Unwrap(err); c.verbose && cause != nil; cause = errors.Unwrap(cause) {
		f.Because = append(f.Because, foreign.Text(cause.Error()))
	}
	if asJSON {
		enc := json.NewEncoder(c.err)
		enc.SetEscapeHTML(false)
		_ = enc.Encode(f) // there is no other place to say that it can't be written
		return
	}
	fmt.Fprintf(c.err, "collie: %s\n", f.Error)
	for _, cause := range f.Because {
		fmt.Fprintf(c.err, "  because: %s\n", cause)
	}
}

// wantsJSON reports whether a command was called with --json. The options may have a mistake, and not be read to the end.
func wantsJSON(cmd *cobra.Command, args []string) bool {
	f := cmd.Flags().Lookup("json")
	return f != nil && (f.Value.String() == "true" || slices.Contains(args, "--json"))
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
		Args:          takes(0, 0),
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
	root.SetFlagErrorFunc(wrongOption)
	for _, g := range []struct {
		title string
		all   []*cobra.Command
	}{
		{"Status", []*cobra.Command{statusCmd(c), historyCmd(c), generationsCmd(c), logsCmd(c), doctorCmd(c)}},
		{"Deployment", []*cobra.Command{planCmd(c), syncCmd(c), suspendCmd(c), resumeCmd(c), retryCmd(c), updateCmd(c), initCmd(c), validateCmd(c)}},
		{"Pods and secrets", []*cobra.Command{importCmd(c), keyCmd(c), secretCmd(c)}},
		{machineGroup, []*cobra.Command{bootstrapCmd(c), restartCmd(c), uninstallCmd(c), runCmd(c), forwardCmd(c), versionCmd(c)}},
	} {
		root.AddGroup(&cobra.Group{ID: g.title, Title: g.title + ":"})
		for _, cmd := range g.all {
			cmd.GroupID = g.title
		}
		root.AddCommand(g.all...)
	}
	root.SetHelpCommandGroupID(machineGroup)
	root.SetCompletionCommandGroupID(machineGroup)
	root.AddCommand(asUserCmd(), pushedCmd(c), addHookCmd(c), forgetCmd(c), deliverCmd()) // nobody's to call
	return root
}

const machineGroup = "Machine"

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
