package podman

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// An Account is who Podman's containers belong to.
type Account struct {
	UID     int
	Runtime string // XDG_RUNTIME_DIR; the folder that it is in belongs to root

	As func(ctx context.Context, args ...string) error // runs [AsUser] in a process of theirs
}

// Podman's files in the run-time directory. Each death makes a file in exits. Every other event is a line of the log. Both appear
// some 100 ms after the event, with no service running (docs/facts/podman.md, "reports a death").
const (
	exitsDir  = "libpod/tmp/exits"
	eventsDir = "libpod/tmp/events"
	eventsLog = eventsDir + "/events.log"
)

const (
	watchAgain = time.Second           // after which processes are checked, and missing directories
	watchPause = 10 * time.Millisecond // between two readings: a storm costs a hundred of them a second, and no more
	tailLimit  = 256 << 10             // of the log; more at once is a storm, and a look is due anyway
)

// watch wakes the keeper when something happens to the user's containers. Without it, frequent looks have to suffice.
func (p *Podman) watch(ctx context.Context) {
	if p.Account == nil {
		return
	}
	for ctx.Err() == nil {
		account, err := p.Account()
		if err == nil {
			err = p.watchFiles(ctx, account)
		}
		p.see(err)
		select {
		case <-ctx.Done():
		case <-time.After(watchAgain):
		}
	}
}

// Sees tells why what happens to pods isn't told by [Podman.Woken] at once; nil: it is.
func (p *Podman) Sees() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.blind
}

func (p *Podman) see(blind error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.blind = blind
}

// woken tells that a look is due.
func (p *Podman) woken() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// lost reports whether a process is gone that the last look saw. Nobody writes a file about it if conmon died with it.
func (p *Podman) lost() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	gone := len(p.pids)
	p.pids = slices.DeleteFunc(p.pids, func(pid int) bool { return !p.alive(pid) })
	return len(p.pids) < gone
}

// noteRunning notes what the last look saw of containers that run.
func (p *Podman) noteRunning(all []container) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pids, p.bridged = p.pids[:0], false
	for _, c := range all {
		if c.State == "running" && c.Pid > 0 && c.Labels[labelOwner] == owner && p.alive(c.Pid) {
			p.pids = append(p.pids, c.Pid)
		}
		p.bridged = p.bridged || c.runs() && len(c.Networks) > 0
	}
}

// A watcher has an inotify instance over the files of one account.
type watcher struct {
	dir     string // the run-time directory
	fd      int    // of inotify: os.File's own would block
	inotify *os.File
	is      map[uint32]string // by watch, which directory it is of: "", libpod, …
	log     tail
}

// watchFiles works until ctx ends, or nothing can be watched any more.
func (p *Podman) watchFiles(ctx context.Context, account Account) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watching the files of Podman: %w", err)
	}
	w := &watcher{dir: account.Runtime, fd: fd, inotify: os.NewFile(uintptr(fd), "inotify")}
	stop := context.AfterFunc(ctx, func() { _ = w.inotify.SetReadDeadline(time.Unix(1, 0)) })
	defer func() {
		stop()
		_ = w.inotify.Close()
	}()
	buf, checked := make([]byte, 64<<10), time.Now()
	for happened, moved := false, true; ctx.Err() == nil; {
		if moved {
			was := w.is
			err = w.follow()
			happened = happened || !maps.Equal(was, w.is)
		}
		if happened {
			p.woken()
		}
		p.see(err)
		_ = w.inotify.SetReadDeadline(time.Now().Add(watchAgain))
		if ctx.Err() != nil { // else the deadline is put forward when it ends
			break
		}
		n, read := w.inotify.Read(buf)
		happened, moved = w.take(buf[:n])
		switch {
		case errors.Is(read, os.ErrDeadlineExceeded):
			moved = err != nil
		case read != nil:
			return fmt.Errorf("watching the files of Podman: %w", read)
		}
		if now := time.Now(); now.Sub(checked) >= watchAgain { // also while probes write a line after the other
			checked = now
			lost, ended := p.lost(), p.helperEnded()
			happened = happened || lost || ended
		}
		select {
		case <-ctx.Done():
		case <-time.After(watchPause):
		}
	}
	return ctx.Err()
}

// take reads what inotify tells: whether something happened to containers, and whether a directory came or went.
func (w *watcher) take(events []byte) (happened, moved bool) {
	for len(events) >= unix.SizeofInotifyEvent {
		wd, mask := binary.NativeEndian.Uint32(events), binary.NativeEndian.Uint32(events[4:])
		next := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(events[12:]))
		events = events[min(next, len(events)):]
		switch dir, known := w.is[wd]; {
		case mask&unix.IN_Q_OVERFLOW != 0:
			return true, true
		case mask&(unix.IN_IGNORED|unix.IN_DELETE_SELF|unix.IN_MOVE_SELF) != 0:
			moved = true
		case !known: // of a directory that was left
		case dir == exitsDir:
			happened = true
		case dir == eventsDir:
			happened = happened || w.log.tells(w.dir)
		default:
			moved = true
		}
	}
	return happened, moved
}

const (
	onWay    = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF
	onExits  = unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF
	onEvents = unix.IN_MODIFY | unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF
)

// follow watches the directories that have now the names of Podman's, and those on the way to them; no others any more.
// A directory that is watched already keeps its watch. The error names what is missing.
func (w *watcher) follow() error {
	is := map[uint32]string{}
	var missing error
	for _, d := range []struct {
		name string
		mask uint32
	}{{"", onWay}, {"libpod", onWay}, {"libpod/tmp", onWay}, {exitsDir, onExits}, {eventsDir, onEvents}} {
		wd, err := w.add(d.name, d.mask)
		if err != nil {
			missing = errors.Join(missing, err)
			continue
		}
		is[wd] = d.name
	}
	for wd := range w.is {
		if _, stays := is[wd]; !stays {
			_, _ = unix.InotifyRmWatch(w.fd, wd) // gone with its directory, most often
		}
	}
	w.is = is
	return missing
}

// add watches one directory. inotify knows it by its inode: the descriptor isn't needed any longer, and would keep the
// user's file system busy.
func (w *watcher) add(name string, mask uint32) (uint32, error) {
	dir, err := openBeneath(w.dir, name, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	wd, err := unix.InotifyAddWatch(w.fd, fmt.Sprintf("/proc/self/fd/%d", dir.Fd()), mask)
	if err != nil {
		return 0, fmt.Errorf("watching %s/%s: %w", w.dir, name, err)
	}
	return uint32(wd), nil
}

// openBeneath opens a file of the user's for root: no link, and no mount, leads away from the run-time directory.
func openBeneath(runtime, name string, flags uint64) (*os.File, error) {
	base, err := unix.Open(runtime, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", runtime, err)
	}
	root := os.NewFile(uintptr(base), runtime)
	if name == "" {
		return root, nil
	}
	defer root.Close()
	fd, err := unix.Openat2(base, name, &unix.OpenHow{Flags: flags | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV})
	if err != nil {
		return nil, fmt.Errorf("%s/%s: %w", runtime, name, err)
	}
	return os.NewFile(uintptr(fd), runtime+"/"+name), nil
}

// A tail is how far the log of events was read.
type tail struct {
	inode uint64
	at    int64
}

// tells reports whether the log has new lines about the life of a container or a pod. An unreadable line counts as one.
func (t *tail) tells(runtime string) bool {
	f, err := openBeneath(runtime, eventsLog, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return true
	}
	defer f.Close()
	var info unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &info); err != nil || info.Mode&unix.S_IFMT != unix.S_IFREG {
		return true
	}
	from := t.at
	more := info.Size - from
	known := t.inode == info.Ino && more >= 0
	t.inode, t.at = info.Ino, info.Size
	if !known || more > tailLimit {
		return true
	}
	lines := make([]byte, more)
	n, err := f.ReadAt(lines, from)
	if err != nil && !errors.Is(err, io.EOF) {
		return true
	}
	lines = lines[:n]
	whole := bytes.LastIndexByte(lines, '\n') + 1
	t.at = from + int64(whole)
	for line := range bytes.Lines(lines[:whole]) {
		if tells(line) {
			return true
		}
	}
	return false
}

// tells reports whether a line of the log says that a container or pod may have changed. A network is "created" with each
// pod, and a probe that runs a command is logged three times.
func tells(line []byte) bool {
	var e struct{ Type, Status string }
	if json.Unmarshal(line, &e) != nil {
		return true
	}
	switch {
	case e.Type != "container" && e.Type != "pod", strings.HasPrefix(e.Status, "exec"):
		return false
	}
	switch e.Status {
	case "create", "init", "health_status", "attach", "mount", "unmount":
		return false
	}
	return true
}
