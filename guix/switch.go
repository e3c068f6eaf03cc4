package guix

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"example.org/collie/shepherd"
)

// make does a switch from the item live to another: guix, by activate, unless that is nil, then the services.
func (s *services) make(ctx context.Context, live, item string, activate func() error) error {
	ill, err := s.problems(ctx, live, time.Time{})
	if err != nil {
		return passing(err) // nothing of item was tried yet
	}
	if activate != nil {
		if err := s.expect(ctx, item); err != nil {
			return passing(err)
		}
		if err := activate(); err != nil {
			return err
		}
	}
	return s.follow(ctx, item, ill)
}

// follow makes the services those of item, which is live. It fails if one isn't well afterwards that was before.
func (s *services) follow(ctx context.Context, item string, ill []Problem) error {
	changes, err := s.diff(ctx, item)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(changes, func(c Change) bool { return !c.Waits() }) {
		if err := s.converge(ctx, item); err != nil {
			return err
		}
	}
	now, err := s.problems(ctx, item, time.Time{})
	if err != nil {
		return err
	}
	var says []string
	for _, p := range now {
		if !slices.ContainsFunc(ill, func(old Problem) bool { return old.Subject == p.Subject }) {
			says = append(says, p.Subject+" "+p.Says)
		}
	}
	if len(says) > 0 {
		return errors.New(strings.Join(says, "; "))
	}
	return nil
}

// begun is the note of a switch that isn't done: Guix changes the links first, so that they don't tell.
type begun struct {
	Item   string
	Before string // what was live
}

// begin notes that a switch to item begins, and tells what was live before the first try.
func begin(file, live, item string) (string, error) {
	var b begun
	if data, err := os.ReadFile(file); err != nil || json.Unmarshal(data, &b) != nil || b.Item != item {
		b = begun{item, live}
	}
	return b.Before, writeJSON(file, b)
}

// underway is the item of a switch that was begun and isn't done; nothing if there is none.
func underway(file string) string {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	var b begun
	if err != nil || json.Unmarshal(data, &b) != nil {
		return "?"
	}
	return b.Item
}

func forget(file string) error {
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("noting that the switch is done: %w", err)
	}
	return nil
}

var channel = regexp.MustCompile(`\(channel\b`)

// unpinned refuses a guix that mustn't build tree: one that no channels.scm names, over a machine built from channels,
// would take the machine back by months, in silence.
func unpinned(ctx context.Context, r *Runner, tree, current string) error {
	if _, err := os.Lstat(filepath.Join(tree, "channels.scm")); err == nil {
		return &BuildError{File: "channels.scm", Line: 1,
			Says: "channels.scm:1:1: a Guix of one's own isn't supported yet: remove channels.scm; the guix of the machine is used"}
	}
	channels, err := os.ReadFile(filepath.Join(current, "channels.scm"))
	if err != nil || !channel.Match(channels) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	describe := exec.CommandContext(ctx, r.Command, "describe", "--format=channels")
	describe.Env = environment(nil)
	if err := describe.Run(); err != nil {
		return fmt.Errorf("the running system was built from channels, and %s from none (guix describe: %w): "+
			"it would take the machine back; set the agent's guix to one that `guix pull` made", r.Command, err)
	}
	return nil
}

// hash names an item in a few letters.
func hash(item string) string {
	if item == "" {
		return "none"
	}
	return filepath.Base(item)[:min(8, len(filepath.Base(item)))]
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// unreachable tells whether a Shepherd isn't there at all.
func unreachable(err error) bool { return errors.Is(err, shepherd.ErrUnreachable) }
