package source

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

const (
	maxLinks    = 40 // that lead on from one to the next, as on Linux
	maxLinkText = 1024
)

// Linked is fsys with its symbolic links replaced by what they lead to. The target of a link is resolved in fsys, step by step, and
// never on the machine:
//
//	a link                                              becomes
//	that leads to a file or folder of fsys              that file or folder, under the link's name
//	that is absolute, or leads out of fsys, or nowhere  a link that can't be opened
//	that leads to itself, or to a folder that it is in  the same
//
// A fsys whose links make more of it than Collie reads is a *[TreeError].
func Linked(fsys fs.FS) (fs.FS, error) {
	l := &linked{FS: fsys, leads: map[string]string{}, bad: map[string]string{}}
	var links []string
	err := fs.WalkDir(fsys, ".", func(at string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case gits(e.Name()) && e.IsDir(): // a work tree's
			return fs.SkipDir
		case e.Type()&fs.ModeSymlink != 0 && !gits(e.Name()):
			links = append(links, at)
		}
		return nil
	})
	if err != nil || len(links) == 0 {
		return fsys, err
	}
	for _, at := range links {
		_, refused := l.bad[at]
		if l.leads[at] != "" || refused {
			continue
		}
		if l.follow(at, 1); l.err != nil {
			return nil, l.err
		}
	}
	return l, l.unroll()
}

// Real is where fsys has what is at a path, if a link of [Linked] leads there.
func Real(fsys fs.FS, name string) string {
	if l, is := fsys.(*linked); is {
		if real, err := l.find("stat", name); err == nil {
			return real
		}
	}
	return name
}

// LinkError says why what is at a path of fsys is still a symbolic link.
func LinkError(fsys fs.FS, at string) *TreeError {
	says := "is a symbolic link: put the file itself in its place"
	if l, is := fsys.(*linked); is {
		if real, err := l.find("lstat", at); err == nil && l.bad[real] != "" {
			says = l.bad[real]
		}
	}
	return &TreeError{at, says}
}

// linked knows links by their paths in FS, on which no other link is.
type linked struct {
	fs.FS
	leads map[string]string // where a link leads in the end; on that path there is no link
	bad   map[string]string // why a link isn't taken
	err   error             // why FS couldn't be read
}

func gits(name string) bool { return strings.EqualFold(name, ".git") }

// follow finds where the link at a path leads, or why it isn't taken; hops is its number in a row of links.
func (l *linked) follow(at string, hops int) {
	text, err := fs.ReadLink(l.FS, at)
	refuse := func(says string) {
		if text != "" {
			says = fmt.Sprintf("is a symbolic link to %q, which %s", plain(text), says)
		}
		l.bad[at] = says + ": put the file itself in its place"
	}
	blamed := (*TreeError)(nil)
	switch {
	case errors.As(err, &blamed):
		refuse(blamed.Says)
		return
	case err != nil:
		l.err = err
		return
	case text == "" || len(text) > maxLinkText || !utf8.ValidString(text):
		text = ""
		refuse("is a symbolic link to what is no path")
		return
	case strings.HasPrefix(text, "/"):
		refuse("isn't a path from where the link is, and may be another thing on each machine")
		return
	case hops > maxLinks:
		refuse(fmt.Sprintf("leads through more than %d links", maxLinks))
		return
	}
	l.bad[at] = "" // until it is known: it may lead to itself
	dir := path.Dir(at)
	for _, name := range strings.Split(text, "/") {
		if name == "" || name == "." {
			continue
		}
		if name == ".." {
			if dir == "." {
				refuse("leads out of the repository")
				return
			}
			dir = path.Dir(dir)
			continue
		}
		next := path.Join(dir, name)
		info, err := fs.Lstat(l.FS, next)
		switch {
		case gits(name), errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ENAMETOOLONG):
			refuse("isn't in the repository")
			return
		case err != nil:
			l.err = err
			return
		case info.Mode()&fs.ModeSymlink != 0:
			_, known := l.leads[next]
			_, refused := l.bad[next]
			if refused && l.bad[next] == "" {
				refuse("leads to itself")
				return
			}
			if !known && !refused {
				l.follow(next, hops+1)
			}
			to, leads := l.leads[next]
			if !leads {
				refuse("leads nowhere, as " + plain(next) + " isn't taken")
				return
			}
			next = to
		case !info.IsDir() && !info.Mode().IsRegular():
			refuse("is neither a file nor a folder")
			return
		}
		dir = next
	}
	delete(l.bad, at)
	l.leads[at] = dir
}

// unroll lists all files, with links resolved. It refuses a link that leads to a folder that contains it.
func (l *linked) unroll() error {
	left := maxEntries // of what is there by links
	var walk func(dir string, above []string, linked bool) error
	walk = func(dir string, above []string, linked bool) error {
		if len(above) > maxDepth {
			return &TreeError{plain(dir), fmt.Sprintf("is deeper than %d folders, with symbolic links taken", maxDepth)}
		}
		above = append(slices.Clone(above), dir)
		entries, err := fs.ReadDir(l.FS, dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			at := path.Join(dir, e.Name())
			to, leads := l.leads[at]
			if linked || leads {
				left--
			}
			switch {
			case left < 0:
				return &TreeError{Says: fmt.Sprintf("symbolic links lead to more than %d files and folders", maxEntries)}
			case gits(e.Name()):
			case e.IsDir():
				err = walk(at, above, linked)
			case !leads:
			case slices.Contains(above, to):
				delete(l.leads, at)
				l.bad[at] = "is a symbolic link to a folder that it is in: put the files themselves in its place"
			default:
				if info, err := fs.Stat(l.FS, to); err != nil {
					return err
				} else if !info.IsDir() {
					continue
				}
				err = walk(to, above, true)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	return walk(".", nil, false)
}

// find is where FS has what is at a path. A link that isn't taken is found, and nothing is below it.
func (l *linked) find(op, name string) (string, error) {
	if !fs.ValidPath(name) {
		return "", &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	real := "."
	for part := range strings.SplitSeq(name, "/") {
		if l.bad[real] != "" {
			return "", &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
		}
		real = path.Join(real, part)
		if to, leads := l.leads[real]; leads {
			real = to
		}
	}
	return real, nil
}

func (l *linked) Open(name string) (fs.File, error) {
	real, err := l.find("open", name)
	if err != nil {
		return nil, err
	}
	if says := l.bad[real]; says != "" {
		return nil, &fs.PathError{Op: "open", Path: name, Err: &TreeError{Says: says}}
	}
	info, err := l.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		entries, err := l.ReadDir(name)
		return &folder{info: info, entries: entries}, err
	}
	f, err := l.FS.Open(real)
	return linkedFile{f, info}, err
}

func (l *linked) ReadFile(name string) ([]byte, error) {
	real, err := l.find("open", name)
	if err != nil {
		return nil, err
	}
	if says := l.bad[real]; says != "" {
		return nil, &fs.PathError{Op: "open", Path: name, Err: &TreeError{Says: says}}
	}
	return fs.ReadFile(l.FS, real)
}

func (l *linked) ReadDir(name string) ([]fs.DirEntry, error) {
	real, err := l.find("readdir", name)
	if err != nil {
		return nil, err
	}
	if l.bad[real] != "" {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("is no folder")}
	}
	entries, err := fs.ReadDir(l.FS, real)
	for i, e := range entries {
		to, leads := l.leads[path.Join(real, e.Name())]
		if !leads {
			continue
		}
		info, err := fs.Stat(l.FS, to)
		if err != nil {
			return nil, err
		}
		entries[i] = fs.FileInfoToDirEntry(renamed{info, e.Name()})
	}
	return entries, err
}

// Stat follows no link that isn't taken.
func (l *linked) Stat(name string) (fs.FileInfo, error) {
	real, err := l.find("stat", name)
	if err != nil {
		return nil, err
	}
	info, err := fs.Lstat(l.FS, real)
	if err != nil || info.Name() == path.Base(name) {
		return info, err
	}
	return renamed{info, path.Base(name)}, nil
}

type renamed struct {
	fs.FileInfo
	name string
}

func (r renamed) Name() string { return r.name }

type linkedFile struct {
	fs.File
	info fs.FileInfo
}

func (f linkedFile) Stat() (fs.FileInfo, error) { return f.info, nil }
