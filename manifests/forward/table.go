package forward

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"

	"example.org/collie/agent/foreign"
)

// The protocol of agent and forwarder, on a Unix socket: a line of JSON for each message. The agent sends the whole table, as often
// as it likes. The forwarder applies it, and reports. The two may be of different versions.

// A request is a message of the agent. Without a table it only asks for a report.
type request struct {
	Table *Table `json:"table,omitempty"`
}

// A Table is all that the forwarder does.
type Table struct {
	Listeners []Listener `json:"doors"`
}

// A Listener is an address of the machine that is listened on.
type Listener struct {
	Listen  string  `json:"listen"`           // "192.0.2.1:80", "[::1]:80", ":80" for all addresses
	Backend Backend `json:"backend,omitzero"` // none: who comes waits
}

// Port is that of the machine.
func (d Listener) Port() int {
	_, port, _ := splitListen(d.Listen)
	return int(port)
}

// A Backend is where a pod is reached.
type Backend struct {
	Address string `json:"address"`         // on loopback
	Proxy   string `json:"proxy,omitempty"` // v1 or v2: each connection begins with a header that names the client
}

// A Report is what becomes of a table.
type Report struct {
	Error     string           `json:"error,omitempty"` // the table was refused, all of it
	Listeners []ListenerReport `json:"doors,omitempty"` // by address
	Links     map[string]int   `json:"links,omitempty"` // open connections, by the address of their backend
}

// A ListenerReport is what becomes of one listener.
type ListenerReport struct {
	Listen string `json:"listen"`
	Error  string `json:"error,omitempty"` // it isn't listened on
	Held   int    `json:"held,omitempty"`  // connections that wait for a backend
	Taken  uint64 `json:"taken,omitempty"` // connections so far
	Lost   uint64 `json:"lost,omitempty"`  // of these, which waited and got no backend
}

const (
	mostListeners = 1_000
	mostSaid      = 1 << 20
	mostQuoted    = 300 // characters of what the other side says, in an error
)

// readLine reads one line of JSON into v. The line is bounded, and a cut line is an error.
func readLine(r *bufio.Reader, v any) error {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > mostSaid:
			return fmt.Errorf("a line is longer than %d bytes", mostSaid)
		case err == nil:
			return json.Unmarshal(line, v)
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(line) > 0:
			return io.ErrUnexpectedEOF
		default:
			return err
		}
	}
}

func writeLine(w io.Writer, v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(line, '\n'))
	return err
}

// Check returns what is impossible in a table.
func (t Table) Check() error {
	if len(t.Listeners) > mostListeners {
		return fmt.Errorf("there are %d ports to forward: at most %d are supported", len(t.Listeners), mostListeners)
	}
	seen := map[string]bool{}
	for _, d := range t.Listeners {
		switch ip, port, err := splitListen(d.Listen); {
		case err != nil:
			return fmt.Errorf("%q is no address to listen on", foreign.Line(d.Listen, mostQuoted))
		case seen[d.Listen]:
			return fmt.Errorf("%s is there twice", d.Listen)
		case ListenAddress(ip, port) != d.Listen: // one address has one name
			return fmt.Errorf("%s is another name of %s", d.Listen, ListenAddress(ip, port))
		}
		seen[d.Listen] = true
		if d.Backend == (Backend{}) {
			continue
		}
		if err := d.Backend.check(); err != nil {
			return fmt.Errorf("%s: %w", d.Listen, err)
		}
	}
	return nil
}

func (b Backend) check() error {
	to, err := netip.ParseAddrPort(b.Address)
	switch {
	case err != nil || to.Port() == 0:
		return fmt.Errorf("%q is no address to forward to", foreign.Line(b.Address, mostQuoted))
	case !to.Addr().Is4() || !to.Addr().IsLoopback():
		return fmt.Errorf("%s isn't on loopback", b.Address)
	case b.Proxy != "" && b.Proxy != "v1" && b.Proxy != "v2":
		return fmt.Errorf("%q is no version of the PROXY protocol", foreign.Line(b.Proxy, mostQuoted))
	}
	return nil
}

// ListenAddress is the one name of an address to listen on. No IP, or an unspecified one of IPv6, means all.
func ListenAddress(ip netip.Addr, port uint16) string {
	if !ip.IsValid() || ip == netip.IPv6Unspecified() {
		return ":" + strconv.Itoa(int(port))
	}
	return netip.AddrPortFrom(ip.Unmap(), port).String()
}

func splitListen(s string) (netip.Addr, uint16, error) {
	if len(s) > 0 && s[0] == ':' {
		port, err := strconv.ParseUint(s[1:], 10, 16)
		if err == nil && port == 0 {
			err = strconv.ErrRange
		}
		return netip.Addr{}, uint16(port), err
	}
	at, err := netip.ParseAddrPort(s)
	if err == nil && (at.Port() == 0 || at.Addr().Zone() != "") {
		err = strconv.ErrRange
	}
	return at.Addr(), at.Port(), err
}
