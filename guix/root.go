package guix

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Roots is a directory of links below /var/guix/gcroots: what they name, and all it needs, is kept from `guix gc`.
type Roots string

// Keep makes the root name for item, in place of what it kept before.
func (r Roots) Keep(name, item string) error {
	if err := os.MkdirAll(string(r), 0o755); err != nil {
		return fmt.Errorf("making the folder of GC roots: %w", err)
	}
	link := filepath.Join(string(r), filepath.Base(name))
	next := link + ".new"
	_ = os.Remove(next)
	if err := os.Symlink(item, next); err != nil {
		return fmt.Errorf("keeping %s from being collected: %w", item, err)
	}
	if err := os.Rename(next, link); err != nil {
		return fmt.Errorf("keeping %s from being collected: %w", item, err)
	}
	if _, err := os.Lstat(item); err != nil { // it was collected just before
		return fmt.Errorf("%s is gone from the store: %w", item, err)
	}
	return nil
}

// Drop removes the root name, if it is there.
func (r Roots) Drop(name string) error {
	err := os.Remove(filepath.Join(string(r), filepath.Base(name)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no longer keeping %s: %w", name, err)
	}
	return nil
}

// List names the roots there are, and what each keeps.
func (r Roots) List() (map[string]string, error) {
	entries, err := os.ReadDir(string(r))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing the GC roots: %w", err)
	}
	roots := map[string]string{}
	for _, e := range entries {
		if item, err := os.Readlink(filepath.Join(string(r), e.Name())); err == nil {
			roots[e.Name()] = item
		}
	}
	return roots, nil
}

// RemoveTree removes a tree, and what Guile compiled of it for us: by the tree's name, so that nobody would need it.
func RemoveTree(tree string) error {
	compiled, _ := filepath.Glob(filepath.Join(ownHome(), ".cache/guile/ccache/*"))
	for _, version := range compiled {
		if err := os.RemoveAll(filepath.Join(version, filepath.Clean("/"+tree))); err != nil {
			return fmt.Errorf("removing what was compiled of a tree: %w", err)
		}
	}
	if err := os.RemoveAll(tree); err != nil {
		return fmt.Errorf("removing a tree: %w", err)
	}
	return nil
}
