package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"

	"example.org/collie/agent/api"
	"example.org/collie/agent/layers"
	"example.org/collie/agent/rollout"
	"example.org/collie/agent/secrets"
	"example.org/collie/agent/source"
	"example.org/collie/agent/statefile"
	"example.org/collie/guix"
)

// An Agent is one life of Collie on this machine.
type Agent struct {
	cfg       Config
	version   string
	runtime   string // folder of the control socket, and of Podman's
	log       *slog.Logger
	lock      *os.File
	source    *source.Source
	conductor *rollout.Conductor
	runner    *guix.Runner
	system    *guix.System    // nil: not followed
	own       leaver          // nil: there is neither the system nor a home that may have the agent's own service
	pods      podStore        // nil: no pods
	builder   *layers.Builder // nil: no layer is Guix's
	unmade    bool            // the state folder couldn't be made, or taken, at the start
	unread    []unread
}

// A leaver takes the agent's own service off the machine.
type leaver interface {
	Leave(ctx context.Context) error
}

type podStore interface {
	Import(ctx context.Context, name string) (string, error)
	WriteAgain() error
}

const treesDir = "trees"

// buildDir has the homes of the accounts that evaluate.
const buildDir = "build"

// New takes the state folder, alone, and prepares to run; nothing on the machine changes yet. A folder that can't be written
// is no reason not to run: the conductor says so, and tries again.
func New(cfg Config, runtime, version string, log *slog.Logger) (_ *Agent, err error) {
	a := &Agent{cfg: cfg, version: version, runtime: runtime, log: log}
	if err := a.takeFolder(); errors.As(err, new(*rollout.UnwrittenError)) {
		log.Error("the state folder can't be written for now", "dir", cfg.State, "err", err)
		a.unmade = true
	} else if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			a.lock.Close()
		}
	}()
	var state rollout.State
	a.mustRead("what is suspended, which revisions are bad, and what was good", func() (err error) {
		state, err = rollout.Folder(cfg.State).Load()
		return err
	})
	if id := state.Newest.ID; id != "" && !source.IsCommit(id) {
		log.Error("the newest revision in the state is no commit; the repository is asked for it", "revision", id)
		state.Newest = source.Revision{}
	}
	if len(a.unread) > 0 {
		state.Host = a.unreadHost()
	} else if err := a.nameHost(&state); err != nil {
		return nil, err
	}
	a.source, err = source.Open(source.Config{
		Repository: cfg.Source.Repository, Mirrors: cfg.Source.Mirrors, Branch: cfg.Source.Branch, PodUser: cfg.podUser(),
		Interval: time.Duration(cfg.Source.Interval), Dir: filepath.Join(cfg.State, "repo.git"),
		Accepted: state.Newest.ID, Log: log, Plans: a.propose,
	})
	if err != nil {
		return nil, err
	}
	parts, err := a.parts()
	if err != nil {
		return nil, err
	}
	conducted := rollout.Config{
		Parts: parts, Soak: time.Duration(cfg.Soak), WaitForOthers: time.Duration(cfg.OthersTimeout), Images: time.Duration(cfg.Images.Interval),
		Windows: cfg.Windows, Reboots: cfg.Reboots, Retention: cfg.Keep, Removal: cfg.uninstalls(), Closed: a.closed(),
		Log: log, Dir: cfg.State,
		Open: a.repository().Open, Mark: guix.For, Drop: a.dropTrees, Others: a.clashing, Describe: a.source.Describe, Present: a.present,
	}
	if !cfg.alone { // the doctor is for a machine's Collie
		conducted.Advise = (&advice{on: func() *machine { return thisMachine(cfg, a.runtime) }}).of
	}
	if cfg.System || len(cfg.Homes) > 0 {
		conducted.Collector = a.runner
	}
	a.conductor = rollout.New(conducted, state)
	return a, nil
}

// Run works until ctx ends, or until Collie's own service was replaced.
func (a *Agent) Run(ctx context.Context) error {
	defer func() { a.lock.Close() }() // ends the lock; it may be another by then
	listeners, err := a.listen()
	if err != nil {
		return err
	}
	a.log.Info("collie runs", "version", a.version, "host", a.conductor.Host(), "url", a.cfg.Source.URL, "branch", a.cfg.Source.Branch)
	asked := ctx // to stop, by Shepherd
	// Socket and source live until the conductor is done, so that a stop can be watched.
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	service, ended := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan error, 1)
	followed := make(chan error, 1)
	if len(a.unread) == 0 {
		a.conductor.Begin()
	}
	go func() { served <- api.Serve(service, listeners, a.answers(), a.log) }()
	var pushes sync.WaitGroup
	pushes.Go(func() { a.servePushes(service) })
	go func() {
		if len(a.unread) > 0 { // what a commit must descend from may be in what can't be read
			followed <- nil
			return
		}
		err := a.source.Run(ctx, a.conductor.Offer)
		if err != nil && ctx.Err() == nil {
			stop() // without a source there is nothing to do
		}
		followed <- err
	}()
	if len(a.unread) > 0 {
		err = a.awaitState(ctx)
	} else {
		err = a.conductor.Run(ctx)
	}
	left, reboots := errors.Is(err, rollout.ErrLeft), errors.Is(err, rollout.ErrReboots)
	if left || reboots || errors.Is(err, rollout.ErrReplaced) || errors.Is(err, errReadable) {
		a.log.Info(err.Error())
		err = nil
	}
	interrupted := ctx.Err() != nil
	stop()
	ended()
	pushes.Wait()
	sourceErr := <-followed
	if interrupted && errors.Is(sourceErr, context.Canceled) {
		sourceErr = nil
	}
	err = errors.Join(err, sourceErr, <-served, a.conductor.Close())
	if left {
		err = errors.Join(err, a.own.Leave(asked))
	}
	if reboots {
		err = errors.Join(err, a.system.Reboot(asked))
	}
	return err
}

// propose reports the existing plans to the conductor.
func (a *Agent) propose(plans []source.Plan) {
	rev, _ := a.source.Accepted()
	err := a.conductor.Follow(context.Background(), rev, plans)
	if err != nil && !errors.Is(err, api.ErrStopping) {
		a.log.Error("the plans aren't written down", "err", err)
	}
}

// takeFolder makes what isn't there of the state folder, and takes it for this agent alone.
func (a *Agent) takeFolder() error {
	unmade := a.makeFolders()
	if err := a.lockState(); err != nil {
		return err
	}
	if unmade != nil {
		return &rollout.UnwrittenError{Err: unmade}
	}
	return nil
}

func (a *Agent) makeFolders() error {
	if err := os.MkdirAll(a.cfg.State, 0o711); err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	if err := os.Chmod(a.cfg.State, 0o711); err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	for name, mode := range map[string]fs.FileMode{"targets": 0o700, "logs": 0o700, layers.KeysDir: 0o700, treesDir: 0o755} {
		dir := filepath.Join(a.cfg.State, name)
		if err := os.MkdirAll(dir, mode); err != nil {
			return fmt.Errorf("state folder: %w", err)
		}
		if err := os.Chmod(dir, mode); err != nil { // whatever the umask
			return fmt.Errorf("state folder: %w", err)
		}
		statefile.Sweep(dir)
	}
	statefile.Sweep(a.cfg.State)
	return nil
}

// present makes the state folder again if somebody removed it, or if it couldn't be made at the start. The needed parts of it are
// in memory.
func (a *Agent) present() (again bool, err error) {
	held, err := a.holdsLock()
	if err != nil || held && !a.unmade {
		return false, err
	}
	if !a.unmade {
		a.log.Error("the state folder was removed, and is made again", "dir", a.cfg.State)
	}
	if err := a.takeFolder(); err != nil {
		return false, err
	}
	a.unmade = false
	if a.pods != nil {
		err = a.pods.WriteAgain()
	}
	return true, err
}

func (a *Agent) lockFile() string { return filepath.Join(a.cfg.State, "lock") }

// holdsLock reports whether the lock in the state folder is the one that this agent holds.
func (a *Agent) holdsLock() (bool, error) {
	is, err := os.Stat(a.lockFile())
	if errors.Is(err, fs.ErrNotExist) || a.lock == nil {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	held, err := a.lock.Stat()
	return err == nil && os.SameFile(is, held), nil
}

// lockState makes this the only agent of its state folder.
func (a *Agent) lockState() error {
	if held, _ := a.holdsLock(); held {
		return nil
	}
	name := a.lockFile()
	if info, err := os.Lstat(name); err == nil && !info.Mode().IsRegular() {
		if _, err := statefile.SetAside(name); err != nil {
			return &rollout.UnwrittenError{Err: err}
		}
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDONLY, 0o600) // one that is there opens on a read-only disk, too
	if err != nil {
		return &rollout.UnwrittenError{Err: fmt.Errorf("lock: %w", err)}
	}
	if err := lockSoon(f); err != nil {
		f.Close()
		return fmt.Errorf("another agent works on %s: stop it first (%w)", a.cfg.State, err)
	}
	if a.lock != nil {
		a.lock.Close()
	}
	a.lock = f
	return nil
}

// lockSoon takes a lock, of which a moment may pass until an agent that was killed, or a child that it just forked, lets go.
func lockSoon(f *os.File) error {
	for until := time.Now().Add(2 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil || time.Now().After(until) {
			return err
		}
	}
}

// nameHost keeps the name under which this machine was first known: system.scm may change the host name itself.
func (a *Agent) nameHost(s *rollout.State) error {
	if a.cfg.Host != "" {
		s.Host = a.cfg.Host
	}
	if s.Host != "" {
		return nil
	}
	name, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	s.Host = name
	if err := rollout.Folder(a.cfg.State).Save(*s); err != nil {
		a.log.Warn("the host's name isn't kept for now", "err", err) // the conductor tries again
	}
	return nil
}

// listen takes the sockets that Shepherd passes, or makes the control socket.
func (a *Agent) listen() ([]net.Listener, error) {
	passed, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("sockets of the service: %w", err)
	}
	passed = slices.DeleteFunc(passed, func(l net.Listener) bool { return l == nil })
	if len(passed) > 0 {
		return passed, nil
	}
	if err := os.MkdirAll(a.runtime, 0o755); err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	path := filepath.Join(a.runtime, "collie.sock")
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) { // a former life's; the lock says that it is over
		return nil, fmt.Errorf("control socket: %w", err)
	}
	old := unix.Umask(0o117)
	l, err := net.Listen("unix", path)
	unix.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if g, err := user.LookupGroup("collie"); err == nil && !a.cfg.alone && os.Geteuid() == 0 { // others can't give a file to a group
		gid, _ := strconv.Atoi(g.Gid)
		if err := os.Chown(path, -1, gid); err != nil {
			a.log.Warn("the group collie can't use the control socket", "err", err)
		}
	}
	return []net.Listener{l}, nil
}

func (a *Agent) repository() layers.Repository {
	r := layers.Repository{Tree: a.source.Tree}
	if a.cfg.System || len(a.cfg.Homes) > 0 {
		r.Trees = filepath.Join(a.cfg.State, treesDir)
	}
	return r
}

// dropTrees removes what was written out for Guix of revisions that no target needs.
func (a *Agent) dropTrees(ts []rollout.Target) {
	if err := layers.KeepTrees(filepath.Join(a.cfg.State, treesDir), ts); err != nil {
		a.log.Warn("old trees can't be removed for now", "err", err)
	}
	if !a.cfg.System && len(a.cfg.Homes) == 0 {
		return
	}
	if err := layers.KeepPins(guix.Roots(a.cfg.guixRoots()), ts); err != nil {
		a.log.Warn("the guix of old revisions can't be removed for now", "err", err)
	}
}

func (a *Agent) answers() api.Agent {
	c := a.conductor
	return api.Agent{
		Status:  a.status,
		Plan:    c.Plan,
		Sync:    a.sync,
		Accept:  a.accept,
		History: func(context.Context) ([]api.Deployment, error) { return c.Deployments() },

		Generations: func(context.Context) ([]api.Generation, error) { return c.Generations() },

		Suspend: c.Suspend, Resume: c.Resume, Now: c.AtOnce, Build: c.MayBuild, Evaluate: c.Evaluate, Only: c.Only,

		Retry: a.retry,
		Logs: func(ctx context.Context, q api.LogQuery, w io.Writer) error {
			return Logs(ctx, a.cfg.State, q, w)
		},
		Restart: a.restart,
		Import:  a.importPod,
		Key: func(context.Context) (api.Key, error) {
			identity, err := secrets.Open(filepath.Join(a.cfg.State, layers.KeysDir))
			if err != nil {
				return api.Key{}, err
			}
			return api.Key{PublicKey: identity.Public}, nil
		},
	}
}

// importPod returns the YAML of a pod that somebody made by hand.
func (a *Agent) importPod(ctx context.Context, name string) (api.Imported, error) {
	if a.pods == nil {
		return api.Imported{}, errors.New("this machine runs no pods: its configuration names no user for them")
	}
	text, err := a.pods.Import(ctx, name)
	return api.Imported{YAML: text}, err
}

// retry gives the newest revision another chance, whatever of its files was refused.
func (a *Agent) retry(ctx context.Context) error {
	if a.builder != nil {
		if err := a.builder.TryAgain(); err != nil {
			return err
		}
	}
	return a.conductor.Retry(ctx)
}

// sync polls now and returns the newest accepted revision, once the conductor knows it.
func (a *Agent) sync(ctx context.Context) (api.Synced, error) {
	if err := a.closed(); err != nil {
		return api.Synced{}, err
	}
	rev, err := a.source.Poll(ctx)
	if err != nil {
		return api.Synced{}, err
	}
	return api.Synced{Revision: rev.ID}, a.conductor.Synced(ctx, rev, a.source.Plans())
}
