package podman

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"example.org/collie/agent/foreign"
	"example.org/collie/manifests"
	"example.org/collie/manifests/internal/golden"
)

// aside is a Podman of an account that has no process here.
func aside() *Podman {
	p := Connect("/nowhere")
	p.Account = func() (Account, error) { return Account{UID: 54321, Runtime: "/run/user/54321"}, nil }
	return p
}

// Whatever has a port of the machine is found, by real sockets of this process; and nothing is found that isn't in the way.
func TestATakenPortIsFoundBeforePodmanIsAsked(t *testing.T) {
	option := func(level, name, value int) func(string, string, syscall.RawConn) error {
		return func(_, _ string, c syscall.RawConn) error {
			var err error
			return errors.Join(c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, name, value) }), err)
		}
	}
	listen := func(config net.ListenConfig, network, at string) func(t *testing.T) int {
		return func(t *testing.T) int {
			l, err := config.Listen(t.Context(), network, at)
			if err != nil {
				t.Skip(err) // without IPv6
			}
			t.Cleanup(func() { l.Close() })
			return l.Addr().(*net.TCPAddr).Port
		}
	}
	packets := func(network, at string) func(t *testing.T) int {
		return func(t *testing.T) int {
			l, err := net.ListenPacket(network, at)
			if err != nil {
				t.Skip(err)
			}
			t.Cleanup(func() { l.Close() })
			return l.LocalAddr().(*net.UDPAddr).Port
		}
	}
	// connected returns both ends of a connection whose listener is closed.
	connected := func(t *testing.T) (client, server int) {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		t.Cleanup(func() { c.Close(); s.Close() })
		return c.LocalAddr().(*net.TCPAddr).Port, s.LocalAddr().(*net.TCPAddr).Port
	}
	me := fmt.Sprintf(`podman.test \(process %d of %s`, os.Getpid(), userName(os.Getuid()))
	plain := net.ListenConfig{}
	sixOnly := net.ListenConfig{Control: option(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)}
	for _, tt := range []struct {
		name  string
		take  func(t *testing.T) int
		wants manifests.HostPort
		says  string // nothing: it is free
	}{
		{"all addresses", listen(plain, "tcp4", "0.0.0.0:0"), manifests.HostPort{}, me + `\)`},
		{"one address", listen(plain, "tcp4", "127.0.0.1:0"), manifests.HostPort{}, me + `, at 127\.0\.0\.1\)`},
		{"the same address", listen(plain, "tcp4", "127.0.0.1:0"), manifests.HostPort{IP: "127.0.0.1"}, me + `\)`},
		{"another address", listen(plain, "tcp4", "127.0.0.1:0"), manifests.HostPort{IP: "127.0.0.2"}, ""},
		{"an address of all", listen(plain, "tcp4", "0.0.0.0:0"), manifests.HostPort{IP: "127.0.0.1"}, me + `\)`},
		{"both kinds of addresses", listen(plain, "tcp", "[::]:0"), manifests.HostPort{}, me + `\)`},
		{"IPv6 alone", listen(sixOnly, "tcp6", "[::]:0"), manifests.HostPort{}, me + `\)`},
		{"IPv6 alone, and an address of IPv4", listen(sixOnly, "tcp6", "[::]:0"), manifests.HostPort{IP: "127.0.0.1"}, ""},
		{"both kinds of addresses, and one of IPv4", listen(plain, "tcp", "[::]:0"), manifests.HostPort{IP: "127.0.0.1"}, me + `\)`},
		{"IPv6 alone, as the pod", listen(sixOnly, "tcp6", "[::]:0"), manifests.HostPort{IP: "::"}, me + `\)`},
		{"one address of IPv6", listen(plain, "tcp6", "[::1]:0"), manifests.HostPort{}, me + `, at ::1\)`},
		{"UDP", packets("udp4", "0.0.0.0:0"), manifests.HostPort{Protocol: "UDP"}, me + `\)`},
		{"UDP for both kinds", packets("udp", "[::]:0"), manifests.HostPort{Protocol: "UDP"}, me + `\)`},
		{"UDP, where TCP is wanted", packets("udp4", "0.0.0.0:0"), manifests.HostPort{}, ""},
		{"TCP, where UDP is wanted", listen(plain, "tcp4", "0.0.0.0:0"), manifests.HostPort{Protocol: "UDP"}, ""},
		{"a connection to elsewhere", func(t *testing.T) int { c, _ := connected(t); return c }, manifests.HostPort{}, `a connection of ` + me + `, at 127\.0\.0\.1\)`},
		{"a connection from elsewhere, whose listener is gone", func(t *testing.T) int { _, s := connected(t); return s }, manifests.HostPort{}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			port := tt.wants
			port.Port, port.Line, port.Field = tt.take(t), 14, "spec.containers[0].ports[0].hostPort"
			if port.Protocol == "" {
				port.Protocol = "TCP"
			}
			err := aside().taken([]RenderedPod{{Name: "web", File: "pods/web.yaml", Line: 1, HostPorts: []manifests.HostPort{port}}}, nil)
			if tt.says == "" {
				if err != nil {
					t.Fatalf("it is free, and found to be taken: %v", err)
				}
				return
			}
			number := fmt.Sprint(port.Port)
			if port.Protocol != "TCP" {
				number += "/" + port.Protocol
			}
			want := `^pods/web\.yaml:14: spec\.containers\[0\]\.ports\[0\]\.hostPort: ` + number + ` is taken by ` + tt.says + `: stop it, or take another port$`
			if taken := new(TakenError); !errors.As(err, &taken) || !regexp.MustCompile(want).MatchString(err.Error()) {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}

// What serves pods holds ports, too, and hands them over.
func TestAPortOfAContainerIsNotTaken(t *testing.T) {
	const runtime = "/run/user/1000"
	all := []process{
		{pid: 1},
		{pid: 10, parent: 1, own: true, args: []string{"/usr/bin/conmon", "--exit-dir", runtime + "/libpod/tmp/exits", "-c", strings.Repeat("a", 64)}},
		{pid: 11, parent: 10}, // of a subordinate user
		{pid: 12, parent: 11},
		{pid: 20, parent: 1, own: true, args: []string{"rootlessport"}},
		{pid: 21, parent: 1, args: []string{"rootlessport"}},
		{pid: 22, parent: 1, own: true, args: []string{"/gnu/store/abc/bin/collie", "forward"}},
		{pid: 23, parent: 1, own: true, args: []string{"/usr/bin/pasta", "--config-net"}},
		{pid: 30, parent: 1, own: true, args: []string{"/usr/bin/python3", "-m", "http.server"}},
		{pid: 40, parent: 1},
		{pid: 41, parent: 40},
	}
	live := map[string]*livePod{"web-1": {name: "web-1", containers: []container{{State: "running", Pid: 40}}}}
	for pid, ours := range map[int]bool{1: false, 11: true, 12: true, 20: true, 21: false, 22: true, 23: true, 30: false, 40: true, 41: true, 99: false} {
		h := newHolders(all, runtime, live)
		if got := h.ours(pid); got != ours {
			t.Errorf("process %d: it serves pods: %t, want %t", pid, got, ours)
		}
	}
}

// Beside a pod's own old state somebody may hold the port at another address.
func TestWhoIsBesideAnOldPodIsBesideTheNext(t *testing.T) {
	const (
		all6      = "[::]:80"
		loop, out = "127.0.0.1:80", "10.0.0.1:80"
	)
	all := []process{{pid: 20, parent: 1, own: true, args: []string{"rootlessport"}}, {pid: 40, parent: 1}, {pid: 1}}
	for _, tt := range []struct {
		name       string
		old, rival string
		connection bool
		wants      string
		taken      bool
	}{
		{name: "the old pod has all addresses", old: all6, rival: out},
		{name: "the old pod has one, another has IPv6", old: loop, rival: all6, wants: "127.0.0.1"},
		{name: "the old pod has one, another has IPv6, the next wants all", old: loop, rival: all6, taken: true},
		{name: "the old pod has one, another has one, the next wants all", old: loop, rival: out, taken: true},
		{name: "the old pod has one, another has one, the next wants that", old: loop, rival: out, wants: "10.0.0.1", taken: true},
		{name: "the old pod has one, another has one, the next wants the old one", old: loop, rival: out, wants: "127.0.0.1"},
		{name: "connections to the old pod", old: all6, rival: out, connection: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHolders(all, "/run/user/1000", nil)
			h.bind = func(manifests.HostPort) error { return unix.EADDRINUSE }
			h.by = map[string]int{"socket:[1]": 20, "socket:[2]": 40}
			sockets := []socket{socketAt(tt.old, "1", true), socketAt(tt.rival, "2", !tt.connection)}
			_, _, taken := h.foreign(manifests.HostPort{IP: tt.wants, Port: 80, Protocol: "TCP"}, sockets)
			if taken != tt.taken {
				t.Errorf("taken: %t, want %t", taken, tt.taken)
			}
		})
	}
}

func socketAt(address, inode string, listens bool) socket {
	s := socket{protocol: "TCP", inode: inode, listens: listens}
	s.local = netip.MustParseAddrPort(address)
	s.six = s.local.Addr().Is6()
	return s
}

// The tables are those of a real kernel, with what listens there as `ss' tells it: testdata/proc.
func TestSocketsAreReadAsTheKernelWritesThem(t *testing.T) {
	var got strings.Builder
	for _, s := range readSockets("testdata/proc/net", nil) {
		fmt.Fprintf(&got, "%s %s uid=%d\n", strings.ToLower(s.protocol), s.local, s.uid)
	}
	golden.Check(t, "testdata/proc/listening", got.String())
}

func TestSocketsThatMakeNoSenseAreLeftOut(t *testing.T) {
	for _, line := range []string{
		"", "sl local_address rem_address st tx_queue rx_queue tr tm->when retrnsmt uid timeout inode",
		"0: 0100007F 00000000:0000 0A 0:0 0:0 0 0 0 5", "0: 0100007F:1F90:1 0:0 0A 0:0 0:0 0 0 0 5",
		"0: 01:1F90 0:0 0A 0:0 0:0 0 0 0 5", "0: 0100007F:11F90 0:0 0A 0:0 0:0 0 0 0 5", "0: 0100007F:1F90 0:0 0A 0:0 0:0 0 root 0 5",
	} {
		if s, ok := readSocket(line); ok {
			t.Errorf("%q is read as %v", line, s.local)
		}
	}
}

// Who holds a port chooses the name of the process.
func TestANameOfAProcessIsCleaned(t *testing.T) {
	h := holder{pid: 5, name: foreign.Line("a\x1b[31m\nb", 64), user: "root"}
	if got, want := h.at(socketAt("0.0.0.0:80", "1", true), manifests.HostPort{}), "a[31m b (process 5 of root)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A switch looks before it stops anything, and nothing of it is left.
func TestASwitchToATakenPortTouchesNothing(t *testing.T) {
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	w := newFakeWorld(t)
	w.Account = aside().Account
	r := w.prepare("1", newPod("web", hostPort(port)))
	w.fake.forget()
	taken := new(TakenError)
	if err := w.Vacant(t.Context(), r); !errors.As(err, &taken) {
		t.Errorf("Vacant: %v, want a TakenError", err)
	}
	if err := w.Switch(t.Context(), r); !errors.As(err, &taken) {
		t.Errorf("Switch: %v, want a TakenError", err)
	}
	if w := w.fake.writes(); len(w) > 0 {
		t.Errorf("it did %v", w)
	}
	l.Close()
	if err := w.Vacant(t.Context(), r); err != nil {
		t.Errorf("it is free by now: %v", err)
	}
}
