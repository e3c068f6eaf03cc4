package source

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
	"golang.org/x/sys/unix"
)

// sshRemote is a repository behind sshd. Each conversation is a connection, as git's are.
type sshRemote struct {
	Repository
	user, addr, path string
}

func (r *sshRemote) stamp() string     { return "" }
func (r *sshRemote) folders() []string { return nil }

// dialTime is for a connection to be there, without a word yet.
const dialTime = 10 * time.Second

// goodbyeTime is for a server to say why it ended.
const goodbyeTime = 2 * time.Second

func (r *sshRemote) dial(ctx context.Context) (_ session, err error) {
	key, err := r.key()
	if err != nil {
		return nil, err
	}
	hosts, err := r.hosts()
	if err != nil {
		return nil, err
	}
	conn, err := (&net.Dialer{Timeout: dialTime}).DialContext(ctx, "tcp", r.addr)
	if err != nil {
		return nil, err
	}
	// The connection ends with ctx, whatever waits for it.
	forget := context.AfterFunc(ctx, func() { conn.Close() })
	hangUp := func() {
		forget()
		conn.Close()
	}
	defer func() {
		if err != nil {
			hangUp()
		}
	}()
	var shown ssh.PublicKey
	c, channels, requests, err := ssh.NewClientConn(conn, r.addr, &ssh.ClientConfig{
		User: r.user,
		Auth: []ssh.AuthMethod{ssh.PublicKeys(key)},
		HostKeyCallback: func(host string, at net.Addr, key ssh.PublicKey) error {
			shown = key
			return hosts.check(host, at, key)
		},
		HostKeyAlgorithms: hosts.algorithms(r.addr),
	})
	if err != nil {
		return nil, r.explain(err, shown)
	}
	client := ssh.NewClient(c, channels, requests)
	s, err := client.NewSession()
	if err != nil {
		return nil, err
	}
	u := &uploadPack{url: r.URL, end: func() {
		silent := time.AfterFunc(goodbyeTime, hangUp)
		_ = s.Wait() // its last words
		silent.Stop()
		hangUp()
		_ = client.Wait()
	}}
	s.Stderr = &u.says
	if u.in, err = s.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.StdoutPipe()
	if err != nil {
		return nil, err
	}
	u.out = &bounded{io.NopCloser(out), maxRefs}
	if err := s.Start("git-upload-pack " + quoted(r.path)); err != nil {
		return nil, fmt.Errorf("starting git-upload-pack at %s: %w", r.addr, err)
	}
	return u, nil
}

// quoted is a word for the shell at the other end.
func quoted(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

func (r *sshRemote) key() (ssh.Signer, error) {
	text, err := readSecret("key file", r.KeyFile)
	if err != nil {
		return nil, err
	}
	key, err := ssh.ParsePrivateKey(text.bytes)
	if locked := new(ssh.PassphraseMissingError); errors.As(err, &locked) {
		return nil, problem(fmt.Sprintf("key file %s has a passphrase, and nobody is there to type it: take it away (ssh-keygen -p -N '' -f %s), or make a key for Collie alone", r.KeyFile, r.KeyFile))
	}
	if err != nil { // it doesn't say what it read
		return nil, problem(fmt.Sprintf("key file %s isn't a private key as ssh-keygen makes it: %v", r.KeyFile, err))
	}
	return key, nil
}

// knownHosts are the keys that servers may have.
type knownHosts struct{ check ssh.HostKeyCallback }

func (r *sshRemote) hosts() (knownHosts, error) {
	text, err := readTrusted("known hosts file", r.KnownHosts)
	if err != nil {
		return knownHosts{}, err
	}
	fd, err := unix.MemfdCreate("known_hosts", unix.MFD_CLOEXEC) // only files are read
	if err != nil {
		return knownHosts{}, fmt.Errorf("reading the known hosts file: %w", err)
	}
	f := os.NewFile(uintptr(fd), fmt.Sprintf("/proc/self/fd/%d", fd))
	defer f.Close()
	if _, err := f.Write(understood(text)); err != nil {
		return knownHosts{}, fmt.Errorf("reading the known hosts file: %w", err)
	}
	check, err := knownhosts.New(f.Name())
	if err != nil {
		says := strings.TrimPrefix(err.Error(), "knownhosts: ")
		return knownHosts{}, problem("known hosts file " + strings.Replace(says, f.Name(), r.KnownHosts, 1))
	}
	return knownHosts{check}, nil
}

// understood is a known hosts file without the keys of kinds that came after our time: with one of them nothing else
// would be read, and ssh-keyscan tells all that a server has.
func understood(text []byte) []byte {
	lines := bytes.Split(text, []byte("\n"))
	for i, line := range lines {
		words := bytes.Fields(line)
		if len(words) > 0 && words[0][0] == '@' {
			words = words[1:]
		}
		if len(words) < 3 {
			continue
		}
		key, err := base64.StdEncoding.DecodeString(string(words[2]))
		if err != nil {
			continue
		}
		if _, err := ssh.ParsePublicKey(key); err != nil && strings.Contains(err.Error(), "unknown key algorithm") {
			lines[i] = nil // the others keep their numbers
		}
	}
	return bytes.Join(lines, []byte("\n"))
}

// explain says what a handshake that failed means for whoever configured the repository. shown is the server's key.
func (r *sshRemote) explain(err error, shown ssh.PublicKey) error {
	unequal, revoked, apart := new(knownhosts.KeyError), new(knownhosts.RevokedError), new(ssh.AlgorithmNegotiationError)
	switch {
	case errors.As(err, &unequal) && len(unequal.Want) == 0:
		return problem(fmt.Sprintf("%s isn't in %s: it shows the key %s; if that is the right one, add it: %s",
			knownhosts.Normalize(r.addr), r.KnownHosts, fingerprint(shown), r.scan()))
	case errors.As(err, &unequal):
		return problem(fmt.Sprintf("%s shows the key %s, which isn't the one in %s line %d: somebody may be in between. If the server has a new key, and it is this one, delete that line and add it: %s",
			knownhosts.Normalize(r.addr), fingerprint(shown), r.KnownHosts, unequal.Want[0].Line, r.scan()))
	case errors.As(err, &revoked):
		return problem(fmt.Sprintf("%s shows the key %s, which is revoked in %s line %d: give the server a new one", knownhosts.Normalize(r.addr), fingerprint(shown), r.KnownHosts, revoked.Revoked.Line))
	case errors.As(err, &apart) && apart.What == "host key":
		return problem(fmt.Sprintf("%s has no key of a kind in %s (%s, it has %s): if the server has a new key, delete its lines and add it: %s",
			knownhosts.Normalize(r.addr), r.KnownHosts, strings.Join(apart.SupportedAlgorithms, ", "), plain(strings.Join(apart.RequestedAlgorithms, ", ")), r.scan()))
	case strings.Contains(err.Error(), "unable to authenticate"):
		return problem(fmt.Sprintf("%s doesn't take the key in %s for user %s: add its public half there (ssh-keygen -y -f %s shows it)",
			knownhosts.Normalize(r.addr), r.KeyFile, r.user, r.KeyFile))
	}
	return err
}

// scan is the command that adds the server's keys.
func (r *sshRemote) scan() string {
	host, port, _ := net.SplitHostPort(r.addr)
	if port == "22" {
		return fmt.Sprintf("ssh-keyscan %s >>%s", host, r.KnownHosts)
	}
	return fmt.Sprintf("ssh-keyscan -p %s %s >>%s", port, host, r.KnownHosts)
}

func fingerprint(key ssh.PublicKey) string { return key.Type() + " " + ssh.FingerprintSHA256(key) }

// keys are those that are known of a host.
func (k knownHosts) keys(addr string) []knownhosts.KnownKey {
	unequal := new(knownhosts.KeyError)
	if err := k.check(addr, nowhere{}, noKey{}); errors.As(err, &unequal) {
		return unequal.Want
	}
	return nil
}

// algorithms are the kinds of keys that are known of a host, as a server shows only one of its keys. Of an unknown
// host any will do, to be told.
func (k knownHosts) algorithms(addr string) []string {
	var all []string
	for _, known := range k.keys(addr) {
		kind := []string{known.Key.Type()}
		if kind[0] == ssh.KeyAlgoRSA {
			kind = []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
		}
		for _, a := range kind {
			if !slices.Contains(all, a) {
				all = append(all, a)
			}
		}
	}
	return all
}

// noKey and nowhere are what no host has: who asks with them learns what it should have.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return []byte("none") }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

type nowhere struct{}

func (nowhere) Network() string { return "tcp" }
func (nowhere) String() string  { return "0.0.0.0:0" }
