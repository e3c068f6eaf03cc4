package guix

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A SpaceError says that a disk hasn't the room for a build. It passes once somebody makes room.
type SpaceError struct {
	Path, Mount string
	Free, Need  int64 // bytes
}

func (e *SpaceError) Error() string {
	return fmt.Sprintf("the disk mounted on %s is too full for %s: %s are free, and %s needed; free some, for example with `guix gc`",
		e.Mount, e.Path, megabyteText(e.Free), megabyteText(e.Need))
}

// The least free space with which guix may begin. A system that is complete in the store still writes a few MB there; its tree and
// its log need less.
const (
	storeMinimum = 100e6
	stateMinimum = 16e6
	fullBelow    = 1e6
)

const storeDir = "/gnu/store"

// settleStore makes built items survive a power cut. guix-daemon (1.5.0) notes an item as valid before its files are on the disk.
// After a power cut at that moment they are empty for ever, because they are never built again.
func settleStore() error {
	store, err := os.Open(storeDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(store.Fd())), store.Close())
}

// room reports whether there is room for the work of a guix: lacks is what guix says that the store lacks, and download what is
// still to be downloaded. Only guix knows the unpacked size.
func (r *Runner) room(lacks, download int64) error {
	store := filepath.Join(r.dir, storeDir)
	if lacks > 0 {
		free := free(store)
		return &SpaceError{store, mountOf(store), free, free + lacks}
	}
	for _, need := range []struct {
		path  string
		bytes int64
	}{{store, storeMinimum + download}, {filepath.Dir(r.Logs), stateMinimum}} {
		if free := free(need.path); free < need.bytes {
			return &SpaceError{need.path, mountOf(need.path), free, need.bytes}
		}
	}
	return nil
}

// Free is what the store's disk has left.
func (r *Runner) Free() int64 { return free(filepath.Join(r.dir, storeDir)) }

// Collect has Guix remove what nothing needs, the roots of Collie's included, until so many bytes are free or nothing is
// left to remove. It may be ended at any time.
func (r *Runner) Collect(ctx context.Context, bytes int64) error {
	out, err := r.run(ctx, attempt{what: "gc", args: []string{"gc", fmt.Sprintf("--free-space=%dMiB", bytes>>20)}, build: true, frees: true})
	return errors.Join(err, out.fault())
}

// free is what path's disk has left for the agent; more than enough if that isn't known.
func free(path string) int64 {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil || fs.Blocks == 0 {
		return math.MaxInt64
	}
	return int64(min(fs.Bavail*uint64(fs.Bsize), math.MaxInt64))
}

// mountOf is the folder on which path's disk is mounted.
func mountOf(path string) string {
	device := func(path string) uint64 {
		var st unix.Stat_t
		_ = unix.Stat(path, &st)
		return st.Dev
	}
	for {
		up := filepath.Dir(path)
		if up == path || device(up) != device(path) {
			return path
		}
		path = up
	}
}

// fullDisks says which of the disks that a guix writes to, whose log is given, are full; a builder that failed may have
// made room again.
func fullDisks(log string) string {
	var full []string
	for _, path := range []string{storeDir, "/var/guix", os.TempDir(), ownHome(), filepath.Dir(log)} {
		if says := mountOf(path) + " (" + megabyteText(free(path)) + " free)"; free(path) < fullBelow && !slices.Contains(full, says) {
			full = append(full, says)
		}
	}
	if len(full) == 0 {
		return "the disk is full: free some space, for example with `guix gc`"
	}
	return "the disk mounted on " + strings.Join(full, " and on ") + " is full: free some space, for example with `guix gc`"
}

func megabyteText(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }
