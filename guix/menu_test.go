package guix

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// realMenu is one that Guix made, as it would be on m: item is the system that it begins.
func (m *machine) realMenu(name, item string) menu {
	m.t.Helper()
	text, err := os.ReadFile("testdata/menu/" + name)
	if err != nil {
		m.t.Fatal(err)
	}
	entries := menuEntries(string(text))
	if len(entries) == 0 {
		m.t.Fatal("no entries in", name)
	}
	return menu{text: strings.ReplaceAll(string(text), entries[0].system, strings.TrimPrefix(item, m.root)), made: time.Now().Add(time.Minute)}
}

func TestRenderMenu(t *testing.T) {
	// A title's begin and a commit's end are those of the two formats.
	formats := map[string]struct{ before, after string }{
		"grub.cfg":      {`menuentry "GNU with No-Kernel none`, `" {`},
		"extlinux.conf": {"LABEL GNU with No-Kernel none", "\n  MENU"},
	}
	for format, is := range formats {
		rows := map[string]struct {
			happens func(m *machine, old string) // to generation 1, which is old
			titles  []string                     // of entries, that are left; "" is the first
			gone    string
		}{
			"all is there":                 {nil, []string{", commit aaaa", " (#1, 2026-11-28 20:20), commit bbbb"}, ""},
			"a generation is removed":      {func(m *machine, _ string) { m.remove("var/guix/profiles/system-1-link") }, []string{", commit aaaa"}, "system-1-link"},
			"its system is collected":      {func(m *machine, old string) { _ = os.RemoveAll(old) }, []string{", commit aaaa"}, "system-1-link"},
			"its number is given again":    {func(m *machine, _ string) { m.later("var/guix/profiles/system-1-link") }, []string{", commit aaaa"}, "system-1-link"},
			"who made the old isn't known": {func(m *machine, old string) { m.link(m.item("z", "system"), "var/guix/profiles/system-1-link") }, []string{", commit aaaa", " (#1, 2026-11-28 20:20)"}, ""},
		}
		for name, row := range rows {
			t.Run(format+", "+name, func(t *testing.T) {
				m := newMachine(t)
				item, old := m.item("a", "system"), m.item("b", "system")
				s := m.system(item)
				m.link(old, "var/guix/profiles/system-1-link")
				text := m.realMenu(format, item)
				if row.happens != nil {
					row.happens(m, old)
				}
				got := s.render(text, map[string]string{item: "aaaa", old: "bbbb"})
				for _, title := range row.titles {
					if !strings.Contains(got, is.before+title+is.after) {
						t.Errorf("no entry %q in:\n%s", title, got)
					}
				}
				if row.gone != "" && strings.Contains(got, row.gone) {
					t.Errorf("%s is still in:\n%s", row.gone, got)
				}
				if strings.Contains(got, "{\n}") {
					t.Errorf("an empty menu, which GRUB refuses, in:\n%s", got)
				}
				if plain := s.render(text, nil); row.happens == nil && format == "extlinux.conf" && plain != text.text {
					t.Errorf("what needs no change is changed:\n%s", plain)
				}
			})
		}
	}
}

func (m *machine) remove(name string) {
	m.t.Helper()
	if err := os.Remove(m.path(name)); err != nil {
		m.t.Fatal(err)
	}
}

// later makes a link again, an hour from now.
func (m *machine) later(name string) {
	m.t.Helper()
	target, err := os.Readlink(m.path(name))
	if err != nil {
		m.t.Fatal(err)
	}
	m.link(target, name)
	m.touch(name, time.Now().Add(time.Hour))
}

// A person's own entries stay, whatever they begin.
func TestRenderKeepsAPersonsOwnEntries(t *testing.T) {
	m := newMachine(t)
	item := m.item("a", "system")
	s := m.system(item)
	own := "menuentry \"Debian \\\"sid\\\"\" {\n  linux /vmlinuz root=/dev/sda2\n}\n\nmenuentry \"other\" {\n  chainloader /x.efi\n}\n"
	text := m.realMenu("grub.cfg", item)
	text.text = strings.Replace(text.text, "\nsubmenu", own+"\nsubmenu", 1)
	if got := s.render(text, map[string]string{item: "aaaa"}); !strings.Contains(got, own) {
		t.Errorf("%s isn't in:\n%s", own, got)
	}
}

// menus has the fake make menus as Guix does: of a reconfigure with the user's time-out, else with the defaults.
const menus = `
case "$1 $2" in
"system reconfigure") timeout=7 begins=${item#$root};;
"system switch-generation") timeout=5 begins=/var/guix/profiles/system-$3-link;;
*) timeout=;;
esac
if [ -n "$timeout" ]; then
    menu=$root/gnu/store/$(echo "$begins $timeout" | md5sum | cut -c1-32)-grub.cfg
    {
        printf 'set default=0\nset timeout=%s\nmenuentry "GNU" {\n  linux /k gnu.system=%s gnu.load=x\n}\nsubmenu "old" {\n' $timeout $begins
        for link in $(cd $root/var/guix/profiles && ls -d system-*-link); do
            [ "$link" = "system-$n-link" ] || printf 'menuentry "GNU (%s)" {\n  linux /k gnu.system=/var/guix/profiles/%s gnu.load=x\n}\n' $link $link
        done
        printf '}\n'
    } >$menu
    mkdir -p $root/boot/grub $root/var/guix/gcroots
    cp $menu $root/boot/grub/grub.cfg; ln -sfn $menu $root/var/guix/gcroots/bootcfg
fi
`

// activates makes an item's script do what the fake does for a generation.
func (m *machine) activates(items ...string) {
	m.t.Helper()
	for _, item := range items {
		script := m.write(strings.TrimPrefix(item, m.root+"/")+"/activate", strings.ReplaceAll(`#!/bin/sh
ln -sfn "$GUIX_NEW_SYSTEM" ROOT/run/current-system; ln -sfn "$(readlink -f ROOT/run/current-system/etc/motd)" ROOT/etc/motd
`, "ROOT", m.root))
		if err := os.Chmod(script, 0o755); err != nil {
			m.t.Fatal(err)
		}
	}
}

func (m *machine) menu() string {
	text, _ := os.ReadFile(m.path("boot/grub/grub.cfg"))
	return string(text)
}

func TestMenuComesBackWithItsSystem(t *testing.T) {
	m := newMachine(t)
	m.now("late", menus)
	base, a, b, c := m.item("a", "system"), m.item("b", "system"), m.item("c", "system"), m.item("d", "system")
	m.activates(base, a, b, c)
	s := m.system(base)
	s.Made, s.Commits = m.path("var/lib/collie/made.json"), m.path("var/lib/collie/commits.json")
	to := func(item, tree string) {
		t.Helper()
		if err := s.Switch(t.Context(), item, tree); err != nil {
			t.Fatal(err)
		}
		wantDiff(t, s, item)
	}
	tidy := func(needed ...string) {
		t.Helper()
		if err := s.DropGenerations(needed); err != nil {
			t.Fatal(err)
		}
		if err := s.TidyMenu(map[string]string{a: "1a2b", b: "3c4d", c: "5e6f"}); err != nil {
			t.Fatal(err)
		}
	}
	to(a, m.tree(a))
	tidy(base, a)
	good := m.menu()
	if !strings.Contains(good, "set timeout=7\nmenuentry \"GNU, commit 1a2b\" {\n") || !strings.Contains(good, "GNU (system-1-link)\"") {
		t.Fatalf("the menu:\n%s", good)
	}
	for _, bad := range []string{b, c, b} { // the second would overwrite the generation of the first
		to(bad, m.tree(bad))
		before := len(m.calls())
		to(a, "")
		if calls := m.calls()[before:]; len(calls) > 0 {
			t.Errorf("the way back needed guix: %q", calls)
		}
		for range 2 {
			if got := m.menu(); got != good {
				t.Errorf("the menu came back as:\n%s\nwant:\n%s", got, good)
			}
			tidy(base, a, b, c)
		}
	}
	all, err := s.All()
	if err != nil || len(all) != 4 || all[0].Item != b || all[1].Item != c || all[2].Item != a || !all[2].Running || !all[2].Profile || !all[2].NextBoot {
		t.Errorf("generations %+v, %v", all, err)
	}
	tidy(base, a)
	if all, _ := s.All(); len(all) != 2 {
		t.Errorf("generations that nobody needs stay: %+v", all)
	}
	if roots, _ := s.Roots.List(); len(roots) != 1 || roots[menuRoot(a)] == "" {
		t.Errorf("roots %v", roots)
	}

	// What the baseline's menu was isn't known, so Guix makes one.
	before := len(m.calls())
	to(base, "")
	if calls := m.calls()[before:]; len(calls) != 1 || calls[0] != "system switch-generation 1" {
		t.Errorf("calls %q", calls)
	}
	if !strings.Contains(m.menu(), "timeout=5") {
		t.Errorf("the menu:\n%s", m.menu())
	}
}

// A menu that can't be written is one that waits, and is tried again.
func TestMenuThatCantBeWritten(t *testing.T) {
	m := newMachine(t)
	m.now("late", menus)
	base, a, b := m.item("a", "system"), m.item("b", "system"), m.item("c", "system")
	m.activates(base, a, b)
	s := m.system(base)
	for _, item := range []string{a, b} {
		if err := s.Switch(t.Context(), item, m.tree(item)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(m.path("boot"), m.path("boot.away")); err != nil {
		t.Fatal(err)
	}
	m.write("boot", "no folder")
	if err := s.Switch(t.Context(), a, ""); err != nil {
		t.Fatal(err)
	}
	wantDiff(t, s, a, "next boot boot loader")
	m.remove("boot")
	if err := s.Switch(t.Context(), a, ""); err != nil {
		t.Fatal(err)
	}
	wantDiff(t, s, a)
	if !strings.Contains(m.menu(), "timeout=7") {
		t.Errorf("the menu:\n%s", m.menu())
	}
}

// After `guix system roll-back` three places may name three systems.
func TestWhereAPersonsRollBackLeads(t *testing.T) {
	m := newMachine(t)
	m.now("late", menus)
	base, a, b := m.item("a", "system"), m.item("b", "system"), m.item("c", "system")
	m.activates(base, a, b)
	s := m.system(base)
	for _, item := range []string{a, b} {
		if err := s.Switch(t.Context(), item, m.tree(item)); err != nil {
			t.Fatal(err)
		}
	}
	menu := m.menu()
	m.link("system-2-link", "var/guix/profiles/system")
	m.link(base, "run/current-system")
	g, moved := s.Moved(b)
	if want := "generation 1 runs, the profile is at generation 2, the next boot begins generation 3"; !moved || g.Number != 1 || g.Where != want {
		t.Errorf("%+v, %v, want %s", g, moved, want)
	}
	if err := s.TidyMenu(nil); err != nil || m.menu() != menu {
		t.Errorf("a menu for another system was changed: %v\n%s", err, m.menu())
	}
	m.link("system-3-link", "var/guix/profiles/system")
	m.link(m.path("var/guix/profiles/system-3-link"), "run/current-system")
	m.write("boot/grub/grub.cfg", strings.ReplaceAll(menu, strings.TrimPrefix(b, m.root), "/var/guix/profiles/system-2-link"))
	wantDiff(t, s, b, "next boot boot loader")
	if TakesBoot("next boot", "boot loader") {
		t.Error("the machine would be rebooted for its boot loader")
	}
}

func TestGuixsNumbersAreMadeRoomFor(t *testing.T) {
	m := newMachine(t)
	a, b := m.item("a", "system"), m.item("b", "system")
	p := m.system(a).profile()
	m.link(b, "var/guix/profiles/system-2-link")
	m.link("/nowhere", "var/guix/profiles/system-7-link")
	if item, number, err := p.makeRoom(); item != b || number != 8 || err != nil {
		t.Errorf("%s, %d, %v", item, number, err)
	}
	if item, number, err := p.makeRoom(); item != "" || number != 0 || err != nil {
		t.Errorf("again: %s, %d, %v", item, number, err)
	}
	if item, err := p.read(8); item != b || err != nil {
		t.Errorf("generation 8: %s, %v", item, err)
	}
	if _, err := os.Lstat(filepath.Join(m.root, "var/guix/profiles/system-2-link")); err != nil {
		t.Error("what runs may lead there:", err)
	}
}

// touch sets the time of a link itself.
func (m *machine) touch(link string, at time.Time) {
	m.t.Helper()
	times := []unix.Timespec{unix.NsecToTimespec(at.UnixNano()), unix.NsecToTimespec(at.UnixNano())}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, m.path(link), times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		m.t.Fatal(err)
	}
}
