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
	tellAgain = 3 * time.Second        // for which one is repeated: Shepherd starts a forwarder anew that ended
	tellLook  = 100 * time.Millisecond // between two
)

// A switchboard is the forwarder as Collie speaks to it. It costs nothing as long as there is nothing to forward.
type Client struct {
	socket string
	some   chan struct{} // a mailbox of one: there is something to forward

	mu    sync.Mutex // held during an exchange, so that no table overtakes another
	table *Table     // what was told last; nil: nothing in this life, so what it does isn't known
}

func NewClient(socket string) *Client {
	return &Client{socket: socket, some: make(chan struct{}, 1)}
}

// A ForwarderError says that the forwarder didn't answer: no revision is to blame.
type ForwarderError struct {
	socket string
	err    error
}

func (e *ForwarderError) Error() string {
	return fmt.Sprintf("what forwards ports to pods doesn't answer at %s: %v; start it with `herd start collie-forward`, or where no Shepherd has it `collie --scope user forward`", e.socket, e.err)
}

func (e *ForwarderError) Unwrap() error { return e.err }

// AskForwarder tells what the forwarder at socket does, in a few words.
func AskForwarder(ctx context.Context, socket string) (string, error) {
	r, err := NewClient(socket).Ask(ctx)
	if err != nil {
		return "", err
	}
	links := 0
	for _, n := range r.Links {
		links += n
	}
	for _, d := range r.Doors {
		if d.Error != "" {
			return "", fmt.Errorf("it can't listen on %s: %s", foreign.Line(d.Listen, mostQuoted), foreign.Line(d.Error, mostQuoted))
		}
	}
	return fmt.Sprintf("%d ports, %d connections", len(r.Doors), links), nil
}

// spoke tells whether the forwarder was told anything in this life, so that what it does is known.
func (s *Client) Told() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.table != nil
}

// Assume takes t for all that is forwarded already.
func (s *Client) Assume(t Table) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.table = &t
}

// Tell makes t all that is forwarded. It is no news that nothing is.
func (s *Client) Tell(ctx context.Context, t Table) (Report, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	nothing := len(t.Doors) == 0
	if nothing && s.table != nil && len(s.table.Doors) == 0 {
		return Report{}, nil
	}
	s.table = &t
	if !nothing {
		select {
		case s.some <- struct{}{}:
		default:
		}
	}
	for begun := time.Now(); ; {
		r, err := s.say(ctx, order{&t})
		if err == nil {
			return r, nil
		}
		var dial *net.OpError
		silent := new(ForwarderError)
		switch {
		case nothing && errors.As(err, &dial) && dial.Op == "dial":
			return Report{}, nil // who isn't there forwards nothing
		case !errors.As(err, &silent) || time.Since(begun) > tellAgain || ctx.Err() != nil:
			s.table = nil
			return Report{}, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(tellLook):
		}
	}
}

// Ask asks for a report, and changes nothing.
func (s *Client) Ask(ctx context.Context) (Report, error) { return s.say(ctx, order{}) }

// say makes one exchange on a connection of its own.
func (s *Client) say(ctx context.Context, o order) (Report, error) {
	conn, r, err := s.open(ctx, o)
	if err == nil {
		conn.Close()
	}
	return r, err
}

// open says o, and returns the answer with the connection. Who answers is the pod user: it is bounded, and has a deadline.
func (s *Client) open(ctx context.Context, o order) (net.Conn, Report, error) {
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	defer waits.For(ctx, "the forwarder of ports at "+s.socket)()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", s.socket)
	if err != nil {
		return nil, Report{}, &ForwarderError{s.socket, err}
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	var r Report
	err = errors.Join(writeLine(conn, o), readLine(bufio.NewReader(conn), &r))
	switch {
	case !stop():
		err = &ForwarderError{s.socket, context.Cause(ctx)}
	case err != nil:
		err = &ForwarderError{s.socket, err}
	case r.Error != "":
		err = fmt.Errorf("what forwards ports to pods refuses its table: %s", foreign.Line(r.Error, mostQuoted))
	}
	if err != nil {
		conn.Close()
		return nil, Report{}, err
	}
	return conn, r, nil
}

// Watch tells a forwarder that was started anew the table again, until ctx ends, and says so.
func (s *Client) Watch(ctx context.Context, lost func()) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.some:
		}
		for again := false; s.attend(ctx, again, lost); again = true {
			select {
			case <-ctx.Done():
			case <-time.After(tellLook):
			}
		}
	}
}

// attend tells the table and stays connected until the forwarder ends. It returns false if there is nothing to forward.
func (s *Client) attend(ctx context.Context, again bool, lost func()) bool {
	s.mu.Lock()
	if ctx.Err() != nil || s.table == nil || len(s.table.Doors) == 0 {
		s.mu.Unlock()
		return false
	}
	conn, _, err := s.open(ctx, order{s.table})
	s.mu.Unlock()
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
