package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strconv"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"example.org/collie/agent/limits"
	"example.org/collie/manifests/forward"
)

func forwardCmd(c *cli) *cobra.Command {
	var control string
	cmd := &cobra.Command{
		Use:     "forward",
		Short:   "Forward ports of the machine to pods; Shepherd does this",
		Example: "  collie forward --control /run/user/1000/collie/forward.sock",
		Args:    takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if control == "" {
				endWithParent()
			}
			l, err := controlSocket(control)
			if err != nil {
				return err
			}
			log := slog.New(slog.NewTextHandler(c.err, nil))
			limits.Yield(log)
			return forward.NewServer(log).Serve(cmd.Context(), l)
		},
	}
	cmd.Flags().StringVar(&control, "control", "", "listen for the agent on this socket instead of the one that Shepherd passes")
	return cmd
}

// endWithParent prepares the end of a forwarder that (guix least-authority) confines. That runs it as a child, and removes LISTEN_PID,
// which names the parent. If the parent is killed, Shepherd starts another forwarder, which needs the ports of this one.
func endWithParent() {
	if _, named := os.LookupEnv("LISTEN_PID"); named {
		return
	}
	runtime.LockOSThread() // the kernel notes it for the thread
	_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGTERM), 0, 0, 0)
	_ = os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
}

// controlSocket takes the one that Shepherd passes, or makes it.
func controlSocket(path string) (net.Listener, error) {
	if path == "" {
		passed, err := activation.Listeners()
		switch {
		case err != nil:
			return nil, fmt.Errorf("socket of the service: %w", err)
		case len(passed) != 1 || passed[0] == nil:
			return nil, &exitError{exitUsage, errors.New("no socket was passed: name one with --control")}
		}
		return passed[0], nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	old := unix.Umask(0o177)
	l, err := net.Listen("unix", path)
	unix.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return l, nil
}
