package bootstrap

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"example.org/collie/agent/source"
)

// gitTime is for one command of git's, a push included.
const gitTime = 5 * time.Minute

// command runs a program in dir, and returns what it prints.
func (m *Machine) command(ctx context.Context, dir, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, gitTime, fmt.Errorf("no end within %v", gitTime))
	defer cancel()
	file, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s isn't on PATH: run this by `guix shell collie git -- …`", name)
	}
	var out, says bytes.Buffer
	cmd := exec.CommandContext(ctx, file, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &says
	cmd.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0", "LC_ALL=C")
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return out.String(), fmt.Errorf("%s %s: %w\n%s", name, args[0], err, strings.TrimSpace(says.String()))
	}
	return out.String(), nil
}

func (m *Machine) git(ctx context.Context, args ...string) (string, error) {
	out, err := m.command(ctx, m.Dir, "git", args...)
	return strings.TrimSpace(out), err
}

// look asks the repository as the agent will.
func (m *Machine) look(ctx context.Context) (source.Checked, error) {
	if m.probe != nil {
		return m.probe(ctx)
	}
	r, err := m.followed()
	if err != nil {
		return source.Checked{}, err
	}
	all, err := source.Check(ctx, source.Config{Repository: r, Branch: m.Branch, PodUser: podUser})
	if err != nil {
		return source.Checked{}, err
	}
	return all[0], nil
}

// hasAccess checks access to a repository elsewhere, and that the owner of one here is somebody whom Collie may follow.
func (m *Machine) hasAccess(ctx context.Context) (string, bool, error) {
	if path, local := m.local(); local && gitDir(path) == "" {
		return "", true, nil // it will be root's
	}
	if m.scheme() == "ssh" && !(exists(m.Repository.KeyFile) && exists(m.Repository.KnownHosts)) {
		return "", false, nil
	}
	c, err := m.look(ctx)
	switch {
	case err != nil:
		return "", false, err
	case c.Err == nil:
		return "it can be read", true, nil
	case c.Empty:
		return "it can be read, and is empty", true, nil
	case c.Locked:
		return "", false, nil
	}
	return "", false, c.Err
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// makeAccess makes the key for ssh, takes the host keys that root trusts, and asks for a token. The error names
// what is still missing, which a person has to provide.
func (m *Machine) makeAccess(ctx context.Context) (says string, err error) {
	byKey := m.scheme() == "ssh"
	if byKey {
		says, err = m.makeKey(ctx)
	} else {
		says, err = m.makeToken()
	}
	if err != nil {
		return "", err
	}
	_, is, err := m.hasAccess(ctx)
	if err == nil && is {
		return says, nil
	}
	if err == nil {
		err = fmt.Errorf("repository %s isn't opened by what was given: run this again once it is", m.Repository.URL)
	}
	if !byKey {
		err = errors.Join(fmt.Errorf("%w\nthe token that was typed isn't kept: run this again, which asks for another", err), os.Remove(m.Repository.TokenFile))
	}
	return "", err
}

func (m *Machine) makeToken() (string, error) {
	file := m.Repository.TokenFile
	if m.Ask == nil {
		return "", fmt.Errorf("repository %s wants a token that may read and write it: write it to %s, with mode 600, and run this again", m.Repository.URL, file)
	}
	token, err := m.Ask("token for " + m.Repository.URL)
	if err != nil {
		return "", err
	}
	if token = strings.TrimSpace(token); token == "" {
		return "", errors.New("no token was given")
	}
	return "the token is in " + file, writeNew(file, token+"\n", 0o600)
}

func (m *Machine) makeKey(ctx context.Context) (string, error) {
	key, hosts := m.Repository.KeyFile, m.Repository.KnownHosts
	if !exists(key) {
		host, err := os.Hostname()
		if err != nil {
			return "", err
		}
		private, public, err := newKey("collie@" + host)
		if err != nil {
			return "", err
		}
		if err := errors.Join(writeNew(key, private, 0o600), writeNew(key+".pub", public, 0o644)); err != nil {
			return "", err
		}
		fmt.Fprintf(m.Out, "       made the key %s: give its public half the right to read and write there:\n%s", key, public)
	}
	if !exists(hosts) {
		known, _ := m.command(ctx, "/", "ssh-keygen", "-F", m.sshHost()) // none is known: that is 1
		var lines []string
		for line := range strings.Lines(known) {
			if !strings.HasPrefix(line, "#") {
				lines = append(lines, line)
			}
		}
		// An empty file is enough: the error then shows the host's key, and how to add it.
		if err := writeNew(hosts, strings.Join(lines, ""), 0o600); err != nil {
			return "", err
		}
	}
	return "the key is " + key + ", the host keys are " + hosts, nil
}

// newKey is a pair as `ssh-keygen -t ed25519` makes it, without a passphrase: a machine may have no OpenSSH.
func newKey(comment string) (private, public string, err error) {
	half, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return "", "", err
	}
	block, err := ssh.MarshalPrivateKey(key, comment)
	if err != nil {
		return "", "", err
	}
	given, err := ssh.NewPublicKey(half)
	if err != nil {
		return "", "", err
	}
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(given)))
	return string(pem.EncodeToMemory(block)), line + " " + comment + "\n", nil
}

// sshHost is the server's name, as known hosts have it.
func (m *Machine) sshHost() string {
	rest := m.Repository.URL
	if _, after, found := strings.Cut(rest, "://"); found {
		rest, _, _ = strings.Cut(after, "/")
	} else {
		rest, _, _ = strings.Cut(rest, ":")
	}
	host := rest[strings.LastIndexByte(rest, '@')+1:]
	if name, port, found := strings.Cut(host, ":"); found && port != "22" {
		return "[" + name + "]:" + port
	} else if found {
		return name
	}
	return host
}

// writeNew writes a file that isn't there yet, whole or not at all.
func writeNew(file, text string, mode os.FileMode) error {
	folder := os.FileMode(0o755)
	if mode == 0o600 {
		folder = 0o700
	}
	if err := os.MkdirAll(filepath.Dir(file), folder); err != nil {
		return err
	}
	if _, err := os.Lstat(file); err == nil {
		return fmt.Errorf("%s is there already", file)
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return os.Link(f.Name(), file) // fails if it came meanwhile
}

func (m *Machine) hasClone(ctx context.Context) (string, bool, error) {
	inside, err := os.ReadDir(m.Dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", false, err
	}
	if len(inside) == 0 {
		return "", false, nil
	}
	if !exists(filepath.Join(m.Dir, ".git")) {
		return "", false, fmt.Errorf("%s isn't empty, and no clone of %s: name another folder by --dir", m.Dir, m.Repository.URL)
	}
	url, err := m.git(ctx, "config", "--get", "remote.origin.url")
	switch {
	case url == "": // it was interrupted
		return "", false, nil
	case err != nil:
		return "", false, err
	case url != m.Repository.URL:
		return "", false, fmt.Errorf("%s is a clone of %s: name another folder by --dir", m.Dir, url)
	}
	if _, err := m.git(ctx, "rev-parse", "--quiet", "--verify", "HEAD"); err == nil {
		return m.Dir, true, nil
	}
	whole, _ := m.git(ctx, "config", "--get", "collie.cloned")
	return m.Dir, whole != "", nil
}

// makeClone clones with a configuration by which one can go on pushing. A clone that was interrupted is finished.
func (m *Machine) makeClone(ctx context.Context) (string, error) {
	config, err := m.cloneConfig()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(m.Dir, 0o755); err != nil {
		return "", err
	}
	if _, err := m.git(ctx, "init", "--quiet", "--initial-branch="+m.Branch); err != nil {
		return "", err
	}
	for _, c := range config {
		if _, err := m.git(ctx, "config", c[0], c[1]); err != nil {
			return "", err
		}
	}
	if _, err := m.git(ctx, "fetch", "--quiet", "origin"); err != nil {
		return "", err
	}
	if _, err := m.git(ctx, "rev-parse", "--quiet", "--verify", m.tip()); err == nil {
		if _, err := m.git(ctx, "merge", "--quiet", "--ff-only", m.tip()); err != nil {
			return "", err
		}
	}
	_, err = m.git(ctx, "config", "collie.cloned", "true")
	return m.Dir, err
}

func (m *Machine) cloneConfig() ([][2]string, error) {
	r, err := m.followed()
	if err != nil {
		return nil, err
	}
	config := [][2]string{{"remote.origin.url", r.URL}, {"remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"}, {"push.default", "current"}}
	owner, err := m.owner()
	if err != nil {
		return nil, err
	}
	if owner != nil { // git that root runs refuses another's repository, and would run that one's hooks
		as := "setpriv --reuid " + owner.Uid + " --regid " + owner.Gid + " --init-groups "
		config = append(config, [2]string{"remote.origin.uploadpack", as + "git-upload-pack"}, [2]string{"remote.origin.receivepack", as + "git-receive-pack"})
	}
	if r.TokenFile != "" {
		name := cmp.Or(r.TokenUser, "x-access-token")
		config = append(config, [2]string{"credential.helper", "!f() { echo username=" + quoted(name) + "; echo password=$(cat " + quoted(r.TokenFile) + "); }; f"})
	}
	if r.CAFile != "" {
		config = append(config, [2]string{"http.sslCAInfo", r.CAFile})
	}
	if r.KeyFile != "" {
		config = append(config, [2]string{"core.sshCommand", "ssh -i " + quoted(r.KeyFile) + " -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile=" + quoted(r.KnownHosts)})
	}
	return config, nil
}

// quoted is text as a word of the shell's.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// tip is the branch as the repository had it last.
func (m *Machine) tip() string { return "refs/remotes/origin/" + m.Branch }

// isCommitted reports whether the clone has no file of ours that its last commit hasn't.
func (m *Machine) isCommitted(ctx context.Context) (string, bool, error) {
	files := m.files()
	if len(files) == 0 {
		return "", false, nil
	}
	changed, err := m.git(ctx, append([]string{"status", "--porcelain", "--"}, files...)...)
	if err != nil || changed != "" {
		return "", false, err
	}
	head, err := m.git(ctx, "log", "-1", "--format=%h %s")
	return head, err == nil, nil
}

func (m *Machine) commit(ctx context.Context) (string, error) {
	return m.commitFiles(ctx, "As it is, with Collie", m.files())
}

func (m *Machine) commitFiles(ctx context.Context, message string, files []string) (string, error) {
	if _, err := m.git(ctx, append([]string{"add", "--"}, files...)...); err != nil {
		return "", err
	}
	args := []string{"commit", "--quiet", "-m", message}
	if _, err := m.git(ctx, "config", "user.email"); err != nil {
		host, err := os.Hostname()
		if err != nil {
			return "", err
		}
		args = append([]string{"-c", "user.name=root", "-c", "user.email=root@" + host}, args...)
	}
	if _, err := m.git(ctx, append(append(args, "--"), files...)...); err != nil {
		return "", err
	}
	return m.git(ctx, "log", "-1", "--format=%h %s")
}

// isPushed reports whether all that is ours is in the repository.
func (m *Machine) isPushed(ctx context.Context) (string, bool, error) {
	if _, is, err := m.isCommitted(ctx); err != nil || !is {
		return "", false, err
	}
	head, err := m.git(ctx, "rev-parse", "HEAD")
	if err != nil {
		return "", false, err
	}
	theirs, err := m.git(ctx, "rev-list", "--max-count=1", m.tip(), "--")
	if err != nil || theirs == "" {
		return "", false, nil // nothing was pushed yet
	}
	if _, err := m.git(ctx, "merge-base", "--is-ancestor", head, m.tip()); err != nil {
		return "", false, nil
	}
	return m.Branch + " has it", true, nil
}

func (m *Machine) push(ctx context.Context) (string, error) {
	if _, err := m.git(ctx, "push", "--quiet", "origin", "HEAD:refs/heads/"+m.Branch); err != nil {
		return "", fmt.Errorf("%w\nif somebody pushed meanwhile, `git -C %s pull --rebase origin %s`; the token or key has to be one that may write; then run this again", err, m.Dir, m.Branch)
	}
	return m.Branch + " has it", nil
}

// files are those of the clone that are ours, from its top.
func (m *Machine) files() (all []string) {
	for _, name := range []string{"channels.scm", "system.scm", "home.scm"} {
		if file := m.place(name); exists(filepath.Join(m.Dir, file)) {
			all = append(all, file)
		}
	}
	for _, file := range m.beside() {
		if exists(filepath.Join(m.Dir, file)) {
			all = append(all, file)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
