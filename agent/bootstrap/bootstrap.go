package bootstrap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"example.org/collie/agent/api"
	"example.org/collie/agent/source"
)

// A Machine is one to bring to a repository.
type Machine struct {
	Repository source.Repository // its files of keys have names in any case, whether they are there or not
	Branch     string
	Dir        string   // the folder to work in
	System     string   // the file that the running system was made from; empty: what Guix kept
	LoadPath   []string // folders with modules of one's own that it uses

	Agent Agent
	Wait  func(ctx context.Context) error               // for the verdict on the newest revision
	Ask   func(what string) (string, error)             // for a secret; nil: nobody is there to ask
	Check func(dir string) (notes, mistakes []string)   // of the files of a repository
	Pods  func() (Podman, error)                        // of the pod user
	Out   io.Writer                                     // what was done
	root  string                                        // where a test has its /run, /etc and /var
	probe func(context.Context) (source.Checked, error) // of a test, instead of the repository's server
}

// An Agent is asked by its control socket; an api.Client is one.
type Agent interface {
	Status(ctx context.Context) (api.Status, error)
	SyncPatiently(ctx context.Context) (api.Synced, error)
}

// A Podman knows what runs.
type Podman interface {
	ByHand(ctx context.Context) (pods, containers []string, err error)
	Import(ctx context.Context, name string) (string, error)
}

// A step is done once; asking whether it is changes nothing.
type step struct {
	name string
	does string // what do does, for --dry-run
	done func(ctx context.Context) (says string, is bool, err error)
	do   func(ctx context.Context) (says string, err error)
}

// steps are all, in their order.
func (m *Machine) steps() []step {
	return []step{
		{"repository", "make the bare repository " + m.Repository.URL, m.hasRepository, m.makeRepository},
		{"access", "see whether " + m.Repository.URL + " can be read, and make what that takes", m.hasAccess, m.makeAccess},
		{"clone", "clone it to " + m.Dir, m.hasClone, m.makeClone},
		{"channels.scm", "write the channels of `guix describe`", m.hasChannels, m.writeChannels},
		{"system.scm", "write what the running system was made from, with the service", m.hasSystem, m.writeSystem},
		{"service", "see whether system.scm has the service", m.hasService, m.placeService},
		{"home.scm", "write the home of " + podUser, m.hasHome, m.writeHome},
		{"derive", "have Guix evaluate it, without building", m.isPushed, m.derive},
		{"commit", "commit these files", m.isCommitted, m.commit},
		{"push", "push them to " + m.Branch, m.isPushed, m.push},
		{"reconfigure", "run guix system reconfigure, and wait for Collie's agent", m.isFollowed, m.reconfigure},
		{"verdict", "wait until the newest revision is good", m.isGood, m.awaitVerdict},
		{"pods", "write and push what runs and was made by hand, as far as that is safe", m.hasPods, m.writePods},
	}
}

// Run takes all steps that aren't done; with dry it only says which. It ends with the first that can't be.
func (m *Machine) Run(ctx context.Context, dry bool) error {
	if _, _, err := m.isFollowed(ctx); err != nil {
		return err
	}
	did := 0
	for _, s := range m.steps() {
		says, is, err := s.done(ctx)
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", s.name, err)
		case is && says == "": // it has no meaning here
			continue
		case is:
			m.tell("is", s.name, says)
			continue
		}
		did++
		if dry {
			m.tell("would", s.name, s.does)
			continue
		}
		m.tell("now", s.name, s.does)
		if says, err = s.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		m.tell("done", s.name, says)
	}
	switch {
	case dry:
		fmt.Fprintf(m.Out, "%d steps to take: nothing was changed\n", did)
	case did == 0:
		fmt.Fprintf(m.Out, "nothing to do: this machine follows %s\n", m.Repository.URL)
	default:
		fmt.Fprintf(m.Out, "this machine follows %s: commit in %s, and git push\n", m.Repository.URL, m.Dir)
	}
	return nil
}

func (m *Machine) tell(what, name, says string) {
	fmt.Fprintf(m.Out, "%-5s  %-12s  %s\n", what, name, strings.ReplaceAll(says, "\n", "\n"+strings.Repeat(" ", 21)))
}

// at is where path is.
func (m *Machine) at(path string) string { return filepath.Join(m.root, path) }

// podUser runs the pods, by default.
const podUser = "podman"

// local is where the repository is, if on this machine.
func (m *Machine) local() (string, bool) { return source.LocalPath(m.Repository.URL) }

func (m *Machine) hasRepository(context.Context) (string, bool, error) {
	path, local := m.local()
	if !local {
		return "", true, nil
	}
	if gitDir(path) != "" {
		return path, true, nil
	}
	inside, err := os.ReadDir(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "", false, othersFolder(path)
	case err != nil:
		return "", false, err
	case len(inside) > 0:
		return "", false, fmt.Errorf("%s is there, and is no repository: name another folder", path)
	}
	return "", false, nil
}

// othersFolder is an error if the folder in which path would be made is somebody else's, who could replace it.
func othersFolder(path string) error {
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if errors.Is(err, os.ErrNotExist) && dir != "/" {
			continue
		}
		if err != nil {
			return err
		}
		if uid := info.Sys().(*syscall.Stat_t).Uid; uid != 0 && int(uid) != os.Geteuid() {
			return fmt.Errorf("%s would be in %s, which isn't root's: whoever can write it would be root here; name another folder", path, dir)
		}
		return nil
	}
}

// gitDir is where the repository at path has its refs; empty if it is none.
func gitDir(path string) string {
	for _, dir := range []string{path, filepath.Join(path, ".git")} {
		if _, err := os.Stat(filepath.Join(dir, "HEAD")); err == nil {
			return dir
		}
	}
	return ""
}

func (m *Machine) makeRepository(ctx context.Context) (string, error) {
	path, _ := m.local()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	_, err := m.command(ctx, "", "git", "init", "--quiet", "--bare", "--initial-branch="+m.Branch, path)
	return path, err
}

// owner is who owns the repository on this machine, if that isn't root.
func (m *Machine) owner() (*user.User, error) {
	path, local := m.local()
	if !local {
		return nil, nil
	}
	info, err := os.Stat(cmp.Or(gitDir(path), path))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	uid := info.Sys().(*syscall.Stat_t).Uid
	if uid == 0 || int(uid) == os.Geteuid() {
		return nil, nil
	}
	return user.LookupId(strconv.Itoa(int(uid)))
}

// followed is the repository as the service line names it: without what it has no need of.
func (m *Machine) followed() (source.Repository, error) {
	r := m.Repository
	owner, err := m.owner()
	if err != nil {
		return r, fmt.Errorf("finding whose the repository is: %w", err)
	}
	if owner != nil {
		r.Owner = owner.Username
	}
	switch m.scheme() {
	case "https":
		if _, err := os.Stat(r.TokenFile); errors.Is(err, os.ErrNotExist) {
			r.TokenFile = ""
		}
		r.KeyFile, r.KnownHosts = "", ""
	case "ssh":
		r.TokenFile, r.CAFile = "", ""
	default:
		r.TokenFile, r.KeyFile, r.KnownHosts, r.CAFile = "", "", "", ""
	}
	return r, nil
}

func (m *Machine) scheme() string {
	if _, local := m.local(); local {
		return "file"
	}
	if scheme, _, found := strings.Cut(m.Repository.URL, "://"); found {
		return scheme
	}
	return "ssh" // user@host:path
}

// Mistakes is what is wrong with what the machine was given.
func (m *Machine) Mistakes() error {
	r, err := m.followed()
	if err != nil {
		return err
	}
	for _, mistake := range r.Mistakes() {
		return fmt.Errorf("%s: %s", mistake.Key, mistake.Says)
	}
	return nil
}

// Folder is the name that git, too, gives a clone.
func Folder(url string) string {
	name := strings.TrimSuffix(path.Base(strings.TrimRight(url, "/")), ".git")
	if i := strings.LastIndexByte(name, ':'); i >= 0 {
		name = name[i+1:]
	}
	if name == "" || name == "." || name == "/" {
		return "ops"
	}
	return name
}
