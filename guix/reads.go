package guix

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Reads is what an evaluation of a tree read, as far as the result can depend on it. Another tree in which all of that is the
// same has the same result:
//
//	what changed since                              the other tree
//	a file that was opened; channels.scm            is evaluated
//	a path: it is new, gone, or executable by now   is evaluated: it may have been looked for, or be found first
//	a file at the top is a module now, or no more   is evaluated, for the same reason
//	Collie's program, the environment of guix       is evaluated
//	a file that nobody opened                       isn't
//
// Nothing is known, so the next tree is evaluated whatever changed, where
//
//	the kernel lost events, or can't watch
//	Scheme that was read asks for more than files of the tree: the clock, the host, programs, the network ([asksMore]), or
//	for files whose names it computes
//	a file outside of the tree was opened whose name is in the tree's Scheme
//	Scheme that was read isn't readable for us
type Reads struct {
	Under string            `json:"under"` // what else than the tree the result depends on
	Paths string            `json:"paths"` // a sum of what there is in the tree, by name and mode
	Files map[string]string `json:"files"` // sums of what was opened, by name
}

const (
	mostReads   = 20_000 // files of one evaluation that are noted
	mostOutside = 2000   // files outside of a tree that are watched
)

// Known reports whether it is known what was read.
func (r Reads) Known() bool { return r.Under != "" && r.Paths != "" && len(r.Files) > 0 }

// Hold reports whether an evaluation of tree, in these circumstances, would read the same.
func (r Reads) Hold(tree, under string) bool {
	if !r.Known() || r.Under != under {
		return false
	}
	paths, err := sumPaths(tree)
	if err != nil || paths != r.Paths {
		return false
	}
	for name, sum := range r.Files {
		if now, err := sumFile(tree, name); err != nil || now != sum {
			return false
		}
	}
	return true
}

// sumPaths sums up what there is in a tree, by name and mode, and which files at the top are modules.
func sumPaths(tree string) (string, error) {
	sum := sha256.New()
	err := filepath.WalkDir(tree, func(at string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		name, link := strings.TrimPrefix(at, tree), ""
		if info.Mode().Type() == fs.ModeSymlink {
			if link, err = os.Readlink(at); err != nil {
				return err
			}
		}
		fmt.Fprintf(sum, "%q %v %v %q\n", name, info.Mode().Type(), info.Mode()&0o111, link)
		return nil
	})
	if err != nil {
		return "", err
	}
	modules, err := TopModules(os.DirFS(tree))
	for _, name := range modules { // another file may have become one
		fmt.Fprintf(sum, "module %q\n", name)
	}
	return hex.EncodeToString(sum.Sum(nil)), err
}

func sumFile(tree, name string) (string, error) {
	if !filepath.IsLocal(name) {
		return "", fmt.Errorf("%q isn't a name in a tree", name)
	}
	f, err := os.Open(filepath.Join(tree, name))
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	_, err = io.Copy(sum, f)
	return hex.EncodeToString(sum.Sum(nil)), err
}

// circumstances are what else an evaluation depends on: Collie's program, with which its Scheme modules come, and the
// environment. Nothing, where modules are taken from a folder that anybody may change.
func circumstances(as *User, env []string) string {
	program, err := os.Executable()
	if err == nil {
		program, err = filepath.EvalSymlinks(program)
	}
	if err != nil {
		return ""
	}
	info, err := os.Stat(program)
	if err != nil {
		return ""
	}
	all := append(environment(as), env...)
	slices.Sort(all)
	sum := sha256.New()
	fmt.Fprintf(sum, "%q %d %d %q\n", program, info.Size(), info.ModTime().UnixNano(), all)
	for _, v := range all {
		name, value, _ := strings.Cut(v, "=")
		if name != "GUILE_LOAD_PATH" && name != "GUILE_LOAD_COMPILED_PATH" {
			continue
		}
		for _, dir := range filepath.SplitList(value) {
			real, err := filepath.EvalSymlinks(dir)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil || !strings.HasPrefix(real, "/gnu/store/") {
				return ""
			}
			fmt.Fprintf(sum, "%q\n", real)
		}
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// Circumstances are those in which the system is evaluated.
func (s *System) Circumstances() string { return circumstances(nil, nil) }

// Circumstances are those in which the home is evaluated.
func (h *Home) Circumstances() string { return circumstances(h.evaluator()) }

// evaluate runs a build of what file in tree describes, and notes in its Watch what that read.
func (r *Runner) evaluate(ctx context.Context, a attempt, tree, file string) (outcome, error) {
	if a.watch.Reads == nil {
		return r.run(ctx, a)
	}
	*a.watch.Reads = Reads{}
	seen, err := watchOpens(tree, a.dir())
	if err != nil { // the next tree is evaluated whatever changed, that is all
		return r.run(ctx, a)
	}
	defer seen.close()
	out, err := r.run(ctx, a)
	if err == nil && out.code == 0 {
		*a.watch.Reads = seen.reads(file, circumstances(a.as, a.env))
	}
	return out, err
}

// opens watches which files of a tree are opened, and which outside that its Scheme names.
type opens struct {
	fd    int
	tree  string
	paths string           // of the tree, when it began
	names map[int32]string // of watched folders; outside, of what was named
	out   map[int32]bool   // what is watched outside of the tree
}

// watchOpens begins to watch. Relative names outside of the tree begin at dir. It is ended by close.
func watchOpens(tree, dir string) (*opens, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watching what is opened: %w", err)
	}
	o := &opens{fd: fd, tree: tree, names: map[int32]string{}, out: map[int32]bool{}}
	if o.paths, err = sumPaths(tree); err == nil {
		err = o.watch(dir)
	}
	if err != nil {
		o.close()
		return nil, fmt.Errorf("watching what is opened in %s: %w", tree, err)
	}
	return o, nil
}

func (o *opens) close() { _ = unix.Close(o.fd) }

// watch adds all folders of the tree, and what its Scheme names outside of it: that is read first, as it would be seen.
func (o *opens) watch(dir string) error {
	var folders, outside []string
	err := filepath.WalkDir(o.tree, func(at string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir():
			folders = append(folders, at)
		case filepath.Ext(at) == ".scm":
			if forms, known := schemeIn(at); known { // what isn't known to us counts if it is read
				outside = append(outside, outsideOf(forms, o.tree, dir, filepath.Dir(at))...)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, at := range folders {
		wd, err := unix.InotifyAddWatch(o.fd, at, unix.IN_OPEN|unix.IN_ONLYDIR)
		if err != nil {
			return err
		}
		if o.names[int32(wd)], err = filepath.Rel(o.tree, at); err != nil {
			return err
		}
	}
	slices.Sort(outside)
	outside = slices.Compact(outside)
	if len(outside) > mostOutside {
		return fmt.Errorf("more than %d files outside are named", mostOutside)
	}
	for _, name := range outside {
		wd, err := unix.InotifyAddWatch(o.fd, name, unix.IN_OPEN)
		if err != nil {
			return err
		}
		if _, inside := o.names[int32(wd)]; !inside {
			o.names[int32(wd)], o.out[int32(wd)] = name, true
		}
	}
	return nil
}

// reads is what was opened until now; the zero value if that isn't known. file is what was evaluated.
func (o *opens) reads(file, under string) Reads {
	names, known := o.opened()
	if !known || !slices.Contains(names, file) {
		return Reads{}
	}
	for _, name := range names {
		if filepath.Ext(name) != ".scm" {
			continue
		}
		if forms, known := schemeIn(filepath.Join(o.tree, name)); !known || asksMore(forms) {
			return Reads{}
		}
	}
	if _, err := os.Lstat(filepath.Join(o.tree, channelsFile)); err == nil {
		names = append(names, channelsFile)
	}
	r, err := ReadsOf(o.tree, names, under)
	if err != nil || r.Paths != o.paths { // somebody changed it meanwhile
		return Reads{}
	}
	return r
}

// ReadsOf is what an evaluation reads that opens these files of a tree.
func ReadsOf(tree string, names []string, under string) (Reads, error) {
	r := Reads{Under: under, Files: map[string]string{}}
	var err error
	if r.Paths, err = sumPaths(tree); err != nil {
		return Reads{}, err
	}
	for _, name := range names {
		if r.Files[name], err = sumFile(tree, name); err != nil {
			return Reads{}, err
		}
	}
	return r, nil
}

// opened are the files of the tree that were opened. It isn't known if events were lost, if there are too many, or if
// anything outside was opened.
func (o *opens) opened() (names []string, known bool) {
	seen := map[string]bool{}
	buffer := make([]byte, 64<<10)
	for {
		n, err := unix.Read(o.fd, buffer)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return names, true
		case err != nil || n <= 0:
			return nil, false
		}
		for rest := buffer[:n]; len(rest) > 0; {
			var name string
			var wd int32
			var mask uint32
			if wd, mask, name, rest = event(rest); rest == nil {
				return nil, false
			}
			switch folder, is := o.names[wd]; {
			case mask&unix.IN_Q_OVERFLOW != 0:
				return nil, false
			case o.out[wd] && (name == "" || mask&unix.IN_ISDIR == 0):
				return nil, false
			case !is || name == "" || mask&unix.IN_ISDIR != 0: // a folder: what there is in it is noted anyway
			default:
				if at := filepath.Join(folder, name); !seen[at] {
					seen[at] = true
					names = append(names, at)
				}
			}
			if len(names) > mostReads {
				return nil, false
			}
		}
	}
}

// event reads one of inotify's; rest is nil if there is none.
func event(b []byte) (wd int32, mask uint32, name string, rest []byte) {
	const head = int(unsafe.Sizeof(unix.InotifyEvent{}))
	if len(b) < head {
		return 0, 0, "", nil
	}
	length := int(binary.NativeEndian.Uint32(b[12:]))
	if length < 0 || len(b) < head+length {
		return 0, 0, "", nil
	}
	name = strings.TrimRight(string(b[head:head+length]), "\x00")
	return int32(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint32(b[4:]), name, append([]byte{}, b[head+length:]...)
}

// schemeIn reads a file of Scheme; it isn't known if it can't be read.
func schemeIn(file string) ([]form, bool) {
	text, err := readBounded(file)
	if err != nil {
		return nil, false
	}
	forms, err := readStore(string(text))
	return forms, err == nil
}

// outsideOf are the files and folders outside of the tree that strings in forms name and that exist: absolute, or beginning at
// one of the folders. The store doesn't change, and what is at the top, and programs, are opened by all.
func outsideOf(forms []form, tree string, folders ...string) (names []string) {
	for _, f := range forms {
		names = append(names, outsideOf(f.list, tree, folders...)...)
		if !f.str || f.atom == "" || strings.ContainsRune(f.atom, 0) {
			continue
		}
		if filepath.IsAbs(f.atom) {
			names = append(names, outsider(f.atom, tree)...)
			continue
		}
		for _, folder := range folders {
			names = append(names, outsider(filepath.Join(folder, f.atom), tree)...)
		}
	}
	return names
}

// outsider is the real name of what is to be watched, if that is to be.
func outsider(name, tree string) []string {
	real, err := filepath.EvalSymlinks(name)
	if err != nil || strings.Count(real, "/") < 2 || strings.HasPrefix(real, "/gnu/store/") || real == tree || strings.HasPrefix(real, tree+"/") {
		return nil
	}
	info, err := os.Stat(real)
	if err != nil || !info.IsDir() && (!info.Mode().IsRegular() || info.Mode()&0o111 != 0) {
		return nil
	}
	return []string{real}
}

// asking are the names of procedures whose answer isn't in a tree.
var asking = map[string]bool{}

func init() {
	for _, name := range strings.Fields(`
current-time current-date current-julian-day current-modified-julian-day gettimeofday get-internal-real-time times random random-state-from-platform
getenv environ gethostname uname getpid getuid getlogin getpw getpwnam getpwuid getgr getgrnam getgrgid getaddrinfo gethost gethostbyname
open-pipe open-pipe* open-input-pipe open-input-output-pipe system* invoke invoke/quiet spawn primitive-fork execl execlp execle popen
stat lstat stat:mtime file-exists? access? readlink canonicalize-path opendir scandir find-files file-system-fold file-system-tree ftw nftw
directory-exists? executable-file? file-is-directory? getcwd current-filename current-source-directory %load-path add-to-load-path
git-checkout git-reference->git-checkout http-get http-fetch http-request open-socket-for-uri socket connect options->transformation
current-channels current-profile latest-channel-instances eval-string read-file-sexp dynamic-link load-extension`) {
		asking[name] = true
	}
}

// reading are the names of procedures whose file is watched only if it is written out.
var reading = map[string]bool{"load": true, "primitive-load": true, "include": true, "local-file": true, "open-file": true, "open-input-file": true,
	"call-with-input-file": true, "with-input-from-file": true}

// readsUnknown reports whether a list reads a file that isn't written out, or hands on a procedure that reads.
func readsUnknown(f form) bool {
	if !f.isList {
		return false
	}
	if reading[f.head()] && (len(f.list) < 2 || !f.list[1].str) {
		return true
	}
	return len(f.list) > 1 && slices.ContainsFunc(f.list[1:], func(item form) bool { return !item.isList && !item.str && reading[item.atom] })
}

// asksMore reports whether forms use one of those, or read a file whose name isn't written out, but in code that is only built (#~), and not escaped from that (#$).
func asksMore(forms []form) bool {
	for _, f := range forms {
		switch {
		case f.str:
		case f.isList && strings.HasPrefix(f.atom, "#~"), f.head() == "gexp":
			if escapes(f.list) {
				return true
			}
		case !f.isList && asking[strings.TrimLeft(f.atom, "#$@,'`")], f.head() == "system" && len(f.list) > 1 && !(f.list[1].str && platform(f.list[1].atom)):
			return true
		case readsUnknown(f), asksMore(f.list):
			return true
		}
	}
	return false
}

// escapes reports whether what is computed inside of forms before they are built asks for more.
func escapes(forms []form) bool {
	for _, f := range forms {
		switch {
		case f.isList && strings.HasPrefix(f.atom, "#$"), f.head() == "ungexp", f.head() == "ungexp-splicing":
			if asksMore([]form{{isList: true, list: f.list}}) {
				return true
			}
		case strings.HasPrefix(f.atom, "#$") && asking[strings.TrimLeft(f.atom, "#$@")]:
			return true
		case escapes(f.list):
			return true
		}
	}
	return false
}

// platform reports whether a text names one, as (system "x86_64-linux") in a record does.
func platform(text string) bool {
	return strings.HasSuffix(text, "-linux") || strings.HasSuffix(text, "-gnu")
}
