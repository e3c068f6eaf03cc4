package podman

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Processes that pods need, and whose end Podman doesn't notice (docs/facts/podman.md, "restores both for all pods"):
//
//	ends          what is gone                         seen by                          helps
//	pasta         the way out of the shared network    its pid file, and its process    podman network reload
//	aardvark-dns  names in all networks that have DNS  its pid file, and its process    podman network reload
//	rootlessport  the host ports of one pod            nobody listens on them           the pod is restarted
//
// Podman itself brings back the first two as soon as anybody starts a container in the network, and not before. A reload of
// one container's network does it without a pod noticing. The ends of all three wake the keeper.

const (
	reloadVerb  = "reload-network"
	networkName = "network of pods"

	pastaPID    = netnsDir + "/rootless-netns-conn.pid"
	aardvarkPID = "aardvark.pid" // in a folder with a file for each network with DNS that a container is in
)

// An ailment is something of the shared network that is gone, though a pod needs it.
type ailment struct {
	role  string
	since time.Time // when it was missed
}

func (a ailment) says() string {
	at := a.since.Local().Format(time.TimeOnly)
	if a.role == "pasta" {
		return "nothing leads out of it, as pasta is gone: missed at " + at
	}
	return "names aren't answered in it, as " + a.role + " is gone: missed at " + at
}

// explain says all that ails the network.
func explain(all []ailment) string {
	var says []string
	for _, a := range all {
		says = append(says, a.says())
	}
	return strings.Join(says, "; ")
}

// ailing looks whether what leads out of the shared network, and who answers names in it, is there. Both belong to the pod
// user, and so does what they are known by: whoever fakes it has only their own pods to lose.
func (p *Podman) ailing(live map[string]*livePod) []ailment {
	if p.Account == nil || len(p.inNetwork(live)) == 0 {
		return p.miss(nil)
	}
	account, err := p.Account()
	if err != nil {
		return p.miss(nil)
	}
	needed := map[string]string{"pasta": pastaPID}
	if hasDNS(account.Runtime) {
		needed["aardvark-dns"] = aardvarkDir + "/" + aardvarkPID
	}
	var missing []string
	var all []process
	for _, role := range slices.Sorted(maps.Keys(needed)) {
		is, there := readProcess(pidIn(account.Runtime, needed[role]), account.UID)
		if !there || is.role(account.Runtime) != role {
			if all == nil {
				all, _ = processes(account.UID)
			}
			i := slices.IndexFunc(all, func(p process) bool { return p.role(account.Runtime) == role && !zombie(p.pid) })
			if there = i >= 0; there {
				is = all[i]
			}
		}
		if !there || zombie(is.pid) {
			missing = append(missing, role)
			continue
		}
		p.mind(is.pid)
	}
	return p.miss(missing)
}

// missing is what the last look missed.
func (p *Podman) missing() []ailment {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.missed)
}

// miss notes what is missing, and since when.
func (p *Podman) miss(roles []string) []ailment {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []ailment
	for _, role := range roles {
		a := ailment{role, time.Now()}
		if i := slices.IndexFunc(p.missed, func(was ailment) bool { return was.role == role }); i >= 0 {
			a = p.missed[i]
		}
		all = append(all, a)
	}
	p.missed = all
	return all
}

// inNetwork are the infra containers of Collie's pods that run in a network of Podman's.
func (p *Podman) inNetwork(live map[string]*livePod) []string {
	var ids []string
	for _, l := range live {
		if l.ours() && l.infra != nil && l.infra.State == "running" && p.alive(l.infra.Pid) && len(l.infra.Networks) > 0 && containerID.MatchString(l.infra.ID) {
			ids = append(ids, l.infra.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// hasDNS reports whether a container is in a network with names.
func hasDNS(runtime string) bool {
	dir, err := openBeneath(runtime, aardvarkDir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return false
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(100)
	return slices.ContainsFunc(names, func(name string) bool { return name != aardvarkPID })
}

// pidIn reads a pid file of Podman's; 0 if there is none.
func pidIn(runtime, name string) int {
	f, err := openBeneath(runtime, name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return 0
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, 32))
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return max(0, pid)
}

// Broken returns what the last look missed of the network that pods share; nothing, if all exists, or if it had to be
// repaired too often.
func (p *Podman) Broken() string {
	all := p.missing()
	if len(all) == 0 || p.healBackoff.waits(networkName, time.Now()) != "" {
		return ""
	}
	return networkName + ": " + explain(all)
}

// Repair brings back what is gone of the network that pods share.
func (p *Podman) Repair(ctx context.Context) error {
	const prefix = networkName + ": "
	found := strings.TrimPrefix(p.Broken(), prefix)
	err := p.repair(ctx)
	p.healBackoff.count(networkName, found, prefix, err, time.Now())
	return err
}

func (p *Podman) repair(ctx context.Context) error {
	account, err := p.Account()
	if err != nil {
		return err
	}
	p.starts.Lock() // a start brings it back, too
	defer p.starts.Unlock()
	const tries = 3
	for try := 1; ; try++ {
		live, err := p.observe(ctx)
		if err != nil {
			return err
		}
		missing := p.ailing(live)
		ids := p.inNetwork(live)
		if len(missing) == 0 || len(ids) == 0 {
			return nil
		}
		err = account.As(ctx, reloadVerb, ids[try%len(ids)]) // one may have ended just now
		if live, seen := p.observe(ctx); seen == nil && err == nil && len(p.ailing(live)) == 0 {
			p.Log.Warn("repaired the network of pods", "because", explain(missing))
			return nil
		}
		if try == tries {
			if err == nil {
				err = errors.New("`podman network reload` as the pod user doesn't bring it back")
			}
			return fmt.Errorf("%s: %s: %w", networkName, explain(missing), err)
		}
	}
}

// reloadNetwork is done as the user of the pods.
func reloadNetwork(id string) error {
	if !containerID.MatchString(id) {
		return fmt.Errorf("%q is no container", id)
	}
	out, err := exec.Command("podman", "network", "reload", id).CombinedOutput()
	if err != nil {
		return fmt.Errorf("podman network reload: %w: %s", err, clip(string(bytes.TrimSpace(out))))
	}
	return nil
}

// mindPorts minds who publishes ports of pods, and notes which ports are accepted and lead nowhere: rootlessport listens, and
// a child of it connects to the pod. All processes are only looked through when other containers run than before, or one of
// those that are minded has ended.
func (p *Podman) mindPorts(live map[string]*livePod) {
	if p.Account == nil {
		return
	}
	var publish strings.Builder
	for _, name := range slices.Sorted(maps.Keys(live)) {
		if infra := live[name].infra; infra != nil && infra.State == "running" && len(infra.Ports) > 0 {
			fmt.Fprintf(&publish, "%s@%d ", infra.ID, infra.StartedAt)
		}
	}
	p.mu.Lock()
	known := p.publish == publish.String()
	p.mu.Unlock()
	account, err := p.Account()
	if known || err != nil {
		return
	}
	all, err := processes(account.UID)
	if err != nil {
		return
	}
	half, settled := map[int]bool{}, true
	for _, one := range all {
		if one.role(account.Runtime) != "rootlessport" {
			continue
		}
		p.mind(one.pid)
		child := slices.IndexFunc(all, func(c process) bool { return c.own && c.parent == one.pid && !zombie(c.pid) })
		switch {
		case child >= 0:
			p.mind(all[child].pid)
		case one.age < strayAge: // it may be about to start one
			settled = false
		default:
			for _, port := range listening()(one.pid) {
				half[port] = true
			}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.half = half
	if p.publish = ""; settled {
		p.publish = publish.String()
	}
}

// mind has the end of a process wake the keeper.
func (p *Podman) mind(pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.minded[pid]; known {
		return
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return // it has ended, which the next look sees
	}
	if p.minded == nil {
		p.minded = map[int]int{}
	}
	p.minded[pid] = fd
}

// helperEnded reports whether a process has ended that is minded, and minds it no longer.
func (p *Podman) helperEnded() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	pids := slices.Collect(maps.Keys(p.minded))
	var polled []unix.PollFd
	for _, pid := range pids {
		polled = append(polled, unix.PollFd{Fd: int32(p.minded[pid]), Events: unix.POLLIN})
	}
	if n, err := unix.Poll(polled, 0); err != nil || n == 0 {
		return false
	}
	p.publish = ""
	for i, pid := range pids {
		if polled[i].Revents != 0 {
			_ = unix.Close(p.minded[pid])
			delete(p.minded, pid)
		}
	}
	return true
}
