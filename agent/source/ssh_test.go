package source

import (
	"crypto/ed25519"
	"crypto/rand"
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
