package guix

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"example.org/collie/agent/cmdline"
	"example.org/collie/shepherd"
)

// A user's Shepherd that is killed leaves its services running, as children of the machine's first process. The next
// Shepherd knows nothing of them, and starts each a second time. So they are ended before, and only they:
//
//	a process                                                       is an orphan of that Shepherd
//	was named as a service's at a look, and was its child then      yes
//	is in the group that such a process led                         yes
//	has the command line of one of these, began after Shepherd did, yes: it was started after the last look
//	leads a session, is nobody's child, and writes to a pipe that
//	nobody reads, as Shepherd did
//	any other                                                       no, whatever it is called
//
// Shepherd is the subreaper of what it starts (Shepherd 1.0.9), so a service that made itself a daemon is its child, too.
// A one-off job (transient) is left alone, as no Shepherd starts it a second time.

const (
	shepherdGrace = 30 * time.Second // for a Shepherd that can't be reached to stop its services
	orphanGrace   = 5 * time.Second  // as Shepherd gives them
	killTime      = 2 * time.Second
	orphanLook    = 50 * time.Millisecond
)

// A family is a user's Shepherd and its services' processes, as a look saw them.
type family struct {
	Shepherd process `json:"shepherd"`
	Children []child `json:"children,omitempty"` // by service
}

type child struct {
	Service string  `json:"service"`
	Process process `json:"process"`
	Line    string  `json:"line"` // a hash of its command line
}

// familyOf sees who is the child of the Shepherd that has these services. The machine's own Shepherd can't die, and the
// agent ends by itself.
func familyOf(all []shepherd.Service, self string) family {
	i := slices.IndexFunc(all, func(s shepherd.Service) bool { return s.Name == "root" })
	if i < 0 || all[i].PID <= 1 {
		return family{}
	}
	f := family{Shepherd: identify(all[i].PID)}
	for _, s := range all {
		if s.PID <= 1 || s.Name == "root" || s.Name == self || s.Transient {
			continue
		}
		of := identify(s.PID)
		if is, there := readStatus(s.PID); there && is.parent == f.Shepherd.PID && of.alive() { // else the number is another's
			f.Children = append(f.Children, child{s.Name, of, lineOf(s.PID)})
		}
	}
	slices.SortFunc(f.Children, func(a, b child) int { return strings.Compare(a.Service, b.Service) })
	return f
}

// lineOf names the command line of a process.
func lineOf(pid int) string {
	line, err := cmdline.System.Read(fmt.Sprintf("/proc/%d", pid), longestCommand)
	if err != nil || len(line) == 0 {
		return ""
	}
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}

// left are the families of former Shepherds of which something still runs, now that there is this one; none: the zero family.
func (k started) left(now family) []family {
	former := slices.Clone(k.Left)
	if k.Family.Shepherd != now.Shepherd {
		former = append(former, k.Family)
	}
	if len(former) == 0 {
		return nil
	}
	all := statuses()
	return slices.DeleteFunc(former, func(f family) bool { return !f.Shepherd.alive() && len(f.remains(all)) == 0 })
}

// remains are the children of which something still runs.
func (f family) remains(all []status) []child {
	return slices.DeleteFunc(slices.Clone(f.Children), func(c child) bool { return len(c.members(all)) == 0 })
}

// left is that of former lives of a Shepherd that runs.
func (s *services) left(ctx context.Context) ([]family, error) {
	all, err := s.shepherd.Services(ctx)
	if err != nil {
		return nil, asTransient(err)
	}
	kept, err := readStarted(s.started)
	return kept.left(familyOf(all, s.self)), err
}

// begun waits for what a Shepherd that was just started begins with, and keeps whose processes are its.
func (s *services) begun(ctx context.Context) error {
	all, err := s.shepherd.Services(ctx)
	if unreachable(err) {
		return nil // a home without services needs none
	}
	if err == nil {
		all, err = s.settle(ctx, all)
	}
	if err != nil {
		return err
	}
	kept, err := s.look(all)
	if err != nil {
		return err
	}
	return s.saveIfNew(kept)
}

// orphans is what a switch does with what former Shepherds left.
func orphans(left []family) []Change {
	var changes []Change
	for _, f := range left {
		if f.Shepherd.alive() {
			changes = append(changes, Change{ends, "Shepherd", fmt.Sprintf("process %d goes on, though it can't be reached", f.Shepherd.PID)})
			continue
		}
		for _, c := range f.remains(statuses()) {
			changes = append(changes, Change{ends, "service " + c.Service, fmt.Sprintf("process %d goes on, though its Shepherd has died", c.Process.PID)})
		}
	}
	return changes
}

// ends is what a Change does to an orphan.
const ends = "end"

// endOrphans has a process of the user's end what former Shepherds left: root could be led to end anything.
func (h *Home) endOrphans(ctx context.Context, u User, left []family) error {
	if len(left) == 0 {
		return nil
	}
	what, err := json.Marshal(left)
	if err != nil {
		return err
	}
	var done struct{}
	limit := shepherdGrace + orphanGrace + 2*killTime + 5*time.Second
	if err := u.askWithin(ctx, limit, h.Helper, &done, "end", string(what)); err != nil {
		return asTransient(fmt.Errorf("ending what a Shepherd that died left: %w", err))
	}
	return nil
}

// endFamilies ends Shepherds, and then their orphans.
func endFamilies(ctx context.Context, left []family) error {
	var faults []error
	for _, f := range left {
		if err := endAll(ctx, shepherdGrace, func() []process {
			if !f.Shepherd.alive() {
				return nil
			}
			return []process{f.Shepherd}
		}); err != nil {
			faults = append(faults, fmt.Errorf("the former Shepherd: %w", err))
			continue // it minds its services
		}
		strangers := f.strangers(statuses())
		faults = append(faults, endAll(ctx, orphanGrace, func() []process {
			all, found := statuses(), []process(nil)
			for _, c := range slices.Concat(f.Children, strangers) {
				found = append(found, c.members(all)...)
			}
			return found
		}))
	}
	return errors.Join(faults...)
}

// endAll asks processes to end, until there are none, and kills what is left after a grace.
func endAll(ctx context.Context, grace time.Duration, find func() []process) error {
	asked := map[process]bool{}
	for waited := time.Duration(0); ; waited += orphanLook {
		found := find()
		if len(found) == 0 {
			return nil
		}
		for _, p := range found {
			signal := unix.SIGTERM
			if waited >= grace {
				signal = unix.SIGKILL
			} else if asked[p] {
				continue
			}
			asked[p] = true
			if err := p.signal(signal); err != nil {
				return err
			}
		}
		if waited >= grace+killTime {
			return fmt.Errorf("process %d doesn't end", found[0].PID)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(orphanLook):
		}
	}
}

// signal sends a signal to p, and to no other that has its number by now.
func (p process) signal(signal unix.Signal) error {
	held, err := os.FindProcess(p.PID) // by a pidfd: from here on the number is no matter
	if err != nil {
		return nil // it has ended
	}
	defer held.Release()
	if !p.alive() {
		return nil
	}
	if err := held.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("ending process %d: %w", p.PID, err)
	}
	return nil
}

// members are c's process and its group: the number of a group is given to no other as long as there is one in it.
func (c child) members(all []status) []process {
	leads := c.Process.alive()
	if !leads {
		if now := identify(c.Process.PID); c.Process.PID <= 1 || now.Boot != c.Process.Boot || now.Start != "" {
			return nil // another boot's, or another's number
		}
	}
	began, err := strconv.ParseInt(c.Process.Start, 10, 64)
	if err != nil {
		return nil
	}
	var found []process
	for _, s := range all {
		if s.pid == c.Process.PID && leads || s.group == c.Process.PID && s.began >= began {
			found = append(found, process{PID: s.pid, Start: strconv.FormatInt(s.began, 10), Boot: c.Process.Boot})
		}
	}
	return found
}

// strangers are what Shepherd started after the last look.
func (f family) strangers(all []status) []child {
	began, err := strconv.ParseInt(f.Shepherd.Start, 10, 64)
	if err != nil {
		return nil
	}
	var found []child
	for _, s := range all {
		if s.parent != 1 || s.session != s.pid || s.group != s.pid || s.began < began || !unheard(s.pid) {
			continue
		}
		line, of := lineOf(s.pid), identify(s.pid)
		i := slices.IndexFunc(f.Children, func(c child) bool { return c.Line != "" && c.Line == line })
		if i >= 0 && of.Boot == f.Shepherd.Boot && of.alive() {
			found = append(found, child{f.Children[i].Service, of, line})
		}
	}
	return found
}

// unheard reports whether a process of this user reads from nowhere, and writes all to one pipe that nobody reads: what a
// service of Shepherd's looks like once that is dead.
func unheard(pid int) bool {
	dir := fmt.Sprintf("/proc/%d/fd/", pid)
	var to [3]string
	for fd := range to {
		to[fd], _ = os.Readlink(dir + strconv.Itoa(fd))
	}
	if to[0] != os.DevNull || to[1] != to[2] || !strings.HasPrefix(to[1], "pipe:") {
		return false
	}
	out, err := unix.Open(dir+"1", unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	defer unix.Close(out)
	polled := []unix.PollFd{{Fd: int32(out), Events: unix.POLLOUT}}
	n, err := unix.Poll(polled, 0)
	return err == nil && n == 1 && polled[0].Revents&unix.POLLERR != 0
}

// A status is what the kernel says of a process, of which nothing but the name is the process's own choice.
type status struct {
	pid, parent, group, session int
	began                       int64 // in clock ticks since the boot
}

// statuses are those of all that run.
func statuses() []status {
	dirs, _ := filepath.Glob("/proc/[0-9]*") // the pattern is right
	var all []status
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if s, there := readStatus(pid); there {
			all = append(all, s)
		}
	}
	return all
}

// readStatus reads one; there is none of what has ended.
func readStatus(pid int) (status, bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return status{}, false
	}
	_, began, there := readStat(string(text))
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if !there {
		return status{}, false
	}
	s := status{pid: pid, began: began}
	for i, into := range []*int{&s.parent, &s.group, &s.session} {
		if *into, err = strconv.Atoi(fields[i+1]); err != nil {
			return status{}, false
		}
	}
	return s, true
}
