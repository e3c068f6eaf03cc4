package statefile

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

type named struct {
	Name string `json:"name"`
}

func (n named) Check() error {
	if n.Name == "nobody" {
		return errors.New("that is no name")
	}
	return nil
}

// senseless puts something in place of a file.
var senseless = map[string]func(t *testing.T, file string){
	"a list":       text(`[]`),
	"null":         text(" null\n"),
	"a string":     text(`"x"`),
	"a number":     text(`5`),
	"a wrong type": text(`{"name": []}`),
	"cut short":    text(`{"name": "a`),
	"empty":        text(``),
	"two":          text(`{"name": "a"}{"name": "b"}`),
	"zeroes":       text(strings.Repeat("\x00", 4096)),
	"refused":      text(`{"name": "nobody"}`),
	"a folder": func(t *testing.T, file string) {
		if err := os.MkdirAll(filepath.Join(file, "in it"), 0o700); err != nil {
			t.Fatal(err)
		}
	},
	"a FIFO": func(t *testing.T, file string) {
		if err := syscall.Mkfifo(file, 0o600); err != nil {
			t.Fatal(err)
		}
	},
	"a socket": func(t *testing.T, file string) {
		l, err := net.Listen("unix", file)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
	},
	"huge": func(t *testing.T, file string) {
		if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Truncate(file, 100<<20)); err != nil { // a hole: it takes no space
			t.Fatal(err)
		}
	},
}

func text(s string) func(*testing.T, string) {
	return func(t *testing.T, file string) {
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatMakesNoSenseIsSetAside(t *testing.T) {
	for name, put := range senseless {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "f")
			put(t, file)
			says := new(SenselessError)
			if v, err := Read[named](file); !errors.As(err, &says) || v != (named{}) {
				t.Errorf("read as %+v: %v", v, err)
			}
			if _, err := os.Lstat(file); err != nil {
				t.Errorf("reading changed something: %v", err)
			}
			if v, err := Load[named](file); err != nil || v != (named{}) {
				t.Errorf("loaded as %+v: %v", v, err)
			}
			if got := Aside(filepath.Dir(file)); len(got) != 1 || got[0] != file+".broken" {
				t.Errorf("set aside: %q", got)
			}
			put(t, file) // once more: what was aside before is in nobody's way
			if _, err := Load[named](file); err != nil {
				t.Error(err)
			}
			if err := WriteJSON(file, named{"next"}); err != nil {
				t.Fatal(err)
			}
			if v, err := Read[named](file); err != nil || v.Name != "next" {
				t.Errorf("after the next write: %+v, %v", v, err)
			}
		})
	}
}

func TestWriteReplacesWhateverIsThere(t *testing.T) {
	for name, put := range senseless {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "f")
			put(t, file)
			if err := WriteJSON(file, named{"next"}); err != nil {
				t.Fatal(err)
			}
			if v, err := Read[named](file); err != nil || v.Name != "next" {
				t.Errorf("%+v, %v", v, err)
			}
		})
	}
}

func TestMissingFileHasTheZeroValue(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	if _, err := Read[named](file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read: %v", err)
	}
	if v, err := Load[named](file); err != nil || v != (named{}) {
		t.Errorf("loaded as %+v: %v", v, err)
	}
}

// A folder that somebody removed is made again, and what a killed write left goes.
func TestWriteMakesTheFolderAndSweepCleansIt(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "away")
	if err := Write(filepath.Join(dir, "f"), []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, "f")); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	text("half")(t, filepath.Join(dir, ".new-1"))
	Sweep(dir)
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}

// A write that fails leaves the old content, and nothing else.
func TestWriteThatFailsChangesNothing(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	if err := WriteJSON(file, named{"old"}); err != nil {
		t.Fatal(err)
	}
	if err := WriteJSON(file, func() {}); err == nil {
		t.Error("a function was written as JSON")
	}
	if err := Write(filepath.Join("/proc", "f"), []byte("x")); err == nil { // a file system without room for anything
		t.Error("written into /proc")
	}
	if v, err := Read[named](file); err != nil || v.Name != "old" {
		t.Errorf("%+v, %v", v, err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}
