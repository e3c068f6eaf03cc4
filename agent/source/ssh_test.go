package source

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// An sshd offers a repository to one key.
type sshd struct {
	t        *testing.T
	addr     string
	dir      string // of the files that the client needs
	path     string
	host     ssh.Signer
	client   ssh.Signer
	listener net.Listener
}

func newKey(t *testing.T) (ssh.Signer, string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	signer, err := ssh.NewSignerFromKey(private)
	must(t, err)
	block, err := ssh.MarshalPrivateKey(private, "test")
	must(t, err)
	return signer, string(pem.EncodeToMemory(block))
}

func (o *ops) serveSSH() *sshd {
	o.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(o.t, err)
	d := &sshd{t: o.t, addr: l.Addr().String(), dir: o.t.TempDir(), path: o.bare, listener: l}
	d.host, _ = newKey(o.t)
	var text string
	d.client, text = newKey(o.t)
	d.file("key", text, 0o600)
	d.file("known_hosts", d.line(d.host.PublicKey()), 0o644)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go d.serve(conn)
		}
	}()
	o.t.Cleanup(func() {
		l.Close()
		<-ended
	})
	return d
}

func (d *sshd) repository() Repository {
	return Repository{URL: "ssh://git@" + d.addr + d.path, KeyFile: filepath.Join(d.dir, "key"), KnownHosts: filepath.Join(d.dir, "known_hosts")}
}

func (d *sshd) file(name, text string, mode os.FileMode) {
	writeMode(d.t, filepath.Join(d.dir, name), text, mode)
}

func (d *sshd) line(key ssh.PublicKey) string { return knownhosts.Line([]string{d.addr}, key) + "\n" }

// serve runs what one client asks for, by the shell, as sshd does.
func (d *sshd) serve(conn net.Conn) {
	defer conn.Close()
	cfg := &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if c.User() == "git" && string(key.Marshal()) == string(d.client.PublicKey().Marshal()) {
			return nil, nil
		}
		return nil, fmt.Errorf("no")
	}}
	cfg.AddHostKey(d.host)
	_, channels, requests, err := ssh.NewServerConn(conn, cfg)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for n := range channels {
		channel, requests, err := n.Accept()
		if err != nil {
			return
		}
		for r := range requests {
			if r.Type != "exec" {
				_ = r.Reply(false, nil)
				continue
			}
			var asked struct{ Command string }
			_ = ssh.Unmarshal(r.Payload, &asked)
			_ = r.Reply(true, nil)
			cmd := exec.Command("sh", "-c", asked.Command)
			cmd.Env = gitEnv()
			cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
			in, _ := cmd.StdinPipe()
			go func() { _, _ = io.Copy(in, channel); in.Close() }()
			code := uint32(0)
			if cmd.Run() != nil {
				code = 1
			}
			_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{code}))
			channel.Close()
		}
	}
}

func TestWordsForTheShell(t *testing.T) {
	for _, word := range []string{"/srv/git/ops.git", "a b", "it's", "$(id)", "'; id; '"} {
		out, err := exec.Command("sh", "-c", "printf %s "+quoted(word)).Output()
		if err != nil || string(out) != word || strings.Contains(string(out), "uid=") {
			t.Errorf("%q arrives as %q (%v)", word, out, err)
		}
	}
}

func TestHostKeys(t *testing.T) {
	o := newOps(t)
	id := o.push("one", "f", "1")
	d := o.serveSSH()
	at := d.repository()
	s := openAt(t, at)
	poll(t, s, id)
	host, port, _ := net.SplitHostPort(d.addr)
	scan := "ssh-keyscan -p " + port + " " + host + " >>" + at.KnownHosts
	shown := "ssh-ed25519 " + ssh.FingerprintSHA256(d.host.PublicKey())
	other, _ := newKey(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	rsaHost, err := ssh.NewSignerFromKey(rsaKey)
	must(t, err)
	line := d.line(d.host.PublicKey())
	tomorrow := base64.StdEncoding.EncodeToString(ssh.Marshal(struct{ Kind, Key string }{"ssh-mldsa44-ed25519", "key"}))
	for name, c := range map[string]struct {
		known string
		mode  os.FileMode
		says  []string // none: it is trusted
	}{
		"of another host":             {strings.Replace(line, host, "example.org", 1), 0o644, []string{"[" + host + "]:" + port + " isn't in " + at.KnownHosts, shown, scan}},
		"another":                     {"# host\n" + d.line(other.PublicKey()), 0o644, []string{shown, "isn't the one in " + at.KnownHosts + " line 2", "in between", scan}},
		"revoked":                     {line + "@revoked * " + strings.SplitN(line, " ", 2)[1], 0o644, []string{"is revoked in " + at.KnownHosts + " line 2"}},
		"of another kind":             {d.line(rsaHost.PublicKey()), 0o644, []string{"has no key of a kind in " + at.KnownHosts, "it has ssh-ed25519", scan}},
		"nonsense":                    {"nonsense\n", 0o644, []string{"known hosts file " + at.KnownHosts, ":1: "}},
		"none":                        {"", 0o644, []string{"is empty"}},
		"written by all":              {line, 0o666, []string{"is writable by others than its owner; chmod go-w"}},
		"one of several":              {d.line(other.PublicKey()) + d.line(rsaHost.PublicKey()) + line, 0o644, nil},
		"after one of a kind to come": {strings.Fields(line)[0] + " ssh-mldsa44-ed25519 " + tomorrow + "\n" + line, 0o644, nil},
		"another, after one of a kind to come": {strings.Fields(line)[0] + " ssh-mldsa44-ed25519 " + tomorrow + "\n" + d.line(other.PublicKey()), 0o644,
			[]string{"isn't the one in " + at.KnownHosts + " line 2"}},
		"hashed": {knownhosts.HashHostname(knownhosts.Normalize(d.addr)) + " " + strings.SplitN(line, " ", 2)[1], 0o600, nil},
	} {
		d.file("known_hosts", c.known, c.mode)
		if c.says == nil {
			poll(t, s, id)
			continue
		}
		t.Log(name)
		fails(t, s, c.says...)
	}
	must(t, os.Remove(at.KnownHosts))
	fails(t, s, "known hosts file", "no such file")
	d.file("known_hosts", line, 0o644)
	poll(t, s, id)
}

func TestKeysThatOpenNothing(t *testing.T) {
	o := newOps(t)
	id := o.push("one", "f", "1")
	d := o.serveSSH()
	at := d.repository()
	s := openAt(t, at)
	poll(t, s, id)
	good, err := os.ReadFile(at.KeyFile)
	must(t, err)
	_, other := newKey(t)
	_, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	locked, err := ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte("secret"))
	must(t, err)
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		says []string
	}{
		"of somebody else":   {other, 0o600, []string{"doesn't take the key in " + at.KeyFile + " for user git", "ssh-keygen -y -f " + at.KeyFile}},
		"readable by all":    {string(good), 0o644, []string{"key file " + at.KeyFile + " is readable by others than its owner; chmod 600 " + at.KeyFile}},
		"with a passphrase":  {string(pem.EncodeToMemory(locked)), 0o600, []string{"has a passphrase", "ssh-keygen -p -N '' -f " + at.KeyFile}},
		"nonsense":           {"t0psecret", 0o600, []string{"isn't a private key"}},
		"only a public half": {string(ssh.MarshalAuthorizedKey(d.client.PublicKey())), 0o600, []string{"isn't a private key"}},
	} {
		d.file("key", c.text, c.mode)
		t.Log(name)
		fails(t, s, c.says...)
		if strings.Contains(s.Status().Error, "t0psecret") {
			t.Errorf("the key is told: %s", s.Status().Error)
		}
	}
	d.file("key", other, 0o600) // a new key needs no restart
	d.client, err = ssh.ParsePrivateKey([]byte(other))
	must(t, err)
	poll(t, s, id)
}
