package podman

import (
	"context"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestDialWaitsForASocketThatComesBack(t *testing.T) {
	for _, row := range []struct {
		name   string
		fails  error
		back   time.Duration // when somebody listens again
		first  time.Duration // how long the first connection takes
		second time.Duration
		ok     bool // the first was made
	}{
		{"listens", syscall.ECONNREFUSED, 0, 0, 0, true},
		{"leaves", syscall.ECONNREFUSED, 1200 * time.Millisecond, 1200 * time.Millisecond, 0, true},
		{"its socket is made again", syscall.ENOENT, time.Second, time.Second, 0, true},
		{"stays away", syscall.ECONNREFUSED, time.Hour, absence, 0, false},
		{"is forbidden", syscall.EACCES, time.Second, 0, 0, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				d := &lingering{dial: func(context.Context, string, string) (net.Conn, error) {
					if time.Since(began) < row.back {
						return nil, &net.OpError{Op: "dial", Err: row.fails}
					}
					ours, theirs := net.Pipe()
					_ = theirs.Close()
					return ours, nil
				}}
				connect := func(want time.Duration) error {
					at := time.Now()
					conn, err := d.connect(t.Context(), "unix", "socket")
					if took := time.Since(at); took != want {
						t.Errorf("it took %v, want %v", took, want)
					}
					if err == nil {
						_ = conn.Close()
					}
					return err
				}
				if err := connect(row.first); (err == nil) != row.ok {
					t.Errorf("connecting: %v", err)
				}
				_ = connect(row.second)
			})
		})
	}
}
