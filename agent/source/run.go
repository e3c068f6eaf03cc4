package source

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Run polls until ctx ends, and then returns nil: at once, every interval, and when it is woken or sees a push to a
// repository on this machine. It calls accepted for the newest revision when it first reaches the repository, and
// then for each new one. accepted is called by one goroutine, and holds up the next poll.
func (s *Source) Run(ctx context.Context, accepted func(Revision)) error {
	if s.running.Swap(true) {
		return errors.New("the source is followed already")
	}
	defer s.running.Store(false)

	pushes := watch(s.log)
	defer pushes.close()
	told, said := "", ""
	every(ctx, s.interval, pushes.seen, s.wake, func(ctx context.Context) error {
		pushes.follow(s.folders()) // before the look: what changes after it wakes us
		rev, _, err := s.look(ctx, s.patient)
		if ctx.Err() != nil {
			return err
		}
		switch {
		case err != nil && err.Error() != said:
			said = err.Error()
			s.log.Warn("no new revision", "error", err)
		case err == nil && said != "":
			said = ""
			s.log.Info("the repository is well again", "url", s.places[0].url)
		}
		if err == nil && rev.ID != told {
			told = rev.ID
			accepted(rev)
		}
		s.tellPlans(s.tell)
		return err
	})
	return nil
}

// settle is how long to wait for the rest of a push, once something of it was seen.
const settle = 50 * time.Millisecond

// every calls poll at once, then after each pause, a wake, or shortly after an event, until ctx ends.
func every(ctx context.Context, interval time.Duration, events <-chan struct{}, wake <-chan struct{}, poll func(context.Context) error) {
	failures := 0
	for {
		err := poll(ctx)
		var p problem
		var no *refusal
		switch {
		case err == nil:
			failures = 0
		case errors.As(err, &p), errors.As(err, &no):
			failures = 1 // a person will solve it; nobody is spared by looking less often
		default:
			failures++
		}
		next := time.NewTimer(pause(interval, failures, rand.Float64()))
		select {
		case <-ctx.Done():
		case <-next.C:
		case <-wake:
		case <-events:
			next.Reset(settle)
			select {
			case <-ctx.Done():
			case <-next.C:
			}
			select { // what came meanwhile is seen by the same look
			case <-events:
			default:
			}
		}
		next.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// pause is the time to the next poll: the interval ±10 %, so that a fleet doesn't ask in step; after failures it
// doubles, from at most 30 s to at most 5 minutes. chance is from 0 to 1.
func pause(interval time.Duration, failures int, chance float64) time.Duration {
	if failures > 0 {
		interval = min(interval, 30*time.Second)
		for range failures - 1 {
			interval = min(2*interval, 5*time.Minute)
		}
	}
	return time.Duration(float64(interval) * (0.9 + 0.2*chance))
}

// A watcher sees that something happened in folders. Without inotify it sees nothing, and polls have to do.
type watcher struct {
	seen   chan struct{}
	notify *fsnotify.Watcher
	log    *slog.Logger
	blind  bool // it said so already
	done   chan struct{}
}

func watch(log *slog.Logger) *watcher {
	w := &watcher{seen: make(chan struct{}, 1), log: log, done: make(chan struct{})}
	var err error
	if w.notify, err = fsnotify.NewWatcher(); err != nil {
		w.complain(err)
		close(w.done)
		return w
	}
	go w.forward()
	return w
}

func (w *watcher) complain(err error) {
	if !w.blind {
		w.blind = true
		w.log.Warn("a push is seen by the next poll only, as its files can't be watched", "error", err)
	}
}

// forward runs until the watcher is closed. A lost event is reported as an error, and counts as an event.
func (w *watcher) forward() {
	defer close(w.done)
	for {
		select {
		case _, ok := <-w.notify.Events:
			if !ok {
				return
			}
		case _, ok := <-w.notify.Errors:
			if !ok {
				return
			}
		}
		select {
		case w.seen <- struct{}{}:
		default:
		}
	}
}

// follow watches folders. A folder that is watched already is looked up again: it may have been deleted and made again.
func (w *watcher) follow(folders []string) {
	if w.notify == nil {
		return
	}
	for _, dir := range folders {
		err := w.notify.Add(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) { // its parent tells when it is there
			w.complain(err)
		}
	}
}

func (w *watcher) close() {
	if w.notify != nil {
		_ = w.notify.Close()
	}
	<-w.done
}
