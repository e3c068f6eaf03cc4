package source

import (
	"bytes"
	"compress/flate"
	"compress/zlib"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// A forged pack is one that git would never write.
type forged struct {
	bytes.Buffer
	z *zlib.Writer
}

func newPack(objects uint32) *forged {
	p := new(forged)
	p.WriteString("PACK\x00\x00\x00\x02")
	_ = binary.Write(p, binary.BigEndian, objects)
	return p
}

// head begins an object: kind 3 is a blob, 6 a delta.
func (p *forged) head(kind byte, size uint64) {
	b := kind<<4 | byte(size&0x0f)
	for size >>= 4; size > 0; size >>= 7 {
		p.WriteByte(b | 0x80)
		b = byte(size & 0x7f)
	}
	p.WriteByte(b)
}

// delta adds one of the object at an offset before it. All have one compressor: each would take a megabyte.
func (p *forged) delta(offset, delta []byte) {
	p.head(6, uint64(len(delta)))
	p.Write(offset)
	if p.z == nil {
		p.z, _ = zlib.NewWriterLevel(&p.Buffer, zlib.BestSpeed)
	} else {
		p.z.Reset(&p.Buffer)
	}
	_, _ = p.z.Write(delta)
	p.z.Close()
}

// zeros adds a blob of so many. Of a MiB of them, compressed once, as many are put together as it takes: to compress them all
// takes the race detector minutes.
func (p *forged) zeros(size uint64) {
	p.head(3, size)
	mib := make([]byte, 1<<20)
	var one bytes.Buffer
	z, _ := flate.NewWriter(&one, flate.BestSpeed)
	_, _ = z.Write(mib)
	z.Flush() // to a whole byte
	p.WriteString("\x78\x01")
	for range size >> 20 {
		p.Write(one.Bytes())
	}
	z.Reset(&p.Buffer)
	_, _ = z.Write(mib[:size&(1<<20-1)])
	z.Close()
	_ = binary.Write(p, binary.BigEndian, uint32(size%65521)<<16|1) // Adler-32 of zeros
}

func (p *forged) end() []byte {
	sum := sha1.Sum(p.Bytes())
	return append(bytes.Clone(p.Bytes()), sum[:]...)
}

// varint is a size as a delta has it.
func varint(n uint64) []byte {
	var b []byte
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// deltas are n objects of size bytes each, in a few bytes: each copies the first over and over.
func deltas(n int, size uint64) []byte {
	base := min(size, 0xffffff) // as much as one command of a delta copies
	p := newPack(uint32(n) + 1)
	first := p.Len()
	p.zeros(base)
	for i := range n {
		delta := append(varint(base), varint(size+1)...)
		for left := size; left > 0; {
			one := min(left, base)
			delta = append(delta, 0x80|0x70, byte(one), byte(one>>8), byte(one>>16))
			left -= one
		}
		delta = append(delta, 1, byte(i)) // so that no two are alike
		back := p.Len() - first
		offset := []byte{byte(back & 0x7f)}
		for back >>= 7; back > 0; back >>= 7 {
			back--
			offset = append([]byte{byte(back&0x7f) | 0x80}, offset...)
		}
		p.delta(offset, delta)
	}
	return p.end()
}

func newClone(t *testing.T) *clone {
	t.Helper()
	c, err := openClone(filepath.Join(t.TempDir(), "repo.git"), slog.New(slog.DiscardHandler))
	must(t, err)
	return c
}

// openTempDir is a temporary folder that others can enter: a program in it runs as nobody, too.
func openTempDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for at := dir; at != "/" && at != os.TempDir(); at = filepath.Dir(at) {
		must(t, os.Chmod(at, 0o755))
	}
	return dir
}

// What a server sends as a pack never costs the agent its memory, and leaves nothing behind. The first of these ended it, at
// each start again. `make bench` sends the packs, and one more that takes long to make, to a whole agent: it names a folder
// for them in COLLIE_TEST_PACKS.
func TestHostilePacks(t *testing.T) {
	large := newPack(1)
	large.zeros(300 << 20)
	type row struct {
		pack []byte
		says string
	}
	rows := map[string]row{
		"four thousand million objects": {append([]byte("PACK\x00\x00\x00\x02\xe2\x00\x00\x04"), make([]byte, 20)...), "unpacking what the server sends"},
		"a large blob":                  {large.end(), "it has an object of 300 MiB"},
		"a large delta":                 {deltas(1, 3<<30), "unpacking what the server sends"},
		"no pack":                       {[]byte(strings.Repeat("x", 1000)), "unpacking what the server sends"},
		"nothing":                       {nil, "the server ends before the pack begins"},
		"a part":                        {deltas(1, 100)[:100], "unpacking what the server sends"},
		"another checksum":              {append(deltas(1, 100), 1), "unpacking what the server sends"},
	}
	into := os.Getenv("COLLIE_TEST_PACKS")
	if into != "" {
		huge := newPack(1)
		huge.zeros(1 << 30)
		rows["a blob of 1 GiB"] = row{huge.end(), "it has an object of 1024 MiB"}
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if into != "" {
				must(t, os.WriteFile(filepath.Join(into, name), row.pack, 0o644))
			}
			c := newClone(t)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := c.unpack(t.Context(), bytes.NewReader(row.pack))
			runtime.ReadMemStats(&after)
			if err == nil || !strings.Contains(err.Error(), row.says) {
				t.Errorf("got %v, want %s", err, row.says)
			}
			if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 32<<20 {
				t.Errorf("the heap grew by %d MiB", grown>>20)
			}
			for _, at := range []string{c.dir + "/objects/pack/*", c.dir + ".incoming"} {
				if left, _ := filepath.Glob(at); len(left) > 0 {
					t.Errorf("left: %q", left)
				}
			}
		})
	}
}

// A few kilobytes can be made to take any time: the deadline ends that, and the process with it.
func TestAPackHasADeadline(t *testing.T) {
	t.Parallel()
	c := newClone(t)
	slow := deltas(3000, 16<<20)
	if len(slow) > 200<<10 {
		t.Fatalf("%d bytes", len(slow))
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, errors.New("no answer within 100ms"))
	defer cancel()
	if err := c.unpack(ctx, bytes.NewReader(slow)); err == nil || err.Error() != "no answer within 100ms" {
		t.Errorf("got %v", err)
	}
}

// Who unpacks has limits, and none of root's rights.
func TestWhoUnpacksIsNobody(t *testing.T) {
	t.Parallel()
	c := newClone(t)
	dir, err := c.incoming()
	must(t, err)
	defer os.RemoveAll(dir)
	fake := filepath.Join(openTempDir(t), "git")
	must(t, os.WriteFile(fake, []byte("#!/bin/sh\ncat >/dev/null\n{ id -u; id -G; ulimit -v; ulimit -t; ulimit -c; } >objects/says\n"), 0o755))
	if _, err := indexPack(t.Context(), fake, dir, strings.NewReader("x")); err == nil {
		t.Error("it made a pack")
	}
	got, err := os.ReadFile(filepath.Join(dir, "objects/says"))
	must(t, err)
	want := "65534\n65534\n1048576\n300\n0\n"
	if os.Geteuid() != 0 {
		own, err := exec.Command("sh", "-c", "id -u; id -G").Output()
		must(t, err)
		want = string(own) + "1048576\n300\n0\n"
	}
	if string(got) != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// What nobody left in place of a pack isn't taken over.
func TestWhatIsNotTakenOver(t *testing.T) {
	t.Parallel()
	good := func(t *testing.T) (c *clone, made string) {
		c = newClone(t)
		dir, err := c.incoming()
		must(t, err)
		name, err := indexPack(t.Context(), "git", dir, bytes.NewReader(deltas(2, 100)))
		must(t, err)
		return c, filepath.Join(dir, "objects/pack/pack-"+name)
	}
	edit := func(path string, how func([]byte) []byte) {
		raw, err := os.ReadFile(path)
		must(t, err)
		must(t, os.Remove(path))
		must(t, os.WriteFile(path, how(raw), 0o600))
	}
	signed := func(raw []byte) []byte {
		sum := sha1.Sum(raw[:len(raw)-20])
		return append(raw[:len(raw)-20], sum[:]...)
	}
	for name, row := range map[string]struct {
		harm func(made string)
		says string
	}{
		"a link":       {func(made string) { must(t, os.Remove(made+".idx")); must(t, os.Symlink("/etc/passwd", made+".idx")) }, "too many levels"},
		"a folder":     {func(made string) { must(t, os.Remove(made+".idx")); must(t, os.Mkdir(made+".idx", 0o700)) }, "is no file"},
		"many objects": {func(made string) { edit(made+".idx", func(b []byte) []byte { b[8+255*4] = 0x0f; return signed(b) }) }, "is too short or too long"},
		"other bytes":  {func(made string) { edit(made+".idx", func(b []byte) []byte { b[1100] ^= 1; return b }) }, "checksum of its index"},
		"another pack": {func(made string) { edit(made+".idx", func(b []byte) []byte { b[len(b)-30] ^= 1; return signed(b) }) }, "belongs to another pack"},
		"an offset": {func(made string) {
			edit(made+".idx", func(b []byte) []byte { b[8+1024+3*24] = 0x7f; return signed(b) })
		}, "leads out of the pack"},
		"an empty file": {func(made string) { edit(made+".idx", func([]byte) []byte { return nil }) }, "another format"},
		"pack":          {func(made string) { edit(made+".pack", func(b []byte) []byte { b[20] ^= 1; return b }) }, "checksum doesn't match"},
	} {
		t.Run(name, func(t *testing.T) {
			c, made := good(t)
			row.harm(made)
			if err := c.takeOver(made); err == nil || !strings.Contains(err.Error(), row.says) {
				t.Errorf("got %v, want %s", err, row.says)
			}
			if left, _ := filepath.Glob(c.dir + "/objects/pack/*"); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
	c, made := good(t)
	must(t, c.takeOver(made))
	must(t, c.takeOver(made)) // a server may send it again
}

// FuzzIndex: no index of nobody's ends the agent.
func FuzzIndex(f *testing.F) {
	dir := f.TempDir()
	pack := filepath.Join(dir, "a.pack")
	if err := os.WriteFile(pack, deltas(1, 100), 0o600); err != nil {
		f.Fatal(err)
	}
	made, err := exec.Command("git", "index-pack", "-o", filepath.Join(dir, "a.idx"), pack).CombinedOutput()
	if err != nil {
		f.Fatalf("%v: %s", err, made)
	}
	index, err := os.ReadFile(filepath.Join(dir, "a.idx"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(index)
	f.Add(index[:1100])
	f.Fuzz(func(t *testing.T, raw []byte) {
		path := filepath.Join(t.TempDir(), "b.idx")
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		_ = checkIndex(pack, path)
	})
}
