package source

import (
	"bytes"
	"crypto/sha1" // git's checksum of a pack
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"example.org/collie/agent/foreign"
	"example.org/collie/agent/statefile"
)

// A clone is a bare repository with nothing but objects and one ref, that of the accepted commit.
type clone struct {
	dir      string
	log      *slog.Logger
	maxPacks int // more are made one, or two
	kept     int // commits, then
}

const acceptedRef = "refs/collie/accepted"

// Bounds on what is read of a commit. A revision that goes beyond them can't be read as a tree.
const (
	maxCommit  = 1 << 20
	maxListing = 8 << 20 // one tree object
	maxEntries = 20_000
	maxDepth   = 64
)

// openClone mends the clone in dir. With an error it is there all the same, and to be mended later.
func openClone(dir string, log *slog.Logger) (*clone, error) {
	c := &clone{dir: dir, log: log, maxPacks: 8, kept: 32}
	return c, c.mend()
}

// mend makes the folder a bare repository, as far as it isn't one, and heals it.
func (c *clone) mend() error {
	if err := c.dropOthers(); err != nil {
		return err
	}
	if err := c.make(); err != nil {
		return err
	}
	c.sweep()
	return c.heal()
}

// dropOthers removes what is neither folder nor file: a FIFO would hold up whoever reads it.
func (c *clone) dropOthers() error {
	return filepath.WalkDir(c.dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || e.IsDir() || e.Type().IsRegular() {
			return err
		}
		c.log.Warn("something in the clone is neither folder nor file, and is removed", "file", path, "type", e.Type())
		return os.Remove(path)
	})
}

func (c *clone) make() error {
	for _, d := range []string{"", "refs", "refs/heads", "refs/collie", "objects", "objects/pack", "objects/info"} {
		if err := os.MkdirAll(filepath.Join(c.dir, d), 0o700); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{
		"HEAD":   "ref: refs/heads/main\n", // never born; git wants one
		"config": "[core]\n\trepositoryformatversion = 0\n\tbare = true\n[gc]\n\tauto = 0\n",
	} {
		path := filepath.Join(c.dir, name)
		if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && info.Size() > 0 && info.Size() < 1<<20 {
			continue
		}
		if err := statefile.Write(path, []byte(text)); err != nil {
			return err
		}
	}
	return nil
}

// sweep deletes what a killed or broken transfer left: nothing else ever would.
func (c *clone) sweep() {
	left, _ := filepath.Glob(filepath.Join(c.dir, "objects/pack/tmp_*"))
	for _, path := range left {
		if err := os.Remove(path); err != nil {
			c.log.Warn("the rest of a broken transfer can't be removed", "file", path, "error", err)
		}
	}
}

// heal empties the clone if a pack in it is damaged: a fetch wouldn't notice, and never send its objects again.
func (c *clone) heal() error {
	packs, err := filepath.Glob(filepath.Join(c.dir, "objects/pack/pack-*.pack"))
	if err != nil {
		return err
	}
	for _, path := range packs {
		if err := checkPack(path); err != nil {
			c.log.Warn("the clone is damaged: its objects are deleted and fetched afresh", "file", path, "error", err)
			return c.empty()
		}
	}
	// An index without its pack promises what isn't there.
	indexes, err := filepath.Glob(filepath.Join(c.dir, "objects/pack/pack-*.idx"))
	if err != nil {
		return err
	}
	for _, path := range indexes {
		if _, err := os.Stat(strings.TrimSuffix(path, "idx") + "pack"); err == nil {
			continue
		}
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return nil
}

// checkPack compares a pack with the checksum at its end.
func checkPack(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	sum := sha1.New()
	if _, err := io.CopyN(sum, f, info.Size()-sha1.Size); err != nil {
		return err
	}
	end, err := io.ReadAll(io.LimitReader(f, sha1.Size))
	if err == nil && !bytes.Equal(end, sum.Sum(nil)) {
		return errors.New("its checksum doesn't match")
	}
	return err
}

// empty deletes the objects. The accepted ref is kept: a new commit must descend from it.
func (c *clone) empty() error {
	if err := os.RemoveAll(filepath.Join(c.dir, "objects")); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(c.dir, "shallow")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return c.make()
}

// storage reads the clone as it is now: packs that come later need another one.
func (c *clone) storage() *filesystem.Storage {
	return filesystem.NewStorageWithOptions(osfs.New(c.dir), cache.NewObjectLRU(16*cache.MiByte), filesystem.Options{})
}

// accepted is zero if there was none.
func (c *clone) accepted() plumbing.Hash {
	ref, err := c.storage().Reference(acceptedRef)
	if err != nil || ref.Type() != plumbing.HashReference {
		return plumbing.ZeroHash
	}
	return ref.Hash()
}

func (c *clone) accept(id plumbing.Hash) error {
	return statefile.Write(filepath.Join(c.dir, acceptedRef), []byte(id.String()+"\n"))
}

func (c *clone) revision(id plumbing.Hash) (Revision, error) {
	commit, err := readCommit(c.storage(), id)
	if err != nil {
		return Revision{}, err
	}
	coded := string(commit.Encoding)
	author := words(commit.Author.Name, coded)
	if author == "" {
		author = words(commit.Author.Email, coded)
	}
	subject, _, _ := strings.Cut(strings.TrimSpace(commit.Message), "\n")
	return Revision{ID: id.String(), Author: author, Subject: words(subject, coded), Time: commit.Committer.When.UTC()}, nil
}

func (c *clone) has(id plumbing.Hash) bool { return c.storage().HasEncodedObject(id) == nil }

// complete reports whether the commit and all files of its tree are in the clone.
func (c *clone) complete(id plumbing.Hash) error {
	sto := c.storage()
	commit, err := readCommit(sto, id)
	if err != nil {
		return err
	}
	err = walkTree(sto, commit.TreeHash, func(path string, e object.TreeEntry) error {
		if e.Mode == filemode.Submodule {
			return nil
		}
		if err := sto.HasEncodedObject(e.Hash); err != nil {
			return fmt.Errorf("%s: %w", plain(path), err)
		}
		return nil
	})
	if errors.Is(err, errTooMuch) {
		return nil // never read further than here either
	}
	return err
}

// descends reports whether last can be reached from tip. A parent that isn't in the clone is where history was cut.
func (c *clone) descends(tip, last plumbing.Hash) (bool, error) {
	sto := c.storage()
	seen := map[plumbing.Hash]bool{tip: true}
	for queue := []plumbing.Hash{tip}; len(queue) > 0; queue = queue[1:] {
		id := queue[0]
		if id == last {
			return true, nil
		}
		commit, err := readCommit(sto, id)
		if errors.Is(err, plumbing.ErrObjectNotFound) {
			continue
		}
		if err != nil {
			return false, err
		}
		for _, p := range commit.ParentHashes {
			if !seen[p] {
				seen[p] = true
				queue = append(queue, p)
			}
		}
	}
	return false, nil
}

func readCommit(sto *filesystem.Storage, id plumbing.Hash) (*object.Commit, error) {
	size, err := sto.EncodedObjectSize(id)
	if err != nil {
		return nil, fmt.Errorf("commit %s: %w", id, err)
	}
	if size > maxCommit {
		return nil, fmt.Errorf("commit %s: it has a message of more than %d MiB", id, maxCommit>>20)
	}
	commit, err := object.GetCommit(sto, id)
	if err != nil {
		return nil, fmt.Errorf("commit %s: %w", id, err)
	}
	return commit, nil
}

var errTooMuch = errors.New("more than Collie reads of one revision")

// walkTree visits all entries below a tree, parents first.
func walkTree(sto *filesystem.Storage, root plumbing.Hash, visit func(path string, e object.TreeEntry) error) error {
	left := maxEntries
	var walk func(id plumbing.Hash, dir string, depth int) error
	walk = func(id plumbing.Hash, dir string, depth int) error {
		if depth > maxDepth {
			return fmt.Errorf("%s is deeper than %d folders: %w", plain(dir), maxDepth, errTooMuch)
		}
		size, err := sto.EncodedObjectSize(id)
		if err != nil {
			return fmt.Errorf("folder %q: %w", dir, err)
		}
		if size > maxListing {
			return fmt.Errorf("folder %q has a listing of more than %d MiB: %w", dir, maxListing>>20, errTooMuch)
		}
		tree, err := object.GetTree(sto, id)
		if err != nil {
			return fmt.Errorf("folder %q: %w", dir, err)
		}
		for _, e := range tree.Entries {
			if left--; left < 0 {
				return fmt.Errorf("it has more than %d files and folders: %w", maxEntries, errTooMuch)
			}
			path := e.Name
			if dir != "" {
				path = dir + "/" + e.Name
			}
			if err := visit(path, e); err != nil {
				return err
			}
			if e.Mode == filemode.Dir {
				if err := walk(e.Hash, path, depth+1); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return walk(root, "", 0)
}

// plain is a foreign text as one line of at most 200 characters, for a terminal or a log.
func plain(s string) string { return foreign.Line(s, 199) }
