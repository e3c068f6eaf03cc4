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

	"example.org/collie/agent"
	"example.org/collie/agent/bootstrap"
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
		Long: "Have this Guix System machine follow a repository, from its own configuration. It clones the repository, writes to it the\n" +
			"channels, the configuration that the running system was made from with Collie's service in it, and the home of the pod\n" +
			"user; it commits and pushes that, runs guix system reconfigure, and waits for the verdict. Pods that run and were made by\n" +
			"hand follow, but for those with environment variables, which a person has to read first. Where URL is a path the\n" +
			"repository is made; elsewhere an empty one has to be there. A step that is done is left alone, so all of it can be\n" +
			"repeated; nothing is overwritten. If it isn't certain where the service goes, it says which line to add where. It\n" +
			"needs root, git, and a guix that has Collie's channel; it needs no agent.",
		Example: "  collie bootstrap --dry-run /srv/git/ops.git\n  collie bootstrap https://git.example.org/ops.git\n  collie bootstrap --system /etc/config.scm -L /etc/modules git@git.example.org:ops.git",
		Args:    usage(cobra.ExactArgs(1)),
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
				return errors.New("bootstrap needs root, as it reconfigures the system; --dry-run doesn't")
			}
			asked := c.agent
			asked.Patience = 0 // at first there is none
			m.Agent, m.Wait, m.Out = asked, c.wait, c.out
			m.Check = func(dir string) (notes, mistakes []string) { return agent.Validate(os.DirFS(dir), "") }
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
	flags.BoolVar(&dry, "dry-run", false, "say which steps are done and which it would take, and change nothing")
	flags.StringVar(&m.Dir, "dir", "", "the folder to work in, a clone; by default in the current folder, by the name of the repository")
	flags.StringVar(&m.Branch, "branch", m.Branch, "the branch to follow")
	flags.StringVar(&m.System, "system", "", "the `file` that the running system was made from; by default the text that Guix kept")
	flags.StringArrayVarP(&m.LoadPath, "load-path", "L", nil, "a `folder` with modules that the system uses, as for guix; those are copied")
	flags.StringVar(&m.Repository.TokenFile, "token-file", keys+"token", "https: the `file` of the token; where there is none, and the server wants one, it is asked for")
	flags.StringVar(&m.Repository.CAFile, "ca-file", "", "https: the `file` of authorities to trust, instead of the system's")
	flags.StringVar(&m.Repository.KeyFile, "key-file", keys+"ssh", "ssh: the `file` of the private key; it is made where there is none")
	flags.StringVar(&m.Repository.KnownHosts, "known-hosts", keys+"known_hosts", "ssh: the `file` of the server's host keys; where there is none, it has those that root trusts")
	flags.DurationVar(&timeout, "timeout", 4*time.Hour, "how long all of it may take")
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
