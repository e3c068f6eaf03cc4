package rollout

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestUntouched(t *testing.T) {
	part := func(addresses, perms, file, anonymous, swap string) string {
		return addresses + " " + perms + " 00001000 fe:00 42    " + file + "\nSize:  4 kB\nRss:  4 kB\n" +
			"Anonymous:  " + anonymous + " kB\nSwap:  " + swap + " kB\nVmFlags: rd ex mr mw me\n"
	}
	for _, row := range []struct {
		name, smaps string
		want        []mapping
	}{
		{"code and constants", part("400000-abb000", "r-xp", "/bin/collie", "0", "0") + part("abb000-11ab000", "r--p", "/bin/collie", "0", "0"),
			[]mapping{{0x400000, 0xabb000}, {0xabb000, 0x11ab000}}},
		{"data", part("11ab000-1217000", "rw-p", "/bin/collie", "0", "0"), nil},
		{"written before it was protected", part("400000-abb000", "r--p", "/bin/collie", "4", "0"), nil},
		{"and swapped since", part("400000-abb000", "r--p", "/bin/collie", "0", "4"), nil},
		{"another file", part("400000-abb000", "r-xp", "/lib/libc.so", "0", "0"), nil},
		{"a removed one", part("400000-abb000", "r-xp", "/bin/collie (deleted)", "0", "0"), nil},
		{"nothing's", part("c000000000-c000400000", "r--p", "", "0", "0"), nil},
		{"after data", part("11ab000-1217000", "rw-p", "/bin/collie", "8", "0") + part("7f0000000000-7f0000001000", "r--p", "/bin/collie", "0", "0"),
			[]mapping{{0x7f0000000000, 0x7f0000001000}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got, err := untouched(strings.NewReader(row.smaps), "/bin/collie"); err != nil || !slices.Equal(got, row.want) {
				t.Errorf("got %x, %v, want %x", got, err, row.want)
			}
		})
	}
	if got, err := untouched(strings.NewReader("what is this\n"), "/bin/collie"); err == nil {
		t.Errorf("got %v of nonsense", got)
	}
}

// Memory is given back after each rollout, and not while nothing happens.
func TestMemoryIsGivenBackAfterARollout(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		pass(time.Hour)
		before := w.rests.Load()
		w.push("a", "system=1", "home=1", "pods=1")
		pass(5 * time.Minute)
		w.good("a")
		after := w.rests.Load()
		if after == before {
			t.Error("none was given back")
		}
		pass(time.Hour)
		if n := w.rests.Load() - after; n != 0 {
			t.Errorf("%d times in an hour in which nothing happened", n)
		}
	})
}

// This process goes on without a page of its program.
func TestGiveBack(t *testing.T) {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	smaps, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer smaps.Close()
	if parts, err := untouched(smaps, program); err != nil || len(parts) == 0 {
		t.Fatalf("%v, %v", parts, err)
	}
	if err := giveBack(); err != nil {
		t.Fatal(err)
	}
}
