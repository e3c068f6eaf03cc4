package rollout

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// giveBack returns memory that only the work before needed: garbage, and the pages of the own program, of which a start
// and a rollout touch twice as many as waiting does. The kernel maps pages that are used again from its cache.
func giveBack() error {
	debug.FreeOSMemory()
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return err
	}
	defer maps.Close()
	parts, err := untouched(maps, program)
	if err != nil {
		return fmt.Errorf("reading %s: %w", maps.Name(), err)
	}
	for _, p := range parts {
		if _, _, err := unix.Syscall(unix.SYS_MADVISE, p.from, p.to-p.from, unix.MADV_DONTNEED); err != 0 {
			return fmt.Errorf("madvise: %w", err)
		}
	}
	return nil
}

// A mapping is a range of addresses.
type mapping struct{ from, to uintptr }

// untouched finds in a process' smaps the mappings of a file that can't be written, and of which no page was: their
// content is the file's.
func untouched(smaps io.Reader, file string) (all []mapping, err error) {
	var at mapping
	var ours, written bool
	end := func() {
		if ours && !written {
			all = append(all, at)
		}
	}
	lines := bufio.NewScanner(smaps)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		switch key := fields[0]; {
		case key == "Anonymous:" || key == "Swap:": // pages that were written, once
			written = written || fields[1] != "0"
		case !strings.HasSuffix(key, ":"):
			end()
			at = mapping{}
			if _, err := fmt.Sscanf(key, "%x-%x", &at.from, &at.to); err != nil {
				return nil, fmt.Errorf("%q: %w", key, err)
			}
			ours = !strings.Contains(fields[1], "w") && fields[len(fields)-1] == file
			written = false
		}
	}
	end()
	return all, lines.Err()
}
