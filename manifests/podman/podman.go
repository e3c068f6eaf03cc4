package podman

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/containers/podman/v5/pkg/bindings"

	"example.org/collie/agent/waits"
	"example.org/collie/manifests/forward"
)

// Every request has a deadline, and every answer a maximal size: the API belongs to the pod user and isn't trusted.
const (
	maxComplain = 2 << 10 // characters of an error text

	quick = 30 * time.Second // lists, inspections, small writes
	// The rest waits for others: an image, a container's grace, an init container. The caller's deadline is usually shorter.
	longPull  = 30 * time.Minute
	longPlay  = 2 * time.Minute
	longStart = 5 * time.Minute
	longStop  = 10 * time.Minute

	// However many questions it takes.
	wholeLook = 2 * time.Minute  // to look at all pods
	wholeKeep = 20 * time.Minute // to stop and remove what nobody needs
)

// A Podman is one user's Podman, reached by the socket of its API.
type Podman struct {
	Rules   Rules
	Account func() (Account, error) // whose it is; it may come later. nil: that isn't known, so nothing of theirs is watched or repaired
	Log     *slog.Logger            // for what is done in addition to requests

	socket string
	alive  func(pid int) bool
	steady time.Duration // for which a pod has to run before it is ready
	wake   chan struct{} // a mailbox of one
	lists  chan struct{} // holds a token for each list of containers that is being read
	ports  *forward.Client
	jobs   *jobHistory

	mu      sync.Mutex
	conn    *bindings.Connection // nil until the API first answered
	blind   error                // why its files aren't watched
	pids    []int                // of our containers, as the last look saw them
	bridged bool                 // whether one ran in the network that pods share, then
	missed  []ailment            // the parts of that network that were gone then
	minded  map[int]int          // pidfds of what the network needs, by pid
	publish string               // which containers had host ports when these were looked for
	half    map[int]bool         // host ports that are accepted, and lead nowhere

	routes   forward.Report // what the forwarder said at the last look
	unrouted error          // that it didn't

	inventory   inventory
	healBackoff healBackoff
	crashLoops  crashLoops
	ends        ends
	prober      *prober

	starts sync.RWMutex // held for reading while a pod is started, and for writing while what is left of starts is repaired

	secrets sync.Mutex      // held while secrets are made or removed
	fresh   map[string]bool // secrets of the newest Prepare: its caller may not have saved yet who needs them
}

// Connect returns the Podman whose API listens at socket. It connects at the first call, and again whenever it must: the
// service may come and go.
func Connect(socket string) *Podman {
	p := &Podman{socket: socket, prober: newProber(), Log: slog.New(slog.DiscardHandler), alive: processExists, steady: defaultSteady, wake: make(chan struct{}, 1), lists: make(chan struct{}, listsAtOnce), jobs: newJobHistory(), blind: errors.New("not watched yet"),
		ports: forward.NewClient(filepath.Join(filepath.Dir(socket), "forward.sock"))}
	p.prober.ask, p.prober.end, p.prober.wake = p.askContainer, p.endContainer, p.woken
	p.prober.tell = func(says string, attributes ...any) { p.Log.Warn(says, attributes...) }
	return p
}

// processExists reports whether pid lives. One of another user's can't be signalled, but is there.
func processExists(pid int) bool {
	return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

// connection returns the one connection; it is safe for many callers, and dials again by itself.
func (p *Podman) connection(ctx context.Context) (*bindings.Connection, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn != nil {
		return p.conn, nil
	}
	ctx, cancel := withLimit(ctx, quick)
	defer cancel()
	uri := url.URL{Scheme: "unix", Path: p.socket}
	defer waits.For(ctx, "Podman, to connect to "+p.socket)()
	connected, err := bindings.NewConnection(ctx, uri.String())
	if err != nil {
		return nil, p.silent(ctx, err)
	}
	if v := bindings.ServiceVersion(connected); v.Major < 4 || v.Major == 4 && v.Minor < 8 {
		return nil, fmt.Errorf("the Podman at %s is version %s: Collie needs 4.8 or newer", p.socket, v)
	}
	conn, err := bindings.GetClient(connected)
	if err != nil {
		return nil, fmt.Errorf("asking the Podman bindings for their connection: %w", err)
	}
	waitForSocket(conn.Client)
	conn.Client.Transport = once{conn.Client.Transport}
	p.conn = conn
	return conn, nil
}

// A SilentError says that the API didn't answer: no revision is to blame.
type SilentError struct {
	Socket string
	Err    error
}

func (e *SilentError) Error() string {
	return fmt.Sprintf("the Podman API at %s doesn't answer: %v", e.Socket, e.Err)
}

func (e *SilentError) Unwrap() error { return e.Err }

// An EngineError says that Podman itself doesn't do what it is asked, be it that it is broken, or that its user wants it so: no
// revision, no registry and nothing else on the machine is to blame.
type EngineError struct{ Err error }

func (e *EngineError) Error() string { return e.Err.Error() }
func (e *EngineError) Unwrap() error { return e.Err }

// withLimit is a context with a deadline that a person can read.
func withLimit(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %v", limit))
}

// silent drops the wrapping of HTTP, which tells a user nothing.
func (p *Podman) silent(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return &SilentError{p.socket, context.Cause(ctx)}
	}
	var of *url.Error
	if errors.As(err, &of) {
		err = of.Err
	}
	return &SilentError{p.socket, err}
}
