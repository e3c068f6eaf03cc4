package forward

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// proxyHeader is what a connection to a backend begins with, so that it learns who its client is: version v1 or v2 of the
// PROXY protocol (https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt), or nothing.
func proxyHeader(version string, client, listener netip.AddrPort) []byte {
	src, dst := client.Addr().Unmap().WithZone(""), listener.Addr().Unmap().WithZone("")
	if src.Is4() != dst.Is4() {
		src, dst = netip.AddrFrom16(src.As16()), netip.AddrFrom16(dst.As16())
	}
	switch version {
	case "v1":
		family := "TCP6"
		if src.Is4() {
			family = "TCP4"
		}
		return fmt.Appendf(nil, "PROXY %s %s %s %d %d\r\n", family, src, dst, client.Port(), listener.Port())
	case "v2":
		header := []byte("\r\n\r\n\x00\r\nQUIT\n\x21\x21") // version 2, PROXY; TCP over IPv6
		if src.Is4() {
			header[13] = 0x11
		}
		addresses := append(src.AsSlice(), dst.AsSlice()...)
		header = binary.BigEndian.AppendUint16(header, uint16(len(addresses)+4))
		header = append(header, addresses...)
		header = binary.BigEndian.AppendUint16(header, client.Port())
		return binary.BigEndian.AppendUint16(header, listener.Port())
	}
	return nil
}
