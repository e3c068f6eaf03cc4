package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"example.org/collie/agent/bootstrap"
	"example.org/collie/agent/layers"
	"example.org/collie/manifests/podman"
)

func bootstrapCmd(c *cli) *cobra.Command {
	const keys = "/var/lib/collie/keys/"
	m := bootstrap.Machine{Branch: "main"}
	var dry bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "bootstrap URL",
		Short: "Have this Guix System machine follow a repository, from its own configuration",
		Long: "Have this Guix System machine follow a repository, from its own configuration. The command takes these steps:\n\n" +
			"    clone the repository; where URL is a path, make it first; elsewhere it must exist and be empty\n" +
			"    write the channels, the configuration of the running system with Collie's service in it, and the pod user's home\n" +
			"    commit and push these files\n" +
			"    run guix system reconfigure, and wait for the verdict\n" +
			"    write, commit and push the pods that run and were made by hand\n\n" +
			"Pods with environment variables are written, but not pushed: read them first. The command skips steps that are done, so\n" +
			"it can be repeated. It overwrites nothing. If it can't find the place for the service, it shows the line to add. It\n" +
			"needs root, git, and a guix that has Collie's channel. It needs no agent.",
		Example: "  collie bootstrap --dry-run /srv/git/ops.git\n  collie bootstrap https://git.example.org/ops.git\n  collie bootstrap --system /etc/config.scm -L /etc/modules git@git.example.org:ops.git",
		Args:    takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			m.Repository.URL = args[0]
			if m.Dir == "" {
				m.Dir = bootstrap.Folder(args[0])
			}
			for _, path := range append([]*string{&m.Dir, &m.System, &m.Repository.TokenFile, &m.Repository.CAFile, &m.Repository.KeyFile, &m.Repository.KnownHosts}, pointers(m.LoadPath)...) {
				if *path == "" {
					continue
				}
				var err error
				if *path, err = filepath.Abs(*path); err != nil {
					return err
				}
			}
			if err := m.Mistakes(); err != nil {
				return &exitError{exitUsage, err}
			}
			if c.scope == scopeUser {
				return &exitError{exitUsage, errors.New("bootstrap is for a machine's Collie: without root, see docs/install.md")}
			}
			if !dry && os.Geteuid() != 0 {
				return errors.New("bootstrap needs root, because it reconfigures the system; --dry-run doesn't")
			}
			asked := c.agent
			asked.Patience = 0 // at first there is none
			m.Agent, m.Wait, m.Out = asked, func(ctx context.Context) error { return c.wait(ctx, false) }, c.out
			m.Check = func(dir string) (notes, mistakes []string) { return layers.Validate(os.DirFS(dir), "") }
			m.Pods = func() (bootstrap.Podman, error) {
				socket := filepath.Join(filepath.Dir(c.agent.Socket), "podman/podman.sock")
				if _, err := os.Stat(socket); errors.Is(err, os.ErrNotExist) { // this machine runs no pods
					return nil, nil
				}
				return podman.Connect(socket), nil
			}
			if _, terminal := width(os.Stdin); terminal {
				m.Ask = c.askSecret
			}
			ctx, cancel := context.WithTimeoutCause(cmd.Context(), timeout, fmt.Errorf("no end within %v", timeout))
			defer cancel()
			return m.Run(ctx, dry)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&dry, "dry-run", false, "show the steps that are done and those that it would take, and change nothing")
	flags.StringVar(&m.Dir, "dir", "", "the clone to work in (by default a folder with the name of the repository, in the current folder)")
	flags.StringVar(&m.Branch, "branch", m.Branch, "the branch to follow")
	flags.StringVar(&m.System, "system", "", "the `file` that the running system was made from (by default the text that Guix kept)")
	flags.StringArrayVarP(&m.LoadPath, "load-path", "L", nil, "a `folder` with modules that the system uses, as for guix; they are copied")
	flags.StringVar(&m.Repository.TokenFile, "token-file", keys+"token", "https: the `file` of the token; if it doesn't exist and the server wants a token, you are asked for it")
	flags.StringVar(&m.Repository.CAFile, "ca-file", "", "https: the `file` with the authorities to trust, instead of the system's")
	flags.StringVar(&m.Repository.KeyFile, "key-file", keys+"ssh", "ssh: the `file` of the private key; if it doesn't exist, it is made")
	flags.StringVar(&m.Repository.KnownHosts, "known-hosts", keys+"known_hosts", "ssh: the `file` of the server's host keys; if it doesn't exist, it is made of those that root trusts")
	flags.DurationVar(&timeout, "timeout", 4*time.Hour, "how long everything may take")
	return cmd
}

func pointers(all []string) (to []*string) {
	for i := range all {
		to = append(to, &all[i])
	}
	return to
}

// askSecret asks on the terminal, which doesn't show what is typed.
func (c *cli) askSecret(what string) (string, error) {
	in := int(os.Stdin.Fd())
	before, err := unix.IoctlGetTermios(in, unix.TCGETS)
	if err != nil {
		return "", fmt.Errorf("asking for the %s: %w", what, err)
	}
	silent := *before
	silent.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(in, unix.TCSETS, &silent); err != nil {
		return "", fmt.Errorf("asking for the %s: %w", what, err)
	}
	fmt.Fprintf(c.err, "%s: ", what)
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	fmt.Fprintln(c.err)
	return line, errors.Join(err, unix.IoctlSetTermios(in, unix.TCSETS, before))
}
