package forward

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
)

func TestATableIsRefusedWhole(t *testing.T) {
	socket, listen := startForwarder(t), freePort(t)
	for says, listeners := range map[string][]Listener{
		"is no address to listen on":   {{Listen: listen}, {Listen: "example.org:80"}},
		"is there twice":               {{Listen: listen}, {Listen: listen}},
		"is another name of :80":       {{Listen: listen}, {Listen: "[::]:80"}},
		"isn't on loopback":            {{Listen: listen, Backend: Backend{Address: "192.0.2.1:80"}}},
		"is no address to forward to":  {{Listen: listen, Backend: Backend{Address: "localhost:80"}}},
		"version of the PROXY protoco": {{Listen: listen, Backend: Backend{"127.0.0.1:80", "v3"}}},
	} {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		var r Report
		if err := errors.Join(writeLine(conn, request{&Table{listeners}}), readLine(bufio.NewReader(conn), &r)); err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if !strings.Contains(r.Error, says) {
			t.Errorf("%+v: the report says %q, want %q", listeners, r.Error, says)
		}
		if _, err := askOnce(listen); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%+v opened a listener: %v", listeners, err)
		}
	}
}

// What isn't a table is refused, and nothing makes the forwarder listen or dial where it shouldn't.
func FuzzForwardTable(f *testing.F) {
	f.Add([]byte(`{"table":{"doors":[{"listen":":80","backend":{"address":"127.1.2.3:61000","proxy":"v2"}}]}}` + "\n"))
	f.Add([]byte(`{"table":{"doors":[{"listen":"[fe80::1%eth0]:80"},{"listen":"0.0.0.0:0"}]}}` + "\n"))
	f.Add([]byte("{\"table\":{\"doors\":[{\"listen\":\"[::ffff:1.2.3.4]:80\"}]}}\nnull\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		in := bufio.NewReaderSize(strings.NewReader(string(data)), 16)
		for {
			var o request
			if err := readLine(in, &o); err != nil {
				return
			}
			if o.Table == nil || o.Table.Check() != nil {
				continue
			}
			for _, d := range o.Table.Listeners {
				if _, err := net.ResolveTCPAddr("tcp", d.Listen); err != nil {
					t.Errorf("%q passes, but can't be listened on: %v", d.Listen, err)
				}
				if d.Backend == (Backend{}) {
					continue
				}
				if a, err := netip.ParseAddrPort(d.Backend.Address); err != nil || !a.Addr().IsLoopback() || a.Port() == 0 {
					t.Errorf("%q passes as a backend", d.Backend.Address)
				}
			}
		}
	})
}

func TestALineIsBounded(t *testing.T) {
	var v request
	if err := readLine(bufio.NewReader(strings.NewReader(`{"table":[`+strings.Repeat(" ", mostSaid)+"]}\n")), &v); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("a long line: %v", err)
	}
	if err := readLine(bufio.NewReader(strings.NewReader(`{}`)), &v); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half a line: %v", err)
	}
}
