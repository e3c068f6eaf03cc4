package layers

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"example.org/collie/agent/mistake"
	"example.org/collie/agent/rollout"
	"example.org/collie/agent/secrets"
)

// A service's secret is secrets/files/NAME.age in the repository, and on the machine the file NAME in a folder that is in
// memory alone. They are a layer of their own, which is switched before the system: a service that is started finds what it
// needs. A target has the files as the repository has them, encrypted, so a way back needs nothing but the machine's key.

const (
	servicesSecrets = "/run/collie/secrets" // where services find them
	mostDelivered   = 64 << 10              // bytes of one
	mostTogether    = 1 << 20               // bytes of all of a revision, encrypted
)

// secretsLayer makes a layer of the secrets of services.
type secretsLayer struct {
	keys string                 // the folder of the machine's keys
	dir  string                 // where they go
	own  func(dir string) error // makes sure that dir is there, and in memory
	ids  func(d delivery) (u, g int, err error)
}

// A delivery is one of them, as a target has it.
type delivery struct {
	Name   string      `json:"name"`
	File   string      `json:"file"` // in the repository
	Owner  string      `json:"owner"`
	Group  string      `json:"group,omitempty"` // empty: the owner's
	Mode   fs.FileMode `json:"mode"`
	Sealed []byte      `json:"sealed"`
}

// deliveries is what a target holds.
type deliveries struct {
	Files []delivery `json:"files"`
	As    []string   `json:"as,omitempty"` // of the baseline: what was there, whatever is in it
}

// Secrets is the layer of the secrets of services; keys is the folder of the machine's keys.
func Secrets(keys string) rollout.Layer {
	return secretsLayer{keys: keys, dir: servicesSecrets, own: inMemory, ids: accountIDs}
}

func (l secretsLayer) Prepare(_ context.Context, rev rollout.Revision, _ func(rollout.Progress)) (rollout.Target, error) {
	if rev.ID == rollout.Baseline {
		there, err := l.there()
		if err != nil {
			return rollout.Target{}, err
		}
		return secretsTarget(rollout.Baseline, deliveries{As: there})
	}
	if !filesOf(rev).has(secretFilesDir) {
		return rollout.Target{}, rollout.ErrAbsent
	}
	d, err := filesOf(rev).deliveries()
	if err != nil {
		return rollout.Target{}, &rollout.BadError{Err: err}
	}
	if _, err := l.open(d.Files); err != nil {
		recipients, unread := filesOf(rev).recipients()
		if unread != nil {
			return rollout.Target{}, &rollout.BadError{Err: unread}
		}
		return rollout.Target{}, l.explain(err, recipients)
	}
	return secretsTarget(rev.ID, d)
}

func secretsTarget(revision string, d deliveries) (rollout.Target, error) {
	text, err := json.Marshal(d)
	if err != nil {
		return rollout.Target{}, err
	}
	sum := sha256.Sum256(text)
	return rollout.Encode("secrets", "secrets-"+hex.EncodeToString(sum[:16]), revision, d)
}

// A closedError is of a file that can't be decrypted.
type closedError struct {
	file string
	err  error
}

func (e *closedError) Error() string { return e.file + ": " + e.err.Error() }

func (e *closedError) Unwrap() error { return e.err }

// open decrypts files, by name. Its error joins those of all that can't be.
func (l secretsLayer) open(files []delivery) (map[string][]byte, error) {
	if len(files) == 0 {
		return nil, nil
	}
	identity, err := secrets.Open(l.keys)
	if err != nil {
		return nil, err
	}
	all := map[string][]byte{}
	var closed []error
	for _, d := range files {
		text, err := identity.Decrypt(d.Sealed)
		if err == nil && len(text) > mostDelivered {
			err = fmt.Errorf("it has more than %d KiB", mostDelivered>>10)
		}
		if err != nil {
			closed = append(closed, &closedError{d.File, err})
			continue
		}
		all[d.Name] = text
	}
	return all, errors.Join(closed...)
}

// explain says of each file that can't be decrypted what to do, and blames the commit for it.
func (l secretsLayer) explain(err error, r secrets.Recipients) error {
	identity, unread := secrets.Open(l.keys)
	joined, is := err.(interface{ Unwrap() []error })
	if unread != nil || !is {
		return err
	}
	var wrong mistake.List
	for _, one := range joined.Unwrap() {
		if file := new(closedError); errors.As(one, &file) {
			wrong = append(wrong, &mistake.Error{File: file.file, Says: file.err.Error(), Hint: howToOpen(one, identity, r)})
		}
	}
	return &rollout.BadError{Err: wrong}
}

// Check finds the files that can't be decrypted.
func (l secretsLayer) Check(_ context.Context, rev rollout.Revision) error {
	d, err := filesOf(rev).deliveries()
	if err != nil && mistake.Of(err) == nil { // those in collie.yaml are found without this
		return err
	}
	if _, err = l.open(d.Files); err == nil {
		return nil
	}
	recipients, _ := filesOf(rev).recipients()
	return l.explain(err, recipients)
}

// there names what is in the folder.
func (l secretsLayer) there() (names []string, err error) {
	entries, err := os.ReadDir(l.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// A correction is what one file needs.
type correction struct {
	rollout.Change
	do func() error
}

// corrections is what the folder needs to hold t, and no more than that.
func (l secretsLayer) corrections(t rollout.Target) (all []correction, err error) {
	var want deliveries
	if err := t.Decode(&want); err != nil {
		return nil, err
	}
	texts, err := l.open(want.Files)
	if err != nil {
		return nil, err
	}
	there, err := l.there()
	if err != nil {
		return nil, err
	}
	add := func(does, name, says string, do func() error) {
		all = append(all, correction{rollout.Change{Does: does, Subject: "secret " + name, Says: says}, do})
	}
	for _, d := range want.Files {
		text := texts[d.Name]
		write := func() error { return l.write(d, text) }
		if !slices.Contains(there, d.Name) {
			add("create", d.Name, fmt.Sprintf("%s, mode %04o", d.owners(), d.Mode), write)
			continue
		}
		if wrong := l.wrong(d, text); len(wrong) > 0 {
			add("update", d.Name, strings.Join(wrong, ", "), write)
		}
	}
	for _, name := range there {
		wanted := slices.Contains(want.As, name) || slices.ContainsFunc(want.Files, func(d delivery) bool { return d.Name == name })
		if !wanted {
			add("delete", name, "", func() error { return os.RemoveAll(filepath.Join(l.dir, name)) })
		}
	}
	return all, nil
}

func (d delivery) owners() string {
	if d.Group == "" {
		return d.Owner + "'s"
	}
	return d.Owner + "'s, group " + d.Group
}

// wrong says in what a file differs from d.
func (l secretsLayer) wrong(d delivery, text []byte) (says []string) {
	path := filepath.Join(l.dir, d.Name)
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return []string{"it is no file"}
	}
	is, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(is, text) {
		says = append(says, "its content changed")
	}
	uid, gid, mode := l.rights(d)
	if int(st.Uid) != uid || int(st.Gid) != gid {
		says = append(says, "it becomes "+d.owners())
	}
	if now := fs.FileMode(st.Mode) & 0o7777; now != mode {
		says = append(says, fmt.Sprintf("mode %04o → %04o", now, mode))
	}
	return says
}

// rights are those that a file gets: until its owner exists, which may be after the switch of the system, it is root's alone.
func (l secretsLayer) rights(d delivery) (uid, gid int, mode fs.FileMode) {
	uid, gid, err := l.ids(d)
	if err != nil {
		return os.Getuid(), os.Getgid(), 0o400
	}
	return uid, gid, d.Mode
}

// write puts a file in its place: it never has other rights there than it is to have.
func (l secretsLayer) write(d delivery, text []byte) error {
	tmp, err := os.CreateTemp(l.dir, ".new-*") // of mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	uid, gid, mode := l.rights(d)
	_, err = tmp.Write(text)
	if err = errors.Join(err, tmp.Chown(uid, gid), tmp.Chmod(mode), tmp.Close()); err != nil {
		return err
	}
	path := filepath.Join(l.dir, d.Name)
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return os.Rename(tmp.Name(), path)
}

func (l secretsLayer) Diff(ctx context.Context, t rollout.Target) (changes []rollout.Change, err error) {
	err = l.locked(ctx, unix.LOCK_SH, func() error {
		all, err := l.corrections(t)
		for _, c := range all {
			changes = append(changes, c.Change)
		}
		return err
	})
	return changes, err
}

func (l secretsLayer) Switch(ctx context.Context, t rollout.Target) error {
	if err := l.own(l.dir); err != nil {
		return err
	}
	return l.locked(ctx, unix.LOCK_EX, func() error {
		all, err := l.corrections(t)
		if err != nil {
			return err
		}
		for _, c := range all {
			if err := c.do(); err != nil {
				return fmt.Errorf("%s: %w", c.Subject, err)
			}
		}
		return nil
	})
}

// locked does something while no other process changes the folder: Shepherd runs `collie deliver` for a service that it starts in
// the middle of a switch, and the agent checks the folder then. Only root can open the folder, and so lock it.
func (l secretsLayer) locked(ctx context.Context, how int, do func() error) error {
	const limit, again = 10 * time.Second, 20 * time.Millisecond
	dir, err := os.Open(l.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return do()
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("another process has it locked for %v", limit))
	defer cancel()
	for {
		err := unix.Flock(int(dir.Fd()), how|unix.LOCK_NB)
		if err == nil {
			return do()
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("locking %s: %w", l.dir, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("locking %s: %w", l.dir, context.Cause(ctx))
		case <-time.After(again):
		}
	}
}

// Problems reports owners that don't exist. Those that the system creates exist once it was switched.
func (l secretsLayer) Problems(_ context.Context, t rollout.Target, _ time.Time) (all []rollout.Problem, err error) {
	var want deliveries
	if err := t.Decode(&want); err != nil {
		return nil, err
	}
	for _, d := range want.Files {
		if _, _, err := l.ids(d); err != nil {
			all = append(all, rollout.Problem{Subject: "secret " + d.Name, Says: fmt.Sprintf("is root's alone for now: %v (%s, %s)", err, RepositoryFile, d.File), Transient: true})
		}
	}
	return all, nil
}

// Keep has nothing to drop: a target is all that there is.
func (l secretsLayer) Prune(context.Context, []rollout.Target) error { return nil }

// accountIDs are those of a delivery's owner and group on this machine.
func accountIDs(d delivery) (uid, gid int, err error) {
	owner, err := user.Lookup(d.Owner)
	if err != nil {
		return 0, 0, fmt.Errorf("there is no user %s", d.Owner)
	}
	group := owner.Gid
	if d.Group != "" {
		g, err := user.LookupGroup(d.Group)
		if err != nil {
			return 0, 0, fmt.Errorf("there is no group %s", d.Group)
		}
		group = g.Gid
	}
	uid, err = strconv.Atoi(owner.Uid)
	if err != nil {
		return 0, 0, err
	}
	gid, err = strconv.Atoi(group)
	return uid, gid, err
}

// inMemory makes a folder that is in memory, and isn't swapped out where Linux can promise that (from 6.3 on). Others may
// open what they know the name of, if its mode lets them.
func inMemory(dir string) error {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return err
	}
	if s.Type == unix.TMPFS_MAGIC || s.Type == unix.RAMFS_MAGIC {
		if in, err := mountedAt(dir); err != nil || in {
			return err
		}
	}
	const flags, options = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "mode=0711,size=8m"
	err := unix.Mount("collie-secrets", dir, "tmpfs", flags, options+",noswap")
	if errors.Is(err, unix.EINVAL) {
		err = unix.Mount("collie-secrets", dir, "tmpfs", flags, options)
	}
	if err != nil {
		return fmt.Errorf("a file system in memory for %s: %w", dir, err)
	}
	return nil
}

// mountedAt reports whether dir is where a file system is mounted: one on the whole of /run would do, but has no bound.
func mountedAt(dir string) (bool, error) {
	var here, above unix.Stat_t
	if err := unix.Stat(dir, &here); err != nil {
		return false, err
	}
	if err := unix.Stat(filepath.Dir(dir), &above); err != nil {
		return false, err
	}
	return here.Dev != above.Dev, nil
}

// Empty reports whether a revision has no secrets of services.
func (l secretsLayer) Empty(t rollout.Target) bool {
	var d deliveries
	return t.Decode(&d) == nil && len(d.Files)+len(d.As) == 0
}

// deliveries are the secrets of services of a revision, with what collie.yaml says about them. They are complete even if collie.yaml has mistakes.
func (v view) deliveries() (deliveries, error) {
	var d deliveries
	cfg, wrong := readRepositoryConfig(v)
	if wrong != nil && mistake.Of(wrong) == nil {
		return d, wrong
	}
	files, _ := v.secretFiles()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		sealed, err := fs.ReadFile(v.repository, files[name])
		if err != nil {
			return d, err
		}
		one := delivery{Name: name, File: files[name], Owner: "root", Mode: 0o400, Sealed: sealed}
		if said, is := cfg.Secrets[name]; is {
			if said.Owner != "" {
				one.Owner = said.Owner
			}
			one.Group = said.Group
			if said.Mode != 0 {
				one.Mode = fs.FileMode(said.Mode)
			}
		}
		d.Files = append(d.Files, one)
	}
	return d, wrong
}
