// Package statefile reads and writes the small files in which Collie keeps what it knows.
//
// A file is written whole or not at all, and what a write returned from survives a power cut. Nothing is written that is too
// large to be read back. A file may make no sense, as after a fault of the disk. What can be found out again is loaded: the
// file is set aside under the name FILE.broken, and counts as missing from then on. What can't be found out again is read, and
// the reader decides. This package knows files and JSON, and nothing of what is in them.
package statefile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Limit is the size in bytes from which on a file makes no sense, and isn't written.
const Limit = 64 << 20

// aside is what the name of a file that made no sense ends in.
const aside = ".broken"

// A SenselessError says why the content of a file makes no sense.
type SenselessError struct {
	File string
	Err  error
}

func (e *SenselessError) Error() string { return e.File + " makes no sense: " + e.Err.Error() }
func (e *SenselessError) Unwrap() error { return e.Err }

// A checker knows what its JSON can't say about itself, such as which fields may not be empty.
type checker interface{ Check() error }

// Read reads a file of JSON, and changes nothing. Its error is fs.ErrNotExist, a *SenselessError, or one of the disk; then the
// value is zero. A T with a method Check() error is checked by it.
func Read[T any](file string) (T, error) {
	var v, none T
	text, err := read(file)
	if err != nil {
		return none, err
	}
	if bytes.Equal(bytes.TrimSpace(text), []byte("null")) {
		err = errors.New("it is null")
	} else {
		err = json.Unmarshal(text, &v)
	}
	if c, checks := any(v).(checker); checks && err == nil {
		err = c.Check()
	}
	if err != nil {
		return none, &SenselessError{file, err}
	}
	return v, nil
}

// read reads a regular file, and waits for nobody.
func read(file string) ([]byte, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO without a writer would hold us up
	if errors.Is(err, syscall.ENXIO) {
		return nil, &SenselessError{file, errors.New("it is a socket or a device")}
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, &SenselessError{file, fmt.Errorf("it is no file, but of type %v", info.Mode().Type())}
	case info.Size() > Limit:
		return nil, &SenselessError{file, fmt.Errorf("it has more than %d MiB", Limit>>20)}
	}
	return io.ReadAll(io.LimitReader(f, Limit))
}

// Load reads a file for its owner: one that isn't there, and one that makes no sense and is set aside, have the zero value.
func Load[T any](file string) (T, error) {
	v, err := Read[T](file)
	senseless := new(SenselessError)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return v, nil
	case errors.As(err, &senseless):
		_, err = SetAside(file)
	}
	return v, err
}

// SetAside renames a file, and returns the new name. A former file of that name is removed.
func SetAside(file string) (string, error) {
	to := file + aside
	if err := errors.Join(os.RemoveAll(to), os.Rename(file, to)); err != nil {
		return "", fmt.Errorf("setting %s aside, which makes no sense: %w", file, err)
	}
	return to, nil
}

// Aside are the files in dir that were set aside.
func Aside(dir string) []string {
	all, _ := filepath.Glob(filepath.Join(dir, "*"+aside))
	return all
}

const temporary = ".new-*"

// Write replaces a file, for its owner alone. It makes the folder if there is none.
func Write(file string, text []byte) error {
	if len(text) > Limit {
		return fmt.Errorf("writing %s: it would have %d bytes, and more than %d MiB aren't read back; the file isn't changed", file, len(text), Limit>>20)
	}
	dir := filepath.Dir(file)
	tmp, err := os.CreateTemp(dir, temporary) // of mode 0600
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		tmp, err = os.CreateTemp(dir, temporary)
	}
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // gone by then, unless something failed
	_, err = tmp.Write(text)
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	if info, err := os.Lstat(file); err == nil && info.IsDir() { // no file replaces a folder
		if _, err := SetAside(file); err != nil {
			return err
		}
	}
	if err := os.Rename(tmp.Name(), file); err != nil {
		return err
	}
	return SyncDir(dir)
}

// WriteJSON replaces a file by the JSON of v.
func WriteJSON(file string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return Write(file, text)
}

// SyncDir has the names in dir survive a power cut.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Sweep removes from dir what writes left that were killed.
func Sweep(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, temporary))
	for _, file := range left {
		_ = os.Remove(file) // the next sweep tries again
	}
}
