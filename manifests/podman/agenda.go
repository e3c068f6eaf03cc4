package podman

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// An agenda does things when they are due, in that order, and a limited number at a time. A thing that waits for its turn isn't
// lost, and none is done twice at a time.
type agenda struct {
	most int // at a time

	mu    sync.Mutex
	queue entries
	busy  int
	stir  chan struct{} // a mailbox of one
}

// An entry is one thing to do. It is on the agenda once at most.
type entry struct {
	do func(context.Context) // in a goroutine of its own

	at    time.Time
	index int // in the queue, from 1; 0: it isn't on the agenda
}

func newAgenda(most int) *agenda { return &agenda{most: most, stir: make(chan struct{}, 1)} }

// set puts e on the agenda, or moves it.
func (a *agenda) set(e *entry, at time.Time) {
	a.mu.Lock()
	e.at = at
	if e.index > 0 {
		heap.Fix(&a.queue, e.index-1)
	} else {
		heap.Push(&a.queue, e)
	}
	first := a.queue[0] == e
	a.mu.Unlock()
	if first {
		a.wake()
	}
}

// drop takes e from the agenda. If it is being done already, it is done to its end.
func (a *agenda) drop(e *entry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e.index > 0 {
		heap.Remove(&a.queue, e.index-1)
	}
}

func (a *agenda) wake() {
	select {
	case a.stir <- struct{}{}:
	default:
	}
}

// run does what is due until ctx ends, and then waits for what it began.
func (a *agenda) run(ctx context.Context) {
	var begun sync.WaitGroup
	defer begun.Wait()
	due := time.NewTimer(0)
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.stir:
		case <-due.C:
		}
		e, next := a.next(time.Now())
		for ; e != nil; e, next = a.next(time.Now()) {
			do := e.do
			begun.Go(func() {
				defer a.done()
				do(ctx)
			})
		}
		due.Reset(next)
	}
}

// next takes what is due, or says how long nothing is.
func (a *agenda) next(now time.Time) (*entry, time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case len(a.queue) == 0 || a.busy == a.most: // set or done will wake it
		return nil, time.Hour
	case a.queue[0].at.After(now):
		return nil, a.queue[0].at.Sub(now)
	}
	a.busy++
	return heap.Pop(&a.queue).(*entry), 0
}

func (a *agenda) done() {
	a.mu.Lock()
	a.busy--
	a.mu.Unlock()
	a.wake()
}

// entries are a heap, by time.
type entries []*entry

func (q entries) Len() int           { return len(q) }
func (q entries) Less(i, j int) bool { return q[i].at.Before(q[j].at) }

func (q entries) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i+1, j+1
}

func (q *entries) Push(e any) {
	*q = append(*q, e.(*entry))
	e.(*entry).index = len(*q)
}

func (q *entries) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	e.index = 0
	return e
}
