// Package limits has the kernel end other programs before the agent when memory runs out, and the agent before it takes the
// machine's. Programs that the agent starts get neither: a guix needs gigabytes, and a user's program mustn't be spared.
//
//	                                      the agent                    what it starts
//	score by which the kernel chooses     -500: last, unless it has    0
//	whom to end                           half of the memory
//	control group                         /sys/fs/cgroup/collie, with  the one in which the agent began
//	                                      a limit of memory
//
// The forwarder has a score of 200: Shepherd restarts it, while a pod would be gone. The score needs root, and the group needs a
// cgroup2 that controls memory.
package limits

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

const (
	protected = "-500"
	ordinary  = "0"
	yielding  = "200"

	groupName = "collie"
)

// A guard is what protects one process.
type guard struct {
	score  string // file with its score
	to     string // what that is to be
	groups string // where a cgroup2 is
	own    string // file that names the group of the process

	mu     sync.Mutex // while something is started
	spares bool
	began  *os.File // the group in which the process began; nil: it is still there
}

var self = guard{score: "/proc/self/oom_score_adj", to: protected, groups: "/sys/fs/cgroup", own: "/proc/self/cgroup"}

// Protect protects the agent from now on, as far as it can: the log says what it can't. The group's limit is twice the one that
// Go heeds, which is GOMEMLIMIT; without that there is none.
func Protect(log *slog.Logger) {
	if err := self.spare(); err != nil {
		log.Debug("the agent may be ended when memory runs out", "err", err)
	}
	heeded := debug.SetMemoryLimit(-1)
	if heeded == math.MaxInt64 {
		return
	}
	if err := self.confine(2 * heeded); err != nil {
		log.Debug("the agent has no control group of its own", "err", err)
	}
}

// Yield has the kernel end this process rather than others when memory runs out. It takes no rights.
func Yield(log *slog.Logger) {
	if err := os.WriteFile(self.score, []byte(yielding), 0o644); err != nil {
		log.Debug("other programs may be ended first when memory runs out", "err", err)
	}
}

// Start starts a child of the agent.
func Start(cmd *exec.Cmd) error { return self.start(cmd) }

// Run starts a child of the agent, and waits for its end.
func Run(cmd *exec.Cmd) error {
	if err := Start(cmd); err != nil {
		return err
	}
	return cmd.Wait()
}

// spare sets the score. Go starts children one after the other, so a lock more costs nothing.
func (g *guard) spare() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := os.WriteFile(g.score, []byte(g.to), 0o644); err != nil {
		return err
	}
	g.spares = true
	return nil
}

// start has the child inherit an ordinary score. To set it later would be too late for what the child starts, and a child that
// lowers its own keeps the right to raise it again.
func (g *guard) start(cmd *exec.Cmd) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.began != nil {
		if cmd.SysProcAttr == nil {
			cmd.SysProcAttr = &syscall.SysProcAttr{}
		}
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(g.began.Fd())
	}
	if !g.spares {
		return cmd.Start()
	}
	if err := os.WriteFile(g.score, []byte(ordinary), 0o644); err != nil {
		return fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	started := cmd.Start()
	if err := os.WriteFile(g.score, []byte(g.to), 0o644); err != nil {
		g.spares = false
	}
	return started
}

// confine moves the process into a group of its own with a limit of memory.
func (g *guard) confine(most int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	controllers, err := os.ReadFile(filepath.Join(g.groups, "cgroup.controllers"))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is no cgroup2", g.groups)
	}
	if err != nil {
		return err
	}
	if !slices.Contains(strings.Fields(string(controllers)), "memory") {
		return fmt.Errorf("%s doesn't control memory", g.groups)
	}
	in, err := g.group()
	if err != nil {
		return err
	}
	if in == "/"+groupName {
		return errors.New("the agent was started in its own group")
	}
	began, err := os.Open(filepath.Join(g.groups, in))
	if err != nil {
		return err
	}
	if err := g.enter(most); err != nil {
		began.Close()
		return err
	}
	g.began = began
	return nil
}

// enter makes the group and moves the process there. Users other than root may make groups next to it: one of theirs, in which they
// could stop the agent, isn't taken.
func (g *guard) enter(most int64) error {
	if err := os.WriteFile(filepath.Join(g.groups, "cgroup.subtree_control"), []byte("+memory"), 0o644); err != nil {
		return err
	}
	dir := filepath.Join(g.groups, groupName)
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	group, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer group.Close()
	info, err := group.Stat(".")
	if err != nil {
		return err
	}
	if owner, is := info.Sys().(*syscall.Stat_t); !is || int(owner.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("others than root can write %s: remove it", dir)
	}
	for _, set := range []struct{ file, to string }{{"memory.max", strconv.FormatInt(most, 10)}, {"cgroup.procs", strconv.Itoa(os.Getpid())}} {
		f, err := group.OpenFile(set.file, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteString(set.to)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// group is where the process is, below the cgroup2.
func (g *guard) group() (string, error) {
	text, err := os.ReadFile(g.own)
	if err != nil {
		return "", err
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if in, is := strings.CutPrefix(lines.Text(), "0::"); is && filepath.IsAbs(in) {
			return in, nil
		}
	}
	return "", fmt.Errorf("%s names no cgroup2", g.own)
}
