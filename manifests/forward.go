package manifests

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

const tellTime = 5 * time.Second

// A forwarding is the forwarder as Collie speaks to it.
type forwarding struct {
	socket string
}

// A forwarderError says that the forwarder didn't answer: no revision is to blame.
type forwarderError struct {
	socket string
	err    error
}

func (e *forwarderError) Error() string {
	return fmt.Sprintf("what forwards ports to pods doesn't answer at %s: %v; start it with `herd start collie-forward`", e.socket, e.err)
}

func (e *forwarderError) Unwrap() error { return e.err }

// AskForwarder tells what the forwarder at socket does, in a few words.
func AskForwarder(ctx context.Context, socket string) (string, error) {
	r, err := (&forwarding{socket: socket}).say(ctx, order{})
	if err != nil {
		return "", err
	}
	links := 0
	for _, n := range r.Links {
		links += n
	}
	for _, d := range r.Doors {
		if d.Error != "" {
			return "", fmt.Errorf("it can't listen on %s: %s", clip(d.Listen), clip(d.Error))
		}
	}
	return fmt.Sprintf("%d ports, %d connections", len(r.Doors), links), nil
}

// say makes one exchange on a connection of its own. What answers is the pod user's: it is bounded, and has a deadline.
func (f *forwarding) say(ctx context.Context, o order) (report, error) {
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", f.socket)
	if err != nil {
		return report{}, &forwarderError{f.socket, err}
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	return f.exchange(conn, bufio.NewReader(conn), o)
}

func (f *forwarding) exchange(conn net.Conn, in *bufio.Reader, o order) (report, error) {
	var r report
	if err := errors.Join(writeLine(conn, o), readLine(in, &r)); err != nil {
		return report{}, &forwarderError{f.socket, err}
	}
	if r.Error != "" {
		return report{}, fmt.Errorf("what forwards ports to pods refuses its table: %s", clip(r.Error))
	}
	return r, nil
}
