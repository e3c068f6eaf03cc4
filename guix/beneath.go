package guix

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A Store is the folder that /gnu/store is in: empty, but in a test. It reads what is below an item.
//
// A user chooses which items its profile, its home and its guix name, and what is in them: a link in an item may lead to
// a FIFO, which holds whoever opens it, or to a file that only root may read. So root reads an item that a user may have
// chosen through this type alone, and reads what every user may read:
//
//	what a path leads to                                      what happens
//	a regular file or a folder of an item, for all to read    it is read, to a bound
//	a link to /gnu/store/HASH-NAME, or to below it            it is followed from there
//	a link by a relative path                                 it is followed from its folder; .. ends at the store
//	any other place                                           an *OutsideError; nothing is looked up there
//	a FIFO, a socket, a device, no regular file               an error; it isn't opened
//	a file or folder that not all may read                    an error
//	more than 40 links, or 1000 names                         an error
//
// Each name is looked up in the folder that the name before led to, so that what is replaced meanwhile leads nowhere else.
type Store string

const (
	mostLinks = 40
	mostSteps = 1000
)

// nix-base32 has neither e, o, t nor u.
var itemName = regexp.MustCompile(`^[0-9abcdfghijklmnpqrsvwxyz]{32}-[0-9A-Za-z+._?=-]{1,211}$`)

// An OutsideError says that a path leads out of the store.
type OutsideError struct{ Path, To string }

func (e *OutsideError) Error() string {
	return fmt.Sprintf("%s leads out of the store, to %.200q: nothing is read there", e.Path, e.To)
}

var (
	errIrregular = errors.New("no regular file")
	errPrivate   = errors.New("not for all to read")
	errLarge     = errors.New("large")
)

func (s Store) dir() string { return string(s) + "/gnu/store" }

// holds reports whether a path is that of an item, as Guix writes it.
func (s Store) holds(path string) bool {
	name, is := s.below(path)
	return is && itemName.MatchString(name)
}

// holdsA reports whether a path is that of an item of a name.
func (s Store) holdsA(name string) func(string) bool {
	return func(path string) bool { return s.holds(path) && nameOf(path) == name }
}

// below is a path without the store; a test's store holds what Guix wrote for the real one.
func (s Store) below(path string) (string, bool) {
	rest, ok := strings.CutPrefix(path, s.dir()+"/")
	if !ok {
		rest, ok = strings.CutPrefix(path, "/gnu/store/")
	}
	return rest, ok
}

// Read reads a file, of at most most bytes.
func (s Store) Read(path string, most int64) ([]byte, error) {
	f, size, err := s.open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > most {
		return nil, fmt.Errorf("%s has more than %d bytes: %w", path, most, errLarge)
	}
	return io.ReadAll(io.LimitReader(f, most))
}

// open opens a file, and says how large it is.
func (s Store) open(path string) (*os.File, int64, error) {
	at, err := s.walk(path)
	if err != nil {
		return nil, 0, err
	}
	defer at.close()
	f, err := at.open(unix.S_IFREG)
	return f, at.stat.Size, err
}

// read is Read for what has some KiB.
func (s Store) read(path string) ([]byte, error) { return s.Read(path, maxDefinitions) }

// real is where a path leads, and the size of the file there.
func (s Store) real(path string) (string, int64, error) {
	at, err := s.walk(path)
	if err != nil {
		return "", 0, err
	}
	defer at.close()
	return at.path(), at.stat.Size, nil
}

// list names what is in a folder, sorted; of more than most names some. Of what isn't a folder it is an error,
// unix.ENOTDIR.
func (s Store) list(path string, most int) ([]string, error) {
	at, err := s.walk(path)
	if err != nil {
		return nil, err
	}
	defer at.close()
	f, err := at.open(unix.S_IFDIR)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(most)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	slices.Sort(names)
	return names, err
}

// there says what keeps a path from being an item that is in the store.
func (s Store) there(item string) error {
	if !s.holds(item) {
		return fmt.Errorf("%.200q is no item of the store", item)
	}
	_, _, err := s.real(item)
	return err
}

// A spot is where a path led: a folder, or what has a name in it.
type spot struct {
	store   Store
	asked   string
	folders []int    // the store, and the folders below it
	names   []string // of those below it
	name    string   // in the last folder; empty: that itself
	stat    unix.Stat_t
}

func (p *spot) close() {
	for _, fd := range p.folders {
		_ = unix.Close(fd)
	}
	p.folders = nil
}

func (p *spot) path() string {
	return filepath.Join(p.store.dir(), filepath.Join(p.names...), p.name)
}

func (p *spot) last() int { return p.folders[len(p.folders)-1] }

// leave closes the folders below the first n.
func (p *spot) leave(n int) {
	for _, fd := range p.folders[n:] {
		_ = unix.Close(fd)
	}
	p.folders, p.names = p.folders[:n], p.names[:n-1]
}

func (p *spot) fault(err error) error {
	return &fs.PathError{Op: "reading", Path: p.asked, Err: err}
}

// walk finds where a path leads. It is to be closed.
func (s Store) walk(path string) (_ *spot, err error) {
	rest, ok := s.below(path)
	if !ok || len(path) > unix.PathMax {
		return nil, &OutsideError{path, path}
	}
	p := &spot{store: s, asked: path}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	store, err := unix.Open(s.dir(), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, p.fault(err)
	}
	p.folders = []int{store}
	links := 0
	for steps := strings.Split(rest, "/"); len(steps) > 0; {
		step := steps[0]
		steps = steps[1:]
		switch {
		case len(steps) > mostSteps:
			return nil, p.fault(unix.ENAMETOOLONG)
		case step == "" || step == ".":
			continue
		case p.name != "":
			return nil, p.fault(unix.ENOTDIR)
		case step == ".." && len(p.names) > 0:
			p.leave(len(p.folders) - 1)
			continue
		case len(p.names) == 0 && !itemName.MatchString(step):
			return nil, &OutsideError{path, filepath.Join(s.dir(), step)}
		}
		target, err := p.enter(step)
		if err != nil {
			return nil, err
		}
		if target == "" {
			continue
		}
		if links++; links > mostLinks {
			return nil, p.fault(unix.ELOOP)
		}
		if strings.HasPrefix(target, "/") {
			below, ok := s.below(target)
			if !ok {
				return nil, &OutsideError{path, target}
			}
			p.leave(1)
			target = below
		}
		steps = append(strings.Split(target, "/"), steps...)
	}
	if len(p.names) == 0 && p.name == "" {
		return nil, &OutsideError{path, s.dir()}
	}
	return p, nil
}

// enter goes on to a name in the folder where p is: into a folder, to a file, or to a link, whose target it returns.
func (p *spot) enter(name string) (target string, err error) {
	fd, err := unix.Openat(p.last(), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", p.fault(err)
	}
	var stat unix.Stat_t
	if err = unix.Fstat(fd, &stat); err != nil {
		_ = unix.Close(fd)
		return "", p.fault(err)
	}
	switch stat.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		p.folders, p.names, p.stat = append(p.folders, fd), append(p.names, name), stat
		if stat.Mode&0o001 == 0 {
			return "", p.fault(errPrivate)
		}
		return "", nil
	case unix.S_IFLNK:
		defer unix.Close(fd)
		to := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(fd, "", to)
		if err != nil || n == 0 || n == len(to) {
			return "", p.fault(cmp.Or(err, error(unix.ENAMETOOLONG)))
		}
		return string(to[:n]), nil
	}
	_ = unix.Close(fd)
	p.name, p.stat = name, stat
	return "", nil
}

// open opens what is of that kind, and for all to read. It neither waits nor follows a link.
func (p *spot) open(kind uint32) (*os.File, error) {
	flags, name := unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, cmp.Or(p.name, ".")
	switch {
	case p.stat.Mode&unix.S_IFMT != kind && kind == unix.S_IFDIR:
		return nil, p.fault(unix.ENOTDIR)
	case p.stat.Mode&unix.S_IFMT != kind:
		return nil, p.fault(errIrregular)
	case p.stat.Mode&0o004 == 0:
		return nil, p.fault(errPrivate)
	}
	fd, err := unix.Openat(p.last(), name, flags, 0)
	if err != nil {
		return nil, p.fault(err)
	}
	var now unix.Stat_t
	if err := unix.Fstat(fd, &now); err != nil || now.Dev != p.stat.Dev || now.Ino != p.stat.Ino {
		_ = unix.Close(fd)
		return nil, p.fault(cmp.Or(err, errors.New("it was replaced")))
	}
	return os.NewFile(uintptr(fd), p.path()), nil
}
