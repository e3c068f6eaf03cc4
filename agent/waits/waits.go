// Package waits tells whom a piece of work waits for. Whatever asks somebody outside of the process says so, and status shows
// what has taken long.
//
// It knows nothing of who is asked. A piece of work without a board, such as a test's, is not noted.
package waits

import (
	"context"
	"sync"
	"time"
)

// Long is how long an answer may take before the status shows whom is waited for.
const Long = 5 * time.Second

// A Board has the questions of one piece of work that have no answer yet. The zero Board is ready, for many goroutines.
type Board struct {
	mu   sync.Mutex
	open map[*question]bool
	last time.Time // when the last answer came
}

type question struct {
	whom  string
	since time.Time
}

type boardKey struct{}

// On returns a context whose questions are noted on b.
func (b *Board) On(ctx context.Context) context.Context { return context.WithValue(ctx, boardKey{}, b) }

// For notes that somebody is asked something, until answered is called.
func For(ctx context.Context, whom string) (answered func()) {
	b, has := ctx.Value(boardKey{}).(*Board)
	if !has {
		return func() {}
	}
	q := &question{whom, time.Now()}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open == nil {
		b.open = map[*question]bool{}
	}
	b.open[q] = true
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.open, q)
		b.last = time.Now()
	}
}

// Mute is for how long work that began at since has asked nobody and been answered by nobody: whoever is at work has a question
// open, or is held by something that has no deadline, as a system call.
func (b *Board) Mute(since time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.open) > 0 {
		return 0
	}
	if b.last.After(since) {
		since = b.last
	}
	return time.Since(since)
}

// Whom is who has been asked for long without an answer, and since when; nobody if there is none. Of several it is the one that
// was asked last: others may wait for that.
func (b *Board) Whom() (whom string, since time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for q := range b.open {
		if time.Since(q.since) >= Long && q.since.After(since) {
			whom, since = q.whom, q.since
		}
	}
	return whom, since
}
