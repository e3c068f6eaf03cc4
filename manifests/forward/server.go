package forward

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of the forwarder.
const (
	mostControls    = 16    // conversations at a time: an agent has two
	mostOfAListener = 4_096 // connections
	filesOfALink    = 6     // files that a connection takes: two ends, and two pipes while bytes go each way
	otherFiles      = 256   // for listeners and conversations

	dialTime = 5 * time.Second
	dialLook = 50 * time.Millisecond // between two tries to reach a backend that doesn't answer
)

// A Server listens on ports of the machine for pods, and forwards each connection to where its pod is reached. It is a
// process of its own with the rights of the pods' user, so that connections outlive the agent. It knows nothing of pods
// and keeps nothing: the agent tells it the table, again and again.
type Server struct {
	log  *slog.Logger
	hold time.Duration // for which a connection waits for a backend, and a listener without one takes any
	last time.Duration // for which a client may say nothing after its backend is done
	idle time.Duration // after which it ends, if there is nothing to forward
	most int           // connections of a listener, including those that wait; more wait in the kernel's queue
	all  chan struct{} // room for those of all listeners

	work sync.WaitGroup // listeners and connections

	mu        sync.Mutex
	listeners map[string]*openListener // by the address
	links     map[string]int           // open connections, by the address of their backend
}

// An openListener is a listener with its state. The forwarder's mutex guards the fields that aren't atomic.
type openListener struct {
	Listener
	changed  chan struct{}    // closed when the backend is another one
	bare     time.Time        // since when it has had no backend
	listener *net.TCPListener // nil: err says why
	err      error
	end      context.CancelFunc // of those who wait

	room        chan struct{}
	held        atomic.Int64
	taken, lost atomic.Uint64
}

// mostLinks is how many connections the process has files for. One listener doesn't take those of all others, and none those of the
// agent's conversation.
func mostLinks() int {
	const least = 64
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return least
	}
	return max(least, (int(min(files.Cur, 1<<20))-otherFiles)/filesOfALink)
}

// NewServer returns one that forwards nothing yet.
func NewServer(log *slog.Logger) *Server {
	all := mostLinks()
	return &Server{log: log, hold: 30 * time.Second, last: time.Minute, idle: 10 * time.Second, most: min(mostOfAListener, all/2), all: make(chan struct{}, all),
		listeners: map[string]*openListener{}, links: map[string]int{}}
}

// Serve takes tables from control until ctx ends, or there has been nothing to forward for a while. Then all connections end.
func (f *Server) Serve(ctx context.Context, control net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer f.work.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { control.Close() })()
	f.work.Go(func() {
		f.untilIdle(ctx)
		cancel()
	})
	room := make(chan struct{}, mostControls)
	err := acceptAll(ctx, control, room, func(conn net.Conn) {
		f.work.Go(func() {
			defer func() { <-room }()
			f.converse(ctx, conn)
		})
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// acceptAll takes connections while there is room, until the listener is closed. Other errors, such as too many open
// files, are transient.
func acceptAll(ctx context.Context, l net.Listener, room chan struct{}, take func(net.Conn)) error {
	const most = time.Second
	pause := time.Millisecond
	for {
		select {
		case <-ctx.Done():
			return nil
		case room <- struct{}{}:
		}
		conn, err := l.Accept()
		if err == nil {
			pause = time.Millisecond
			take(conn)
			continue
		}
		<-room
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		pause = min(2*pause, most)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// untilIdle returns when there has been no listener and no connection for a while.
func (f *Server) untilIdle(ctx context.Context) {
	look := time.NewTicker(f.idle)
	defer look.Stop()
	for idle := 0; idle < 2; {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		f.mu.Lock()
		idle++
		if len(f.listeners)+len(f.links) > 0 {
			idle = 0
		}
		f.mu.Unlock()
	}
}

// converse answers one agent until it goes away.
func (f *Server) converse(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	in := bufio.NewReader(conn)
	for {
		var o request
		if err := readLine(in, &o); err != nil {
			if !errors.Is(err, io.EOF) && ctx.Err() == nil {
				_ = writeLine(conn, Report{Error: "reading the table: " + err.Error()}) // the agent may be gone
			}
			return
		}
		if err := writeLine(conn, f.obey(ctx, o)); err != nil {
			return
		}
	}
}

// obey makes a table all that is forwarded, and reports. Connections go on as they are.
func (f *Server) obey(ctx context.Context, o request) Report {
	if o.Table != nil {
		if err := o.Table.Check(); err != nil {
			return Report{Error: err.Error()}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if o.Table != nil {
		f.apply(ctx, *o.Table)
	}
	r := Report{Links: maps.Clone(f.links)}
	for _, listen := range slices.Sorted(maps.Keys(f.listeners)) {
		r.Listeners = append(r.Listeners, f.listeners[listen].report())
	}
	return r
}

func (f *Server) apply(ctx context.Context, t Table) {
	wanted := map[string]bool{}
	for _, d := range t.Listeners {
		wanted[d.Listen] = true
	}
	for listen, d := range f.listeners { // first, as one for all addresses may take the place of one for a single one
		if !wanted[listen] {
			f.shut(d)
		}
	}
	for _, want := range t.Listeners {
		d := f.listeners[want.Listen]
		if d == nil {
			d = &openListener{Listener: Listener{Listen: want.Listen}, changed: make(chan struct{}), bare: time.Now(), room: make(chan struct{}, f.most)}
			f.listeners[want.Listen] = d
		}
		if d.listener == nil {
			f.open(ctx, d)
		}
		f.lead(d, want.Backend)
	}
}

// open begins to listen. That fails while someone else does; then it is tried again with the next table.
func (f *Server) open(ctx context.Context, d *openListener) {
	network := "tcp"
	if ip, _, _ := splitListen(d.Listen); ip.Is4() {
		network = "tcp4" // 0.0.0.0 isn't all
	}
	l, err := net.Listen(network, d.Listen)
	if d.err = err; err != nil {
		return
	}
	d.listener = l.(*net.TCPListener)
	waits, end := context.WithCancel(ctx)
	d.end = end
	f.log.Info("listening", "on", d.Listen)
	f.work.Go(func() {
		_ = acceptAll(waits, l, d.room, func(conn net.Conn) { // it was shut
			select {
			case f.all <- struct{}{}:
			case <-waits.Done():
				conn.Close()
				<-d.room
				return
			}
			f.work.Go(func() {
				defer func() { <-f.all; <-d.room }()
				f.serve(ctx, waits, d, conn.(*net.TCPConn))
			})
		})
	})
	context.AfterFunc(waits, func() { l.Close() })
}

func (f *Server) shut(d *openListener) {
	delete(f.listeners, d.Listen)
	if d.listener == nil {
		return
	}
	d.listener.Close() // at once: someone else may be about to listen
	d.end()
	f.log.Info("not listening any more", "on", d.Listen)
}

// lead sends who comes from now on, and who waits, to another backend.
func (f *Server) lead(d *openListener, to Backend) {
	if d.Backend == to {
		return
	}
	f.log.Info("forwarding", "from", d.Listen, "to", to.Address, "proxy", to.Proxy)
	if d.Backend = to; to == (Backend{}) {
		d.bare = time.Now()
	}
	close(d.changed)
	d.changed = make(chan struct{})
}

func (d *openListener) report() ListenerReport {
	r := ListenerReport{Listen: d.Listen, Held: int(d.held.Load()), Taken: d.taken.Load(), Lost: d.lost.Load()}
	if d.err != nil {
		r.Error = d.err.Error()
	}
	return r
}

// serve is the life of a connection.
func (f *Server) serve(ctx, waits context.Context, d *openListener, client *net.TCPConn) {
	defer client.Close()
	d.taken.Add(1)
	to, server := f.reach(waits, d)
	if server == nil {
		d.lost.Add(1)
		_ = client.SetLinger(0) // nothing was read: let it see a reset, not an empty answer
		return
	}
	defer server.Close()
	gone := sync.OnceFunc(func() { f.unlink(to) })
	defer gone()
	defer context.AfterFunc(ctx, func() {
		client.Close()
		server.Close()
	})()
	if header := proxyHeader(to.Proxy, addrOf(client.RemoteAddr()), addrOf(client.LocalAddr())); header != nil {
		if _, err := server.Write(header); err != nil {
			_ = client.SetLinger(0)
			return
		}
	}
	var back sync.WaitGroup
	defer back.Wait()
	back.Go(func() {
		relay(client, server, 0)
		gone() // what the client does now is nothing to the pod
		_ = client.SetReadDeadline(time.Now().Add(f.last))
	})
	relay(server, client, f.last)
}

// relay copies until src is done, and passes on how that was: a half-closed connection is one on both sides, and so is a
// broken one. After a deadline of src's has passed, it may be silent for no longer than grace.
func relay(dst, src *net.TCPConn, grace time.Duration) {
	for {
		n, err := io.Copy(dst, src) // splice: the bytes don't leave the kernel
		switch {
		case err == nil:
			_ = dst.CloseWrite()
			return
		case errors.Is(err, os.ErrDeadlineExceeded) && n > 0:
			_ = src.SetReadDeadline(time.Now().Add(grace))
			continue
		}
		_ = dst.SetLinger(0) // an end that wasn't one must not look like one
		_ = src.SetLinger(0)
		dst.Close()
		src.Close()
		return
	}
}

// reach connects to the listener's backend, and waits for it if need be.
func (f *Server) reach(ctx context.Context, d *openListener) (Backend, *net.TCPConn) {
	ctx, cancel := context.WithTimeout(ctx, f.hold)
	defer cancel()
	held := false
	defer func() {
		if held {
			d.held.Add(-1)
		}
	}()
	dialer := net.Dialer{Timeout: dialTime}
	for {
		to, changed, bare := f.choose(d)
		again := (<-chan time.Time)(nil)
		if to != (Backend{}) {
			conn, err := dialer.DialContext(ctx, "tcp4", to.Address)
			if err == nil {
				return to, conn.(*net.TCPConn)
			}
			f.unlink(to)
			again = time.After(dialLook)
		} else {
			left := f.hold - time.Since(bare)
			if left <= 0 {
				return Backend{}, nil
			}
			again = time.After(left)
		}
		if !held {
			held = true
			d.held.Add(1)
		}
		select {
		case <-ctx.Done():
			return Backend{}, nil
		case <-changed:
		case <-again:
		}
	}
}

// choose returns the backend of a listener. A connection to it counts from here on, so that nobody who looks whether it has
// any misses one that is being made.
func (f *Server) choose(d *openListener) (to Backend, changed <-chan struct{}, bare time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if d.Backend != (Backend{}) {
		f.links[d.Backend.Address]++
	}
	return d.Backend, d.changed, d.bare
}

func (f *Server) unlink(from Backend) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.links[from.Address]--; f.links[from.Address] == 0 {
		delete(f.links, from.Address)
	}
}

func addrOf(a net.Addr) netip.AddrPort { return a.(*net.TCPAddr).AddrPort() }
