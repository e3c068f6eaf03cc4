package guix

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.org/collie/agent/statefile"
	"example.org/collie/shepherd"
)

// make does a switch from the item live to another: guix, by activate, unless that is nil, then the services. If
// activate says that it changed nothing, note and what is kept of the services are put back.
func (s *services) make(ctx context.Context, live, item, note string, activate func() error) error {
	var ill []Problem
	if _, unread := s.definitions(live); unread == nil || !s.theirs {
		var err error
		if ill, err = s.problems(ctx, live, time.Time{}); err != nil {
			return asTransient(err) // nothing of item was tried yet
		}
	}
	if activate != nil {
		putBack := remember(note, s.started)
		if err := s.expect(ctx, item); err != nil {
			return asTransient(err)
		}
		err := activate()
		if idle := (*untouchedError)(nil); errors.As(err, &idle) {
			return errors.Join(idle.error, putBack())
		}
		if err != nil {
			return err
		}
	}
	return s.follow(ctx, item, ill)
}

// An untouchedError says that guix failed before it changed anything.
type untouchedError struct{ error }

// remember returns what makes small files again what they are now.
func remember(files ...string) func() error {
	texts := make([][]byte, len(files))
	for i, file := range files {
		texts[i], _ = os.ReadFile(file)
	}
	return func() error {
		var faults []error
		for i, file := range files {
			if texts[i] == nil {
				faults = append(faults, dropNote(file))
			} else {
				faults = append(faults, statefile.Write(file, texts[i]))
			}
		}
		return errors.Join(faults...)
	}
}

// follow makes the services those of item, which is live. It fails if one isn't well afterwards that was before.
func (s *services) follow(ctx context.Context, item string, ill []Problem) error {
	changes, err := s.diff(ctx, item)
	if err != nil {
		return err
	}
	if pending(changes) {
		if err := s.converge(ctx, item); err != nil {
			return err
		}
	}
	if err := s.respawned(ctx); err != nil {
		return err
	}
	now, err := s.problems(ctx, item, time.Time{})
	if err != nil {
		return err
	}
	var says []string
	for _, p := range now {
		if !slices.ContainsFunc(ill, func(old Problem) bool { return old.Subject == p.Subject }) {
			says = append(says, p.Subject+": "+p.Says)
		}
	}
	if len(says) > 0 {
		return errors.New(strings.Join(says, "; "))
	}
	return nil
}

// A note is kept of the last switch. Until it is done the links don't tell, as Guix changes them first; and Guix doesn't
// keep what else went wrong.
type note struct {
	Item    string
	Before  string   // what was live before the first try
	New     bool     // at the first try no generation named item
	Forward bool     // and it was reconfigured to
	Done    bool     // item was activated
	Failed  []string // activation scripts that failed on the way back
	Boot    string   // why the boot loader still begins another system
}

// readNote is the note of the last switch, of none if there is no file.
func readNote(file string) note {
	n, err := statefile.Read[note](file)
	if errors.Is(err, fs.ErrNotExist) {
		return note{Done: true}
	}
	if err != nil {
		return note{Item: "?"} // of a switch that isn't known to be done
	}
	return n
}

// begin notes that a switch begins, perhaps again: then the note of the first try is kept.
func begin(file string, first note) (note, error) {
	n := readNote(file)
	if n.Done || n.Item != first.Item {
		n = first
	}
	return n, statefile.WriteJSON(file, n)
}

// changes says what the note of a switch means for what is live.
func (n note) changes(subject string) []Change {
	switch {
	case !n.Done:
		return []Change{{"activate", subject, "a switch to " + hash(n.Item) + " was cut short"}}
	case n.Boot != "":
		return []Change{{nextBoot, bootLoader, "it still begins another system: " + n.Boot}}
	}
	return nil
}

func (n note) problems(item string) []Problem {
	var found []Problem
	for _, says := range n.Failed {
		if n.Item == item {
			found = append(found, Problem{Subject: "activation", Says: says})
		}
	}
	return found
}

func dropNote(file string) error {
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the note of a switch: %w", err)
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

// unreachable reports whether a Shepherd isn't there at all.
func unreachable(err error) bool { return errors.Is(err, shepherd.ErrUnreachable) }

// pending reports whether changes hold one that a switch makes.
func pending(changes []Change) bool {
	return slices.ContainsFunc(changes, func(c Change) bool { return !c.Waits() })
}
