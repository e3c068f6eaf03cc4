package guix

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"example.org/collie/agent/statefile"
)

// A boot menu is made by `guix system reconfigure`, from the configuration of the boot loader (guix 1.5.0). A menu that Guix
// makes on any other occasion, as for `switch-generation`, has defaults instead: another timeout, no serial terminal. So the
// menu that was made with a system is kept by its own GC root, like that system, and is restored with it. That text is
// installed, without entries that aren't valid any more. The other entries name the commit that made their system:
//
//	entry                                                    what happens to it
//	leads to no system, as a person's own                    kept
//	its system is there                                      kept, with the commit, if that is known
//	its system, or the generation it names, is gone          left out
//	its generation was made after the menu                   left out: the number was given again
//	the first                                                kept
//
// A menu of another format than these isn't kept, and `switch-generation` makes one.
var menuFiles = map[string]string{ // where the boot loader reads what the store has by that name
	"grub.cfg":      "/boot/grub/grub.cfg",
	"extlinux.conf": "/boot/extlinux/extlinux.conf",
}

// A menu is one that Guix made together with a system.
type menu struct {
	item string    // in the store
	text string    // of it
	made time.Time // after all that it names
	file string    // where it is installed
}

const menuPrefix = "bootcfg:"

// menuRoot is the GC root of the menu that was made with a system.
func menuRoot(item string) string {
	hash, _, _ := strings.Cut(filepath.Base(item), "-")
	return menuPrefix + hash
}

// installedRoot is Guix's own GC root of the menu that is installed.
func (s *System) installedRoot() string { return filepath.Join(s.dir, "/var/guix/gcroots/bootcfg") }

// readMenu reads the menu that a GC root names.
func (s *System) readMenu(root string) (menu, error) {
	item, err := os.Readlink(root)
	if err != nil {
		return menu{}, err
	}
	_, name, _ := strings.Cut(filepath.Base(item), "-")
	file, known := menuFiles[name]
	if !known {
		return menu{}, fmt.Errorf("%s is no boot menu that Collie can read", filepath.Base(item))
	}
	text, err := readBounded(item)
	if err != nil {
		return menu{}, err
	}
	return menu{item: item, text: string(text), made: madeAt(root), file: filepath.Join(s.dir, file)}, nil
}

// KeepMenu keeps the menu that is installed, if it was made together with the system item.
func (s *System) KeepMenu(item string) error {
	m, err := s.readMenu(s.installedRoot())
	if err != nil {
		return nil // without one, Guix makes the next
	}
	entriesRE := menuEntries(m.text)
	if len(entriesRE) == 0 || entriesRE[0].system != strings.TrimPrefix(item, s.dir) && entriesRE[0].system != item {
		return nil // Guix made it for a generation, with the defaults
	}
	if _, err := os.Stat(m.file); err != nil {
		return nil // it isn't where the boot loader would read it
	}
	if kept, err := os.Readlink(filepath.Join(string(s.Roots), menuRoot(item))); err == nil && kept == m.item {
		return nil // the time of the root is that of the menu
	}
	return s.Roots.Keep(menuRoot(item), m.item)
}

// menuOf is the menu that was kept with item.
func (s *System) menuOf(item string) (menu, bool) {
	m, err := s.readMenu(filepath.Join(string(s.Roots), menuRoot(item)))
	return m, err == nil
}

func (s *System) keepsMenus() bool {
	roots, _ := s.Roots.List()
	for name := range roots {
		if strings.HasPrefix(name, menuPrefix) {
			return true
		}
	}
	return false
}

// dropMenus forgets the menus that were kept with other systems than the items.
func (s *System) dropMenus(items []string) error {
	roots, err := s.Roots.List()
	for name := range roots {
		needed := slices.ContainsFunc(items, func(item string) bool { return menuRoot(item) == name })
		if strings.HasPrefix(name, menuPrefix) && !needed {
			err = errors.Join(err, s.Roots.Drop(name))
		}
	}
	return err
}

// install makes m the boot menu as Guix does it: the new GC root comes first, and the old one goes last.
func (s *System) install(m menu) error {
	commits, _ := s.commits() // a menu that names none is better than none
	text := s.render(m, commits)
	root := s.installedRoot()
	if now, err := readBounded(m.file); err == nil && string(now) == text {
		if item, _ := os.Readlink(root); item == m.item {
			return nil
		}
	}
	next := root + ".new"
	_ = os.Remove(next)
	err := os.MkdirAll(filepath.Dir(m.file), 0o755)
	if err == nil {
		err = os.Symlink(m.item, next)
	}
	if err == nil {
		err = statefile.Write(m.file, []byte(text))
	}
	_ = os.Chmod(m.file, 0o644) // as Guix leaves it, where the file system knows of that
	if err == nil {
		err = os.Rename(next, root)
	}
	if err != nil {
		return fmt.Errorf("installing the boot menu %s: %w", m.file, err)
	}
	return nil
}

// render is m without what doesn't hold any more, and with the commits that made the systems.
func (s *System) render(m menu, commits map[string]string) string {
	var text strings.Builder
	end := 0
	for i, e := range menuEntries(m.text) {
		text.WriteString(m.text[end:e.from])
		end = e.to
		item, holds := s.leads(e.system, m.made)
		if !holds && i > 0 {
			continue
		}
		entry := m.text[e.from:e.to]
		if commit := commits[item]; commit != "" {
			entry = titles.ReplaceAllString(entry, "${1}${2}, commit "+commit+"${3}")
		}
		text.WriteString(entry)
	}
	text.WriteString(m.text[end:])
	return emptySubmenu.ReplaceAllString(text.String(), "") // which GRUB would refuse, with all of the file
}

// leads is the system that an entry of a menu begins, and whether it is still the one that the entry was made for.
func (s *System) leads(system string, made time.Time) (item string, holds bool) {
	if system == "" {
		return "", true
	}
	path := filepath.Join(s.dir, system)
	if s.dir != "" && strings.HasPrefix(system, s.dir) {
		path = system
	}
	item, err := filepath.EvalSymlinks(path)
	return item, err == nil && !madeAt(path).After(made)
}

// A menuEntry is where in a menu's text an entry is, and which system it begins: an item, or a generation's link.
type menuEntry struct {
	from, to int
	system   string
}

var (
	// An entry of GRUB ends with a brace, one of extlinux with an empty line.
	entries      = regexp.MustCompile(`(?m)^menuentry ".*" \{\n(?:[^}].*\n|\n)*\}\n|^LABEL .*\n(?:.+\n)*\n?`)
	begins       = regexp.MustCompile(`[ "](?:gnu\.|--)system=([^ "\n]+)`)
	emptySubmenu = regexp.MustCompile(`(?m)^submenu ".*" \{\n\}\n`)
	titles       = regexp.MustCompile(`(?m)^(menuentry "|LABEL |  MENU LABEL )(.*?)(" \{|)$`)
)

func menuEntries(text string) []menuEntry {
	var all []menuEntry
	for _, at := range entries.FindAllStringIndex(text, -1) {
		e := menuEntry{from: at[0], to: at[1]}
		if m := begins.FindStringSubmatch(text[at[0]:at[1]]); m != nil {
			e.system = m[1]
		}
		all = append(all, e)
	}
	return all
}

// commits are those that made the systems, as the last TidyMenu got them; without them a menu names none.
func (s *System) commits() (map[string]string, error) {
	if s.Commits == "" {
		return nil, nil
	}
	commits, err := statefile.Load[map[string]string](s.Commits)
	if err != nil {
		return nil, fmt.Errorf("reading which commits made the systems: %w", err)
	}
	return commits, nil
}

// TidyMenu has the boot menu name the commits that made the systems, and nothing that is gone. A menu that someone else had made
// for another system is kept.
func (s *System) TidyMenu(commits map[string]string) error {
	if known, err := s.commits(); err != nil || s.Commits != "" && !maps.Equal(known, commits) {
		if err := errors.Join(err, statefile.WriteJSON(s.Commits, commits)); err != nil {
			return err
		}
	}
	next, err := s.NextBoot()
	if err != nil {
		return nil // there is no menu, or none that Collie can read
	}
	live, err := s.Live(context.Background())
	if err != nil || next != live {
		return err
	}
	if err := s.KeepMenu(live); err != nil {
		return err
	}
	m, kept := s.menuOf(live)
	if !kept {
		return nil
	}
	return s.install(m)
}

// errNoMenu says that there is no boot menu that could be read.
var errNoMenu = errors.New("there is no boot menu that Collie can read")

var defaultEntry = regexp.MustCompile(`(?m)^set default="?(\d+)"?$`)

// NextBoot is the system that the boot menu begins if nobody chooses.
func (s *System) NextBoot() (string, error) {
	m, err := s.readMenu(s.installedRoot())
	if errors.Is(err, fs.ErrNotExist) {
		return "", errNoMenu
	}
	if err != nil {
		return "", err
	}
	text, err := readBounded(m.file)
	if err != nil {
		return "", err
	}
	all := menuEntries(string(text))
	first := 0
	if found := defaultEntry.FindSubmatch(text); found != nil {
		_, _ = fmt.Sscan(string(found[1]), &first)
	}
	if first >= len(all) || all[first].system == "" {
		return "", errNoMenu
	}
	item, _ := s.leads(all[first].system, time.Now())
	if item == "" {
		return "", fmt.Errorf("the boot menu %s begins %.100q, which is gone", m.file, all[first].system)
	}
	return item, nil
}
