package guix

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode"

	"example.org/collie/agent/statefile"
)

// Guix moves what is in the way of a home's files to ~/SECONDS-guix-home-legacy-configs-backup, at the same path below
// that, and never back (guix 1.5.0, gnu/home/services/symlink-manager.scm). A user has such folders from before Collie,
// too. So which of them Collie's switches made is known from the names before and after each, and is on disk.
var backupFolder = regexp.MustCompile(`^[0-9]{1,20}-guix-home-legacy-configs-backup$`)

// Bounds of what is read and told of such folders.
const (
	backupFolders = 300
	backupFiles   = 1000 // that are put back
	backupNames   = 20   // that are named
)

// A backups is the record of what was moved since the last verdict.
type backups struct {
	Underway *underway `json:",omitempty"` // a switch that isn't known to have ended
	Moved    []backup  `json:",omitempty"`
}

// An underway is how it was before a switch.
type underway struct {
	Live    string   // the home; empty: there was none
	Folders []string // that were there already
}

// A backup is a folder that a switch made.
type backup struct {
	Folder string
	Files  []string `json:",omitempty"` // in it, and
	More   int      `json:",omitempty"` // so many that aren't named
	Bare   bool     `json:",omitempty"` // there was no home before: what a home has in place of these gives way to them
	Back   bool     `json:",omitempty"` // all of it was put back
	Why    string   `json:",omitempty"` // it wasn't
}

// readBackups is what the record says. One that isn't there, or makes no sense, names no folder: then none is put back.
func (h *Home) readBackups() backups {
	b, _ := statefile.Read[backups](h.Backups)
	return b
}

func (h *Home) writeBackups(b backups) error {
	if h.Backups == "" { // a test may keep no record
		return nil
	}
	if b.Underway == nil && len(b.Moved) == 0 {
		return dropNote(h.Backups)
	}
	return statefile.WriteJSON(h.Backups, b)
}

// expectBackups notes before a switch which folders there are.
func (h *Home) expectBackups(ctx context.Context, u User, live string) error {
	b, err := h.followBackups(ctx, u)
	if err != nil {
		return err
	}
	b.Underway = &underway{Live: live}
	if b.Underway.Folders, err = h.backupFolders(ctx, u); err != nil {
		return err
	}
	return h.writeBackups(b)
}

// followBackups notes what the last switch moved, if that isn't known yet.
func (h *Home) followBackups(ctx context.Context, u User) (backups, error) {
	b, err := statefile.Load[backups](h.Backups)
	if err != nil || b.Underway == nil {
		return b, err
	}
	now, err := h.backupFolders(ctx, u)
	if err != nil {
		return b, err
	}
	for _, folder := range now {
		if slices.Contains(b.Underway.Folders, folder) || slices.ContainsFunc(b.Moved, func(m backup) bool { return m.Folder == folder }) {
			continue
		}
		var found backup
		if err := u.ask(ctx, h.Helper, &found, "backup", u.Home, folder); err != nil {
			return b, err
		}
		if len(found.Files) > 0 {
			b.Moved = append(b.Moved, backup{Folder: folder, Files: found.Files, More: found.More, Bare: b.Underway.Live == ""})
		}
	}
	b.Underway = nil
	return b, h.writeBackups(b)
}

func (h *Home) backupFolders(ctx context.Context, u User) (names []string, err error) {
	if err := u.ask(ctx, h.Helper, &names, "backups", u.Home); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(names, func(name string) bool { return !backupFolder.MatchString(name) }), nil
}

// PutBack puts back the files that switches moved away since the last verdict, once the files that replaced them are gone. If
// another file is in its place by now, both are left where they are. It may be called again.
func (h *Home) PutBack(ctx context.Context) error {
	u, err := h.who()
	if err != nil {
		return err
	}
	h.Runner.switching.Lock()
	defer h.Runner.switching.Unlock()
	b, err := h.followBackups(ctx, u)
	if err != nil {
		return err
	}
	for i := range b.Moved {
		m := &b.Moved[i]
		if m.Back {
			continue
		}
		givesWay := "none"
		if m.Bare {
			givesWay = "links"
		}
		var done backup
		if failed := u.ask(ctx, h.Helper, &done, "put-back", u.Home, m.Folder, givesWay); failed != nil {
			m.Why = "putting it back failed"
			err = errors.Join(err, failed)
			continue
		}
		m.Back, m.Why = done.Back, done.Why
		if !m.Back {
			m.Files, m.More = done.Files, done.More
		}
	}
	return errors.Join(err, h.writeBackups(b))
}

// MovedAside says, in a line for each folder, what switches since the last verdict moved, and where it is now.
func (h *Home) MovedAside() []string {
	var says []string
	for _, m := range h.readBackups().Moved {
		says = append(says, m.says(h.User))
	}
	return says
}

func (m backup) says(user string) string {
	var names []string
	for _, name := range m.Files {
		names = append(names, "~/"+name)
	}
	if m.More > 0 {
		names = append(names, fmt.Sprintf("%d more", m.More))
	}
	what, was, stays, is := user+"'s own "+strings.Join(names, ", "), "was", "stays", "is"
	if len(names) > 1 {
		was, stays, is = "were", "stay", "are"
	}
	switch {
	case m.Back:
		return fmt.Sprintf("%s %s put back from ~/%s", what, was, m.Folder)
	case m.Why != "":
		return fmt.Sprintf("%s %s in ~/%s: %s", what, stays, m.Folder, m.Why)
	}
	return fmt.Sprintf("%s %s in ~/%s: moved there by Guix, as the home has a file in its place", what, is, m.Folder)
}

// Settle ends the record after a verdict. While the home is switched for another reason, the record is kept until the next verdict.
func (h *Home) Settle() error {
	if !h.Runner.switching.TryLock() {
		return nil
	}
	defer h.Runner.switching.Unlock()
	b := h.readBackups()
	if len(b.Moved) == 0 {
		return nil
	}
	b.Moved = nil
	return h.writeBackups(b)
}

// The rest is done by `collie as-user`, with the user's rights. It follows no link that leads out of the home.

// listBackups names the folders that Guix made, the newest first.
func listBackups(home string) ([]string, error) {
	dir, err := os.Open(home)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	all, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	names := slices.DeleteFunc(all, func(name string) bool { return !backupFolder.MatchString(name) })
	slices.Sort(names) // they begin with the time
	slices.Reverse(names)
	return names[:min(len(names), backupFolders)], nil
}

// inBackup names the files in a folder.
func inBackup(home, folder string) (backup, error) {
	root, err := os.OpenRoot(home)
	if err != nil {
		return backup{}, err
	}
	defer root.Close()
	files, err := filesIn(root, folder)
	return nameFiles(files), err
}

func nameFiles(files []string) (b backup) {
	b.More = max(0, len(files)-backupNames)
	for _, name := range files[:len(files)-b.More] {
		b.Files = append(b.Files, printable(shorten(name)))
	}
	return b
}

// printable is a name on one line, quoted if it has to be.
func printable(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(name)
	}
	return name
}

// filesIn are the regular files below folder, by their path there. Guix makes nothing else in it, but folders.
func filesIn(root *os.Root, folder string) (files []string, err error) {
	if info, err := root.Lstat(folder); err != nil || !info.IsDir() || !backupFolder.MatchString(folder) {
		return nil, errors.Join(err, fmt.Errorf("%s is no folder of Guix's", folder))
	}
	err = fs.WalkDir(root.FS(), folder, func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case len(files) == backupFiles:
			return fs.SkipAll
		case e.Type().IsRegular():
			files = append(files, strings.TrimPrefix(name, folder+"/"))
		}
		return nil
	})
	return files, err
}

// putBack moves the files of folder to where they were, and removes the folders that this leaves empty. The answer names
// what it left.
func putBack(home, folder, givesWay string) (backup, error) {
	root, err := os.OpenRoot(home)
	if err != nil {
		return backup{}, err
	}
	defer root.Close()
	files, err := filesIn(root, folder)
	if errors.Is(err, fs.ErrNotExist) {
		return backup{Why: "the folder is gone"}, nil
	}
	if err != nil {
		return backup{}, err
	}
	var left, whys []string
	for _, name := range files {
		if err := putBackFile(root, path.Join(folder, name), name, givesWay == "links"); err != nil {
			why := err.Error()
			if errors.Is(err, fs.ErrExist) {
				why = "another file is in its place"
			}
			left = append(left, name)
			if !slices.Contains(whys, why) {
				whys = append(whys, why)
			}
			continue
		}
		for dir := path.Dir(path.Join(folder, name)); dir != "." && root.Remove(dir) == nil; dir = path.Dir(dir) {
		}
	}
	_ = root.Remove(folder) // if nothing was in it
	answer := nameFiles(left)
	answer.Back, answer.Why = len(left) == 0, strings.Join(whys[:min(len(whys), 3)], "; ")
	return answer, nil
}

// putBackFile moves a file, never over another: a link to the store may give way.
func putBackFile(root *os.Root, from, to string, linksGiveWay bool) error {
	if err := root.MkdirAll(path.Dir(to), 0o700); err != nil { // which rights a folder had that Guix removed isn't known
		return err
	}
	err := join(root, from, to)
	switch {
	case errors.Is(err, fs.ErrExist) && linksGiveWay && toStore(root, to):
		if err := root.Remove(to); err != nil {
			return err
		}
		err = join(root, from, to)
	case errors.Is(err, fs.ErrExist) && sameFile(root, from, to): // an earlier try was cut short
		err = nil
	}
	if err != nil {
		return err
	}
	return root.Remove(from)
}

// join makes the file have a second name, or another file system a copy of it. An existing file is an error.
func join(root *os.Root, from, to string) error {
	err := root.Link(from, to)
	if !errors.Is(err, syscall.EXDEV) {
		return err
	}
	next := to + ".collie-new"
	_ = root.Remove(next)
	if err := copyFile(root, from, next); err != nil {
		return err
	}
	return errors.Join(root.Link(next, to), root.Remove(next))
}

func copyFile(root *os.Root, from, to string) error {
	in, err := root.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := root.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

func toStore(root *os.Root, name string) bool {
	to, err := root.Readlink(name)
	return err == nil && strings.HasPrefix(to, "/gnu/store/")
}

func sameFile(root *os.Root, a, b string) bool {
	one, err := root.Lstat(a)
	if err != nil {
		return false
	}
	other, err := root.Lstat(b)
	return err == nil && os.SameFile(one, other)
}
