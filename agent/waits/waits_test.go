package waits

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestWhomIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Board
		ctx := b.On(t.Context())
		begun := time.Now()
		is := func(when, want string, since time.Time) {
			t.Helper()
			if got, at := b.Whom(); got != want || !at.Equal(since) {
				t.Errorf("%s: %q since %v, want %q since %v", when, got, at, want, since)
			}
		}
		pods := For(ctx, "pods to be ready")
		time.Sleep(Long - time.Millisecond)
		is("not long yet", "", time.Time{})
		time.Sleep(time.Millisecond)
		is("after a while", "pods to be ready", begun)
		podman := For(ctx, "Podman")
		time.Sleep(Long)
		is("another that was asked meanwhile", "Podman", begun.Add(Long))
		podman()
		is("when that one has answered", "pods to be ready", begun)
		pods()
		pods()
		is("when all have", "", time.Time{})
	})
}

func TestWorkWithoutABoard(t *testing.T) {
	For(context.Background(), "nobody")()
}
