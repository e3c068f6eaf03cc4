package guix

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// speaks serves what guix-daemon 1.5.0 says of some items, as it was read in guix/store.scm.
func speaks(t *testing.T, magic uint64, items map[string]stored) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "socket")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	t.Setenv("GUIX_DAEMON_SOCKET", socket)
	text := func(s string) []byte {
		return slices.Concat(number64(uint64(len(s))), []byte(s), make([]byte, (8-len(s)%8)%8))
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			in := bufio.NewReader(conn)
			number := func() uint64 {
				var b [8]byte
				if _, err := io.ReadFull(in, b[:]); err != nil {
					return 0
				}
				return binary.LittleEndian.Uint64(b[:])
			}
			number()
			_, _ = conn.Write(slices.Concat(number64(magic), number64(0x164)))
			number()
			number()
			number()
			_, _ = conn.Write(slices.Concat(number64(stderrNext), text("hello\n"), number64(stderrLast)))
			for number() == pathInfo {
				n := number()
				b := make([]byte, (n+7)/8*8)
				if _, err := io.ReadFull(in, b); err != nil {
					break
				}
				info, is := items[string(b[:n])]
				if !is {
					_, _ = conn.Write(slices.Concat(number64(stderrError), text("path isn't valid"), number64(1)))
					continue
				}
				answer := slices.Concat(number64(stderrLast), text("/gnu/store/x.drv"), text("abc"), number64(uint64(len(info.refers))))
				for _, r := range info.refers {
					answer = append(answer, text(r)...)
				}
				_, _ = conn.Write(slices.Concat(answer, number64(1), number64(uint64(info.size))))
			}
			conn.Close()
		}
	}()
}

func TestGrowthOfTheClosure(t *testing.T) {
	item := func(letter, name string) string { return "/gnu/store/" + strings.Repeat(letter, 32) + "-" + name }
	const mib = 1 << 20
	old, next, same := item("a", "system"), item("b", "system"), item("s", "glibc-2.41")
	items := map[string]stored{
		old:                          {mib, []string{old, same, item("c", "bash-5.2")}}, // an item may refer to itself
		next:                         {2 * mib, []string{same, item("d", "bash-5.2"), item("e", "postgresql-16.4")}},
		same:                         {40 * mib, nil},
		item("c", "bash-5.2"):        {6 * mib, []string{same}},
		item("d", "bash-5.2"):        {7 * mib, []string{same}},
		item("e", "postgresql-16.4"): {312 * mib, []string{same, item("f", "icu4c-73")}},
		item("f", "icu4c-73"):        {30 * mib, nil},
	}
	speaks(t, daemonMagic, items)
	for _, row := range []struct{ live, item, want string }{
		{old, next, "+344.0 MiB, 391.0 MiB in all: postgresql-16.4 +312.0 MiB, icu4c-73 +30.0 MiB, bash-5.2 +1.0 MiB"},
		{next, old, "-344.0 MiB, 47.0 MiB in all: postgresql-16.4 -312.0 MiB, icu4c-73 -30.0 MiB, bash-5.2 -1.0 MiB"},
		{"", old, "+47.0 MiB, 47.0 MiB in all: glibc-2.41 +40.0 MiB, bash-5.2 +6.0 MiB, system +1.0 MiB"},
		{old, old, ""},
		{old, item("9", "gone"), ""}, // the daemon doesn't know it
		{old, "", ""},
	} {
		got := ""
		if details := growth(context.Background(), row.live, row.item); len(details) > 0 {
			got = details[0].Says
		}
		if got != row.want {
			t.Errorf("%s to %s: %q, want %q", row.live, row.item, got, row.want)
		}
	}
}

func TestSizesHaveASign(t *testing.T) {
	for bytes, want := range map[int64]string{
		0: "+0.0 MiB", -1: "+0.0 MiB", 1: "+0.0 MiB", -52_000: "+0.0 MiB", -53_000: "-0.1 MiB", 53_000: "+0.1 MiB", -3 << 20: "-3.0 MiB",
	} {
		if got := signed(bytes); got != want {
			t.Errorf("%d bytes are %q, want %q", bytes, got, want)
		}
	}
}

// A plan does without, where the daemon isn't there or isn't one.
func TestGrowthIsNotKnown(t *testing.T) {
	item := "/gnu/store/" + strings.Repeat("a", 32) + "-system"
	speaks(t, 7, map[string]stored{item: {1, nil}})
	if got := growth(context.Background(), "", item); got != nil {
		t.Errorf("of another server: %v", got)
	}
	t.Setenv("GUIX_DAEMON_SOCKET", filepath.Join(t.TempDir(), "none"))
	if got := growth(context.Background(), "", item); got != nil {
		t.Errorf("of none: %v", got)
	}
	t.Setenv("GUIX_DAEMON_SOCKET", "guix://builder:44146")
	if got := growth(context.Background(), "", item); got != nil {
		t.Errorf("of another machine: %v", got)
	}
}
