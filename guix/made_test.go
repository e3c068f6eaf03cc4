package guix

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// links are the generations there are.
func (m *machine) links(pattern string) string {
	m.t.Helper()
	files, err := filepath.Glob(m.path(pattern))
	if err != nil {
		m.t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, filepath.Base(f))
	}
	return strings.Join(names, " ")
}

func TestOnlyOwnGenerationsOfSystemsAreForgotten(t *testing.T) {
	m := newMachine(t)
	a, b, c, d := m.item("a", "system"), m.item("b", "system"), m.item("c", "system"), m.item("d", "system")
	s := m.system(a)
	s.Made = m.path("var/lib/collie/made.json")
	for _, item := range []string{b, c} {
		if err := s.Switch(t.Context(), item, m.tree(item)); err != nil {
			t.Fatal(err)
		}
	}
	m.link(d, "var/guix/profiles/system-4-link") // somebody's
	forget := func(want string, kept ...string) {
		t.Helper()
		before := len(m.calls())
		if err := s.DropGenerations(kept); err != nil {
			t.Fatal(err)
		}
		if got := m.links("var/guix/profiles/system-*-link"); got != want || len(m.calls()) != before {
			t.Errorf("generations are %s, want %s; %d guix", got, want, len(m.calls())-before)
		}
	}
	forget("system-1-link system-2-link system-3-link system-4-link", b)
	if err := s.Switch(t.Context(), a, ""); err != nil {
		t.Fatal(err)
	}
	m.link(c, "run/booted-system")
	forget("system-1-link system-3-link system-4-link", a) // the third was booted
	m.link(a, "run/booted-system")
	m.link(d, "var/guix/profiles/system-3-link") // the number is given again
	forget("system-1-link system-3-link system-4-link", a)
	if made, err := ledger(s.Made).read(); err != nil || len(made) != 0 {
		t.Errorf("still known as Collie's: %v, %v", made, err)
	}
	if err := os.WriteFile(s.Made, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	forget("system-1-link system-3-link system-4-link") // none is known to be Collie's
}

func TestAHomesGenerationsAreForgottenByItsUser(t *testing.T) {
	m := newMachine(t)
	a, b := m.item("a", "home"), m.item("b", "home")
	h := m.home()
	h.Made = m.path("var/lib/collie/made-me.json")
	quietListener(t, m.path("runtime/shepherd/socket"))
	for _, item := range []string{a, b} {
		if err := h.Switch(t.Context(), item, m.tree(item)); err != nil {
			t.Fatal(err)
		}
	}
	trees := m.path("var/lib/collie/trees")
	compiled := "home/me/.cache/guile/ccache/3.0-LE-8-4.7"
	m.write(compiled+filepath.Join(trees, "gone/home.scm.go"), "")
	m.write(compiled+filepath.Join(trees, filepath.Base(b), "home.scm.go"), "")
	m.write(compiled+"/home/me/own.go", "")
	if err := h.DropGenerations(t.Context(), []string{b}, trees); err != nil {
		t.Fatal(err)
	}
	if got := m.links("var/guix/profiles/per-user/me/guix-home-*-link"); got != "guix-home-2-link" {
		t.Errorf("generations are %s", got)
	}
	if got := m.links(compiled + trees + "/*"); got != filepath.Base(b) {
		t.Errorf("compiled are %s", got)
	}
	if got := m.links(compiled + "/home/me/*"); got != "own.go" {
		t.Errorf("of the user's own are %s", got)
	}
}

func TestCollectNeedsNoRoom(t *testing.T) {
	m := newMachine(t)
	if err := m.runner().Collect(t.Context(), 5<<30); err != nil {
		t.Fatal(err)
	}
	if got := m.calls(); got[len(got)-1] != "gc --free-space=5120MiB" {
		t.Errorf("guix was called as %q", got)
	}
}
