package guix

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"example.org/collie/agent/waits"
	"example.org/collie/shepherd"
)

// A Shepherd that is there and says nothing is waited for within a switch, for as long as the patience lasts. Then the switch
// fails. Who is to blame follows from what the switch had asked it to do by then, and from what its process does:
//
//	Shepherd fell silent                 its process                          the commit
//	before it was asked to do anything   whatever it does                     isn't at fault
//	later                                is stopped or traced, waits for a    isn't at fault
//	                                     disk, or has ended
//	later                                runs, or sleeps, or isn't known      is bad: what Shepherd was asked to do
//	                                                                          keeps it, as a constructor that never returns
//
// In each case the way back waits for Shepherd without end, as nothing else could be done. A bad commit is not tried again, so
// it doesn't block Shepherd a second time.

// patient are the services for a switch.
func (s *services) patient(patience time.Duration) *services {
	client, waiting := *s.shepherd, *s
	client.Patience = patience
	waiting.shepherd = &client
	return &waiting
}

// excuse makes an error transient if it is silence that isn't the fault of what the switch did.
func (s *services) excuse(err error) error {
	if passes := (*TransientError)(nil); !errors.Is(err, shepherd.ErrSilent) || errors.As(err, &passes) {
		return err
	}
	if s.asked == "" || s.halted() {
		return asTransient(err)
	}
	return fmt.Errorf("since %s, Shepherd has said nothing: does the start or stop of a service never return? %w", s.asked, err)
}

// halted reports whether Shepherd's process is kept by something from outside, or gone.
func (s *services) halted() bool {
	pid := 1
	if !s.whole {
		kept, err := readStarted(s.started)
		if err != nil || kept.Family.Shepherd.PID == 0 {
			return false
		}
		if pid = kept.Family.Shepherd.PID; !kept.Family.Shepherd.alive() {
			return true
		}
	}
	does := s.does
	if does == nil {
		does = processDoes
	}
	return strings.Contains("TtDXZ", does(pid))
}

// processDoes is the kernel's letter for what a process does; proc_pid_stat(5) has them.
func processDoes(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if err != nil || len(fields) == 0 {
		return "X"
	}
	return fields[0]
}

// heard runs a guix that speaks with Shepherd, and ends it if that is silent for longer than the patience.
func (s *services) heard(ctx context.Context, guix func(context.Context) (outcome, error)) (outcome, error) {
	s.asked = "guix began the switch"
	return s.beside(ctx, waits.Long, guix, func(_ []shepherd.Service, unseen error) error { return unseen })
}

// beside runs a guix while look checks the services. It ends the guix if look says so, or if Shepherd was silent for too long.
func (s *services) beside(ctx context.Context, every time.Duration, guix func(context.Context) (outcome, error), look func(all []shepherd.Service, unseen error) error) (outcome, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			all, err := s.shepherd.Services(ctx)
			if err != nil && !errors.Is(err, shepherd.ErrSilent) {
				continue
			}
			if end := look(all, err); end != nil {
				cancel(end)
			}
		}
	})
	out, err := guix(ctx)
	cancel(nil)
	watch.Wait()
	return out, err
}
