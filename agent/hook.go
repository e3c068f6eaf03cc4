package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"example.org/collie/agent/source"
)

// hookMark distinguishes Collie's hook from another's.
const hookMark = "# Collie's: it shows what a push would change. Without this line Collie leaves the file alone."

const hookText = `#!/bin/sh
` + hookMark + `
collie=/run/current-system/profile/bin/collie
[ ! -x "$collie" ] || exec "$collie" pushed
`

// AddHook has the repository of a URL run Collie after each push, if it is on this machine. Its owner's rights are
// enough for that, and more it mustn't have: it goes wherever links in the repository lead. A hook that is there already is
// left alone; note says what a person could do then.
func AddHook(url string) (note string, err error) {
	dir, local := source.LocalPath(url)
	if !local {
		return "", nil
	}
	if inner := filepath.Join(dir, ".git"); isFolder(inner) {
		dir = inner
	}
	if !isFolder(filepath.Join(dir, "refs")) {
		return dir + " is no git repository yet: run `herd start collie-push-hook` once it is, for pushes to show plans", nil
	}
	hook := filepath.Join(dir, "hooks", "post-receive")
	text, err := os.ReadFile(hook)
	switch {
	case err == nil && string(text) == hookText:
		return "", nil
	case err == nil && !strings.Contains(string(text), hookMark):
		return hook + " is there already: have it give what it reads to `collie pushed`, for pushes to show plans", nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("making the hook: %w", err)
	}
	if err := writeHook(hook); err != nil {
		return "", fmt.Errorf("making the hook: %w", err)
	}
	return "", nil
}

func writeHook(hook string) error {
	if err := os.MkdirAll(filepath.Dir(hook), 0o755); err != nil {
		return err
	}
	next, err := os.CreateTemp(filepath.Dir(hook), ".collie-")
	if err != nil {
		return err
	}
	defer os.Remove(next.Name()) // fails once it is renamed
	_, err = next.WriteString(hookText)
	if err := errors.Join(err, next.Chmod(0o755), next.Close()); err != nil {
		return err
	}
	return os.Rename(next.Name(), hook)
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
