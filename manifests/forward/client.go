package forward

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"example.org/collie/agent/foreign"
	"example.org/collie/agent/waits"
)

const (
	tellTime  = 5 * time.Second        // for an exchange with the forwarder
	tellAgain = 3 * time.Second        // for which a request is repeated: Shepherd restarts a forwarder that ended
	tellLook  = 100 * time.Millisecond // between two
)

// A Client speaks to the forwarder at a socket. It costs nothing as long as there is nothing to forward.
type Client struct {
	socket string
	some   chan struct{} // a mailbox of one: there is something to forward

	mu    sync.Mutex // held during an exchange, so that no table overtakes another
	table *Table     // what was sent last; nil: nothing in this life, so its state isn't known
}

// NewClient returns one that hasn't said anything yet.
func NewClient(socket string) *Client {
	return &Client{socket: socket, some: make(chan struct{}, 1)}
}

// An Error says that the forwarder didn't answer: no revision is to blame.
type Error struct {
	socket string
	err    error
}

func (e *Error) Error() string {
	return fmt.Sprintf("what forwards ports to pods doesn't answer at %s: %v; start it with `herd start collie-forward`, or where no Shepherd has it `collie --scope user forward`", e.socket, e.err)
}

func (e *Error) Unwrap() error { return e.err }

// Told reports whether the forwarder got a table in this life, so that its state is known.
func (c *Client) Told() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.table != nil
}

// Assume takes t for all that is forwarded already.
func (c *Client) Assume(t Table) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.table = &t
}

// Tell makes t all that is forwarded. It is no news that nothing is.
func (c *Client) Tell(ctx context.Context, t Table) (Report, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	nothing := len(t.Listeners) == 0
	if nothing && c.table != nil && len(c.table.Listeners) == 0 {
		return Report{}, nil
	}
	c.table = &t
	if !nothing {
		select {
		case c.some <- struct{}{}:
		default:
		}
	}
	for begun := time.Now(); ; {
		r, err := c.say(ctx, request{&t})
		if err == nil {
			return r, nil
		}
		var dial *net.OpError
		silent := new(Error)
		switch {
		case nothing && errors.As(err, &dial) && dial.Op == "dial":
			return Report{}, nil // who isn't there forwards nothing
		case !errors.As(err, &silent) || time.Since(begun) > tellAgain || ctx.Err() != nil:
			c.table = nil
			return Report{}, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(tellLook):
		}
	}
}

// Ask asks for a report, and changes nothing.
func (c *Client) Ask(ctx context.Context) (Report, error) { return c.say(ctx, request{}) }

// Describe says in a few words what the forwarder does.
func (c *Client) Describe(ctx context.Context) (string, error) {
	r, err := c.Ask(ctx)
	if err != nil {
		return "", err
	}
	links := 0
	for _, n := range r.Links {
		links += n
	}
	for _, d := range r.Listeners {
		if d.Error != "" {
			return "", fmt.Errorf("it can't listen on %s: %s", foreign.Line(d.Listen, mostQuoted), foreign.Line(d.Error, mostQuoted))
		}
	}
	return fmt.Sprintf("%d ports, %d connections", len(r.Listeners), links), nil
}

// say makes one exchange on a connection of its own.
func (c *Client) say(ctx context.Context, o request) (Report, error) {
	conn, r, err := c.open(ctx, o)
	if err == nil {
		conn.Close()
	}
	return r, err
}

// open says o, and returns the answer with the connection. The pod user answers, so the answer is bounded and has a deadline.
func (c *Client) open(ctx context.Context, o request) (net.Conn, Report, error) {
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	defer waits.For(ctx, "the forwarder of ports at "+c.socket)()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", c.socket)
	if err != nil {
		return nil, Report{}, &Error{c.socket, err}
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	var r Report
	err = errors.Join(writeLine(conn, o), readLine(bufio.NewReader(conn), &r))
	switch {
	case !stop():
		err = &Error{c.socket, context.Cause(ctx)}
	case err != nil:
		err = &Error{c.socket, err}
	case r.Error != "":
		err = fmt.Errorf("what forwards ports to pods refuses its table: %s", foreign.Line(r.Error, mostQuoted))
	}
	if err != nil {
		conn.Close()
		return nil, Report{}, err
	}
	return conn, r, nil
}

// Watch sends the table again to a forwarder that was restarted, and reports that, until ctx ends.
func (c *Client) Watch(ctx context.Context, lost func()) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.some:
		}
		for again := false; c.attend(ctx, again, lost); again = true {
			select {
			case <-ctx.Done():
			case <-time.After(tellLook):
			}
		}
	}
}

// attend sends the table and remains connected until the forwarder ends. It returns false if there is nothing to forward.
func (c *Client) attend(ctx context.Context, again bool, lost func()) bool {
	c.mu.Lock()
	if ctx.Err() != nil || c.table == nil || len(c.table.Listeners) == 0 {
		c.mu.Unlock()
		return false
	}
	conn, _, err := c.open(ctx, request{c.table})
	c.mu.Unlock()
	if err != nil {
		return true
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if again {
		lost()
	}
	_, _ = conn.Read(make([]byte, 1)) // nothing comes but the end
	return true
}
