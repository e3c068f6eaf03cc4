package podman

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Podman restarts a container that ends again and again at once, and that takes all cores of a machine (docs/facts/podman.md,
// "without a back-off"). Collie lets that happen a few times. Then it holds the container for a while, as Kubernetes does:
// longer each time, until the container has run for long enough.
const (
	freeRestarts = 3
	firstHold    = 10 * time.Second // and twice as long each time
	longestHold  = 5 * time.Minute
	wellAfter    = 10 * time.Minute // of running, all is forgotten
)

// crashLoops knows which containers end again and again.
type crashLoops struct {
	mu  sync.Mutex
	of  map[string]*crashLoop // by the container's id
	due chan struct{}         // a mailbox of one: some are to be held
}

type crashLoop struct {
	base  int // restarts that count no more: before it ran well, or was held
	holds int
	until time.Time // held since, and until
	stop  bool      // it has yet to be ended
}

// see takes over what is live, and settles what is to be held.
func (b *crashLoops) see(live map[string]*livePod, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	there := map[string]bool{}
	for _, l := range live {
		if !l.ours() || strings.HasPrefix(l.labels[labelObject], "Job/") || strings.HasPrefix(l.labels[labelObject], "CronJob/") {
			continue
		}
		for _, c := range l.containers {
			there[c.ID] = true
			b.count(c, now)
		}
	}
	for id := range b.of {
		if !there[id] {
			delete(b.of, id)
		}
	}
}

func (b *crashLoops) count(c container, now time.Time) {
	one := b.of[c.ID]
	if one == nil && c.Restarts == 0 {
		return
	}
	if one == nil {
		one = &crashLoop{}
		if b.of == nil {
			b.of = map[string]*crashLoop{}
		}
		b.of[c.ID] = one
	}
	if c.Restarts < one.base {
		one.base = 0 // Podman counts from 0 after each start by hand
	}
	if c.runs() && now.Sub(time.Unix(c.StartedAt, 0)) > wellAfter {
		*one = crashLoop{base: c.Restarts}
		return
	}
	free := freeRestarts
	if one.holds > 0 {
		free = 1
	}
	if c.Restarts-one.base < free || now.Before(one.until) {
		return
	}
	one.until = now.Add(min(longestHold, firstHold<<min(one.holds, 10)))
	one.holds++
	one.base, one.stop = c.Restarts, true
	select {
	case b.mailbox() <- struct{}{}:
	default:
	}
}

// reset lets all start again at once, as often as new ones.
func (b *crashLoops) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, one := range b.of {
		one.holds, one.until, one.stop = 0, time.Time{}, false
	}
}

func (b *crashLoops) mailbox() chan struct{} {
	if b.due == nil {
		b.due = make(chan struct{}, 1)
	}
	return b.due
}

// holds says until when a container is held; nothing if it isn't.
func (b *crashLoops) holds(id string, now time.Time) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	one := b.of[id]
	if one == nil || !now.Before(one.until) {
		return ""
	}
	return fmt.Sprintf("ends again and again: it is started again in %v", one.until.Sub(now).Round(time.Second))
}

// knows reports whether a container of l was held: it is started again without being a case for healing.
func (b *crashLoops) knows(l *livePod) bool {
	if l == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range l.containers {
		if one := b.of[c.ID]; one != nil && one.holds > 0 {
			return true
		}
	}
	return false
}

// next takes one that has to be ended, if there is one.
func (b *crashLoops) next() (id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, one := range b.of {
		if one.stop {
			one.stop = false
			return id
		}
	}
	return ""
}

// expires is how long nobody is released.
func (b *crashLoops) expires(now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	least := time.Hour
	for _, one := range b.of {
		if left := one.until.Sub(now); left > 0 {
			least = min(least, left)
		}
	}
	return least
}

// tendBrake ends containers that are to be held. When the time is over, it triggers a look, which starts them.
func (p *Podman) tendBrake(ctx context.Context) {
	p.crashLoops.mu.Lock()
	due := p.crashLoops.mailbox()
	p.crashLoops.mu.Unlock()
	release := time.NewTimer(time.Hour)
	defer release.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-release.C:
			p.woken()
		case <-due:
		}
		for id := p.crashLoops.next(); id != ""; id = p.crashLoops.next() {
			if err := p.hold(ctx, id); err != nil {
				p.Log.Warn("a container that ends again and again isn't held", "container", id, "err", err)
			}
		}
		release.Reset(p.crashLoops.expires(time.Now()))
	}
}

// hold ends a container so that Podman doesn't start it again. It may be between two lives.
func (p *Podman) hold(ctx context.Context, id string) error {
	var err error
	for range 20 {
		_, err = p.ask(ctx, request{method: http.MethodPost, endpoint: "/containers/%s/kill", names: []string{id}}, nil)
		state, seen := p.inspectContainer(ctx, id)
		switch {
		case seen != nil && strings.Contains(seen.Error(), "no such container"): // it was removed
			return nil
		case seen != nil || state.StoppedByUser && !state.Running:
			return seen
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	return err
}
