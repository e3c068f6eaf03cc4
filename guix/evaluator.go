package guix

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"example.org/collie/agent/limits"
)

// An Evaluator is an account for Scheme that is only prepared: it runs there without root's rights, and in the environment that
// it would have without the account, so that the same comes of it. No Evaluator, or an account that the machine doesn't have,
// stands for the agent itself, as before the first system that has it; so does an account that guix-daemon is closed to, but for
// a plan, which waits.
//
//	whose Scheme                 account       what it leaves in its home
//	of the branch that is        collie-build  kept, as clones and inferiors of channels; what Guile compiled goes,
//	followed                                   as a tree has its name for itself
//	of a plan                    collie-plan   goes before and after each run
//
// The account's processes end before and after each run: it does nothing else, and one thing at a time. So a plan can change
// neither what the branch, nor what another plan comes to: what was made for it may be used once it is merged. The home in
// which a plan's guix is made is kept, because making it needs clones of channels. That guix is the plan's alone ([Runner.Pin]).
type Evaluator struct {
	Account  string
	Home     string // in a folder of root's, which is made
	Channels string // the other home, in which a guix is made
	Plans    bool   // it is for plans

	mu   sync.Mutex                 // an account does one thing at a time
	find func(string) (User, error) // nil: Find
}

// who is the account; nil for the agent itself.
func (e *Evaluator) who() (*User, error) {
	if e == nil || e.find == nil && os.Geteuid() != 0 {
		return nil, nil
	}
	find := e.find
	if find == nil {
		find = Find
	}
	u, err := find(e.Account)
	if missing := (*MissingUserError)(nil); errors.As(err, &missing) || err == nil && u.UID == 0 && e.find == nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !e.Plans && !u.mayEnter(filepath.Dir(daemonAt())) {
		return nil, nil
	}
	u.Home, u.Runtime = e.Home, e.Home
	return &u, nil
}

// mayEnter reports whether the mode of a folder lets u in; a folder that can't be checked keeps nobody out.
func (u *User) mayEnter(dir string) bool {
	info, err := os.Stat(dir)
	if err != nil {
		return true
	}
	mode, group := info.Mode().Perm(), info.Sys().(*syscall.Stat_t).Gid
	switch {
	case owner(info) == u.UID:
		mode >>= 6
	case group == u.GID || slices.Contains(u.Groups, group):
		mode >>= 3
	}
	return mode&1 != 0
}

// evaluates is the account, ready to evaluate. end gives it back.
func (e *Evaluator) evaluates() (u *User, end func(), err error) {
	u, err = e.who()
	if u == nil || err != nil {
		return nil, func() {}, err
	}
	return e.ready(u, func() { e.clear(u) })
}

// fetches is the account, ready to make a guix, or to compare channels. end gives it back.
func (e *Evaluator) fetches() (u *User, end func(), err error) {
	u, err = e.who()
	if u == nil || err != nil {
		return nil, func() {}, err
	}
	u.Home, u.Runtime = e.Channels, e.Channels
	return e.ready(u, u.endAll)
}

// ready takes the account, and clears up before and after.
func (e *Evaluator) ready(u *User, clear func()) (*User, func(), error) {
	e.mu.Lock()
	clear()
	if err := makeHome(u); err != nil {
		e.mu.Unlock()
		return nil, nil, err
	}
	return u, func() { clear(); e.mu.Unlock() }, nil
}

func makeHome(u *User) error {
	err := os.MkdirAll(filepath.Dir(u.Home), 0o711)
	if err == nil {
		err = os.Chmod(filepath.Dir(u.Home), 0o711) // whatever the umask
	}
	if info, known := os.Lstat(u.Home); err == nil && known == nil && (!info.IsDir() || owner(info) != u.UID) {
		err = discard(u.Home) // the account was made again
	}
	if err == nil {
		err = os.Mkdir(u.Home, 0o700)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil && u.credential() != nil {
		err = os.Lchown(u.Home, int(u.UID), int(u.GID))
	}
	if err != nil {
		return fmt.Errorf("making the home of the account %s: %w", u.Name, err)
	}
	return nil
}

func (e *Evaluator) forPlans() bool { return e != nil && e.Plans }

// clear removes what former runs of the account left that isn't to be used again. What can't be removed is out of the way.
func (e *Evaluator) clear(u *User) {
	u.endAll()
	if !e.Plans {
		if home, err := os.OpenRoot(e.Home); err == nil {
			_ = home.RemoveAll(".cache/guile")
			_ = home.Close()
		}
		return
	}
	_ = discard(e.Home)
}

// discard removes a folder that a user could write, and what is left of former ones. A child does, as there may be more in it than
// the agent has time or open files for. It is out of the way even if not all of it could be removed.
func discard(dir string) error {
	left, _ := filepath.Glob(dir + ".left-*")
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	err := limits.Run(exec.CommandContext(ctx, "rm", slices.Concat([]string{"-rf", "--", dir}, left)...))
	if _, there := os.Lstat(dir); err == nil || errors.Is(there, fs.ErrNotExist) {
		return nil
	}
	return os.Rename(dir, fmt.Sprintf("%s.left-%d", dir, time.Now().UnixNano()))
}

// endAll ends all processes of u, which is no person: what an evaluation started mustn't go on. Only u's rights are used for that.
func (u *User) endAll() {
	as := u.credential()
	if as == nil || as.Uid == 0 {
		return // they would be the agent's own
	}
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	for left := u.processes(); len(left) > 0 && ctx.Err() == nil; left = u.processes() {
		cmd := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", `kill -s KILL -- "$@"`, "sh"}, left...)...)
		cmd.Env, cmd.Dir = []string{}, "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: as}
		_ = limits.Run(cmd) // some may have ended
		time.Sleep(orphanLook)
	}
}

// processes are the arguments with which `kill' ends all of u's processes. That is -1, which ends all at once: unless root has a container that
// uses u's number for somebody of its own. Whoever has no rights can only make a container with a user namespace of its own.
func (u *User) processes() []string {
	var all []string
	others := false
	for _, s := range statuses() {
		pid := strconv.Itoa(s.pid)
		text, err := os.ReadFile("/proc/" + pid + "/status")
		uid := realUID.FindSubmatch(text)
		switch {
		case err != nil || uid == nil || string(uid[1]) != strconv.FormatUint(uint64(u.UID), 10):
		case namespace("user", "/proc", pid) == namespace("user", "/proc", "self") && namespace("pid", "/proc", pid) != namespace("pid", "/proc", "self"):
			others = true
		default:
			all = append(all, pid)
		}
	}
	if len(all) > 0 && !others {
		return []string{"-1"}
	}
	return all
}

func owner(info fs.FileInfo) uint32 { return info.Sys().(*syscall.Stat_t).Uid }
