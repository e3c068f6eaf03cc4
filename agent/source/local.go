package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/transport"
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

func newLocal(cfg Config, path string) (*local, error) {
	if cfg.Owner != "" && cfg.Owner == cfg.PodUser {
		return nil, fmt.Errorf("source.owner is %s, who runs the pods: whoever writes the repository is root here, so a pod that breaks out would be; give it an account of its own", cfg.Owner)
	}
	if strings.ContainsFunc(path, func(r rune) bool { return r < ' ' }) {
		return nil, fmt.Errorf("source.url: the path %q has control characters", path)
	}
	return &local{path: path, branch: cfg.Branch, owner: cfg.Owner, podUser: cfg.PodUser}, nil
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

// stamp tells by a few stats whether the branch may have moved.
func (l *local) stamp() string {
	dir := l.gitDir()
	var b strings.Builder
	for _, name := range []string{".", "HEAD", "packed-refs", "reftable/tables.list", "refs/heads/" + l.branch} {
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
		if name == "." { // its times change at each push: only whether it is the same one
			fmt.Fprintf(&b, "%s %d %d\n", name, st.Dev, st.Ino)
			continue
		}
		if !info.Mode().IsRegular() || time.Since(info.ModTime()) < fresh || time.Since(time.Unix(st.Ctim.Unix())) < fresh {
			return ""
		}
		if strings.HasPrefix(name, "refs/") && info.Size() != 41 {
			return "" // the name of another ref, which may move without this file
		}
		fmt.Fprintf(&b, "%s %d %d %d %d %d\n", name, st.Dev, st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano())
	}
	return b.String()
}

func (l *local) folders() []string {
	dir := l.gitDir()
	all := []string{dir, filepath.Join(dir, "reftable"), filepath.Join(dir, "refs"), filepath.Join(dir, "refs/heads")}
	for at := filepath.Dir(l.branch); at != "."; at = filepath.Dir(at) { // of a branch like prod/eu
		all = append(all, filepath.Join(dir, "refs/heads", at))
	}
	return all
}

func (l *local) empty(branch string, others []string) problem {
	return noBranch(l.path, branch, others)
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
	u := &uploadPack{cmd: cmd, path: l.path}
	cmd.Stderr = &u.says
	if u.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	u.out = &bounded{ReadCloser: out, left: maxRefs}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting git upload-pack as %s: %w", as.name, err)
	}
	return u, nil
}

// uploadPack is a conversation with a git upload-pack.
type uploadPack struct {
	cmd    *exec.Cmd
	path   string
	in     io.WriteCloser
	out    *bounded
	says   tail
	asked  bool // for a pack
	closed bool
}

func (u *uploadPack) AdvertisedReferencesContext(context.Context) (*packp.AdvRefs, error) {
	refs := packp.NewAdvRefs()
	err := refs.Decode(u.out)
	if errors.Is(err, packp.ErrEmptyAdvRefs) || err == nil && refs.IsEmpty() {
		return nil, transport.ErrEmptyRemoteRepository
	}
	if err != nil {
		return nil, u.explain(err)
	}
	transport.FilterUnsupportedCapabilities(refs.Capabilities)
	return refs, nil
}

func (u *uploadPack) UploadPack(_ context.Context, req *packp.UploadPackRequest) (*packp.UploadPackResponse, error) {
	if req.IsEmpty() {
		return nil, transport.ErrEmptyUploadPackRequest
	}
	if err := req.Validate(); err != nil {
		return nil, err
	}
	u.asked = true
	u.out.left = maxPack
	if err := u.ask(req); err != nil {
		return nil, u.explain(err)
	}
	res := packp.NewUploadPackResponse(req)
	if err := res.Decode(io.NopCloser(u.out)); err != nil {
		return nil, u.explain(err)
	}
	return res, nil
}

func (u *uploadPack) ask(req *packp.UploadPackRequest) error {
	if err := req.UploadRequest.Encode(u.in); err != nil {
		return err
	}
	if err := req.UploadHaves.Encode(u.in, false); err != nil {
		return err
	}
	if err := pktline.NewEncoder(u.in).EncodeString("done\n"); err != nil {
		return err
	}
	return u.in.Close()
}

// explain prefers git's own words to what their lack did to us.
func (u *uploadPack) explain(err error) error {
	if errors.Is(err, errTooLong) {
		return err
	}
	u.Close() // git has said all then
	if says := u.says.String(); says != "" {
		return fmt.Errorf("git upload-pack: %s", says)
	}
	return err
}

// Close ends git. How it ended says nothing more: what was read was checked, what wasn't read wasn't needed.
func (u *uploadPack) Close() error {
	if u.closed {
		return nil
	}
	u.closed = true
	if !u.asked {
		_, _ = u.in.Write(pktline.FlushPkt) // goodbye
	}
	_ = u.in.Close()
	_ = u.out.Close()
	_ = u.cmd.Wait()
	return nil
}

// tail keeps the last words of a process.
type tail struct{ buf bytes.Buffer }

func (t *tail) Write(p []byte) (int, error) {
	t.buf.Write(p)
	if over := t.buf.Len() - 4096; over > 0 {
		t.buf.Next(over)
	}
	return len(p), nil
}

func (t *tail) String() string { return plain(t.buf.String()) }

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
