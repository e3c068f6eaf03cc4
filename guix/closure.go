package guix

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A daemon is what guix-daemon knows of the items in the store, by its own protocol: nothing is asked that changes anything.
type daemon struct {
	conn net.Conn
	in   *bufio.Reader
}

// The daemon's words (guix/store.scm, nix/libstore/worker-protocol.hh of Guix 1.5).
const (
	clientMagic   = 0x6e697863
	daemonMagic   = 0x6478696f
	ourProtocol   = 0x163
	pathInfo      = 26
	stderrNext    = 0x6f6c6d67
	stderrLast    = 0x616c7473
	stderrError   = 0x63787470
	mostDaemon    = 64 << 10 // bytes of a string
	mostClosure   = 100_000  // items
	daemonSocket  = "/var/guix/daemon-socket/socket"
	daemonTimeout = 10 * time.Second
)

// daemonAt is where guix-daemon is asked. GUIX_DAEMON_SOCKET may name another socket, as for guix.
func daemonAt() string { return cmp.Or(os.Getenv("GUIX_DAEMON_SOCKET"), daemonSocket) }

// openDaemon connects to guix-daemon.
func openDaemon(ctx context.Context) (*daemon, error) {
	socket := strings.TrimPrefix(daemonAt(), "file://")
	if !filepath.IsAbs(socket) {
		return nil, fmt.Errorf("guix-daemon is at %s, which is no socket on this machine", socket)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("asking guix-daemon: %w", err)
	}
	d := &daemon{conn, bufio.NewReader(conn)}
	if err := d.greet(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("asking guix-daemon: %w", err)
	}
	return d, nil
}

func (d *daemon) greet(ctx context.Context) error {
	deadline := time.Now().Add(daemonTimeout)
	if by, limited := ctx.Deadline(); limited && by.Before(deadline) {
		deadline = by
	}
	if err := d.conn.SetDeadline(deadline); err != nil {
		return err
	}
	if err := d.write(number64(clientMagic)); err != nil {
		return err
	}
	magic, err := d.number()
	if err != nil || magic != daemonMagic {
		return cmp.Or(err, errors.New("it isn't guix-daemon that answers"))
	}
	version, err := d.number()
	if err != nil || version>>8 != ourProtocol>>8 || version&0xff < 14 {
		return cmp.Or(err, fmt.Errorf("it speaks protocol %#x", version))
	}
	if err := d.write(slices.Concat(number64(ourProtocol), number64(0), number64(0))); err != nil { // no affinity, no reserved space
		return err
	}
	return d.settled()
}

func number64(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }

func (d *daemon) write(b []byte) error {
	_, err := d.conn.Write(b)
	return err
}

func (d *daemon) number() (uint64, error) {
	var b [8]byte
	_, err := io.ReadFull(d.in, b[:])
	return binary.LittleEndian.Uint64(b[:]), err
}

func (d *daemon) text() (string, error) {
	n, err := d.number()
	if err != nil {
		return "", err
	}
	if n > mostDaemon {
		return "", errors.New("it says more than it should")
	}
	b := make([]byte, (n+7)/8*8)
	_, err = io.ReadFull(d.in, b)
	return string(b[:n]), err
}

// settled waits until the daemon has said what it does before an answer.
func (d *daemon) settled() error {
	for {
		word, err := d.number()
		if err != nil {
			return err
		}
		switch word {
		case stderrLast:
			return nil
		case stderrNext:
			if _, err := d.text(); err != nil {
				return err
			}
		case stderrError:
			says, err := d.text()
			if err == nil {
				_, err = d.number()
			}
			return cmp.Or(err, errors.New(shorten(clean(says))))
		default:
			return fmt.Errorf("it says %#x", word)
		}
	}
}

// info is the size of an item, and what it refers to.
func (d *daemon) info(item string) (size int64, refers []string, err error) {
	padding := (8 - len(item)%8) % 8
	ask := slices.Concat(number64(pathInfo), number64(uint64(len(item))), []byte(item), bytes.Repeat([]byte{0}, padding))
	if err := d.write(ask); err != nil {
		return 0, nil, err
	}
	if err := d.settled(); err != nil {
		return 0, nil, err
	}
	for range 2 { // who derived it, and its hash
		if _, err := d.text(); err != nil {
			return 0, nil, err
		}
	}
	n, err := d.number()
	if err != nil || n > mostClosure {
		return 0, nil, cmp.Or(err, errors.New("it names too many references"))
	}
	for range n {
		item, err := d.text()
		if err != nil {
			return 0, nil, err
		}
		refers = append(refers, item)
	}
	if _, err := d.number(); err != nil { // when it came
		return 0, nil, err
	}
	bytes, err := d.number()
	return int64(bytes), refers, err
}

// known says what keeps an item from being one that guix-daemon has in the store, whole.
func known(ctx context.Context, item string) error {
	d, err := openDaemon(ctx)
	if err != nil {
		return err
	}
	defer d.conn.Close()
	if _, _, err := d.info(item); err != nil {
		return fmt.Errorf("guix-daemon has no such item: %w", err)
	}
	return nil
}

// closure is the size of each item that item needs, and of item itself. Items in known aren't asked for.
func (d *daemon) closure(known map[string]stored, item string) (map[string]int64, error) {
	sizes := map[string]int64{}
	left := []string{item}
	for len(left) > 0 {
		at := left[len(left)-1]
		left = left[:len(left)-1]
		if _, seen := sizes[at]; seen {
			continue
		}
		info, is := known[at]
		if !is {
			var err error
			if info.size, info.refers, err = d.info(at); err != nil {
				return nil, fmt.Errorf("asking guix-daemon for %s: %w", at, err)
			}
			known[at] = info
		}
		if sizes[at] = info.size; len(sizes) > mostClosure {
			return nil, fmt.Errorf("%s needs more than %d items", item, mostClosure)
		}
		left = append(left, info.refers...)
	}
	return sizes, nil
}

// A stored is what the daemon knows of an item.
type stored struct {
	size   int64
	refers []string
}

// growth is how the closure of item differs in size from that of live, with the items that make the most of it. It isn't
// shown where the daemon can't say it: a plan has to do without.
func growth(ctx context.Context, live, item string) []Detail {
	if live == item || item == "" {
		return nil
	}
	d, err := openDaemon(ctx)
	if err != nil {
		return nil
	}
	defer d.conn.Close()
	known, was := map[string]stored{}, map[string]int64{}
	if live != "" {
		if was, err = d.closure(known, live); err != nil {
			return nil
		}
	}
	is, err := d.closure(known, item)
	if err != nil {
		return nil
	}
	return []Detail{grown(was, is)}
}

// grown compares two closures. Items of the same name are one: of another version, or made again.
func grown(was, is map[string]int64) Detail {
	names := map[string]int64{}
	var all, more int64
	for item, size := range is {
		all += size
		more += size
		if _, had := was[item]; !had {
			names[nameOf(item)] += size
		}
	}
	for item, size := range was {
		more -= size
		if _, has := is[item]; !has {
			names[nameOf(item)] -= size
		}
	}
	const told = 3
	items := slices.SortedFunc(func(yield func(string) bool) {
		for name := range names {
			if !yield(name) {
				return
			}
		}
	}, func(a, b string) int {
		return cmp.Or(cmp.Compare(magnitude(names[b]), magnitude(names[a])), strings.Compare(a, b))
	})
	var says []string
	for _, name := range items {
		if len(says) < told && magnitude(names[name]) >= 1<<20 {
			says = append(says, name+" "+signed(names[name]))
		}
	}
	text := signed(more) + ", " + strings.TrimPrefix(signed(all), "+") + " in all"
	if len(says) > 0 {
		text += ": " + strings.Join(says, ", ")
	}
	return Detail{Change: Change{"size", "closure", text}}
}

func magnitude(n int64) int64 { return max(n, -n) }

// signed is a number of bytes in MiB, which is precise enough for a disk. A few bytes less are +0.0 MiB, as a few more are.
func signed(bytes int64) string {
	mib := math.Round(float64(bytes)*10/(1<<20)) / 10
	return fmt.Sprintf("%+.1f MiB", mib+0) // -0 and 0 are 0
}
