package source

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// A secret is nothing to be shown: whatever prints it prints [redacted].
type secret struct{ bytes []byte }

func (secret) String() string { return "[redacted]" }

func (s secret) Format(to fmt.State, _ rune) { _, _ = io.WriteString(to, s.String()) }

const maxKeys = 4 << 20 // a bundle of all the world's authorities has a quarter of a megabyte

// readSecret reads a file that nobody but root and Collie may read. It is read for each use, so that a new one needs
// no restart.
func readSecret(what, path string) (secret, error) {
	text, err := readOwn(what, path, 0o077, "readable by others than its owner; chmod 600 "+path)
	return secret{text}, err
}

// readTrusted reads a file whose content decides whom to trust, so nobody else may write it.
func readTrusted(what, path string) ([]byte, error) {
	return readOwn(what, path, 0o022, "writable by others than its owner; chmod go-w "+path)
}

func readOwn(what, path string, never fs.FileMode, says string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe would hold us up
	if err != nil {
		return nil, problem(fmt.Sprintf("%s: %v", what, err))
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, problem(fmt.Sprintf("%s: %v", what, err))
	case !info.Mode().IsRegular():
		return nil, problem(fmt.Sprintf("%s %s is no file", what, path))
	case uidOf(info) != 0 && uidOf(info) != uint32(os.Geteuid()):
		return nil, problem(fmt.Sprintf("%s %s belongs to %s; chown root %s", what, path, nameOf(uidOf(info)), path))
	case info.Mode().Perm()&never != 0:
		return nil, problem(fmt.Sprintf("%s %s is %s", what, path, says))
	case info.Size() > maxKeys:
		return nil, problem(fmt.Sprintf("%s %s has more than %d MiB", what, path, maxKeys>>20))
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeys))
	if err != nil {
		return nil, problem(fmt.Sprintf("%s: %v", what, err))
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, problem(fmt.Sprintf("%s %s is empty", what, path))
	}
	return text, nil
}

// readToken reads a token: one word.
func readToken(path string) (secret, error) {
	s, err := readSecret("token file", path)
	if err != nil {
		return secret{}, err
	}
	s.bytes = bytes.TrimSpace(s.bytes)
	if strings.ContainsFunc(string(s.bytes), func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return secret{}, problem(fmt.Sprintf("token file %s has more than one word: a token is one, on a line of its own", path))
	}
	return s, nil
}
