package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLogsComeAsTheyAreWritten(t *testing.T) {
	var asked LogQuery
	seen := make(chan struct{})
	c := serve(t, Agent{Logs: func(_ context.Context, q LogQuery, w io.Writer) error {
		asked = q
		fmt.Fprintln(w, "first")
		<-seen // the client has it before there is more
		fmt.Fprintln(w, "second")
		return nil
	}})
	var got strings.Builder
	err := c.Logs(t.Context(), LogQuery{Revision: "a&b", Lines: 7, Follow: true}, writerFunc(func(p []byte) (int, error) {
		if got.Len() == 0 {
			close(seen)
		}
		return got.Write(p)
	}))
	if err != nil || got.String() != "first\nsecond\n" {
		t.Errorf("got %q, %v", got.String(), err)
	}
	if want := (LogQuery{"a&b", 7, true}); asked != want {
		t.Errorf("the agent was asked for %+v, want %+v", asked, want)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestLogsThatFail(t *testing.T) {
	c := serve(t, Agent{Logs: func(_ context.Context, q LogQuery, w io.Writer) error {
		if q.Revision == "late" {
			fmt.Fprintln(w, "first")
		}
		return errors.New("no such revision: look at the history")
	}})
	for revision, want := range map[string]string{
		"none": "no such revision: look at the history",
		"late": "the agent at " + c.Socket + ": unexpected EOF", // what came isn't taken for all
	} {
		if err := c.Logs(t.Context(), LogQuery{Revision: revision}, io.Discard); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", revision, err, want)
		}
	}
	for _, lines := range []string{"0", "-1", "x", "10001"} {
		code, _, says := ask(t, c, "GET", "/v1/logs?lines="+lines, "", "")
		if code != 400 || says != fmt.Sprintf("lines: %q is no number from 1 to 10000\n", lines) {
			t.Errorf("%s lines: %d, %s", lines, code, says)
		}
	}
}

// Whoever follows doesn't keep the agent from stopping, and is told of a hang-up.
func TestFollowingEnds(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	following := make(chan context.Context, 2)
	agent := Agent{Logs: func(ctx context.Context, _ LogQuery, w io.Writer) error {
		fmt.Fprintln(w, "first")
		following <- ctx
		<-ctx.Done()
		return nil
	}}
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, []net.Listener{l}, agent, slog.New(slog.DiscardHandler)) }()
	c := Client{Socket: socket}

	leaving, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		left <- c.Logs(leaving, LogQuery{Follow: true}, writerFunc(func(p []byte) (int, error) {
			leave()
			return len(p), nil
		}))
	}()
	its := <-following
	if err := <-left; err != nil {
		t.Errorf("a client that leaves: %v", err)
	}
	<-its.Done()

	stayed := make(chan error, 1)
	go func() { stayed <- c.Logs(t.Context(), LogQuery{Follow: true}, io.Discard) }()
	<-following
	stop()
	if err := <-stayed; err != nil {
		t.Errorf("a client whose agent stops: %v", err)
	}
	if err := <-served; err != nil {
		t.Errorf("the stop: %v", err)
	}
}

// What a request may take is longer than what its bytes may.
func TestASlowAnswerComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const slow = time.Minute
		for name, agent := range map[string]Agent{
			"sync": {Sync: func(ctx context.Context) (Synced, error) { return Synced{"a"}, sleep(ctx, slow) }},
			"logs": {Logs: func(ctx context.Context, _ LogQuery, _ io.Writer) error { return sleep(ctx, slow) }},
		} {
			l := &pipeListener{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
			ctx, stop := context.WithCancel(t.Context())
			served := make(chan error, 1)
			go func() { served <- Serve(ctx, []net.Listener{l}, agent, slog.New(slog.DiscardHandler)) }()
			ours, theirs := net.Pipe()
			l.conns <- theirs
			method := map[string]string{"sync": "POST", "logs": "GET"}[name]
			fmt.Fprintf(ours, "%s /v1/%s HTTP/1.1\r\nHost: collie\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", method, name)
			answer, err := io.ReadAll(ours)
			if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200 ") {
				t.Errorf("%s: %q, %v", name, answer, err)
			}
			stop()
			<-served
		}
	})
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// A pipeListener accepts what it is given: with a fake clock nothing may wait for the kernel.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { close(l.closed); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{} }
