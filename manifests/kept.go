package manifests

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// What Podman can't tell is kept in files of root's: the inventory, the ledger of Jobs, the record of images.

const mostKept = 64 << 20 // bytes of such a file; a run in the ledger holds its pod

// readKept reads a file of JSON into v, and tells whether there is one. Where it makes no sense v is not to be used.
func readKept(file string, v any) (there bool, err error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, mostKept+1))
	switch {
	case err != nil:
		return true, err
	case len(data) > mostKept:
		return true, fmt.Errorf("it is larger than %d MiB", mostKept>>20)
	}
	return true, json.Unmarshal(data, v)
}

// writeKept writes a file for root alone, whole or not at all; what it returned from survives a power cut.
func writeKept(file string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(file), ".new-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // in vain once renamed
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return err
	}
	return syncFolder(filepath.Dir(file))
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
