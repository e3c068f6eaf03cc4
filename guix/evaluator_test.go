package guix

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// evaluator has the account be who runs the tests, or one without a name and with no rights, if that is root.
func (m *machine) evaluator(home string, afresh bool) *Evaluator {
	m.t.Helper()
	uid := os.Geteuid()
	if uid == 0 {
		uid = 100000 + os.Getpid()                                   // all processes of it are ended: those of no other test
		for _, dir := range []string{filepath.Dir(m.root), m.root} { // t.TempDir closes them to others
			if err := os.Chmod(dir, 0o755); err != nil {
				m.t.Fatal(err)
			}
		}
		if err := os.Chmod(m.bin, 0o777); err != nil { // for the fake's notes
			m.t.Fatal(err)
		}
		for _, note := range []string{"calls", "env"} {
			m.now(note, "")
			if err := os.Chmod(filepath.Join(m.bin, note), 0o666); err != nil {
				m.t.Fatal(err)
			}
		}
	}
	in := func(name string) string { return m.path("var/lib/collie/build/" + name) }
	return &Evaluator{Account: "evaluator", Home: in(home), Channels: in("channels"), Plans: afresh,
		find: func(name string) (User, error) {
			return User{Name: name, UID: uint32(uid), GID: uint32(uid)}, nil
		}}
}

func TestAccountEvaluates(t *testing.T) {
	for name, test := range map[string]struct {
		afresh bool
		second string // what the second evaluation finds of the first
	}{
		"the branch": {false, "cached\n"},
		"a plan":     {true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			a, b := m.item("a", "system"), m.item("b", "system")
			s := m.system(a)
			s.As = m.evaluator("home", test.afresh)
			told := m.path("fake/told")
			m.now("early", `{ id -u; echo $HOME $USER; cd $XDG_CACHE_HOME && ls; ls guile; mkdir -p $XDG_CACHE_HOME/guile/tree; touch $XDG_CACHE_HOME/cached; } >>"$me/told" 2>/dev/null`)
			t.Setenv("HOME", "/root")
			t.Setenv("USER", "root")
			var said []string
			for _, item := range []string{a, b} {
				if err := os.WriteFile(told, nil, 0o666); err != nil {
					t.Fatal(err)
				}
				_ = os.Chmod(told, 0o666)
				got, err := s.Build(t.Context(), m.tree(item), "root", Watch{})
				if err != nil || got != item {
					t.Fatalf("built %q, %v", got, err)
				}
				text, _ := os.ReadFile(told)
				said = append(said, string(text))
			}
			u, _ := s.As.who()
			first := strconv.Itoa(int(u.UID)) + "\n/root\n" // as without the account: no USER
			if said[0] != first || said[1] != first+test.second {
				t.Errorf("the evaluations found %q", said)
			}
			if kept, _ := s.Roots.List(); len(kept) != 1 || kept["root"] != b {
				t.Errorf("roots %v", kept)
			}
			if _, err := os.Stat(s.As.Home); (err != nil) != test.afresh {
				t.Errorf("afterwards its home: %v", err)
			}
		})
	}
}

// A home is evaluated for a plan as it is for the branch, but for the rights; and so it is where there is no user yet.
func TestAccountEvaluatesAHome(t *testing.T) {
	for name, row := range map[string]struct {
		plans, missing bool
		account        bool
		home           string // in the environment; empty: the user's
	}{
		"the branch":                 {},
		"a plan":                     {plans: true, account: true},
		"the branch, without a user": {missing: true, account: true, home: "/root"},
		"a plan for who isn't there": {plans: true, missing: true, account: true, home: "/root"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			a := m.item("a", "home")
			tree := m.tree(a)
			h := m.home()
			h.As = m.evaluator("home", row.plans)
			if row.missing {
				h.find = func(name string) (User, error) { return User{}, &MissingUserError{name} }
			}
			t.Setenv("HOME", "/root")
			before := h.Circumstances()
			m.now("early", `echo "$(id -u) $HOME $USER $XDG_CACHE_HOME" >"$me/env"`)
			if item, err := h.Build(t.Context(), tree, "root", Watch{}); err != nil || item != a {
				t.Fatalf("built %q, %v", item, err)
			}
			uid, cache := os.Geteuid(), ""
			if row.account {
				u, _ := h.As.who()
				uid, cache = int(u.UID), h.As.Home+"/.cache"
			}
			home := row.home
			if home == "" {
				home = m.path("home/me")
			}
			text, _ := os.ReadFile(filepath.Join(m.bin, "env"))
			if want := fmt.Sprintf("%d %s me %s\n", uid, home, cache); string(text) != want {
				t.Errorf("evaluated with %q, want %q", text, want)
			}
			if h.As = nil; h.Circumstances() != before {
				t.Error("the account changes what is known of the evaluation")
			}
		})
	}
}

// What an evaluation started ends with it, and nothing else does.
func TestProcessesOfAnEvaluationEnd(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can run something as somebody else")
	}
	for name, row := range map[string]struct{ plans, container bool }{
		"the branch":                    {false, false},
		"a plan":                        {true, false},
		"beside one's number elsewhere": {true, true},
	} {
		t.Run(name, func(t *testing.T) { testProcessesEnd(t, row.plans, row.container) })
	}
}

func testProcessesEnd(t *testing.T, plans, container bool) {
	m := newMachine(t)
	a := m.item("a", "system")
	s := m.system(a)
	s.As = m.evaluator("home", plans)
	u, err := s.As.who()
	if err != nil {
		t.Fatal(err)
	}
	other := exec.Command("sleep", "4243")
	other.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: u.UID + 1, Gid: 1}}
	if container { // root's, in which somebody has the number of the account
		other.SysProcAttr.Credential.Uid, other.SysProcAttr.Cloneflags = u.UID, syscall.CLONE_NEWPID
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = other.Process.Kill(), other.Wait() }()
	runs := func(pid int) bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, _, runs := readStat(string(stat))
		return err == nil && runs
	}
	m.now("early", `for i in 1 2 3; do setsid sleep 4242 </dev/null >/dev/null 2>&1 & echo $! >>$me/pid; done; chmod 666 $me/pid; touch /etc/made-by-a-plan && echo written >$me/wrong`)
	if _, err := s.Build(t.Context(), m.tree(a), "root", Watch{}); err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(filepath.Join(m.bin, "pid"))
	pids := strings.Fields(string(text))
	if len(pids) != 3 {
		t.Fatalf("it started %q", pids)
	}
	for _, text := range pids {
		if pid, err := strconv.Atoi(text); err != nil || runs(pid) {
			t.Errorf("%s goes on (%v)", text, err)
		}
	}
	if !runs(other.Process.Pid) {
		t.Error("another's process was ended")
	}
	if _, err := os.Stat(filepath.Join(m.bin, "wrong")); err == nil {
		t.Error("it wrote to /etc")
	}
}

// Where the machine has no such account, the agent evaluates, as it did before there was one.
func TestNoAccount(t *testing.T) {
	m := newMachine(t)
	a := m.item("a", "system")
	s := m.system(a)
	s.As = &Evaluator{Account: "evaluator", Home: m.path("home/none"), find: func(name string) (User, error) { return User{}, &MissingUserError{name} }}
	if item, err := s.Build(t.Context(), m.tree(a), "root", Watch{}); err != nil || item != a {
		t.Errorf("built %q, %v", item, err)
	}
	if _, err := os.Stat(s.As.Home); err == nil {
		t.Error("it has a home")
	}
	s.As.find = func(string) (User, error) { return User{}, errors.New("the accounts can't be read") }
	if _, err := s.Build(t.Context(), m.tree(a), "root", Watch{}); err == nil || !strings.Contains(err.Error(), "can't be read") {
		t.Errorf("where that isn't known: %v", err)
	}
}

// Where guix-daemon is closed to the account, the agent evaluates the branch, as it did before there was one. A plan isn't evaluated so.
func TestAccountThatTheDaemonIsClosedTo(t *testing.T) {
	m := newMachine(t)
	t.Setenv("GUIX_DAEMON_SOCKET", m.path("run/daemon-socket/socket"))
	dir := filepath.Dir(m.write("run/daemon-socket/socket", ""))
	for _, row := range []struct {
		mode          os.FileMode
		user, group   bool // the account's
		branch, plans bool // evaluate with the account
	}{
		{0o755, false, false, true, true},
		{0o750, false, false, false, true},
		{0o750, false, true, true, true},
		{0o705, false, true, false, true},
		{0o700, false, true, false, true},
		{0o700, true, false, true, true},
	} {
		if err := os.Chmod(dir, row.mode); err != nil {
			t.Fatal(err)
		}
		account := User{Name: "evaluator", UID: uint32(os.Geteuid()), GID: 61234, Groups: []uint32{61235}}
		if !row.user {
			account.UID++
		}
		if row.group {
			account.Groups[0] = uint32(os.Getegid())
		}
		find := func(string) (User, error) { return account, nil }
		branch, err := (&Evaluator{find: find}).who()
		plan, planErr := (&Evaluator{find: find, Plans: true}).who()
		if err != nil || planErr != nil || (branch != nil) != row.branch || (plan != nil) != row.plans {
			t.Errorf("%v: the branch %v, %v; a plan %v, %v", row, branch, err, plan, planErr)
		}
	}
}

// What an account names is a system only if guix-daemon has it: the account itself made the link that names it.
func TestItemsThatAnAccountNames(t *testing.T) {
	m := newMachine(t)
	a := m.item("a", "system")
	for name, row := range map[string]struct{ names, err string }{
		"the item":           {a, ""},
		"a fake store":       {m.path("home/me/evil/" + inItem("a", "system")), "named no system"},
		"within an item":     {m.path(inItem("x", "way") + "/" + inItem("a", "system")), "named no system"},
		"a home":             {m.path(inItem("a", "home")), "named no system"},
		"an item that isn't": {m.path(inItem("c", "system")), "no such file"},
	} {
		s := m.system(a)
		s.As = m.evaluator("home", false)
		m.write("var/lib/collie/trees/"+filepath.Base(a)+"/system.scm", row.names+"\n")
		item, err := s.Build(t.Context(), m.path("var/lib/collie/trees/"+filepath.Base(a)), "root", Watch{})
		if row.err == "" && (err != nil || item != a) || row.err != "" && (err == nil || !strings.Contains(err.Error(), row.err)) {
			t.Errorf("%s: %q, %v", name, item, err)
		}
	}
}

// The guix of a plan's channels is the plan's alone: the branch, once it has the same channels, has its own made.
func TestPinOfAPlan(t *testing.T) {
	m := newMachine(t)
	a := m.from(m.item("a", "system"), commitA)
	s := m.system(a)
	plan := m.evaluator("plan", true)
	tree := m.tree(m.from(m.item("b", "system"), commitB))
	one := m.profile("1")
	for _, want := range []struct {
		as      *Evaluator
		profile string
		calls   int
	}{{plan, one, 1}, {plan, one, 1}, {nil, "2", 2}, {nil, "2", 2}, {plan, "2", 2}} {
		if want.profile == "2" && want.calls == 2 && len(m.calls()) == 1 {
			m.profile("2")
		}
		if want.profile == "2" {
			want.profile = m.profile("2")
		}
		profile, err := s.Runner.Pin(t.Context(), tree, s.current(), want.as, s.Roots, Watch{})
		if err != nil || profile != want.profile || strings.Count(strings.Join(m.calls(), "\n"), "time-machine") != want.calls {
			t.Errorf("%v: %q after %q, %v", want.as, profile, m.calls(), err)
		}
	}
	m.now("profile", m.path("home/me/gnu/store/"+strings.Repeat("e", 32)+"-profile")+"\n")
	if err := os.MkdirAll(m.path("home/me/gnu/store/"+strings.Repeat("e", 32)+"-profile"), 0o755); err != nil {
		t.Fatal(err)
	}
	other := m.tree(m.from(m.item("c", "system"), commitC))
	if profile, err := s.Runner.Pin(t.Context(), other, s.current(), plan, s.Roots, Watch{}); err == nil {
		t.Errorf("a profile outside of the store: %q", profile)
	}
}

// What a plan's guix says of channels isn't remembered, as the branch would be judged by it.
func TestChannelsOfAPlan(t *testing.T) {
	m := newMachine(t)
	b, c := m.from(m.item("b", "system"), commitB), m.from(m.item("c", "system"), commitC)
	s := m.system(b)
	s.Fetcher, s.Downgrades = m.evaluator("plan", true), false
	if err := s.CheckForward(t.Context(), m.tree(c), nil, Watch{}); err != nil {
		t.Fatal(err)
	}
	s.Fetcher = nil
	m.now("relations", "guix system: warning: rolling back channel 'guix' from "+commitB+" to "+commitC+"\n")
	if err := s.CheckForward(t.Context(), m.tree(c), nil, Watch{}); err == nil {
		t.Error("the branch isn't asked")
	}
	for _, call := range m.calls() {
		if strings.Contains(call, "system.scm") {
			t.Errorf("the tree is evaluated by %q", call)
		}
	}
}

// A folder that can't be removed is out of the way, and removed later.
func TestDiscard(t *testing.T) {
	home := filepath.Join(t.TempDir(), "home")
	fill := func() {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(home, strings.Repeat("deep/", 200)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	left := func() int {
		all, _ := filepath.Glob(home + "*")
		return len(all)
	}
	path := os.Getenv("PATH")
	t.Setenv("PATH", t.TempDir()) // no rm
	fill()
	if err := discard(home); err != nil || left() != 1 {
		t.Errorf("%v, %d are left", err, left())
	}
	if _, err := os.Lstat(home); err == nil {
		t.Error("it is in the way")
	}
	t.Setenv("PATH", path)
	fill()
	if err := discard(home); err != nil || left() != 0 {
		t.Errorf("%v, %d are left", err, left())
	}
	if err := discard(home); err != nil {
		t.Errorf("nothing there: %v", err)
	}
}
