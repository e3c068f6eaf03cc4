package guix

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestSeats(t *testing.T) {
	for _, test := range []struct {
		processors int
		memory     uint64
		want       int
	}{
		{1, 8 << 30, 1},
		{2, 1 << 30, 1},
		{2, 2 << 30, 2},
		{64, 256 << 30, 2}, // nothing more is there to be built at once
		{2, 0, 1},
	} {
		if got := seatsOf(test.processors, test.memory); got != test.want {
			t.Errorf("%d processors, %d MiB: %d seats, want %d", test.processors, test.memory>>20, got, test.want)
		}
	}
}

func TestASeatIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := seats{free: make(chan struct{}, 1)}
		s.once.Do(func() {})
		stand, err := s.take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.take(ctx); err == nil {
			t.Error("two sit on one seat")
		}
		time.AfterFunc(time.Second, stand)
		if stand, err = s.take(t.Context()); err != nil {
			t.Fatal(err)
		}
		stand()
	})
}
