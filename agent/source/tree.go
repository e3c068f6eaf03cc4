package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// The most that is read of one revision.
const (
	maxFile  = 8 << 20
	maxTotal = 256 << 20
)

// Tree returns the files of a revision, straight from the clone and read-only. Symbolic links and submodules are
// listed as such, and opening them is an error: what links lead to is [Linked]'s matter. A tree that is too large or has names that can't be files is an
// error at once.
func (s *Source) Tree(ctx context.Context, id string) (fs.FS, error) {
	if !plumbing.IsHash(id) {
		return nil, fmt.Errorf("reading revision %q: that is no full commit id", id)
	}
	t := &tree{
		clone: s.clone, sto: s.clone.storage(), left: maxTotal,
		damaged: func() { s.suspect.Store(true); s.Wake() },
		nodes:   map[string]*node{".": {name: ".", mode: fs.ModeDir | 0o755}},
	}
	commit, err := readCommit(t.sto, plumbing.NewHash(id))
	if err != nil {
		t.damaged()
		return nil, fmt.Errorf("reading revision %s: %w", id, err)
	}
	t.when = commit.Committer.When.UTC()
	var bad *TreeError
	err = walkTree(t.sto, commit.TreeHash, func(at string, e object.TreeEntry) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return t.add(at, e)
	})
	switch {
	case err == nil:
		return t, nil
	case errors.Is(err, errTooMuch):
		err = &TreeError{Says: err.Error()}
	case ctx.Err() != nil, errors.As(err, &bad): // the clone is well
	default:
		t.damaged()
	}
	return nil, fmt.Errorf("reading revision %s: %w", id, err)
}

// tree is an fs.FS of one commit: the listing is in memory, the content in the clone.
type tree struct {
	clone   *clone
	when    time.Time
	nodes   map[string]*node // by path
	damaged func()

	mu   sync.Mutex // go-git's storage isn't safe for use by several at once
	sto  *filesystem.Storage
	left int64 // of maxTotal
}

type node struct {
	name  string
	mode  fs.FileMode
	id    plumbing.Hash
	read  bool    // and so counted; under tree.mu
	files []*node // of a folder, by name
}

// A TreeError blames a commit: it has a file that Collie doesn't read, or too many.
type TreeError struct{ Path, Says string }

func (e *TreeError) Error() string {
	if e.Path == "" {
		return e.Says
	}
	return e.Path + " " + e.Says
}

// Blames says what is wrong with the file, without its path.
func (e *TreeError) Blames() string { return e.Says }

func (t *tree) add(at string, e object.TreeEntry) error {
	if err := CheckName(at, e.Name); err != nil {
		return err
	}
	if t.nodes[at] != nil {
		return &TreeError{strconv.Quote(at), "is there twice"}
	}
	n := &node{name: e.Name, id: e.Hash}
	switch e.Mode {
	case filemode.Dir:
		n.mode = fs.ModeDir | 0o755
	case filemode.Executable:
		n.mode = 0o755
	case filemode.Regular, filemode.Deprecated:
		n.mode = 0o644
	case filemode.Symlink:
		n.mode = fs.ModeSymlink | 0o777
	default: // a submodule, or what nobody knows
		n.mode = fs.ModeIrregular | 0o644
	}
	t.nodes[at] = n
	parent := t.nodes[path.Dir(at)]
	i, _ := slices.BinarySearchFunc(parent.files, n.name, func(f *node, name string) int { return strings.Compare(f.name, name) })
	parent.files = slices.Insert(parent.files, i, n) // git sorts folders as if their name ended in a slash
	return nil
}

// CheckName finds, as a [TreeError], what is wrong with the name of what is at a path in a revision. (In git's trees a name
// may hold a slash.)
func CheckName(at, name string) error {
	if says := badName(name); says != "" {
		return &TreeError{strconv.Quote(at), says}
	}
	return nil
}

// badName says what is wrong with the name of a file or folder; git itself would write none of these.
func badName(name string) string {
	switch {
	case name == "." || name == ".." || name == "":
		return "is no name for a file"
	case strings.EqualFold(name, ".git"):
		return "is git's own name"
	case !utf8.ValidString(name):
		return "isn't UTF-8"
	case len(name) > 255:
		return "is longer than 255 bytes"
	case strings.ContainsAny(name, `/\`):
		return "has a slash or backslash in a name"
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "has a control character"
	}
	return ""
}

func (t *tree) find(op, name string) (*node, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	n := t.nodes[name]
	if n == nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	return n, nil
}

func (t *tree) Open(name string) (fs.File, error) {
	n, err := t.find("open", name)
	if err != nil {
		return nil, err
	}
	if n.mode.IsDir() {
		return &folder{info: t.info(n, 0), entries: t.entries(n)}, nil
	}
	data, err := t.content("open", name, n)
	if err != nil {
		return nil, err
	}
	return &file{Reader: bytes.NewReader(data), info: t.info(n, int64(len(data)))}, nil
}

func (t *tree) ReadFile(name string) ([]byte, error) {
	n, err := t.find("open", name)
	if err != nil {
		return nil, err
	}
	return t.content("open", name, n)
}

func (t *tree) ReadDir(name string) ([]fs.DirEntry, error) {
	n, err := t.find("readdir", name)
	if err != nil {
		return nil, err
	}
	if !n.mode.IsDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("is no folder")}
	}
	return t.entries(n), nil
}

func (t *tree) Stat(name string) (fs.FileInfo, error) {
	n, err := t.find("stat", name)
	if err != nil {
		return nil, err
	}
	return t.stat(n)
}

// Lstat is Stat, which follows no link.
func (t *tree) Lstat(name string) (fs.FileInfo, error) { return t.Stat(name) }

// ReadLink is what a link says.
func (t *tree) ReadLink(name string) (string, error) {
	n, err := t.find("readlink", name)
	if err != nil {
		return "", err
	}
	if n.mode&fs.ModeSymlink == 0 {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	var text []byte
	var limit error
	err = t.fromClone(func(sto *filesystem.Storage) error {
		size, err := sto.EncodedObjectSize(n.id)
		if err != nil {
			return err
		}
		if size > maxLinkText {
			limit = &TreeError{Says: fmt.Sprintf("is a symbolic link of %d bytes", size)}
			return nil
		}
		text, err = blob(sto, n.id)
		return err
	})
	if err := errors.Join(err, limit); err != nil {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: err}
	}
	return string(text), nil
}

func (t *tree) stat(n *node) (fs.FileInfo, error) {
	if !n.mode.IsRegular() {
		return t.info(n, 0), nil
	}
	var size int64
	err := t.fromClone(func(sto *filesystem.Storage) (err error) {
		size, err = sto.EncodedObjectSize(n.id)
		return err
	})
	if err != nil {
		return nil, &fs.PathError{Op: "stat", Path: n.name, Err: err}
	}
	return t.info(n, size), nil
}

func (t *tree) content(op, name string, n *node) ([]byte, error) {
	bad := func(err error) ([]byte, error) { return nil, &fs.PathError{Op: op, Path: name, Err: err} }
	switch {
	case n.mode.IsDir():
		return bad(errors.New("is a folder"))
	case n.mode&fs.ModeSymlink != 0:
		return bad(&TreeError{Says: "is a symbolic link: put the file itself in its place"})
	case !n.mode.IsRegular():
		return bad(&TreeError{Says: "is a submodule, and Collie fetches none: put its files in its place"})
	}
	var data []byte
	var limit error
	err := t.fromClone(func(sto *filesystem.Storage) error {
		size, err := sto.EncodedObjectSize(n.id)
		if err != nil {
			return err
		}
		if size > maxFile {
			limit = &TreeError{Says: fmt.Sprintf("has %d bytes, and Collie reads files of up to %d MiB", size, maxFile>>20)}
			return nil
		}
		if !n.read && size > t.left {
			limit = &TreeError{Says: fmt.Sprintf("is where the revision goes beyond the %d MiB that Collie reads of one", maxTotal>>20)}
			return nil
		}
		if data, err = blob(sto, n.id); err != nil {
			return err
		}
		if !n.read {
			n.read = true
			t.left -= size
		}
		return nil
	})
	if err := errors.Join(err, limit); err != nil {
		return bad(err)
	}
	return data, nil
}

// fromClone reads. The packs may have been replaced since the storage looked, so it may look once more; what fails
// then is damaged.
func (t *tree) fromClone(read func(*filesystem.Storage) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if read(t.sto) == nil {
		return nil
	}
	t.sto = t.clone.storage()
	err := read(t.sto)
	if err != nil {
		t.damaged()
		return fmt.Errorf("the clone is damaged here, and will be fetched afresh: %w", err)
	}
	return nil
}

func blob(sto *filesystem.Storage, id plumbing.Hash) ([]byte, error) {
	b, err := object.GetBlob(sto, id)
	if err != nil {
		return nil, err
	}
	r, err := b.Reader()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) != b.Size {
		return nil, io.ErrUnexpectedEOF
	}
	return data, nil
}

func (t *tree) info(n *node, size int64) fileInfo {
	return fileInfo{name: n.name, mode: n.mode, size: size, when: t.when}
}

func (t *tree) entries(n *node) []fs.DirEntry {
	list := make([]fs.DirEntry, len(n.files))
	for i, f := range n.files {
		list[i] = entry{t, f}
	}
	return list
}

type fileInfo struct {
	name string
	mode fs.FileMode
	size int64
	when time.Time
}

func (i fileInfo) Name() string       { return i.name }
func (i fileInfo) Size() int64        { return i.size }
func (i fileInfo) Mode() fs.FileMode  { return i.mode }
func (i fileInfo) ModTime() time.Time { return i.when }
func (i fileInfo) IsDir() bool        { return i.mode.IsDir() }
func (i fileInfo) Sys() any           { return nil }

type entry struct {
	tree *tree
	node *node
}

func (e entry) Name() string               { return e.node.name }
func (e entry) IsDir() bool                { return e.node.mode.IsDir() }
func (e entry) Type() fs.FileMode          { return e.node.mode.Type() }
func (e entry) Info() (fs.FileInfo, error) { return e.tree.stat(e.node) }
func (e entry) String() string             { return fs.FormatDirEntry(e) }

type file struct {
	*bytes.Reader
	info fileInfo
}

func (f *file) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *file) Close() error               { return nil }

type folder struct {
	info    fs.FileInfo
	entries []fs.DirEntry
}

func (f *folder) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *folder) Close() error               { return nil }

func (f *folder) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: f.info.Name(), Err: errors.New("is a folder")}
}

func (f *folder) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		n = len(f.entries)
	} else if len(f.entries) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(f.entries))
	list := f.entries[:n:n]
	f.entries = f.entries[n:]
	return list, nil
}
