package guix

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"example.org/collie/agent/statefile"
)

// A ledger is a file that says which generations we made: numbers by item. Only these are ever removed. Others are kept:
// a generation that a person made, or one of a state folder that was deleted.
//
// A generation is removed by its link alone, as Guix does it. `guix system delete-generations' also writes the boot menu
// again, with the defaults; here [System.TidyMenu] takes out of it what is gone.
type ledger string

func (l ledger) read() (map[string]int, error) {
	made, err := statefile.Load[map[string]int](string(l)) // where it makes no sense none is known to be
	if err != nil {
		return nil, fmt.Errorf("reading which generations are Collie's: %w", err)
	}
	if made == nil {
		made = map[string]int{}
	}
	return made, nil
}

// note notes the generation of p that names item, which there wasn't before a switch that has just been tried.
func (l ledger) note(p profile, item string) error {
	number, _, err := p.find(item)
	if err != nil || number == 0 || l == "" { // a test may keep no ledger
		return err
	}
	made, err := l.read()
	if err != nil {
		return err
	}
	made[item] = number
	return statefile.WriteJSON(string(l), made)
}

// renumber notes that the generation which names item has another number.
func (l ledger) renumber(item string, number int) error {
	made, err := l.read()
	if err != nil || made[item] == 0 {
		return err
	}
	made[item] = number
	return statefile.WriteJSON(string(l), made)
}

// expired are the generations of p that we made and that name none of the items; what is gone is forgotten.
func (l ledger) expired(p profile, items ...string) ([]int, error) {
	made, err := l.read()
	if err != nil || len(made) == 0 {
		return nil, err
	}
	live, _, err := p.live()
	if err != nil {
		return nil, err
	}
	var numbers []int
	known := len(made)
	for item, number := range made {
		if there, err := p.read(number); err != nil || there != item { // removed, or the number was given again
			delete(made, item)
		} else if number != live && !slices.Contains(items, item) {
			numbers = append(numbers, number)
		}
	}
	if len(made) < known {
		err = statefile.WriteJSON(string(l), made)
	}
	slices.Sort(numbers)
	return numbers, err
}

// remove removes a generation, unless the profile is at it.
func (p profile) remove(number int) error {
	live, _, err := p.live()
	if err != nil || number == live {
		return err
	}
	if _, err := p.read(number); err != nil {
		return err
	}
	if err := os.Remove(p.link(number)); err != nil {
		return fmt.Errorf("removing generation %d: %w", number, err)
	}
	return nil
}

// makeRoom keeps Guix from overwriting a generation.
func (s *System) makeRoom() error {
	item, number, err := s.profile().makeRoom()
	if err != nil || number == 0 {
		return err
	}
	return ledger(s.Made).renumber(item, number)
}

// DropGenerations removes the generations that Collie made of other systems than the items, the running and the booted one, and the
// menus that were kept with others. It mustn't be called while this system is switched.
func (s *System) DropGenerations(items []string) error {
	made, err := ledger(s.Made).read()
	if err != nil || len(made) == 0 && !s.keepsMenus() {
		return err
	}
	for _, link := range []string{s.current(), filepath.Join(s.dir, "/run/booted-system")} {
		item, err := filepath.EvalSymlinks(link)
		if err != nil {
			return fmt.Errorf("finding the running system: %w", err)
		}
		items = append(slices.Clone(items), item)
	}
	err = s.dropMenus(items)
	old, failed := ledger(s.Made).expired(s.profile(), items...)
	err = errors.Join(err, failed)
	for _, number := range old {
		err = errors.Join(err, s.profile().remove(number))
	}
	return err
}

// DropGenerations removes the generations that Collie made of other homes than the items and the live one, and what Guile compiled
// for the user of trees in a folder that aren't there any more.
func (h *Home) DropGenerations(ctx context.Context, items []string, trees string) error {
	u, err := h.who()
	if missing := (*MissingUserError)(nil); errors.As(err, &missing) {
		return nil
	}
	if err != nil {
		return err
	}
	old, err := ledger(h.Made).expired(h.profile(), items...)
	if err != nil {
		return err
	}
	args := []string{"forget", u.Home, trees, h.profile().dir}
	for _, number := range old {
		args = append(args, strconv.Itoa(number))
	}
	var done struct{}
	return u.ask(ctx, h.Helper, &done, args...)
}

// dropGenerationsAs does it with the user's rights.
func dropGenerationsAs(home, trees, profiles string, numbers []string) error {
	compiled, _ := filepath.Glob(filepath.Join(home, ".cache/guile/ccache/*", filepath.Clean("/"+trees), "*"))
	var err error
	for _, tree := range compiled {
		if _, gone := os.Lstat(filepath.Join(trees, filepath.Base(tree))); errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, os.RemoveAll(tree))
		}
	}
	for _, text := range numbers {
		number, wrong := strconv.Atoi(text)
		if wrong != nil {
			return wrong
		}
		err = errors.Join(err, ownProfile(profiles).remove(number))
	}
	return err
}

// Generations are the numbers by what they name; of several the live one, or else the newest.
func (s *System) Generations() (map[string]int, error) {
	all, _, err := s.profile().generations()
	return all, err
}

// Generations are the numbers by what they name; of several the live one, or else the newest.
func (h *Home) Generations() (map[string]int, error) {
	all, _, err := h.profile().generations()
	return all, err
}
