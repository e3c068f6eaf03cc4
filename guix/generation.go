package guix

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A Generation is what a number of a profile names.
type Generation struct {
	Number int // 0: none names Item any more
	Item   string
	Since  time.Time // when it became what is live
	Where  string    // of a system: what the profile is at, what runs, what the next boot begins
}

// Moved is the system that is live, or that the next boot would be into, in place of item.
func (s *System) Moved(item string) (Generation, bool) {
	live, err := s.Live(context.Background())
	if err != nil {
		return Generation{}, false
	}
	g, moved := s.profile().moved(item)
	if live != item {
		number, _, _ := s.profile().find(live)
		g, moved = Generation{Number: number, Item: live, Since: madeAt(s.current())}, true
	}
	if moved {
		g.Where = s.where(live)
	}
	return g, moved
}

// where says what the profile is at, what runs, and what the next boot begins: `guix system roll-back` leaves /run/current-system
// at the system that was booted (guix 1.5.0).
func (s *System) where(live string) string {
	p := s.profile()
	says := p.called(live) + " runs"
	if number, _, err := p.live(); err == nil && number > 0 {
		says += fmt.Sprintf(", the profile is at generation %d", number)
	}
	if next, err := s.NextBoot(); err == nil {
		says += ", the next boot begins " + p.called(next)
	}
	return says
}

// Moved is the home that is live in place of item, or what the profile leads to, which is none.
func (h *Home) Moved(item string) (Generation, bool) {
	p := h.profile()
	if astray := p.astray(); astray != nil {
		return Generation{Item: printable(shorten(astray.To)), Since: madeAt(filepath.Join(p.dir, p.name))}, true
	}
	return p.moved(item)
}

func (p profile) moved(item string) (Generation, bool) {
	number, live, err := p.live()
	if err != nil || number == 0 || live == item {
		return Generation{}, false
	}
	return Generation{Number: number, Item: live, Since: madeAt(filepath.Join(p.dir, p.name))}, true
}

// madeAt is when a link was made: Guix makes it again with each switch.
func madeAt(link string) time.Time {
	info, err := os.Lstat(link)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// A profile is a link NAME to one of the links NAME-1-link, NAME-2-link…, its generations, each to a store item.
// Numbers aren't monotonic: after going back from 6 to 2, Guix makes the next one 3 again (facts: guix 1.5.0).
type profile struct {
	dir  string // directory of the links
	name string // "system"
	// item reports whether a generation may name that: a user can make a profile name anything, and root would read there.
	item func(string) bool
}

func (p profile) link(number int) string {
	return filepath.Join(p.dir, p.name+"-"+strconv.Itoa(number)+"-link")
}

// live is the generation that the profile is at. Nothing but links is read, and nothing but links that look like
// Guix's own is believed: a user's own profile is the user's to change.
func (p profile) live() (number int, item string, err error) {
	link := filepath.Join(p.dir, p.name)
	target, err := os.Readlink(link)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, "", nil
	}
	if errors.Is(err, syscall.EINVAL) {
		return 0, "", &AstrayError{link, fmt.Sprintf("%s is no link: remove it", link)}
	}
	if err != nil {
		return 0, "", fmt.Errorf("reading the profile %s: %w", p.name, err)
	}
	number, ok := p.number(filepath.Base(target)) // the link is absolute or relative, as Guix last felt
	if !ok {
		return 0, "", &AstrayError{target, fmt.Sprintf("%s is a link to %.100q, not to a generation: switch to one with `guix %s switch-generation`",
			link, target, strings.TrimPrefix(p.name, "guix-"))}
	}
	item, err = p.read(number)
	return number, item, err
}

func (p profile) read(number int) (string, error) {
	link := p.link(number)
	item, err := os.Readlink(link)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EINVAL) {
		return "", &AstrayError{link, fmt.Sprintf("reading generation %d: %v", number, err)}
	}
	if err != nil {
		return "", fmt.Errorf("reading generation %d: %w", number, err)
	}
	if !p.item(item) {
		return "", &AstrayError{item, fmt.Sprintf("generation %d, %s, is a link to %.100q, which isn't Guix's", number, link, item)}
	}
	return item, nil
}

// An AstrayError says that a profile leads to no generation of Guix's.
type AstrayError struct {
	To   string
	says string
}

func (e *AstrayError) Error() string { return e.says }

// astray says where a profile leads that leads to no generation; nil: to one, to none yet, or it can't be read.
func (p profile) astray() *AstrayError {
	_, _, err := p.live()
	astray := (*AstrayError)(nil)
	errors.As(err, &astray)
	return astray
}

// liveOrAstray is live, where a profile that leads astray has no live generation.
func (p profile) liveOrAstray() (number int, item string, err error) {
	number, item, err = p.live()
	if astray := (*AstrayError)(nil); errors.As(err, &astray) {
		return 0, "", nil
	}
	return number, item, err
}

func (p profile) number(link string) (int, bool) {
	middle, ok := strings.CutPrefix(link, p.name+"-")
	middle, end := strings.CutSuffix(middle, "-link")
	number, err := strconv.Atoi(middle)
	return number, ok && end && err == nil && number > 0
}

const mostGenerations = 10_000 // entries in a profile's folder

// numbers are those of all generations, sorted. The folder is the user's, so it may hold anything, but it is no link.
func (p profile) numbers() ([]int, error) {
	dir, err := os.OpenFile(p.dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing generations: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(mostGenerations + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("listing generations: %w", err)
	}
	if len(names) > mostGenerations {
		return nil, fmt.Errorf("%s has more than %d entries: remove generations with `guix %s delete-generations`", p.dir, mostGenerations, strings.TrimPrefix(p.name, "guix-"))
	}
	var numbers []int
	for _, name := range names {
		if n, ok := p.number(name); ok {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return slices.Compact(numbers), nil // 1 and 01
}

// generations are the numbers by item: of several that name the same, the live one, or else the newest. highest is the
// highest number in use, whatever it names.
func (p profile) generations() (numbers map[string]int, highest int, err error) {
	all, err := p.numbers()
	if err != nil {
		return nil, 0, err
	}
	numbers = map[string]int{}
	for _, n := range all {
		highest = max(highest, n)
		if item, err := p.read(n); err == nil {
			numbers[item] = max(numbers[item], n)
		}
	}
	if n, item, err := p.live(); err == nil && n > 0 {
		numbers[item] = n
	}
	return numbers, highest, nil
}

// find is the generation that names item, or 0.
func (p profile) find(item string) (number, highest int, err error) {
	numbers, highest, err := p.generations()
	return numbers[item], highest, err
}

// items are what the generations name, the newest first.
func (p profile) items() []string {
	const most = 100
	numbers, _ := p.numbers()
	var items []string
	for _, n := range slices.Backward(numbers[max(0, len(numbers)-most):]) {
		if item, err := p.read(n); err == nil && !slices.Contains(items, item) {
			items = append(items, item)
		}
	}
	return items
}

// add makes a generation that names item by hand, as Guix would only by evaluating.
func (p profile) add(item string) (int, error) {
	number, highest, err := p.find(item)
	if err != nil || number > 0 {
		return number, err
	}
	number = highest + 1
	if err := os.Symlink(item, p.link(number)); err != nil {
		return 0, fmt.Errorf("making generation %d for %s: %w", number, filepath.Base(item), err)
	}
	return number, nil
}

// called is how a person names an item: by its generation, if one has it.
func (p profile) called(item string) string {
	if number, _, err := p.find(item); err == nil && number > 0 {
		return "generation " + strconv.Itoa(number)
	}
	return item
}

// makeRoom gives what Guix would overwrite, as its number is the next, another number as well (guix 1.5.0): it may be a system
// that was rolled back and is kept for inspection. It says which item has which number, if any got one. The link is kept until
// Guix overwrites it: /run/current-system may lead there.
func (p profile) makeRoom() (item string, number int, err error) {
	live, _, err := p.live()
	if err != nil {
		return "", 0, err
	}
	if item, err = p.read(live + 1); err != nil {
		return "", 0, nil // there is none, or none of Guix's
	}
	numbers, highest, err := p.generations()
	if err != nil || numbers[item] != live+1 {
		return "", 0, err
	}
	number = highest + 1
	if err := os.Symlink(item, p.link(number)); err != nil {
		return "", 0, fmt.Errorf("giving generation %d another number: %w", live+1, err)
	}
	return item, number, nil
}

// point makes the profile name one of its generations, without activating anything.
func (p profile) point(number int) error {
	link := filepath.Join(p.dir, p.name)
	next := link + ".new"
	_ = os.Remove(next)
	err := os.Symlink(filepath.Base(p.link(number)), next)
	if err == nil {
		err = os.Rename(next, link)
	}
	if err != nil {
		return fmt.Errorf("pointing the profile %s to generation %d: %w", p.name, number, err)
	}
	return nil
}

// A Numbered is a generation there is.
type Numbered struct {
	Generation

	Profile  bool // the profile is at it
	Running  bool // its system, or home, is the one that is live
	NextBoot bool // the boot menu begins its system if nobody chooses
}

// All are the generations there are of the system, the newest first.
func (s *System) All() ([]Numbered, error) {
	live, err := s.Live(context.Background())
	if err != nil {
		return nil, err
	}
	next, err := s.NextBoot()
	if err != nil { // nothing is known of a boot loader but what the profile says
		_, next, _ = s.profile().live()
	}
	all, err := s.profile().all()
	for i, g := range all {
		all[i].Running, all[i].NextBoot = g.Item == live, g.Item == next
	}
	return all, err
}

// All are the generations there are of the home, the newest first.
func (h *Home) All() ([]Numbered, error) {
	all, err := h.profile().all()
	for i, g := range all {
		all[i].Running = g.Profile
	}
	return all, err
}

// all are the generations there are, the newest first.
func (p profile) all() ([]Numbered, error) {
	const most = 1000
	live, _, err := p.liveOrAstray()
	if err != nil {
		return nil, err
	}
	numbers, err := p.numbers()
	if err != nil {
		return nil, err
	}
	var all []Numbered
	for _, n := range numbers {
		if item, err := p.read(n); err == nil {
			all = append(all, Numbered{Generation: Generation{Number: n, Item: item, Since: madeAt(p.link(n))}, Profile: n == live})
		}
	}
	slices.SortFunc(all, func(x, y Numbered) int { return y.Number - x.Number })
	return all[:min(len(all), most)], nil
}
