package guix

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A Vigil tells of the end of a user's Shepherd, which nobody else does: its orphans are ended, and it is started again, within a
// second, and not by the next look. Which process it is, looks tell.
type Vigil struct {
	over  chan process  // a mailbox of one: the latest wins
	woken chan struct{} // of one, too

	mu   sync.Mutex
	last process
	ours process // that has this very process as a service
}

// NewVigil makes one over nobody.
func NewVigil() *Vigil {
	return &Vigil{over: make(chan process, 1), woken: make(chan struct{}, 1)}
}

// Woken tells that the process has ended.
func (v *Vigil) Woken() <-chan struct{} { return v.woken }

// keep watches over p from now on. A process that has ended already is the look's, which asks.
func (v *Vigil) keep(p process) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if p == v.last || !p.alive() {
		return
	}
	v.last = p
	select {
	case <-v.over:
	default:
	}
	v.over <- p
}

// orphaned reports whether this process was a service of another Shepherd than now, which has pid for that.
func (v *Vigil) orphaned(now process, pid int) bool {
	if v == nil {
		return false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if pid == os.Getpid() {
		v.ours = now
	}
	return v.ours.PID != 0 && now.PID != 0 && v.ours != now
}

// Run watches until ctx ends.
func (v *Vigil) Run(ctx context.Context) {
	var p process
	for ctx.Err() == nil {
		until, another := context.WithCancel(ctx)
		var watch sync.WaitGroup
		of := p
		watch.Go(func() {
			if of.PID <= 1 || !of.ends(until) {
				return
			}
			select {
			case v.woken <- struct{}{}:
			default:
			}
		})
		select {
		case p = <-v.over:
		case <-ctx.Done():
		}
		another()
		watch.Wait()
	}
}

// ends waits until p ends, and reports whether it did before ctx.
func (p process) ends(ctx context.Context) bool {
	fd, err := unix.PidfdOpen(p.PID, unix.PIDFD_NONBLOCK)
	if err != nil {
		return errors.Is(err, unix.ESRCH) // without pidfds, as before Linux 5.10, the looks tell
	}
	held := os.NewFile(uintptr(fd), "pidfd")
	defer held.Close()
	if !p.alive() {
		return true // the number is another's
	}
	stop := context.AfterFunc(ctx, func() { _ = held.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	conn, err := held.SyscallConn()
	if err != nil {
		return false
	}
	return conn.Read(func(fd uintptr) bool { // readable as soon as the process has ended
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return err == nil && n == 1
	}) == nil
}
