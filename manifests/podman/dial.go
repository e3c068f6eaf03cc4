package podman

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// Podman's service leaves when nobody asks, and Shepherd makes its socket again a moment later: between the two nobody can
// connect. On a loaded machine that takes longer than the three tries of the bindings.
const (
	absence   = 2 * time.Second
	dialAgain = 50 * time.Millisecond
)

// A lingering dialler waits for a socket that is about to come back. If it doesn't, only the first request waits for it.
type lingering struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu   sync.Mutex
	gone time.Time // since when nobody listens; zero: the last connection was made
}

// waitForSocket has a client of the bindings wait for a moment until somebody listens.
func waitForSocket(client *http.Client) {
	if t, is := client.Transport.(*http.Transport); is && t.DialContext != nil {
		d := &lingering{dial: t.DialContext}
		t.DialContext = d.connect
	}
}

func (d *lingering) connect(ctx context.Context, network, address string) (net.Conn, error) {
	for {
		conn, err := d.dial(ctx, network, address)
		if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.ENOENT) {
			d.came(err)
			return conn, err
		}
		if !d.returns() {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(dialAgain):
		}
	}
}

func (d *lingering) came(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		d.gone = time.Time{}
	}
}

// returns reports whether nobody listens for so short a time that somebody may again.
func (d *lingering) returns() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gone.IsZero() {
		d.gone = time.Now()
	}
	return time.Since(d.gone) < absence
}
