package source

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"example.org/collie/agent/statefile"
)

// Export writes the files of fsys to a folder in into that is named by their paths, modes and content, and returns it. The
// same files get the same folder, which is written once, completely or not at all. place says which path in there a path
// gets, no two the same; without one it is passed over, and a folder with all below it. Symbolic links are refused, but
// for those that [Linked] took, of which what they lead to is written.
func Export(fsys fs.FS, place func(path string) string, into string) (string, error) {
	paths, err := listing(fsys, place)
	if err != nil {
		return "", fmt.Errorf("listing the files for %s: %w", into, err)
	}
	name, err := copyTo(nil, fsys, paths)
	if err != nil {
		return "", fmt.Errorf("reading the files for %s: %w", into, err)
	}
	dir := filepath.Join(into, name)
	if holds(dir, name) {
		return dir, nil
	}
	if err := write(fsys, paths, into, name); err != nil {
		return "", fmt.Errorf("writing the files to %s: %w", dir, err)
	}
	return dir, nil
}

// A placed is a file to write: where it is, and where it goes.
type placed struct{ from, to string }

// listing is sorted by where the files go.
func listing(fsys fs.FS, place func(string) string) ([]placed, error) {
	var paths []placed
	begun := false
	err := fs.WalkDir(fsys, ".", func(at string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case !begun: // the root, which alone has no name
			begun = true
			return nil
		case place(at) == "":
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		case badName(e.Name()) != "":
			return &TreeError{strconv.Quote(at), badName(e.Name())}
		case strings.Count(at, "/") > maxDepth:
			return &TreeError{at, fmt.Sprintf("is deeper than %d folders", maxDepth)}
		case e.IsDir():
			return nil // made for what is in it
		case e.Type()&fs.ModeSymlink != 0:
			return LinkError(fsys, at)
		case !e.Type().IsRegular():
			return &TreeError{at, "is no regular file: remove it"}
		case len(paths) == maxEntries:
			return &TreeError{Says: fmt.Sprintf("there are more than %d files", maxEntries)}
		}
		paths = append(paths, placed{at, place(at)})
		return nil
	})
	slices.SortFunc(paths, func(x, y placed) int { return strings.Compare(x.to, y.to) })
	return paths, err
}

// copyTo writes the files to root unless it is nil, and returns the hash of their paths, modes and content.
func copyTo(root *os.Root, fsys fs.FS, paths []placed) (string, error) {
	sum := sha256.New()
	made := map[string]bool{".": true}
	left := maxTotal // a file that many links lead to is written as often
	for _, p := range paths {
		info, err := fs.Stat(fsys, p.from)
		if err != nil {
			return "", err
		}
		data, err := fs.ReadFile(fsys, p.from)
		if err != nil {
			return "", err
		}
		if left -= len(data); left < 0 {
			return "", &TreeError{p.from, fmt.Sprintf("is where the revision goes beyond the %d MiB that Collie writes of one", maxTotal>>20)}
		}
		mode := fs.FileMode(0o644)
		if info.Mode()&0o111 != 0 {
			mode = 0o755
		}
		// With the lengths, no two lists of files make the same bytes.
		for _, part := range [][]byte{[]byte(p.to), {byte(mode & 1)}, data} {
			sum.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
			sum.Write(part)
		}
		if root == nil {
			continue
		}
		if err := makeFolders(root, path.Dir(p.to), made); err != nil {
			return "", err
		}
		if err := writeNew(root, p.to, data, mode); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(sum.Sum(nil)[:20]), nil
}

func makeFolders(root *os.Root, dir string, made map[string]bool) error {
	if made[dir] {
		return nil
	}
	if err := makeFolders(root, path.Dir(dir), made); err != nil {
		return err
	}
	made[dir] = true
	if err := root.Mkdir(dir, 0o755); err != nil {
		return err
	}
	return root.Chmod(dir, 0o755) // whatever the umask
}

func writeNew(root *os.Root, at string, data []byte, mode fs.FileMode) error {
	f, err := root.OpenFile(at, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	return errors.Join(err, f.Close())
}

// holds reports whether dir has exactly the files that its name says: a power cut or a hand may have changed them.
func holds(dir, name string) bool {
	fsys := os.DirFS(dir)
	paths, err := listing(fsys, asItIs)
	if err != nil {
		return false
	}
	got, err := copyTo(nil, fsys, paths)
	return err == nil && got == name
}

// asItIs places each file where it is.
func asItIs(path string) string { return path }

func write(fsys fs.FS, paths []placed, into, name string) error {
	if err := os.MkdirAll(into, 0o755); err != nil {
		return err
	}
	sweepExports(into)
	tmp, err := os.MkdirTemp(into, ".tmp-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp) // gone by then, unless something failed
	root, err := os.OpenRoot(tmp)
	if err != nil {
		return err
	}
	defer root.Close()
	got, err := copyTo(root, fsys, paths)
	if err != nil {
		return err
	}
	if got != name {
		return errors.New("they changed while they were read; try again")
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	if err := syncAll(tmp); err != nil { // before the name that promises all of it
		return err
	}
	dir := filepath.Join(into, name)
	err = os.Rename(tmp, dir)
	if errors.Is(err, fs.ErrExist) { // another Export was faster, or it was damaged
		if holds(dir, name) {
			return nil
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		err = os.Rename(tmp, dir)
	}
	if err != nil {
		return err
	}
	return statefile.SyncDir(into)
}

// syncAll is one wait for all files, where an fsync of each takes seconds for some thousand.
func syncAll(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return unix.Syncfs(int(d.Fd()))
}

// sweepExports deletes what a kill left half written; what is younger may be another's work in progress.
func sweepExports(into string) {
	entries, err := os.ReadDir(into)
	if err != nil {
		return
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && strings.HasPrefix(e.Name(), ".tmp-") && time.Since(info.ModTime()) > time.Hour {
			_ = os.RemoveAll(filepath.Join(into, e.Name())) // tried again by the next one
		}
	}
}
