package guix

import (
	"context"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The end of a process wakes once, and that of one that is watched no more doesn't.
func TestAVigilTellsOfTheEnd(t *testing.T) {
	v := NewVigil()
	ctx, stop := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { v.Run(ctx) })
	defer run.Wait()
	defer stop()

	wakes := func(what string) {
		t.Helper()
		select {
		case <-v.Woken():
		case <-time.After(20 * time.Second):
			t.Fatalf("nothing was told of the end of %s", what)
		}
	}
	former, first := spawned(t, "sleep 60", nil), spawned(t, "sleep 60", nil)
	v.keep(identify(former))
	v.keep(identify(first))
	_ = syscall.Kill(-former, syscall.SIGKILL)
	_ = syscall.Kill(-first, syscall.SIGKILL)
	wakes("the first")
	next := spawned(t, "sleep 60", nil)
	v.keep(identify(next))
	v.keep(identify(next)) // as each look does
	_ = syscall.Kill(-next, syscall.SIGKILL)
	wakes("the next")
	v.keep(identify(next)) // it has ended
	v.keep(process{})
	stop()
	run.Wait()
	select {
	case <-v.Woken():
		t.Error("it woke once more")
	default:
	}
}

// Who was a service of a Shepherd that has died isn't one of the next.
func TestWhoIsOrphaned(t *testing.T) {
	self, first, next := os.Getpid(), process{PID: 11, Start: "1"}, process{PID: 12, Start: "2"}
	for _, row := range []struct {
		name  string
		looks []process
		pids  []int
		want  bool
	}{
		{"run by hand", []process{first, next}, []int{0, 99}, false},
		{"a service", []process{first, first}, []int{self, self}, false},
		{"a service that the next Shepherd tries to start", []process{first, next}, []int{self, 0}, true},
		{"a service whose Shepherd can't be told", []process{first, {}}, []int{self, 0}, false},
		{"a service that the next Shepherd has started", []process{first, next}, []int{self, 99}, true},
	} {
		v, is := NewVigil(), false
		for i := range row.looks {
			is = v.orphaned(row.looks[i], row.pids[i])
		}
		if is != row.want {
			t.Errorf("%s: %t", row.name, is)
		}
	}
	if (*Vigil)(nil).orphaned(first, self) {
		t.Error("without a vigil")
	}
}

// A vigil over somebody who lives ends with its context.
func TestAVigilEnds(t *testing.T) {
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if p := identify(spawned(t, "sleep 60", nil)); p.ends(ctx) {
		t.Error("a process that lives has ended")
	}
}
