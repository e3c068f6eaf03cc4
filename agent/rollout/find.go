package rollout

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"example.org/collie/agent/api"
)

// Find is the one revision whose id begins with prefix, of those that the state, the journal, or more has; with no prefix the
// newest.
func (f Folder) Find(prefix string, more []string) (string, error) {
	s, err := f.Peek()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("state: %w", err)
	}
	if prefix == "" {
		if s.Newest.ID == "" {
			return "", errors.New("there is no revision yet: push one, then `collie sync`")
		}
		return s.Newest.ID, nil
	}
	entries, err := readJournal(filepath.Join(string(f), journalName), journalLimit)
	if err != nil {
		return "", err
	}
	known := append([]string{s.Newest.ID}, more...)
	for _, e := range entries {
		known = append(known, e.Revision)
	}
	slices.Sort(known)
	known = slices.DeleteFunc(slices.Compact(known), func(id string) bool { return !strings.HasPrefix(id, strings.ToLower(prefix)) })
	switch len(known) {
	case 0:
		return "", fmt.Errorf("no revision begins with %.40q: `collie history` lists them", prefix)
	case 1:
		return known[0], nil
	}
	return "", fmt.Errorf("%d revisions begin with %.40q, as %s and %s: write more of it", len(known), prefix, api.Short(known[0]), api.Short(known[1]))
}
