package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"example.org/collie/agent/layers"
	"example.org/collie/agent/rollout"
	"example.org/collie/guix"
)

// Remains are what Collie keeps on a machine, and leaves there when it goes.
type Remains struct {
	State  string // the state folder
	Roots  string // the folder of what Guix keeps
	Config string // is there as long as Collie is configured; empty: nobody knows
}

// OfMachine are those of the Collie with that state folder.
func OfMachine(state string) Remains {
	return Remains{State: state, Roots: guixRoots, Config: "/etc/collie.yaml"}
}

// OfUser are those of a Collie without root.
func OfUser(state, user string) Remains {
	return Remains{State: state, Roots: Config{User: user, alone: true}.guixRoots()}
}

// uninstalls is the command that removes them. Once Collie's service is gone, its binary is in nobody's profile.
func (cfg Config) uninstalls() string {
	binary, err := os.Executable()
	if err != nil {
		binary = "collie"
	}
	words := []string{binary, "uninstall"}
	if cfg.alone {
		words = append(words, "--scope", "user")
	}
	if cfg.State != stateFolder {
		words = append(words, "--state", cfg.State)
	}
	return strings.Join(append(words, "--yes"), " ")
}

// Check returns why these can't be removed: an agent may still need them, or they aren't Collie's.
func (r Remains) Check() error {
	if _, err := os.Stat(r.Config); r.Config != "" && err == nil {
		return fmt.Errorf("the system still has Collie, as %s says: take its service out of system.scm, with `leave: true` in the repository's %s", r.Config, layers.RepositoryFile)
	}
	if _, err := os.Stat(rollout.Folder(r.State).StateFile()); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s isn't the state of a Collie: it has no %s", r.State, filepath.Base(rollout.Folder(r.State).StateFile()))
	}
	lock, err := os.Open(filepath.Join(r.State, "lock"))
	if err != nil {
		return fmt.Errorf("what Collie keeps: %w", err)
	}
	defer lock.Close()
	if err := lockSoon(lock); err != nil {
		return fmt.Errorf("an agent works on %s: stop it first", r.State)
	}
	return nil
}

// Text says what is removed, and what isn't.
func (r Remains) Text() string {
	return fmt.Sprintf("%s: the clone, the history, logs, and the private key, without which the repository's secrets for this machine can't be read\n"+
		"%s: what `guix gc` keeps for Collie, in addition to what is live and Guix's own generations\n"+
		"Pods, services, homes and volumes are not changed. Podman can't remove labels: if Collie is installed again, it recognises the pods as its own.\n", r.State, r.Roots)
}

// Remove removes them. Live services and pods continue.
func (r Remains) Remove() error {
	if err := r.Check(); err != nil {
		return err
	}
	trees, err := filepath.Glob(filepath.Join(r.State, treesDir, "*"))
	for _, tree := range trees {
		err = errors.Join(err, guix.RemoveTree(tree))
	}
	if err = errors.Join(err, os.RemoveAll(r.Roots)); err != nil {
		return fmt.Errorf("removing what Collie keeps: %w", err)
	}
	if err := os.RemoveAll(r.State); err != nil {
		return fmt.Errorf("removing what Collie keeps: %w", err)
	}
	return nil
}
