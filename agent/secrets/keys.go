package secrets

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"filippo.io/age"
	"filippo.io/age/agessh"

	"example.org/collie/agent/statefile"
)

// The files in a machine's folder of keys.
const (
	IdentityFile = "identity" // as age-keygen writes it; the first key is the machine's, and older ones still decrypt
	hashFile     = "hash"     // what hashes of Secrets are made with, in hex
)

const mostIdentity = 64 << 10 // bytes; an SSH key has some hundred

// An Identity can decrypt. It is nothing to be shown: whatever prints it prints [redacted].
type Identity struct {
	Public string // the key that others encrypt for; empty of an SSH key
	all    []age.Identity
}

func (*Identity) String() string { return "[redacted]" }

func (i *Identity) Format(to fmt.State, _ rune) { _, _ = io.WriteString(to, i.String()) }

// Open reads the machine's identity in dir, its folder of keys, which makes one at first.
func Open(dir string) (*Identity, error) {
	file := filepath.Join(dir, IdentityFile)
	text, err := kept(file, func() ([]byte, error) { return Generate() })
	if err != nil {
		return nil, fmt.Errorf("this machine's key: %w", err)
	}
	return parseIdentity(file, text)
}

// Read is the identity in a file of an operator's: of age, or an SSH key without a passphrase.
func Read(file string) (*Identity, error) {
	text, err := readOwn(file)
	if err != nil {
		return nil, err
	}
	return parseIdentity(file, text)
}

// HashKey is what this machine makes hashes of Secrets with. It is made at first. Without it one who sees the names in
// Podman could try words until their hash fits; with another key, every pod that uses Secrets is made again.
func HashKey(dir string) ([]byte, error) {
	file := filepath.Join(dir, hashFile)
	key, err := hashKey(file)
	if senseless := new(statefile.SenselessError); errors.As(err, &senseless) { // any other does: pods that use Secrets are made again
		if _, err = statefile.SetAside(file); err == nil {
			key, err = hashKey(file)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("this machine's key for hashes: %w", err)
	}
	return key, nil
}

func hashKey(file string) ([]byte, error) {
	text, err := kept(file, func() ([]byte, error) {
		var key [32]byte
		_, err := rand.Read(key[:])
		return append(hex.AppendEncode(nil, key[:]), '\n'), err
	})
	if err != nil {
		return nil, err
	}
	key := make([]byte, 32)
	if n, err := hex.Decode(key, bytes.TrimSpace(text[:min(len(text), 65)])); err != nil || n != len(key) {
		return nil, &statefile.SenselessError{File: file, Err: errors.New("it isn't a key for hashes")}
	}
	return key, nil
}

// Generate makes an identity, as age-keygen writes one.
func Generate() ([]byte, error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "# public key: %s\n%s\n", id.Recipient(), id), nil
}

func parseIdentity(file string, text []byte) (*Identity, error) {
	if bytes.HasPrefix(text, []byte("-----BEGIN ")) {
		id, err := agessh.ParseIdentity(text)
		if _, is := id.(*agessh.Ed25519Identity); err != nil || !is {
			return nil, fmt.Errorf("%s isn't an SSH key that can decrypt: it must be ed25519, without a passphrase", file)
		}
		return &Identity{all: []age.Identity{id}}, nil
	}
	all, err := age.ParseIdentities(bytes.NewReader(text)) // its error may quote the file
	if err != nil || len(all) == 0 {
		return nil, fmt.Errorf("%s holds no identity of age: put back your copy of it, or remove it for a new one", file)
	}
	first, is := all[0].(*age.X25519Identity)
	if !is {
		return nil, fmt.Errorf("%s: the first identity must be X25519, AGE-SECRET-KEY-1…", file)
	}
	return &Identity{Public: first.Recipient().String(), all: all}, nil
}

// kept reads a file of root's, and makes it if there is none. Another process may make it at the same moment: then that one
// counts.
func kept(file string, content func() ([]byte, error)) ([]byte, error) {
	text, err := readOwn(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return text, err
	}
	if text, err = content(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, err
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*") // of mode 0600
	if err != nil {
		return nil, err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(text)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return nil, err
	}
	if err := os.Link(tmp.Name(), file); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if err := statefile.SyncDir(filepath.Dir(file)); err != nil {
		return nil, err
	}
	return readOwn(file)
}

// readOwn reads a file that nobody else may read.
func readOwn(file string) ([]byte, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe would hold us up
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, &statefile.SenselessError{File: file, Err: errors.New("it is no file")}
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%s is readable by others than its owner; chmod 600 %s", file, file)
	case info.Size() > mostIdentity:
		return nil, &statefile.SenselessError{File: file, Err: fmt.Errorf("it has more than %d KiB: this is no key", mostIdentity>>10)}
	}
	return io.ReadAll(io.LimitReader(f, mostIdentity))
}

// isPrivate reports whether a line is what nobody else may ever see.
func isPrivate(line string) bool {
	return strings.Contains(strings.ToUpper(line), "AGE-SECRET-KEY-") || strings.HasPrefix(line, "-----BEGIN ")
}
