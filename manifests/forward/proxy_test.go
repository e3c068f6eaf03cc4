package forward

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	property "testing/quick"
)

// A pod that asks for it learns who its client is.
func TestAPodLearnsItsClient(t *testing.T) {
	socket, listen := startForwarder(t), freePort(t)
	heard := make(chan []byte, 1)
	pod := serverSide(t, func(conn *net.TCPConn) {
		all, _ := io.ReadAll(conn)
		heard <- all
	})
	for _, version := range []string{"v1", "v2"} {
		opened(t, socket, Listener{listen, Backend{to(pod).Address, version}})
		client, err := net.Dial("tcp", listen)
		if err != nil {
			t.Fatal(err)
		}
		client.Write([]byte("hello"))
		client.Close()
		src, dst, rest := readProxy(t, <-heard)
		if src != addrOf(client.LocalAddr()) || dst != addrOf(client.RemoteAddr()) || string(rest) != "hello" {
			t.Errorf("%s: the pod heard of %v to %v, and %q; it was %v", version, src, dst, rest, client.LocalAddr())
		}
	}
}

// readProxy reads a header of either version as its specification says.
func readProxy(t *testing.T, b []byte) (src, dst netip.AddrPort, rest []byte) {
	t.Helper()
	if text, ok := strings.CutPrefix(string(b), "PROXY TCP"); ok {
		line, after, ok := strings.Cut(text, "\r\n")
		word := strings.Split(line, " ")
		if !ok || len(word) != 5 || len(line)+len("PROXY TCP\r\n") > 107 {
			t.Fatalf("no header of version 1: %q", b)
		}
		src = netip.MustParseAddrPort(net.JoinHostPort(word[1], word[3]))
		dst = netip.MustParseAddrPort(net.JoinHostPort(word[2], word[4]))
		if is6 := word[0] == "6"; src.Addr().Is6() != is6 || dst.Addr().Is6() != is6 {
			t.Fatalf("addresses of the wrong family: %q", b)
		}
		return src, dst, []byte(after)
	}
	if len(b) < 16 || string(b[:12]) != "\r\n\r\n\x00\r\nQUIT\n" || b[12] != 0x21 {
		t.Fatalf("no header of version 2: %q", b)
	}
	n := map[byte]int{0x11: 4, 0x21: 16}[b[13]]
	size := int(binary.BigEndian.Uint16(b[14:]))
	if n == 0 || size != 2*n+4 || len(b) < 16+size {
		t.Fatalf("a header of family %x and length %d: %q", b[13], size, b)
	}
	a := b[16:]
	one, _ := netip.AddrFromSlice(a[:n])
	two, _ := netip.AddrFromSlice(a[n : 2*n])
	return netip.AddrPortFrom(one, binary.BigEndian.Uint16(a[2*n:])), netip.AddrPortFrom(two, binary.BigEndian.Uint16(a[2*n+2:])), a[2*n+4:]
}

// Whatever the addresses, a header says them, in one family.
func TestProxyHeadersSayWhoTheClientIs(t *testing.T) {
	says := func(a, b [16]byte, fourA, fourB, mapped bool, p, q uint16) bool {
		addr := func(raw [16]byte, four bool) netip.Addr {
			if !four {
				return netip.AddrFrom16(raw)
			}
			v4 := netip.AddrFrom4([4]byte(raw[:4]))
			if mapped { // as a listener for both families sees it
				return netip.AddrFrom16(v4.As16())
			}
			return v4
		}
		client, listener := netip.AddrPortFrom(addr(a, fourA), p), netip.AddrPortFrom(addr(b, fourB), q)
		for _, version := range []string{"v1", "v2"} {
			src, dst, rest := readProxy(t, append(proxyHeader(version, client, listener), "rest"...))
			if string(rest) != "rest" || src.Port() != p || dst.Port() != q ||
				src.Addr().Unmap() != client.Addr().Unmap() || dst.Addr().Unmap() != listener.Addr().Unmap() {
				t.Logf("%s of %v to %v says %v to %v", version, client, listener, src, dst)
				return false
			}
		}
		return true
	}
	if err := property.Check(says, &property.Config{MaxCount: 2_000}); err != nil {
		t.Error(err)
	}
}
