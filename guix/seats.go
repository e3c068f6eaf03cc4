package guix

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// Seats are for guixes that build: while one evaluates it takes a processor and some 350 MiB (guix 1.5.0, measured), so two
// of them are let in only where a machine has that twice, and as much again for what it is there for.
type seats struct {
	once sync.Once
	free chan struct{}
}

// take waits for a seat; stand gives it back.
func (s *seats) take(ctx context.Context) (stand func(), err error) {
	s.once.Do(func() { s.free = make(chan struct{}, seatsOf(runtime.NumCPU(), memory())) })
	select {
	case s.free <- struct{}{}:
		return func() { <-s.free }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for another guix to end: %w", context.Cause(ctx))
	}
}

func seatsOf(processors int, memory uint64) int {
	if processors < 2 || memory < 1400<<20 {
		return 1
	}
	return 2
}

// memory is how much the machine has; 0 if that can't be known.
func memory() uint64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	return uint64(info.Totalram) * uint64(info.Unit)
}
