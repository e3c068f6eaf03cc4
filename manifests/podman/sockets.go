package podman

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A socket is a line of one of the kernel's tables of sockets, as proc_net_tcp describes them.
type socket struct {
	protocol string // TCP or UDP
	six      bool   // it is of the table for IPv6, and may take what comes by IPv4, too
	local    netip.AddrPort
	listens  bool // or takes from anybody, as a UDP socket does that isn't connected
	uid      int  // of who made it
	inode    string
}

// link is what a link in /proc/PID/fd says that leads to the socket; "": none does, as nobody has it any more.
func (s socket) link() string {
	if s.inode == "0" {
		return ""
	}
	return "socket:[" + s.inode + "]"
}

// socketTables are the kernel's, below /proc/net.
var socketTables = []struct {
	name, protocol string
	six            bool
}{{"tcp", "TCP", false}, {"tcp6", "TCP", true}, {"udp", "UDP", false}, {"udp6", "UDP", true}}

// readSockets reads the tables in dir. A machine may have very many connections, so only those at a local port in ports are
// kept, or all that listen where ports is nil. What can't be read is left out.
func readSockets(dir string, ports map[int]bool) []socket {
	var all []socket
	for _, table := range socketTables {
		f, err := os.Open(filepath.Join(dir, table.name))
		if err != nil {
			continue // a kernel without IPv6 has no such table
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			s, ok := readSocket(lines.Text())
			if !ok || ports == nil && !s.listens || ports != nil && !ports[int(s.local.Port())] {
				continue
			}
			s.protocol, s.six = table.protocol, table.six
			all = append(all, s)
		}
		f.Close() // it was only read
	}
	return all
}

func readSocket(line string) (socket, bool) {
	const local, state, uid, inode = 1, 3, 7, 9
	word := strings.Fields(line)
	if len(word) <= inode {
		return socket{}, false
	}
	at, ok := readSocketAddress(word[local])
	who, err := strconv.Atoi(word[uid])
	if !ok || err != nil {
		return socket{}, false // the first line, which names the columns
	}
	return socket{local: at, listens: word[state] == "0A" || word[state] == "07", uid: who, inode: word[inode]}, true
}

// readSocketAddress reads ADDRESS:PORT in hexadecimal digits. The port is a number; the address is what is in memory, word
// for word of 32 bits, each written as a number of this machine's.
func readSocketAddress(text string) (netip.AddrPort, bool) {
	address, port, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(address)
	n, err2 := strconv.ParseUint(port, 16, 16)
	if err != nil || err2 != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	ip, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(ip.Unmap(), uint16(n)), ok
}
