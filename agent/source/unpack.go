package source

import (
	"bytes"
	"context"
	"crypto/sha1" // git's checksum of a pack
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"example.org/collie/agent/limits"
)

// A pack is what a server likes it to be: 32 bytes may promise four thousand million objects, and a megabyte may hold a
// gigabyte. So git unpacks it, in a process with the rights of nobody and with limits, in a folder that holds nothing else.
// The agent takes over the pack and its index once it has checked both.
const (
	unpackMemory  = 1 << 30   // bytes of address space
	unpackSeconds = 5 * 60    // of CPU; the deadline of a transfer comes on top
	maxIndex      = 64 << 20  // bytes, which is two million objects
	maxObject     = 256 << 20 // bytes of an object
	nobody        = 65534     // on Guix System as elsewhere
)

// limited runs a program with limits. The shell sets them, as prlimit(2) for a process of another user takes a capability that
// root in a container may not have.
var limited = fmt.Sprintf(`ulimit -v %d; ulimit -t %d; ulimit -c 0; exec "$0" "$@"`, unpackMemory>>10, unpackSeconds)

var packName = regexp.MustCompile(`^pack\t([0-9a-f]{40})\n$`)

// unpack adds a pack to the clone.
func (c *clone) unpack(ctx context.Context, pack io.Reader) error {
	git, err := exec.LookPath("git")
	if err != nil {
		return fmt.Errorf("reading what a repository sends takes git: %w", err)
	}
	dir, err := c.incoming()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	name, err := indexPack(ctx, git, dir, pack)
	if err != nil {
		return err
	}
	return c.takeOver(filepath.Join(dir, "objects/pack/pack-"+name))
}

// incoming makes a folder, next to the clone, in which git can unpack as nobody. It is emptied first, as a kill leaves it.
func (c *clone) incoming() (string, error) {
	dir := c.dir + ".incoming"
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	for _, d := range []string{"", "refs", "objects", "objects/pack"} { // a repository, for git
		path := filepath.Join(dir, d)
		if err := os.Mkdir(path, 0o700); err != nil {
			return "", err
		}
		if os.Geteuid() == 0 {
			if err := os.Chown(path, nobody, nobody); err != nil {
				return "", err
			}
		}
	}
	head := filepath.Join(dir, "HEAD")
	if err := os.WriteFile(head, []byte("ref: refs/heads/main\n"), 0o644); err != nil {
		return "", err
	}
	return dir, os.Chmod(head, 0o644) // whatever the umask
}

// indexPack has git write a pack and its index into the repository at dir. It returns the pack's name. Git is started there by
// a descriptor: folders above may be closed to it.
func indexPack(ctx context.Context, git, dir string, pack io.Reader) (string, error) {
	at, err := os.Open(dir)
	if err != nil {
		return "", err
	}
	defer at.Close()
	cmd := exec.CommandContext(ctx, "sh", "-euc", limited, git, "index-pack", "--stdin", "--threads=1", fmt.Sprintf("--max-input-size=%d", maxPack))
	cmd.Dir = fmt.Sprintf("/proc/self/fd/%d", at.Fd())
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/", "LC_ALL=C", "GIT_DIR=.",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	var says tail
	var made bytes.Buffer
	cmd.Stdout, cmd.Stderr = &limitedBuffer{&made, 100}, &says
	in, err := cmd.StdinPipe()
	if err != nil {
		return "", err
	}
	if err := limits.Start(cmd); err != nil {
		return "", fmt.Errorf("starting git index-pack: %w", err)
	}
	sent, err := io.Copy(in, pack)
	_ = in.Close()
	ended := cmd.Wait()
	name := packName.FindStringSubmatch(made.String())
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case sent == 0 && err == nil:
		return "", errors.New("the server ends before the pack begins")
	case err != nil && !errors.Is(err, syscall.EPIPE):
		return "", err
	case ended != nil && says.String() != "":
		return "", fmt.Errorf("unpacking what the server sends: %s", says.String())
	case ended != nil:
		return "", fmt.Errorf("unpacking what the server sends: git index-pack: %w", ended)
	case name == nil:
		return "", fmt.Errorf("unpacking what the server sends: git index-pack says %q", plain(made.String()))
	}
	return name[1], nil
}

// takeOver copies a pack and its index into the clone. Both are files of nobody's.
func (c *clone) takeOver(made string) error {
	into := filepath.Join(c.dir, "objects/pack", filepath.Base(made))
	if _, err := os.Stat(into + ".pack"); err == nil {
		return nil // the same objects came before
	}
	var copies []string
	defer func() {
		for _, path := range copies {
			_ = os.Remove(path)
		}
	}()
	for i, most := range []int64{maxPack, maxIndex} {
		path, err := copyFile(made+[]string{".pack", ".idx"}[i], filepath.Dir(into), most)
		if err != nil {
			return fmt.Errorf("taking over what git unpacked: %w", err)
		}
		copies = append(copies, path)
	}
	if err := checkPack(copies[0]); err != nil {
		return fmt.Errorf("taking over what git unpacked: %w", err)
	}
	if err := checkIndex(copies[0], copies[1]); err != nil {
		return fmt.Errorf("taking over what git unpacked: %w", err)
	}
	if err := os.Rename(copies[1], into+".idx"); err != nil { // first: a pack without its index can't be read
		return err
	}
	return os.Rename(copies[0], into+".pack")
}

// copyFile copies a plain file of at most that many bytes to a new one in a folder, and returns its path.
func copyFile(from, dir string, most int64) (path string, err error) {
	in, err := os.OpenFile(from, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer in.Close()
	if info, err := in.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > most {
		return "", fmt.Errorf("%s is no file of at most %d bytes", filepath.Base(from), most)
	}
	out, err := os.CreateTemp(dir, "tmp_*")
	if err != nil {
		return "", err
	}
	_, err = io.Copy(out, io.LimitReader(in, most))
	if err = errors.Join(err, out.Chmod(0o400), out.Sync(), out.Close()); err != nil {
		_ = os.Remove(out.Name())
		return "", err
	}
	return out.Name(), nil
}

// checkIndex checks what go-git would trust: that an index is as large as its number of objects says, belongs to
// the pack, and names no object that is larger than any that is read.
//
// The format is that of gitformat-pack(5), version 2: a head of 8 bytes, 256 counts, N names of 20 bytes, N checksums, N
// offsets of 4 bytes, of which those with the highest bit point to one of 8 bytes; the checksums of the pack and of all this.
func checkIndex(pack, index string) error {
	const head, counts, each = 8, 256 * 4, 20 + 4 + 4
	raw, err := os.ReadFile(index) // of at most maxIndex bytes
	if err != nil {
		return err
	}
	if len(raw) < head+counts+2*sha1.Size || !strings.HasPrefix(string(raw), "\xfftOc\x00\x00\x00\x02") {
		return errors.New("its index has another format")
	}
	n := int64(binary.BigEndian.Uint32(raw[head+255*4:]))
	if rest := int64(len(raw)) - head - counts - n*each - 2*sha1.Size; rest < 0 || rest > n*8 || rest%8 != 0 {
		return fmt.Errorf("its index says that it has %d objects, and is too short or too long for that", n)
	}
	body, sum := raw[:len(raw)-sha1.Size], raw[len(raw)-sha1.Size:]
	if is := sha1.Sum(body); !bytes.Equal(is[:], sum) {
		return errors.New("the checksum of its index doesn't match")
	}
	f, err := os.Open(pack)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	end := make([]byte, sha1.Size)
	if _, err := f.ReadAt(end, info.Size()-sha1.Size); err != nil || !bytes.Equal(end, body[len(body)-sha1.Size:]) {
		return errors.New("its index belongs to another pack")
	}
	offsets := raw[head+counts+n*(20+4):]
	for i := range n {
		at := int64(binary.BigEndian.Uint32(offsets[4*i:]))
		if at >= info.Size() { // one of 8 bytes is for packs larger than any that is taken
			return errors.New("its index leads out of the pack")
		}
		if size := objectSize(f, at); size > maxObject {
			return fmt.Errorf("it has an object of %d MiB, and Collie takes %d: is this the right repository?", size>>20, maxObject>>20)
		}
	}
	return nil
}

// objectSize is the size of an object at an offset of a pack, or of the delta that it is stored as: one whose result is
// too large doesn't fit into git's memory.
func objectSize(pack io.ReaderAt, at int64) uint64 {
	var head [16]byte
	n, _ := pack.ReadAt(head[:], at)
	size := uint64(0)
	for i, b := range head[:n] {
		if i == 0 {
			size = uint64(b & 0x0f)
		} else {
			size |= uint64(b&0x7f) << (4 + 7*(i-1))
		}
		if b&0x80 == 0 {
			break
		}
	}
	return size
}

// limitedBuffer keeps the first bytes of what is written to it.
type limitedBuffer struct {
	*bytes.Buffer
	most int
}

func (l *limitedBuffer) Write(p []byte) (int, error) {
	l.Buffer.Write(p[:min(len(p), max(0, l.most-l.Len()))])
	return len(p), nil
}
