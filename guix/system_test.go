package guix

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSwitchForwardBackAndAgain(t *testing.T) {
	m := newMachine(t)
	a, b := m.item("a", "system"), m.item("b", "system")
	s := m.system(a)
	treeB := m.tree(b)

	item, err := s.Build(t.Context(), treeB, "sys-b", Watch{})
	if err != nil || item != b {
		t.Fatalf("built %s, %v", item, err)
	}
	if kept, _ := s.Roots.List(); kept["sys-b"] != b || len(kept) != 1 {
		t.Errorf("roots: %v", kept)
	}
	if live, _ := s.Live(t.Context()); live != a {
		t.Errorf("building made %s live", live)
	}
	wantDiff(t, s, b, "switch system", "link /etc/motd")

	steps := []struct{ item, tree, call string }{
		{b, treeB, "system reconfigure " + treeB + "/system.scm"},
		{b, treeB, ""},
		{a, "", "system switch-generation 1"},
		{b, treeB, "system switch-generation 2"},
		{a, m.tree(a), "system switch-generation 1"},
		{a, "", ""},
	}
	for _, step := range steps {
		before := len(m.calls())
		if err := s.Switch(t.Context(), step.item, step.tree); err != nil {
			t.Fatalf("to %s: %v", hash(step.item), err)
		}
		wantDiff(t, s, step.item)
		if got := strings.Join(m.calls()[before:], "; "); got != step.call {
			t.Errorf("guix was called as %q, want %q", got, step.call)
		}
	}
}

func wantDiff(t *testing.T, s *System, item string, want ...string) {
	t.Helper()
	changes, err := s.Diff(t.Context(), item)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range changes {
		got = append(got, c.Does+" "+c.Subject)
	}
	if !slices.Equal(got, want) {
		t.Errorf("diff %q, want %q", got, want)
	}
}

// After going back, Guix gives the numbers of later generations again.
func TestGoBackThoughItsGenerationIsGone(t *testing.T) {
	m := newMachine(t)
	a, b, c := m.item("a", "system"), m.item("b", "system"), m.item("c", "system")
	s := m.system(a)
	for _, item := range []string{b, a, c} { // c takes the number of b, which gets another
		if err := s.Switch(t.Context(), item, m.tree(item)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.profile().remove(3); err != nil {
		t.Fatal(err)
	}
	if n, _, _ := s.profile().find(b); n != 0 {
		t.Fatalf("generation %d is still b's", n)
	}
	m.link("/nowhere", "var/guix/profiles/system-7-link")
	if err := s.Switch(t.Context(), b, ""); err != nil {
		t.Fatal(err)
	}
	wantDiff(t, s, b)
	if n, item, _ := s.profile().live(); n != 8 || item != b {
		t.Errorf("the profile is at generation %d, %s", n, item)
	}
}

func TestExitCodeZeroIsNotSuccess(t *testing.T) {
	const old, fresh = "/gnu/store/00000000000000000000000000000000-activate-service.scm", "/gnu/store/11111111111111111111111111111111-activate-service.scm"
	boom := `#<&compound-exception components: (#<&error> #<&message message: "boom: ~S"> #<&irritants irritants: (42)>)>` + "\nguix system: warning: failed to activate '"
	tests := map[string]struct {
		file, text string // of the fake guix
		want       string // in the error; empty if there should be none
	}{
		"all is well":                           {"says", "activating system...\n", ""},
		"an activation script fails":            {"says", boom + fresh + "'\n", "boom: 42 (" + fresh + ")"},
		"one fails that the old system has too": {"says", boom + old + "'\n", ""},
		"another system became current":         {"late", `ln -sfn "$(readlink "$root/run/booted-system")" "$root/run/current-system"`, "the running system is aaaaaaaa"},
		"the profile stayed":                    {"late", `ln -sfn system-1-link "$root/var/guix/profiles/system"`, "the next boot's aaaaaaaa"},
		"/etc stayed":                           {"no-etc", "", "/etc/motd changed"},
		"no kexec":                              {"says", "guix system: warning: failed to load operating system for kexec: In procedure kexec-load-file: Function not implemented\n", ""},
		"services couldn't be upgraded, but run": {"says", "guix system: warning: some services could not be upgraded\n" +
			"guix system: warning: while talking to shepherd: No such file or directory\n", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			a, b := m.item("a", "system"), m.item("b", "system")
			s := m.system(a)
			m.now(test.file, test.text)
			err := s.Switch(t.Context(), b, m.tree(b))
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
				wantDiff(t, s, b)
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
			if n := readNote(s.Begun); n.Done || n.Item != b {
				t.Errorf("a switch that failed counts as done: %+v", n)
			}
		})
	}
}

// Guix changes the links first: if it is killed then, they don't tell that the switch isn't done.
func TestSwitchCutShortIsDoneAgain(t *testing.T) {
	m := newMachine(t)
	a, b := m.item("a", "system"), m.item("b", "system")
	s := m.system(a)
	m.now("late", "kill -9 $$")
	err := s.Switch(t.Context(), b, m.tree(b))
	if passing := (*TransientError)(nil); !errors.As(err, &passing) || !strings.Contains(err.Error(), "killed") {
		t.Fatal("error:", err)
	}
	if changes, err := s.Diff(t.Context(), b); err != nil || len(changes) == 0 || changes[0].Does != "activate" {
		t.Fatalf("diff %v, %v", changes, err)
	}
	m.now("late", "")
	if err := s.Switch(t.Context(), b, m.tree(b)); err != nil {
		t.Fatal(err)
	}
	wantDiff(t, s, b)
	if got := m.calls()[len(m.calls())-1]; got != "system switch-generation 2" {
		t.Errorf("the last call was %q", got)
	}
}

// The second try must still blame a script that was new at the first.
func TestSecondTryBlamesTheSameScript(t *testing.T) {
	m := newMachine(t)
	a, b := m.item("a", "system"), m.item("b", "system")
	m.write(strings.TrimPrefix(b, m.root+"/")+"/activate", "/gnu/store/11111111111111111111111111111111-activate-service.scm")
	s := m.system(a)
	m.now("says", "boom\nguix system: warning: failed to activate '/gnu/store/11111111111111111111111111111111-activate-service.scm'\n")
	for range 2 {
		if err := s.Switch(t.Context(), b, m.tree(b)); err == nil || !strings.Contains(err.Error(), "boom") {
			t.Error("error:", err)
		}
	}
}

func TestWhoseFaultAFailedSwitchIs(t *testing.T) {
	tests := map[string]struct {
		says              string
		commit, transient bool
		back              bool
	}{
		"the commit's": {"/TREE/system.scm:3:1: error: frob: unbound variable\n", true, false, false},
		"the daemon's": {"guix system: error: failed to connect to `/var/guix/daemon-socket/socket': Connection refused\n", false, true, false},
		"unknown":      {"guix system: error: cannot install\n", false, false, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			a, b := m.item("a", "system"), m.item("b", "system")
			s := m.system(a)
			tree := m.tree(b)
			if test.back {
				tree = ""
			}
			m.now("says", strings.ReplaceAll(test.says, "/TREE", tree))
			m.now("early", `cat "$me/says"; exit 1`)
			err := s.Switch(t.Context(), b, tree)
			bad := (*BuildError)(nil)
			passing := (*TransientError)(nil)
			if err == nil || errors.As(err, &bad) != test.commit || errors.As(err, &passing) != test.transient {
				t.Fatalf("error %v", err)
			}
			if test.commit && (bad.File != "system.scm" || bad.Line != 3 || strings.Contains(err.Error(), tree)) {
				t.Errorf("%+v", bad)
			}
			wantDiff(t, s, a) // all is as if it hadn't been tried
		})
	}
}

// A bad system can break what guix itself needs.
func TestGoBackWithoutGuix(t *testing.T) {
	m := newMachine(t)
	a, b := m.item("a", "system"), m.item("b", "system")
	script := m.write(strings.TrimPrefix(a, m.root+"/")+"/activate", `#!/bin/sh
ln -sfn "$GUIX_NEW_SYSTEM" ROOT/run/current-system; ln -sfn "$(readlink -f ROOT/run/current-system/etc/motd)" ROOT/etc/motd
`)
	text, _ := os.ReadFile(script)
	m.write(strings.TrimPrefix(script, m.root+"/"), strings.ReplaceAll(string(text), "ROOT", m.root))
	if err := os.Chmod(script, 0o755); err != nil {
		t.Fatal(err)
	}
	s := m.system(a)
	if err := s.Switch(t.Context(), b, m.tree(b)); err != nil {
		t.Fatal(err)
	}
	const down = "echo \"guix system: error: failed to connect to \\`/var/guix/daemon-socket/socket': Connection refused\"; exit 1"
	m.now("early", down)
	if err := s.Switch(t.Context(), a, ""); err != nil {
		t.Fatal(err)
	}
	wantDiff(t, s, a, "next boot boot loader")
	if n, item, err := s.profile().live(); n != 1 || item != a || err != nil {
		t.Errorf("the profile is at generation %d, %s, %v", n, item, err)
	}
	m.now("early", "")
	if err := s.Switch(t.Context(), a, ""); err != nil {
		t.Fatal(err)
	}
	wantDiff(t, s, a)
}

// The way back isn't barred by an activation that fails, but it is told.
func TestActivationThatFailsOnTheWayBack(t *testing.T) {
	m := newMachine(t)
	a, b := m.item("a", "system"), m.item("b", "system")
	s := m.system(a)
	if err := s.Switch(t.Context(), b, m.tree(b)); err != nil {
		t.Fatal(err)
	}
	m.now("says", "boom\nguix system: warning: failed to activate '/gnu/store/22222222222222222222222222222222-activate-service.scm'\n")
	if err := s.Switch(t.Context(), a, ""); err != nil {
		t.Fatal(err)
	}
	problems, err := s.Problems(t.Context(), a, time.Time{})
	if err != nil || len(problems) != 1 || !strings.Contains(problems[0].Says, "boom") {
		t.Errorf("problems %v, %v", problems, err)
	}
	if problems, _ := s.Problems(t.Context(), b, time.Time{}); len(problems) != 0 {
		t.Errorf("problems of another system: %v", problems)
	}
}

func TestThrown(t *testing.T) {
	for exception, want := range map[string]string{
		`#<&compound-exception components: (#<&error> #<&message message: "~A ~S"> #<&irritants irritants: ("boom" 42 x)>)>`: "boom 42 x",
		`#<&message message: "plain">`: "plain",
		`#<&message message: "at \"~A\": \x1b;~S"> #<&irritants irritants: ("a\u200b\"b" c)>`: "at \"a\u200b\"b\": \x1b;c",
		`ERROR: something else`: "ERROR: something else",
	} {
		if got := thrown(exception); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestDiffSeesDriftInEtc(t *testing.T) {
	m := newMachine(t)
	a := m.item("a", "system")
	s := m.system(a)
	wantDiff(t, s, a)
	if err := os.Remove(m.path("etc/motd")); err != nil {
		t.Fatal(err)
	}
	wantDiff(t, s, a, "link /etc/motd")
	m.write("etc/motd", "by hand")
	wantDiff(t, s, a, "link /etc/motd")
	if err := s.Switch(t.Context(), a, ""); err != nil {
		t.Fatal(err)
	}
	wantDiff(t, s, a)
}

// Guix leaves the links in /etc that a system made, when the next has none of that name.
func TestGoingBackLeavesNothingInEtc(t *testing.T) {
	m := newMachine(t)
	a, b := m.item("a", "system"), m.item("b", "system")
	more := m.write("gnu/store/"+strings.Repeat("b", 32)+"-more", "more")
	m.link(more, strings.TrimPrefix(b, m.root+"/")+"/etc/more")
	m.link(more, strings.TrimPrefix(b, m.root+"/")+"/etc/mine")
	s := m.system(a)
	if err := s.Switch(t.Context(), b, m.tree(b)); err != nil {
		t.Fatal(err)
	}
	m.link("/somewhere/else", "etc/mine") // by hand
	wantDiff(t, s, a, "switch system", "link /etc/motd", "unlink /etc/more")
	if err := s.Switch(t.Context(), a, ""); err != nil {
		t.Fatal(err)
	}
	wantDiff(t, s, a)
	if _, err := os.Lstat(m.path("etc/more")); err == nil {
		t.Error("/etc/more is still there")
	}
	if _, err := os.Lstat(m.path("etc/mine")); err != nil {
		t.Error("what was changed by hand is gone:", err)
	}
}

func TestWhatIsGoneFromTheStoreIsSaid(t *testing.T) {
	m := newMachine(t)
	s := m.system(m.item("a", "system"))
	gone := m.path("gnu/store/" + strings.Repeat("g", 32) + "-system")
	if _, err := s.Diff(t.Context(), gone); err == nil || !strings.Contains(err.Error(), "gone from the store") {
		t.Error("diff:", err)
	}
	if err := s.Switch(t.Context(), gone, ""); err == nil || !strings.Contains(err.Error(), "gone from the store") {
		t.Error("switch:", err)
	}
	if err := s.Roots.Keep("x", gone); err == nil {
		t.Error("a root for nothing was made in silence")
	}
}

func TestProfileBelievesOnlyGuixsLinks(t *testing.T) {
	m := newMachine(t)
	a := m.item("a", "home")
	for name, links := range map[string][2]string{ // guix-home, guix-home-1-link
		"relative":     {"guix-home-1-link", a},
		"absolute":     {"/elsewhere/guix-home-1-link", a}, // of an absolute one the name is taken
		"not a number": {"guix-home-x-link", a},
		"elsewhere":    {"/etc/shadow", a},
		"no item":      {"guix-home-1-link", "/etc/shadow"},
		"a user's":     {"guix-home-1-link", "/home/me" + a},
		"above":        {"guix-home-1-link", m.path("gnu/store") + "/../../home/me" + a},
		"a system":     {"guix-home-1-link", strings.TrimSuffix(a, "-home") + "-system"},
		"long":         {"guix-home-1-link", "/" + strings.Repeat("x/", 2000) + "gnu/store/" + strings.Repeat("a", 32) + "-home/../x"},
	} {
		dir := t.TempDir()
		p := profile{dir, "guix-home", Store(m.root).holdsA("home")}
		if err := errors.Join(os.Symlink(links[0], filepath.Join(dir, "guix-home")), os.Symlink(links[1], filepath.Join(dir, "guix-home-1-link"))); err != nil {
			t.Fatal(err)
		}
		_, item, err := p.live()
		if good := name == "relative" || name == "absolute"; good != (err == nil && item == a) {
			t.Errorf("%s: %q, %v", name, item, err)
		}
	}
	if _, item, err := ownProfile(t.TempDir()).live(); item != "" || err != nil {
		t.Errorf("a home that was never made: %q, %v", item, err)
	}
}

func TestHomeForwardBackAndStaleSocket(t *testing.T) {
	m := newMachine(t)
	a, b := m.item("a", "home"), m.item("b", "home")
	h := m.home()
	ctx := t.Context()

	stale := quietListener(t, m.path("runtime/shepherd/socket")) // its process dies, the file stays
	stale.(interface{ SetUnlinkOnClose(bool) }).SetUnlinkOnClose(false)
	stale.Close()
	m.link("/gnu/store/x", "home/me/.guix-home.new") // what a killed activation leaves

	if item, err := h.Build(ctx, m.tree(a), "home-a", Watch{}); err != nil || item != a {
		t.Fatalf("built %s, %v", item, err)
	}
	if live, err := h.Live(ctx); live != "" || err != nil {
		t.Errorf("live %q, %v", live, err)
	}
	if err := h.Switch(ctx, a, m.tree(a)); err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{"runtime/shepherd/socket", "home/me/.guix-home.new"} {
		if _, err := os.Lstat(m.path(gone)); err == nil {
			t.Errorf("%s is still there", gone)
		}
	}
	quietListener(t, m.path("runtime/shepherd/socket"))
	for _, step := range []struct{ item, tree, call string }{
		{a, m.tree(a), ""},
		{b, "", "home switch-generation 2"}, // a link is made by hand
		{a, "", "home switch-generation 1"},
		{b, m.tree(b), "home switch-generation 2"},
	} {
		before := len(m.calls())
		if err := h.Switch(ctx, step.item, step.tree); err != nil {
			t.Fatalf("to %s: %v", hash(step.item), err)
		}
		if got := strings.Join(m.calls()[before:], "; "); got != step.call {
			t.Errorf("guix was called as %q, want %q", got, step.call)
		}
		if changes, err := h.Diff(ctx, step.item); err != nil || len(changes) > 0 {
			t.Errorf("diff %v, %v", changes, err)
		}
	}
	m.link("/elsewhere", "home/me/.guix-home")
	if changes, err := h.Diff(ctx, b); err != nil || len(changes) != 1 || changes[0].Does != "link" {
		t.Errorf("drift: %v, %v", changes, err)
	}
}

// Where nobody has logged in, there is no run-time directory for a Shepherd.
func TestHomeBeforeTheFirstLogin(t *testing.T) {
	m := newMachine(t)
	a := m.item("a", "home")
	if err := os.RemoveAll(m.path("runtime")); err != nil {
		t.Fatal(err)
	}
	if err := m.home().Switch(t.Context(), a, m.tree(a)); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(m.path("runtime")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("run-time directory: %v, %v", info, err)
	}
}

func TestHomeOfNobody(t *testing.T) {
	m := newMachine(t)
	a := m.item("a", "home")
	h := m.home()
	h.User, h.find = "no-such-user-here", nil
	if item, err := h.Build(t.Context(), m.tree(a), "home", Watch{}); err != nil || item != a {
		t.Errorf("built %q, %v", item, err)
	}
	missing := (*MissingUserError)(nil)
	if err := h.Switch(t.Context(), a, m.tree(a)); !errors.As(err, &missing) {
		t.Error("switch:", err)
	}
	if changes, err := h.Diff(t.Context(), a); err != nil || len(changes) != 1 {
		t.Errorf("diff %v, %v", changes, err)
	}
}

func TestDialAs(t *testing.T) {
	m := newMachine(t)
	u, _ := m.home().find("me")
	socket := m.path("runtime/shepherd/socket")
	if _, err := DialAs(u, helper(), socket)(t.Context()); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Error("nobody there:", err)
	}
	quietListener(t, socket)
	conn, err := DialAs(u, helper(), socket)(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, len(quietAnswer))
	if n, err := conn.Read(answer); n == 0 || !strings.HasPrefix(quietAnswer, string(answer[:n])) {
		t.Errorf("%q, %v", answer[:n], err)
	}
	conn.Close()
	if state := conn.(*childConn).child.ProcessState; state == nil {
		t.Error("the child is still there")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := DialAs(u, helper(), socket)(ctx); err == nil {
		t.Error("dials though cancelled")
	}
}

func TestAsUserKnowsOnlyItsVerbs(t *testing.T) {
	for _, args := range [][]string{nil, {"connect"}, {"rm", "-rf", "/"}, {"look", "x"}} {
		if err := AsUser(t.Context(), args, strings.NewReader(""), &strings.Builder{}); err == nil {
			t.Errorf("%q passes", args)
		}
	}
}

// A look that heals doesn't wait for the switch of another layer, which may take minutes.
func TestHealingWaitsForNoOtherSwitch(t *testing.T) {
	m := newMachine(t)
	system, home := m.system(m.item("a", "system")), m.home()
	home.Runner = system.Runner
	for what, heal := range map[string]func(context.Context, string, string) error{"system": system.Heal, "home": home.Heal} {
		item := m.item("b", what)
		system.Runner.switching.Lock()
		err := heal(t.Context(), item, m.tree(item))
		system.Runner.switching.Unlock()
		if passes := (*TransientError)(nil); !errors.As(err, &passes) || strings.Join(m.calls(), "") != "" {
			t.Errorf("%s: %v, or guix ran", what, err)
		}
		if err := heal(t.Context(), item, m.tree(item)); err != nil {
			t.Errorf("%s, later: %v", what, err)
		}
		_ = os.Remove(filepath.Join(m.bin, "calls"))
	}
}
