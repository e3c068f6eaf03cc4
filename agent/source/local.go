package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"example.org/collie/agent/limits"
)

// local is a repository on this machine.
type local struct {
	path    string
	branch  string
	owner   string
	podUser string
}

// An account is whom a process can run as.
type account struct {
	name     string
	uid, gid uint32
	home     string
}

func newLocal(r Repository, cfg Config, path string) (*local, error) {
	if r.Owner != "" && r.Owner == cfg.PodUser {
		return nil, fmt.Errorf("source.owner is %s, the user who runs the pods. Whoever writes the repository is root here, so a pod that breaks out would be root; give the repository an account of its own", r.Owner)
	}
	return &local{path: path, branch: cfg.Branch, owner: r.Owner, podUser: cfg.PodUser}, nil
}

// gitDir is where the refs are: a bare repository itself, or the .git of one with a worktree.
func (l *local) gitDir() string {
	inner := filepath.Join(l.path, ".git")
	if info, err := os.Stat(inner); err == nil && info.IsDir() {
		return inner
	}
	return l.path
}

// fresh is what may change again within one step of the file system's clock, which is at most 10 ms, with slack.
const fresh = 100 * time.Millisecond

// plansFolder has a file for each plan. One comes, goes or moves by a rename in it, which the folder's time tells.
const plansFolder = "refs/heads/plan"

// stamp tells by a few stats whether the branch may have moved, or someone else can move it.
func (l *local) stamp() string {
	dir := l.gitDir()
	var b strings.Builder
	ref := "refs/heads/" + l.branch
	for folder := filepath.Dir(ref); ; folder = filepath.Dir(folder) { // their times change at each push: only which they are, and who can write them
		info, err := os.Lstat(filepath.Join(dir, folder))
		if err == nil {
			st := info.Sys().(*syscall.Stat_t)
			fmt.Fprintf(&b, "%s %d %d %d %d %o\n", folder, st.Dev, st.Ino, st.Uid, st.Gid, st.Mode)
		} else if !errors.Is(err, os.ErrNotExist) {
			return ""
		}
		if folder == "." {
			break
		}
	}
	for _, name := range []string{"HEAD", "packed-refs", "reftable/tables.list", ref, plansFolder} {
		info, err := os.Lstat(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			fmt.Fprintf(&b, "%s -\n", name)
			continue
		}
		if err != nil {
			return ""
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return ""
		}
		if !info.Mode().IsRegular() && !(info.IsDir() && name == plansFolder) || time.Since(info.ModTime()) < fresh || time.Since(time.Unix(st.Ctim.Unix())) < fresh {
			return ""
		}
		if strings.HasPrefix(name, "refs/") && !info.IsDir() && info.Size() != 41 {
			return "" // the name of another ref, which may move without this file
		}
		fmt.Fprintf(&b, "%s %d %d %d %d %d\n", name, st.Dev, st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano())
	}
	return b.String()
}

func (l *local) folders() []string {
	dir := l.gitDir()
	all := []string{dir, filepath.Join(dir, "reftable"), filepath.Join(dir, "refs"), filepath.Join(dir, "refs/heads"), filepath.Join(dir, plansFolder)}
	for at := filepath.Dir(l.branch); at != "."; at = filepath.Dir(at) { // of a branch like prod/eu
		all = append(all, filepath.Join(dir, "refs/heads", at))
	}
	return all
}

// dial runs git upload-pack as the repository's owner, once nobody else turned out to be able to write it.
func (l *local) dial(ctx context.Context) (session, error) {
	dir, as, err := l.vet()
	if err != nil {
		return nil, err
	}
	git, err := exec.LookPath("git")
	if err != nil {
		return nil, fmt.Errorf("reading a repository on this machine takes git: %w", err)
	}
	cmd := exec.CommandContext(ctx, git, "upload-pack", "--strict", dir)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + as.home, "USER=" + as.name, "LC_ALL=C", "GIT_NO_LAZY_FETCH=1"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: as.uid, Gid: as.gid}
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // pack-objects too
	cmd.WaitDelay = 5 * time.Second
	u := &uploadPack{url: l.path, end: func() { _ = cmd.Wait() }}
	cmd.Stderr = &u.says
	if u.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	u.out = &bounded{ReadCloser: out, left: maxRefs}
	if err := limits.Start(cmd); err != nil {
		return nil, fmt.Errorf("starting git upload-pack as %s: %w", as.name, err)
	}
	return u, nil
}

func newAccount(u *user.User) (account, error) {
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return account{}, fmt.Errorf("user %s has the id %q", u.Username, u.Uid)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return account{}, fmt.Errorf("user %s has the group %q", u.Username, u.Gid)
	}
	return account{name: u.Username, uid: uint32(uid), gid: uint32(gid), home: u.HomeDir}, nil
}
