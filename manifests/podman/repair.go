package podman

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"example.org/collie/agent/cmdline"
)

// Things that Podman's service leaves behind when it is killed while it starts a pod (docs/facts/podman.md, "SIGKILL of Podman's
// service"), and what helps:
//
//	left behind                                shows as                                      helps
//	half of the network that pods share        "rootless netns: mount resolv.conf" at each   end its pasta, remove its folders
//	                                           start
//	aardvark-dns of a network that is gone     pods don't find each other by name            end it, remove its folder
//	rootlessport of no container               "address already in use"                      end it
//	conmon of a container that never ran       "already exists" at each start                end what it minds, then it; forget
//	                                                                                         what crun knows of it
//
// The shared network counts as left behind when no container runs in it, whoever's. Of the rest, what belongs to a
// container that runs is never touched. All of it has to be some seconds old: somebody may be starting a pod.

// conmonGrace is for a conmon to tell Podman that what it minded has ended.
const conmonGrace = 2 * time.Second

// strayAge is how old a process has to be before it may be taken for left behind.
const strayAge = 5 * time.Second

// folders of the shared network, below the run-time directory.
const (
	netnsDir    = "containers/networks/rootless-netns"
	aardvarkDir = "containers/networks/aardvark-dns"
	crunDir     = "crun" // has a folder for each container
)

// A process of Podman's, of one account.
type process struct {
	pid, parent int
	owner       int
	own         bool // is it the account's
	inside      bool // a user namespace that isn't ours: what runs in a container has the rights of none of the machine's users
	age         time.Duration
	args        []string
}

// role is what a process is for: pasta, aardvark-dns, rootlessport, conmon; "" if it is none of these, or not of the
// account whose run-time directory this is.
func (p process) role(runtime string) string {
	if !p.own || len(p.args) == 0 {
		return ""
	}
	name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(p.args[0]), "."), "-real") // as Guix wraps programs
	switch {
	case name == "pasta" && p.has("--netns", filepath.Join(runtime, netnsDir, "rootless-netns")),
		name == "aardvark-dns" && p.has("--config", filepath.Join(runtime, aardvarkDir)),
		name == "conmon" && p.has("--exit-dir", filepath.Join(runtime, exitsDir)) && p.container() != "",
		name == "rootlessport" && len(p.args) == 1:
		return name
	}
	return ""
}

// has reports whether an option is given with this value.
func (p process) has(option, value string) bool {
	i := slices.Index(p.args, option)
	return i >= 0 && i+1 < len(p.args) && p.args[i+1] == value
}

var containerID = regexp.MustCompile(`^[0-9a-f]{64}$`)

// container is the one that a conmon minds.
func (p process) container() string {
	i := slices.Index(p.args, "-c")
	if i < 0 || i+1 >= len(p.args) || !containerID.MatchString(p.args[i+1]) {
		return ""
	}
	return p.args[i+1]
}

// strays are what is left behind.
type strays struct {
	processes  []process
	network    bool     // no container runs in the shared network: what is left of it can go
	containers []string // that crun knows, and Podman doesn't have running
}

func (s strays) none() bool { return len(s.processes) == 0 }

// String names them for the log.
func (s strays) String() string {
	var says []string
	for _, p := range s.processes {
		name := "what it minds"
		if len(p.args) > 0 {
			name = filepath.Base(p.args[0])
		}
		says = append(says, fmt.Sprintf("%s (process %d)", name, p.pid))
	}
	if len(says) == 0 {
		return "a network that nobody uses"
	}
	return strings.Join(says, ", ")
}

// findStrays sorts out which of all processes are left behind, given all containers there are. listens tells on which
// ports a process does.
func findStrays(all []process, containers []container, runtime string, listens func(pid int) []int) strays {
	running, ports, bridged := map[string]bool{}, map[int]bool{}, false
	for _, c := range containers {
		if !c.runs() {
			continue
		}
		running[c.ID] = true
		bridged = bridged || len(c.Networks) > 0
		for _, m := range c.Ports {
			for i := range max(1, min(m.Range, 1<<16)) {
				ports[m.HostPort+i] = true
			}
		}
	}
	s := strays{network: !bridged}
	for _, p := range all {
		stray := false
		switch p.role(runtime) {
		case "pasta", "aardvark-dns":
			stray = s.network
		case "rootlessport":
			held := listens(p.pid)
			stray = len(held) > 0 && !slices.ContainsFunc(held, func(port int) bool { return ports[port] })
		case "conmon":
			if stray = !running[p.container()]; stray {
				s.containers = append(s.containers, p.container())
				for _, child := range all { // first what it minds: it tells Podman of the end
					if child.parent == p.pid && (child.own || child.inside) && child.role(runtime) == "" {
						s.processes = append(s.processes, child)
					}
				}
			}
		}
		if stray {
			s.processes = append(s.processes, p)
		}
	}
	return s
}

// mend repairs what a killed service may have left, after err said that a pod didn't start. It reports whether it is worth
// another try.
func (p *Podman) mend(ctx context.Context, err error) bool {
	if p.Account == nil {
		return false
	}
	account, unknown := p.Account()
	if unknown != nil {
		return false
	}
	p.starts.Lock() // what others start here isn't left behind
	defer p.starts.Unlock()
	const look = 100 * time.Millisecond
	for waited := time.Duration(0); waited <= strayAge; waited += look {
		found, seen := p.strays(ctx, account)
		half := found.network && strings.Contains(err.Error(), "rootless netns")
		switch {
		case seen != nil, found.none() && !half: // what was about to end has ended
			return false
		case found.youngest() >= strayAge:
			return p.clear(ctx, account, found, err.Error())
		}
		select { // somebody else may be starting something right now
		case <-ctx.Done():
			return false
		case <-time.After(look):
		}
	}
	return false
}

// sweep removes what a killed service left of the network that pods share, as long as none is in it: a pod could start
// there, and not find the others by name.
func (p *Podman) sweep(ctx context.Context) {
	p.mu.Lock()
	used := p.bridged
	p.mu.Unlock()
	if p.Account == nil || used {
		return
	}
	account, err := p.Account()
	if err != nil {
		return
	}
	p.starts.Lock()
	defer p.starts.Unlock()
	found, err := p.strays(ctx, account)
	if err != nil || found.none() || found.youngest() < strayAge {
		return // if it is in the way, a start says so
	}
	p.clear(ctx, account, found, "found before a start")
}

// clear ends what is left behind, and removes what is on disk of it. It reports whether that succeeded.
func (p *Podman) clear(ctx context.Context, account Account, s strays, because string) bool {
	says := s.String()
	for _, left := range s.processes {
		grace := time.Duration(0)
		if left.role(account.Runtime) == "conmon" {
			grace = conmonGrace
		}
		if err := left.end(ctx, grace); err != nil {
			p.Log.Error("what Podman left behind doesn't end", "process", left.pid, "err", err)
			return false
		}
	}
	args := []string{forgetVerb, account.Runtime, strconv.FormatBool(s.network)}
	if err := account.As(ctx, append(args, s.containers...)...); err != nil {
		p.Log.Error("what Podman left behind isn't removed", "left", says, "err", err)
		return false
	}
	p.Log.Warn("repaired what Podman left behind when its service was killed", "left", says, "because", because)
	return true
}

// halfStarted reports whether a pod that doesn't run was given its network by a start that was cut off then. Podman would
// start it without one: it believes that it has it.
func (p *Podman) halfStarted(ctx context.Context, name string) bool {
	live, err := p.observe(ctx)
	if err != nil || live[name] == nil || live[name].infra == nil || live[name].infra.runs() {
		return false
	}
	state, err := p.inspectContainer(ctx, live[name].infra.ID)
	return err == nil && state.network != ""
}

// strays looks for what is left behind.
func (p *Podman) strays(ctx context.Context, account Account) (strays, error) {
	containers, err := p.listContainers(ctx)
	if err != nil {
		return strays{}, err
	}
	all, err := processes(account.UID)
	if err != nil {
		return strays{}, err
	}
	return findStrays(all, containers, account.Runtime, listening()), nil
}

// youngest is the age of the newest process.
func (s strays) youngest() time.Duration {
	young := strayAge
	for _, p := range s.processes {
		young = min(young, p.age)
	}
	return young
}

// processes lists all of the machine. own are those of the user uid.
func processes(uid int) ([]process, error) {
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	var all []process
	for _, dir := range dirs {
		pid, err := strconv.Atoi(dir.Name())
		if err != nil {
			continue
		}
		if p, ok := readProcess(pid, uid); ok {
			all = append(all, p)
		}
	}
	return all, nil
}

// ticks a second are what the kernel counts in, for programs.
const ticks = 100

func readProcess(pid, uid int) (process, bool) {
	p := process{pid: pid}
	dir := fmt.Sprintf("/proc/%d/", pid)
	var info unix.Stat_t
	stat, err := os.ReadFile(dir + "stat")
	if err != nil || unix.Stat(dir, &info) != nil {
		return p, false
	}
	p.owner = int(info.Uid)
	p.own = p.owner == uid
	p.inside = elsewhere(dir)
	_, after, _ := strings.Cut(string(stat[max(0, bytes.LastIndexByte(stat, ')')):]), " ") // a name may hold anything
	fields := strings.Fields(after)
	var now unix.Timespec
	if len(fields) < 20 || unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) != nil {
		return p, false
	}
	p.parent, _ = strconv.Atoi(fields[1])
	began, _ := strconv.ParseInt(fields[19], 10, 64)
	p.age = time.Duration(now.Nano()) - time.Duration(began)*time.Second/ticks
	if p.own {
		p.args = arguments(dir)
	}
	return p, true
}

// elsewhere reports whether a process is in a user namespace that isn't ours.
func elsewhere(dir string) bool {
	ours, err := os.Readlink("/proc/self/ns/user")
	theirs, unknown := os.Readlink(dir + "ns/user")
	return err == nil && unknown == nil && theirs != ours
}

// arguments reads a command line, or its beginning: Podman's longest has some 3 kB.
func arguments(dir string) []string {
	line, err := cmdline.System.Read(dir, 64<<10)
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
}

// end kills a process after a grace, unless its number belongs to another by now, and waits for its end.
func (p process) end(ctx context.Context, grace time.Duration) error {
	held, err := os.FindProcess(p.pid) // by a pidfd: from here on the number is no matter
	if err != nil {
		return fmt.Errorf("process %d: %w", p.pid, err)
	}
	defer held.Release()
	if now, there := readProcess(p.pid, 0); !there || now.age < p.age || now.owner != p.owner { // another can only be younger
		return nil
	}
	const look = 20 * time.Millisecond
	for waited := time.Duration(0); waited < grace+5*time.Second; waited += look {
		if held.Signal(unix.Signal(0)) != nil || zombie(p.pid) {
			return nil
		}
		if waited >= grace {
			if err := held.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return fmt.Errorf("ending process %d: %w", p.pid, err)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(look):
		}
	}
	return fmt.Errorf("process %d doesn't end", p.pid)
}

// zombie reports whether a process has ended, and only its parent doesn't know yet.
func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && bytes.Contains(stat, []byte(") Z "))
}

// listening returns a function that tells on which ports of this machine a process listens.
func listening() func(pid int) []int {
	ports := sockets()
	return func(pid int) []int {
		var held []int
		for link := range links(pid) {
			if port, is := ports[link]; is {
				held = append(held, port)
			}
		}
		return held
	}
}

// links are what the links of a process to its open files say.
func links(pid int) iter.Seq[string] {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	return func(yield func(string) bool) {
		fds, err := os.ReadDir(dir)
		if err != nil {
			return // it ended, or isn't ours to look at
		}
		for _, fd := range fds {
			if to, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil && !yield(to) {
				return
			}
		}
	}
}

// openPorts are those of this machine on which anybody listens.
func openPorts() map[int]bool {
	open := map[int]bool{}
	for _, port := range sockets() {
		open[port] = true
	}
	return open
}

// sockets are the ports of all sockets that listen, by what a link to one in /proc says.
func sockets() map[string]int {
	ports := map[string]int{}
	for _, s := range readSockets("/proc/net", nil) {
		ports[s.link()] = int(s.local.Port())
	}
	return ports
}

const forgetVerb = "forget-podman"

// AsUser does what the user of the pods has to do by themselves, in a process of theirs: forget-podman RUNTIME NETWORK
// CONTAINER… removes what is on disk of the network that pods share, if NETWORK is true, and what crun knows of containers;
// reload-network CONTAINER makes Podman bring back what is gone of that network.
func AsUser(args []string) (known bool, err error) {
	if len(args) == 2 && args[0] == reloadVerb {
		return true, reloadNetwork(args[1])
	}
	if len(args) < 3 || args[0] != forgetVerb {
		return false, nil
	}
	var gone []string
	if args[2] == "true" {
		gone = append(gone, netnsDir, aardvarkDir)
	}
	for _, id := range args[3:] {
		if !containerID.MatchString(id) {
			return true, fmt.Errorf("%q is no container", id)
		}
		gone = append(gone, filepath.Join(crunDir, id))
	}
	for _, name := range gone {
		if err := os.RemoveAll(filepath.Join(args[1], name)); err != nil {
			return true, fmt.Errorf("removing what Podman left: %w", err)
		}
	}
	return true, nil
}
