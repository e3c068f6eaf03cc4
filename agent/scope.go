package agent

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
)

// UserFolders are where a Collie has its things that works for one user, without root.
type UserFolders struct{ Config, Runtime, State string }

// FoldersOfUser are those of whoever runs this process, by the XDG Base Directory Specification.
func FoldersOfUser() (UserFolders, error) {
	runtime, home := os.Getenv("XDG_RUNTIME_DIR"), os.Getenv("HOME")
	if !filepath.IsAbs(runtime) || !filepath.IsAbs(home) {
		return UserFolders{}, errors.New("--scope user: XDG_RUNTIME_DIR and HOME have to name folders: log in, or set them")
	}
	return UserFolders{
		Config:  filepath.Join(cmp.Or(os.Getenv("XDG_CONFIG_HOME"), filepath.Join(home, ".config")), "collie.yaml"),
		Runtime: filepath.Join(runtime, "collie"),
		State:   filepath.Join(cmp.Or(os.Getenv("XDG_STATE_HOME"), filepath.Join(home, ".local/state")), "collie"),
	}, nil
}

// Forwarder is the socket of the forwarder of ports, next to Podman's.
func (at UserFolders) Forwarder() string {
	return filepath.Join(filepath.Dir(at.Runtime), forwardSocket)
}

// ForUser makes of a configuration that of a Collie which works for whoever runs this process, and without root: it has that
// user's home, where there is Guix, and pods by Podman's own socket, and follows a repository that may be the user's.
func (cfg Config) ForUser(at UserFolders) (Config, error) {
	me, err := user.Current()
	if err != nil {
		return cfg, fmt.Errorf("--scope user: looking up the user who runs this: %w", err)
	}
	switch {
	case os.Geteuid() == 0:
		return cfg, errors.New("--scope user is for Collie without root: leave it out, or run it as the user")
	case slices.ContainsFunc(cfg.Homes, func(name string) bool { return name != me.Username }):
		return cfg, fmt.Errorf("homes: a Collie of --scope user has the home of who runs it alone, %s: leave it out", me.Username)
	case cfg.User != "" && cfg.User != me.Username:
		return cfg, fmt.Errorf("user: with --scope user Collie runs pods as the user who runs it, %s: leave it out", me.Username)
	}
	cfg.System, cfg.User, cfg.alone = false, me.Username, true
	if cfg.Homes == nil && hasGuixCommand() {
		cfg.Homes = []string{me.Username}
	}
	if cfg.State == stateFolder {
		cfg.State = at.State
	}
	return cfg, nil
}

// podUser is who may never be able to write the repository. Without root nobody gains by that.
func (cfg Config) podUser() string {
	if cfg.alone {
		return ""
	}
	return cfg.User
}

func hasGuixCommand() bool {
	_, err := exec.LookPath("guix")
	return err == nil
}

// guixRoots is the folder of what Guix keeps for Collie. The folder of a user's profiles is the user's, and counts as well.
func (cfg Config) guixRoots() string {
	if cfg.alone {
		return filepath.Join(guixProfiles, "per-user", cfg.User, "collie")
	}
	return guixRoots
}

// podmanSocket is where Podman's API answers.
func (cfg Config) podmanSocket(runtime string) string {
	if cfg.alone {
		return filepath.Join(filepath.Dir(runtime), "podman/podman.sock") // where Podman has it by itself
	}
	return filepath.Join(runtime, "podman", cfg.User+".sock")
}
