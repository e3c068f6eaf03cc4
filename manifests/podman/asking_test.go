package podman

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.org/collie/manifests"
)

// asked is what askContainer says of a server on loopback, as of a pod on the machine's network.
func asked(t *testing.T, probe manifests.Probe) string {
	t.Helper()
	probe.Timeout = 1
	if err := Connect("").askContainer(t.Context(), life{onMachine: true}, &probe); err != nil {
		return err.Error()
	}
	return "passes"
}

func portOf(t *testing.T, address string) int {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestHTTPProbes(t *testing.T) {
	var last atomic.Pointer[http.Request] // a server may still be at a request whose client has gone
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		last.Store(r)
		switch r.URL.Path {
		case "/here":
			http.Redirect(w, r, "/ok", http.StatusFound)
		case "/away":
			http.Redirect(w, r, "http://elsewhere.example/", http.StatusFound)
		case "/round":
			http.Redirect(w, r, "/round", http.StatusFound)
		case "/slow":
			select {
			case <-r.Context().Done():
			case <-time.After(10 * time.Second):
			}
		case "/large":
			for range 1 << 10 {
				fmt.Fprint(w, strings.Repeat("x", 1<<10))
			}
		case "/headers":
			w.Header().Set("X", strings.Repeat("x", 1<<20))
		default:
			code, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
			w.WriteHeader(max(200, code))
		}
	})
	plain, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	defer plain.Close()
	defer secure.Close()
	port := portOf(t, plain.Listener.Addr().String())
	for _, c := range []struct{ path, want string }{
		{"/ok", "passes"}, {"", "passes"}, {"204", "passes"}, {"/399", "passes"}, {"/400", "status 400"}, {"/503", "status 503"},
		{"/here", "passes"}, {"/away", "passes"}, {"/round", "more than 10 redirects"}, {"/large", "passes"},
		{"/slow", "no answer within 1s"},
	} {
		if got := asked(t, manifests.Probe{HTTPGet: &manifests.HTTPProbe{Port: port, Path: c.path}}); got != c.want {
			t.Errorf("%s: %s, want %s", c.path, got, c.want)
		}
	}
	if got := asked(t, manifests.Probe{HTTPGet: &manifests.HTTPProbe{Port: port, Path: "/headers"}}); got == "passes" {
		t.Error("a megabyte of headers is read")
	}
	if got := asked(t, manifests.Probe{HTTPGet: &manifests.HTTPProbe{Port: portOf(t, secure.Listener.Addr().String()), Scheme: "HTTPS", Path: "/ok?a=b",
		Headers: []manifests.HTTPHeader{{Name: "Host", Value: "www.example.org"}, {Name: "X-Token", Value: "a"}, {Name: "X-Token", Value: "b"}}}}); got != "passes" {
		t.Error(got)
	}
	if seen := last.Load(); seen.Host != "www.example.org" || len(seen.Header["X-Token"]) != 2 || seen.URL.RawQuery != "a=b" || seen.TLS == nil || seen.UserAgent() != probeAgent {
		t.Errorf("it was asked %+v", seen)
	}
}

func TestTCPProbes(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := portOf(t, l.Addr().String())
	if got := asked(t, manifests.Probe{TCPSocket: &manifests.TCPProbe{Port: port}}); got != "passes" {
		t.Error(got)
	}
	l.Close()
	if got := asked(t, manifests.Probe{TCPSocket: &manifests.TCPProbe{Port: port, Host: "127.0.0.1"}}); got != "connection refused" {
		t.Error(got)
	}
}

func healthFrame(state byte) []byte { return []byte{0, 0, 0, 0, 2, 1 << 3, state} }

func TestGRPCProbes(t *testing.T) {
	var service, path string
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		frame := make([]byte, 5)
		if _, err := r.Body.Read(frame); err == nil {
			message := make([]byte, binary.BigEndian.Uint32(frame[1:]))
			_, _ = r.Body.Read(message)
			service = string(message[min(2, len(message)):])
		}
		path = r.URL.Path
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
		switch service {
		case "unknown":
			w.Header().Set("Grpc-Status", "5")
			w.Header().Set("Grpc-Message", "unknown service")
			return
		case "ill":
			_, _ = w.Write(healthFrame(2))
		case "nonsense":
			_, _ = w.Write([]byte("hello"))
		case "loud":
			for i := range 20 {
				w.Header().Set(fmt.Sprintf("X-Much-%d", i), strings.Repeat("x", mostAnswer/10))
			}
			_, _ = w.Write(healthFrame(1))
		default:
			_, _ = w.Write(healthFrame(1))
		}
		w.Header().Set("Grpc-Status", "0")
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	defer s.Close()
	port := portOf(t, s.Listener.Addr().String())
	for service, want := range map[string]string{"": "passes", "web": "passes", "ill": "NOT_SERVING", "unknown": "gRPC status 5 unknown service",
		"nonsense": "the answer is no gRPC message", "loud": "connection error: "} {
		if got := asked(t, manifests.Probe{GRPC: &manifests.GRPCProbe{Port: port, Service: service}}); !strings.HasPrefix(got, want) {
			t.Errorf("service %q: %s, want %s", service, got, want)
		}
	}
	if path != "/grpc.health.v1.Health/Check" {
		t.Errorf("path %s", path)
	}
}

func FuzzHealthAnswer(f *testing.F) {
	for _, frame := range [][]byte{healthFrame(1), healthFrame(2), {}, {0, 0, 0, 0, 0}, {1, 0, 0, 0, 0}, {0, 0, 0, 0, 4, 0x12, 2, 'a', 'b'},
		{0, 0, 0, 0, 12, 0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0}} {
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		err := healthAnswer(frame)
		if err != nil && err.Error() == "" {
			t.Error("it says nothing")
		}
		if again := healthAnswer(append(frame, 0)); err == nil && again == nil {
			t.Error("a frame with a byte too many is read")
		}
	})
}

// A number that Podman gives out may be anybody's: the network of a process that isn't the pod user's isn't entered.
func TestNetworksOfOthersAreNotEntered(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := Connect("")
	p.Account = func() (Account, error) { return Account{UID: 4242}, nil }
	probe := manifests.Probe{TCPSocket: &manifests.TCPProbe{Host: "127.0.0.1", Port: portOf(t, l.Addr().String())}, Timeout: 1}
	if err := p.askContainer(t.Context(), life{infra: os.Getpid()}, &probe); err != errGone {
		t.Errorf("this machine's: %v", err)
	}
	for _, pid := range []int{0, -1} {
		if err := p.askContainer(t.Context(), life{infra: pid}, &probe); err == nil {
			t.Errorf("process %d: the machine itself was asked", pid)
		}
	}
	if err := p.endContainer(t.Context(), life{pid: os.Getpid()}, 0); err == nil {
		t.Error("this process is one to end")
	}
}

// What enters a network ends with its thread, and the first thread of the process is none of them.
func TestThreadsThatEnterNetworksEnd(t *testing.T) {
	const many = 50
	threads := func() int {
		all, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	before := threads()
	ids := make(chan int, many)
	for range many {
		go inThread(func() { ids <- unix.Gettid() })
	}
	for range many {
		if id := <-ids; id == unix.Getpid() {
			t.Error("it ran on the first thread")
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for threads() > before+10 {
		if ctx.Err() != nil {
			t.Fatalf("%d threads, and %d before", threads(), before)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Nobody reads Go's words for a deadline in a status.
func TestASilentPodmanIsToldInWordsOfOurs(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	silent := make(chan struct{})
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/_ping") {
			w.Header().Set("Libpod-API-Version", "5.8.6")
			return
		}
		<-silent
	})}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	defer close(silent)
	_, err = Connect(socket).ask(t.Context(), request{method: http.MethodGet, endpoint: "/pods/json", timeout: 50 * time.Millisecond}, nil)
	if want := "doesn't answer: no answer within 50ms"; err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("%v, want …%s", err, want)
	}
}
