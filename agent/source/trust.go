package source

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// maxVetted bounds how many of a repository's files are checked; a bare one has some 300, and one for each unpacked ref.
const maxVetted = 20_000

// vet returns the git directory and whom git must run as, or the problem that keeps the repository from being
// trusted: anyone but root and its owner could write something that git reads, or swap a folder above it.
func (l *local) vet() (string, account, error) {
	v, err := l.vetting()
	if err != nil {
		return "", account{}, err
	}
	dir, info, err := v.resolve(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", account{}, problem(fmt.Sprintf("repository %s doesn't exist: create it with git init --bare %s", l.path, l.path))
	}
	if err != nil {
		return "", account{}, err
	}
	if inner := filepath.Join(dir, ".git"); isDir(inner) { // one with a worktree
		if dir, info, err = v.resolve(inner); err != nil {
			return "", account{}, err
		}
	}
	if !info.IsDir() || !isDir(filepath.Join(dir, "objects")) || !isDir(filepath.Join(dir, "refs")) {
		return "", account{}, problem(fmt.Sprintf("%s is no git repository: create one with git init --bare %s", l.path, l.path))
	}
	as := v.trusted[uidOf(info)] // resolve made sure that it is one of them
	// git obeys what is in the repository's files, so they mustn't be those of someone with fewer rights than it has.
	v.trusted = map[uint32]account{0: v.trusted[0], as.uid: as}
	v.inside = dir
	if err := v.look(dir, info, "."); err != nil {
		return "", account{}, err
	}
	return dir, as, nil
}

// vetting is one check of a repository.
type vetting struct {
	repo    string // as configured, for messages
	inside  string // the git directory, once all that is checked is in it
	trusted map[uint32]account
	left    int
}

func (l *local) vetting() (*vetting, error) {
	v := &vetting{repo: l.path, left: maxVetted, trusted: map[uint32]account{0: {name: "root", home: "/root"}}}
	if u, err := user.LookupId("0"); err == nil {
		if root, err := newAccount(u); err == nil {
			v.trusted[0] = root
		}
	}
	self := os.Geteuid()
	if self != 0 { // without root Collie serves one user, and git runs as it
		v.trusted[uint32(self)] = account{name: strconv.Itoa(self), uid: uint32(self), gid: uint32(os.Getegid()), home: os.Getenv("HOME")}
	}
	if l.owner != "" {
		owner, err := lookup(l.owner)
		if err != nil {
			return nil, problem(fmt.Sprintf("source.owner: there is no user %s on this machine", l.owner))
		}
		if self != 0 && int(owner.uid) != self {
			return nil, problem(fmt.Sprintf("source.owner is %s, but without root git can't run as anyone else: follow a repository of your own", l.owner))
		}
		v.trusted[owner.uid] = owner
	}
	if l.podUser != "" {
		pods, err := lookup(l.podUser)
		if _, can := v.trusted[pods.uid]; err == nil && can {
			return nil, problem(fmt.Sprintf("user %s runs the pods and could write repository %s, and whoever writes it is root here: give it an owner of its own (source.owner)", l.podUser, l.path))
		}
	}
	return v, nil
}

// resolve walks to path, through links, and makes sure that nobody else could lead it elsewhere.
func (v *vetting) resolve(path string) (string, fs.FileInfo, error) {
	at := "/"
	info, err := os.Lstat(at)
	if err != nil {
		return "", nil, err
	}
	names := split(path)
	for links := 0; ; {
		if err := v.owned(at, info); err != nil {
			return "", nil, err
		}
		if len(names) == 0 {
			return at, info, nil // look judges who can write it
		}
		// In a folder that is sticky and root's, like /tmp, nobody can move what is another's.
		if info.Mode()&fs.ModeSticky == 0 || uidOf(info) != 0 {
			if err := v.unwritable(at, info); err != nil {
				return "", nil, err
			}
		}
		name := names[0]
		names = names[1:]
		if name == ".." {
			at = filepath.Dir(at)
			if info, err = os.Lstat(at); err != nil {
				return "", nil, err
			}
			continue
		}
		next := filepath.Join(at, name)
		nextInfo, err := os.Lstat(next)
		if err != nil {
			return "", nil, err
		}
		if nextInfo.Mode()&fs.ModeSymlink == 0 {
			at, info = next, nextInfo
			continue
		}
		if err := v.owned(next, nextInfo); err != nil {
			return "", nil, err
		}
		if links++; links > 40 {
			return "", nil, v.refuse("%s leads through more than 40 symbolic links", path)
		}
		target, err := os.Readlink(next)
		if err != nil {
			return "", nil, err
		}
		if filepath.IsAbs(target) {
			at = "/"
			if info, err = os.Lstat(at); err != nil {
				return "", nil, err
			}
		}
		names = append(split(target), names...)
	}
}

// look judges path, and below it all that git reads and that isn't content under its own hash.
func (v *vetting) look(path string, info fs.FileInfo, below string) error {
	if v.left--; v.left < 0 {
		return v.refuse("it has more than %d refs and other files to check; pack them: git -C %s pack-refs --all", maxVetted, v.inside)
	}
	if err := v.owned(path, info); err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		target, targetInfo, err := v.resolve(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // leads nowhere, and nobody else can change that
		}
		if err != nil {
			return err
		}
		path, info = target, targetInfo
	}
	if err := v.unwritable(path, info); err != nil {
		return err
	}
	if !info.IsDir() || !lookedInto(below) {
		return nil
	}
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	for {
		entries, err := dir.ReadDir(256)
		for _, e := range entries {
			child := filepath.Join(path, e.Name())
			info, err := os.Lstat(child)
			if errors.Is(err, fs.ErrNotExist) {
				continue // git's own locks and temporary files come and go
			}
			if err != nil {
				return err
			}
			if err := v.look(child, info, filepath.Join(below, e.Name())); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// lookedInto tells the folders whose files matter. Those in objects/ are content under its own hash, so who may add
// to them is all that counts.
func lookedInto(below string) bool {
	top, rest, _ := strings.Cut(below, "/")
	switch top {
	case ".", "refs", "hooks", "info", "reftable":
		return strings.Count(below, "/") < 20
	case "objects":
		return rest == "" || rest == "pack" || rest == "info"
	}
	return false
}

func (v *vetting) owned(path string, info fs.FileInfo) error {
	uid := uidOf(info)
	if _, ok := v.trusted[uid]; ok {
		return nil
	}
	var may []string
	for _, a := range v.trusted {
		if a.uid != 0 {
			may = append(may, a.name)
		}
	}
	if len(may) == 0 {
		may = []string{"root"}
	}
	if v.inside != "" {
		return v.refuse("%s belongs to %s; chown -R %s %s, or set source.owner to who may push", path, nameOf(uid), may[0], v.inside)
	}
	return v.refuse("%s belongs to %s; set source.owner to who may push, or chown %s %s", path, nameOf(uid), may[0], path)
}

func (v *vetting) unwritable(path string, info fs.FileInfo) error {
	mode := info.Mode().Perm()
	if mode&0o022 == 0 {
		return nil
	}
	who := "its group"
	if mode&0o002 != 0 {
		who = "everyone"
	}
	if v.inside == "" {
		return v.refuse("%s is writable by %s; chmod go-w %s", path, who, path)
	}
	if shared(v.inside) {
		return v.refuse("%s is writable by %s, as git init --shared makes it; git -C %s config --unset core.sharedRepository && chmod -R go-w %s",
			path, who, v.inside, v.inside)
	}
	return v.refuse("%s is writable by %s; chmod -R go-w %s", path, who, v.inside)
}

func (v *vetting) refuse(format string, args ...any) error {
	return problem(fmt.Sprintf("repository %s isn't trusted, as whoever can write it is root here: ", v.repo) + fmt.Sprintf(format, args...))
}

// shared reports whether the repository's own configuration will make new files writable again.
func shared(dir string) bool {
	f, err := os.Open(filepath.Join(dir, "config"))
	if err != nil {
		return false
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, 64<<10))
	return bytes.Contains(bytes.ToLower(text), []byte("sharedrepository"))
}

func lookup(name string) (account, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return account{}, err
	}
	return newAccount(u)
}

func split(path string) []string {
	var names []string
	for _, name := range strings.Split(path, "/") {
		if name != "" && name != "." {
			names = append(names, name)
		}
	}
	return names
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func uidOf(info fs.FileInfo) uint32 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Uid
	}
	return ^uint32(0) // nobody that is trusted
}

func nameOf(uid uint32) string {
	if u, err := user.LookupId(strconv.Itoa(int(uid))); err == nil {
		return u.Username
	}
	return "uid " + strconv.Itoa(int(uid))
}
