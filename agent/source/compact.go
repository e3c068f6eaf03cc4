package source

import (
	"compress/zlib"
	"crypto/sha1" // git's checksum of a pack
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// compact makes one pack of the last commits up to the tips, of which the first must be whole, and forgets those before, once there are too many packs: each
// fetch adds one, and each look-up asks all. A pack that is larger than all others together is kept, and one of the
// rest: of a large repository most objects never change. go-git's own repacking fails on a shallow clone.
func (c *clone) compact(tips []plumbing.Hash) error {
	old, err := filepath.Glob(filepath.Join(c.dir, "objects/pack/pack-*.pack"))
	if err != nil || len(old) <= c.maxPacks {
		return err
	}
	if err := c.repack(tips, old); err != nil {
		c.sweep()
		return fmt.Errorf("making one pack of %d: %w", len(old), err)
	}
	return nil
}

func (c *clone) repack(tips []plumbing.Hash, old []string) error {
	sto := c.storage()
	objects, cut, err := lastCommits(sto, tips, c.kept)
	if err != nil {
		return err
	}
	large, old, err := apart(old)
	if err == nil && large != "" {
		objects, err = without(objects, large)
	}
	if err != nil {
		return err
	}
	made := ""
	if len(objects) > 0 {
		made, err = writePack(sto, objects)
	}
	if err != nil {
		return err
	}
	if err := sto.SetShallow(cut); err != nil {
		return err
	}
	for _, pack := range old {
		if filepath.Base(pack) == made {
			continue
		}
		// The index last: without it nobody would find what is left of a kill in between.
		for _, path := range []string{pack, indexOf(pack)} {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// apart returns the pack that is larger than all others together, if there is one, and the others.
func apart(packs []string) (large string, rest []string, err error) {
	var all, most int64
	for _, pack := range packs {
		info, err := os.Stat(pack)
		if err != nil {
			return "", nil, err
		}
		all += info.Size()
		if info.Size() > most {
			large, most = pack, info.Size()
		}
	}
	if most <= all-most {
		return "", packs, nil
	}
	return large, slices.DeleteFunc(slices.Clone(packs), func(pack string) bool { return pack == large }), nil
}

// without leaves out the objects that are in a pack.
func without(objects []plumbing.Hash, pack string) ([]plumbing.Hash, error) {
	f, err := os.Open(indexOf(pack))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	index := idxfile.NewMemoryIndex()
	if err := idxfile.NewDecoder(f).Decode(index); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(objects, func(id plumbing.Hash) bool {
		has, err := index.Contains(id)
		return has && err == nil
	}), nil
}

func indexOf(pack string) string { return strings.TrimSuffix(pack, "pack") + "idx" }

// lastCommits lists the objects of the last n commits, each once, and the commits where history ends now.
func lastCommits(sto *filesystem.Storage, tips []plumbing.Hash, n int) (objects, cut []plumbing.Hash, err error) {
	listed := map[plumbing.Hash]bool{}
	kept := map[plumbing.Hash]*object.Commit{}
	queue, asked := slices.Clone(tips), map[plumbing.Hash]bool{}
	for _, tip := range tips {
		asked[tip] = true
	}
	for ; len(queue) > 0 && len(kept) < n; queue = queue[1:] {
		commit, err := readCommit(sto, queue[0])
		var found []plumbing.Hash
		if err == nil {
			found, err = below(sto, commit.TreeHash, listed)
		}
		if err != nil && queue[0] == tips[0] {
			return nil, nil, err
		}
		if err != nil {
			continue // only what was accepted is known to be whole
		}
		kept[commit.Hash] = commit
		for _, id := range append(found, commit.Hash) {
			listed[id] = true
			objects = append(objects, id)
		}
		for _, p := range commit.ParentHashes {
			if !asked[p] {
				asked[p] = true
				queue = append(queue, p)
			}
		}
	}
	for id, commit := range kept {
		for _, p := range commit.ParentHashes {
			if kept[p] == nil {
				cut = append(cut, id)
				break
			}
		}
	}
	plumbing.HashesSort(cut)
	return objects, cut, nil
}

// below lists a tree and all in it that isn't listed yet.
func below(sto *filesystem.Storage, root plumbing.Hash, listed map[plumbing.Hash]bool) ([]plumbing.Hash, error) {
	var found []plumbing.Hash
	mine := map[plumbing.Hash]bool{}
	add := func(id plumbing.Hash) bool {
		if listed[id] || mine[id] {
			return false
		}
		mine[id] = true
		found = append(found, id)
		return true
	}
	var walk func(id plumbing.Hash, depth int) error
	walk = func(id plumbing.Hash, depth int) error {
		if !add(id) {
			return nil
		}
		if depth > maxDepth {
			return errTooMuch
		}
		tree, err := object.GetTree(sto, id)
		if err != nil {
			return err
		}
		for _, e := range tree.Entries {
			switch e.Mode {
			case filemode.Submodule:
			case filemode.Dir:
				if err := walk(e.Hash, depth+1); err != nil {
					return err
				}
			default:
				if err := sto.HasEncodedObject(e.Hash); err != nil {
					return err
				}
				add(e.Hash)
			}
		}
		return nil
	}
	err := walk(root, 0)
	return found, err
}

// writePack adds a pack of the objects, and returns its file's name. It makes no deltas: git's way to find them takes
// all objects in memory, and what is kept is little.
func writePack(sto *filesystem.Storage, objects []plumbing.Hash) (name string, err error) {
	w, err := sto.PackfileWriter()
	if err != nil {
		return "", err
	}
	sum := sha1.New()
	defer func() { err = errors.Join(err, w.Close()) }()
	out := io.MultiWriter(w, sum)
	head := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), uint32(len(objects)))
	if _, err := out.Write(head); err != nil {
		return "", err
	}
	z := zlib.NewWriter(nil) // one for all: each has 800 KB of tables
	for _, id := range objects {
		if err := packObject(out, z, sto, id); err != nil {
			return "", fmt.Errorf("object %s: %w", id, err)
		}
	}
	trailer := sum.Sum(nil)
	if _, err := w.Write(trailer); err != nil {
		return "", err
	}
	return fmt.Sprintf("pack-%x.pack", trailer), nil
}

func packObject(out io.Writer, z *zlib.Writer, sto *filesystem.Storage, id plumbing.Hash) error {
	obj, err := sto.EncodedObject(plumbing.AnyObject, id)
	if err != nil {
		return err
	}
	// The type, and the size in groups of bits, least first: four, then seven each.
	size := obj.Size()
	head := []byte{byte(obj.Type())<<4 | byte(size&15)}
	for size >>= 4; size > 0; size >>= 7 {
		head[len(head)-1] |= 0x80
		head = append(head, byte(size&0x7f))
	}
	if _, err := out.Write(head); err != nil {
		return err
	}
	r, err := obj.Reader()
	if err != nil {
		return err
	}
	defer r.Close()
	z.Reset(out)
	if _, err := io.Copy(z, r); err != nil {
		return err
	}
	return z.Close()
}
