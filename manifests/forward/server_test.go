package forward

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// startForwarder runs one as `collie forward` does, on a socket.
func startForwarder(t *testing.T, set ...func(*Server)) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "forward.sock")
	serveForwarder(t, socket, set...)
	return socket
}

// serveForwarder returns what ends it.
func serveForwarder(t *testing.T, socket string, set ...func(*Server)) (stop func()) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	f := NewServer(slog.New(slog.DiscardHandler))
	for _, s := range set {
		s(f)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Serve(ctx, l) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the forwarder ended: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// tellTable says a table to the forwarder on a connection of its own.
func tellTable(t *testing.T, socket string, listeners ...Listener) Report {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var r Report
	if err := errors.Join(writeLine(conn, request{&Table{listeners}}), readLine(bufio.NewReader(conn), &r)); err != nil {
		t.Fatal(err)
	}
	if r.Error != "" {
		t.Fatal(r.Error)
	}
	return r
}

// opened tells a table whose listeners all open.
func opened(t *testing.T, socket string, listeners ...Listener) Report {
	t.Helper()
	r := tellTable(t, socket, listeners...)
	for _, d := range r.Listeners {
		if d.Error != "" {
			t.Fatalf("%s: %s", d.Listen, d.Error)
		}
	}
	return r
}

// freePort is one that nobody listens on: of an address that no other listener of these tests gets a port of.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.77.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// A serverSide is a pod's: it does with each connection what do says.
func serverSide(t *testing.T, do func(*net.TCPConn)) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				do(conn.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
	return l.(*net.TCPListener)
}

// answering answers a line with who it is.
func answering(name string) func(*net.TCPConn) {
	return func(conn *net.TCPConn) {
		if _, err := bufio.NewReader(conn).ReadString('\n'); err == nil {
			fmt.Fprintln(conn, name)
		}
	}
}

func to(l net.Listener) Backend { return Backend{Address: l.Addr().String()} }

// askOnce asks once, on a connection of its own.
func askOnce(address string) (string, error) {
	conn, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := fmt.Fprintln(conn, "who?"); err != nil {
		return "", err // a reset is told once: what reads after it sees an end
	}
	all, err := io.ReadAll(conn)
	if err == nil && len(all) == 0 {
		err = io.ErrUnexpectedEOF
	}
	return strings.TrimSpace(string(all)), err
}

// Clients ask all the time, and the pod is replaced many times: each next one is there before the old one has no
// connection left and ends. Nobody notices.
func TestNoConnectionIsLostWhilePodsAreReplaced(t *testing.T) {
	const requests, clients = 2_000, 8
	socket, listen := startForwarder(t), freePort(t)
	pod := serverSide(t, answering("0"))
	opened(t, socket, Listener{listen, to(pod)})

	var left, failed atomic.Int64
	left.Store(requests)
	answers := sync.Map{}
	var asking sync.WaitGroup
	for range clients {
		asking.Go(func() {
			for left.Add(-1) >= 0 {
				who, err := askOnce(listen)
				if err != nil {
					failed.Add(1)
					t.Logf("a request: %v", err)
				}
				answers.Store(who, true)
			}
		})
	}
	replaced := 0
	for left.Load() > 0 {
		replaced++
		next := serverSide(t, answering(fmt.Sprint(replaced)))
		old := to(pod).Address
		r := opened(t, socket, Listener{listen, to(next)})
		for r.Links[old] > 0 {
			time.Sleep(time.Millisecond)
			r = opened(t, socket, Listener{listen, to(next)})
		}
		pod.Close()
		pod = next
	}
	asking.Wait()
	seen := 0
	answers.Range(func(any, any) bool { seen++; return true })
	t.Logf("replaced %d times; %d pods answered", replaced, seen)
	if failed.Load() > 0 || replaced < 2 || seen < 2 {
		t.Errorf("%d of %d requests failed; %d replaces, of which %d were seen", failed.Load(), requests, replaced, seen)
	}
}

// A pod may be away for a moment, or be late: who comes meanwhile waits.
func TestConnectionsWaitForABackend(t *testing.T) {
	socket, listen := startForwarder(t), freePort(t)
	ask := func() <-chan string {
		answer := make(chan string, 1)
		go func() {
			who, err := askOnce(listen)
			answer <- fmt.Sprint(who, err)
		}()
		for tellTable(t, socket, Listener{Listen: listen}).Listeners[0].Held == 0 {
			time.Sleep(time.Millisecond)
		}
		return answer
	}
	opened(t, socket, Listener{Listen: listen})
	answer := ask()
	pod := serverSide(t, answering("late"))
	opened(t, socket, Listener{listen, to(pod)})
	if got := <-answer; got != "late<nil>" {
		t.Errorf("the one that waited for the first pod got %s", got)
	}
	pod.Close()
	again := make(chan string, 1)
	go func() { // the table still names the pod that is gone
		who, err := askOnce(listen)
		again <- fmt.Sprint(who, err)
	}()
	for opened(t, socket, Listener{listen, to(pod)}).Listeners[0].Held == 0 {
		time.Sleep(time.Millisecond)
	}
	opened(t, socket, Listener{listen, to(serverSide(t, answering("next")))})
	if got := <-again; got != "next<nil>" {
		t.Errorf("the one that waited for the next pod got %s", got)
	}
	if r := opened(t, socket); len(r.Listeners) > 0 {
		t.Errorf("an empty table opens %v", r.Listeners)
	}
	if _, err := askOnce(listen); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after the last pod left: %v", err)
	}
}

func TestWhoWaitedInVainIsReset(t *testing.T) {
	const hold = time.Second
	socket, listen := startForwarder(t, func(f *Server) { f.hold = hold }), freePort(t)
	opened(t, socket, Listener{Listen: listen})
	for _, how := range []string{"waits", "is refused at once"} {
		begun := time.Now()
		if _, err := askOnce(listen); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			t.Errorf("who %s: %v", how, err)
		}
		if took := time.Since(begun); how != "waits" && took >= hold { // it would wait as long as the first
			t.Errorf("who comes after the wait is over waits %v", took)
		}
	}
	if d := opened(t, socket, Listener{Listen: listen}).Listeners[0]; d.Lost != 2 || d.Taken != 2 || d.Held != 0 {
		t.Errorf("the report says %+v", d)
	}
}

// Each side may end its half first, and a broken connection doesn't look like one that ended.
func TestAConnectionEndsAsItsOtherSideDid(t *testing.T) {
	socket, listen := startForwarder(t), freePort(t)
	dial := func(do func(*net.TCPConn)) *net.TCPConn {
		opened(t, socket, Listener{listen, to(serverSide(t, do))})
		conn, err := net.Dial("tcp", listen)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		return conn.(*net.TCPConn)
	}

	client := dial(func(conn *net.TCPConn) { // answers when all was said
		all, _ := io.ReadAll(conn)
		fmt.Fprintf(conn, "%d bytes", len(all))
	})
	big := make([]byte, 3<<20)
	if _, err := client.Write(big); err != nil {
		t.Fatal(err)
	}
	client.CloseWrite()
	if got, err := io.ReadAll(client); err != nil || string(got) != fmt.Sprint(len(big), " bytes") {
		t.Errorf("after the client's half: %q, %v", got, err)
	}

	heard := make(chan int, 1)
	client = dial(func(conn *net.TCPConn) { // is done talking, and listens on
		conn.CloseWrite()
		all, _ := io.ReadAll(conn)
		heard <- len(all)
	})
	if got, err := io.ReadAll(client); err != nil || len(got) > 0 {
		t.Errorf("after the pod's half: %q, %v", got, err)
	}
	client.Write(big)
	client.CloseWrite()
	if n := <-heard; n != len(big) {
		t.Errorf("the pod heard %d bytes after its half was closed, want %d", n, len(big))
	}

	client = dial(func(conn *net.TCPConn) {
		conn.Read(make([]byte, 1))
		conn.Write([]byte("half of an answ"))
		conn.SetLinger(0)
	})
	client.Write([]byte("?"))
	if got, err := io.ReadAll(client); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after the pod broke off: %q, %v", got, err)
	}

	broke := make(chan error, 1)
	client = dial(func(conn *net.TCPConn) {
		_, err := io.ReadAll(conn)
		broke <- err
	})
	client.Write([]byte("half of a quest"))
	client.SetLinger(0)
	client.Close()
	if err := <-broke; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after the client broke off: %v", err)
	}
}

// A client that stays silent after its pod is done holds nothing for long, and doesn't count as the pod's.
func TestASilentClientIsLeft(t *testing.T) {
	socket, listen := startForwarder(t, func(f *Server) { f.last = 300 * time.Millisecond }), freePort(t)
	pod := serverSide(t, func(conn *net.TCPConn) { conn.Write([]byte("bye")) })
	opened(t, socket, Listener{listen, to(pod)})
	client, err := net.Dial("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if got, err := io.ReadAll(client); string(got) != "bye" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
	for opened(t, socket, Listener{listen, to(pod)}).Links[to(pod).Address] > 0 {
		time.Sleep(time.Millisecond)
	}
	client.SetDeadline(time.Now().Add(10 * time.Second))
	for { // until it is told that nobody listens any more
		if _, err := client.Write([]byte("?")); err != nil {
			if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
				t.Errorf("the client is left with: %v", err)
			}
			return
		}
		time.Sleep(400 * time.Millisecond)
	}
}

// More connections than there is room for are neither refused nor lost, be it the room of a door or that of all.
func TestTooManyConnectionsQueue(t *testing.T) {
	const room, clients = 4, 20
	for name, set := range map[string]func(*Server){
		"of a listener": func(f *Server) { f.most = room / 2 },
		"of all":        func(f *Server) { f.all = make(chan struct{}, room) },
	} {
		t.Run(name, func(t *testing.T) {
			socket, listen := startForwarder(t, set), []string{freePort(t), freePort(t)}
			release, let := context.WithCancel(context.Background())
			defer let()
			var open, most atomic.Int64
			pod := serverSide(t, func(conn *net.TCPConn) {
				most.Store(max(most.Load(), open.Add(1)))
				defer open.Add(-1)
				<-release.Done()
				answering("pod")(conn)
			})
			opened(t, socket, Listener{listen[0], to(pod)}, Listener{listen[1], to(pod)})
			answers := make(chan error, clients)
			for i := range clients {
				go func() {
					_, err := askOnce(listen[i%2])
					answers <- err
				}()
			}
			for open.Load() < room {
				time.Sleep(time.Millisecond)
			}
			time.Sleep(50 * time.Millisecond) // in which no more may come
			let()
			for range clients {
				if err := <-answers; err != nil {
					t.Error(err)
				}
			}
			if most.Load() > room {
				t.Errorf("%d connections were open at a time, want %d", most.Load(), room)
			}
		})
	}
}

// A listener that is shut while its next connection waits for room lets go of it.
func TestAListenerIsShutWhileAllRoomIsTaken(t *testing.T) {
	socket, first, second := startForwarder(t, func(f *Server) { f.all = make(chan struct{}, 1) }), freePort(t), freePort(t)
	pod := to(serverSide(t, func(conn *net.TCPConn) {
		_, _ = conn.Write([]byte("x"))
		_, _ = conn.Read(make([]byte, 1))
	}))
	opened(t, socket, Listener{first, pod}, Listener{second, pod})
	busy, err := net.Dial("tcp", first)
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	if _, err := busy.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	waits, err := net.Dial("tcp", second)
	if err != nil {
		t.Fatal(err)
	}
	defer waits.Close()
	opened(t, socket, Listener{first, pod})
	_ = waits.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := waits.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the one that waited: %v", err)
	}
}

func TestATakenPortIsToldAndTriedAgain(t *testing.T) {
	socket := startForwarder(t)
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := Listener{Listen: other.Addr().String()}
	if r := tellTable(t, socket, d); !strings.Contains(r.Listeners[0].Error, "address already in use") {
		t.Errorf("the report says %+v", r.Listeners)
	}
	other.Close()
	opened(t, socket, d)
}

// Ports of one machine can be had by another listener in the same table.
func TestAListenerForAllAddressesTakesThePlaceOfOne(t *testing.T) {
	socket, listen := startForwarder(t), freePort(t)
	_, port, _ := net.SplitHostPort(listen)
	pod := to(serverSide(t, answering("pod")))
	for _, l := range []string{listen, ":" + port, listen, "0.0.0.0:" + port, ":" + port} {
		opened(t, socket, Listener{l, pod})
		if who, err := askOnce(listen); who != "pod" {
			t.Errorf("behind %s: %q, %v", l, who, err)
		}
	}
}

func TestAForwarderWithoutWorkEnds(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "forward.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	f := NewServer(slog.New(slog.DiscardHandler))
	f.idle = 20 * time.Millisecond
	done := make(chan error, 1)
	go func() { done <- f.Serve(context.Background(), l) }()
	listen := freePort(t)
	opened(t, socket, Listener{Listen: listen})
	select {
	case err := <-done:
		t.Fatalf("it ended with a listener open: %v", err)
	case <-time.After(10 * f.idle):
	}
	opened(t, socket)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
