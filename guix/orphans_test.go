package guix

import (
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.org/collie/agent/cmdline"
	"example.org/collie/agent/statefile"
	"example.org/collie/shepherd"
)

// spawned is a process that leads a session, as a service does.
func spawned(t *testing.T, command string, out *os.File) int {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", command)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); <-ended })
	return cmd.Process.Pid
}

func TestAFamilyIsWhoIsShepherdsChild(t *testing.T) {
	mine := spawned(t, "exec sleep 1000", nil)
	eventually(t, "its command line", func() bool {
		line, _ := cmdline.System.Read("/proc/"+strconv.Itoa(mine), longestCommand)
		return strings.HasPrefix(string(line), "sleep")
	})
	all := []shepherd.Service{
		{Name: "root", PID: os.Getpid()},
		{Name: "web", PID: mine},
		{Name: "adopted", PID: os.Getppid()}, // whoever it is, it isn't its child
		{Name: "timer"},
		{Name: "collie", PID: mine},
		{Name: "job", PID: mine, Transient: true},
		{Name: "gone", PID: 1 << 30},
	}
	got := familyOf(all, "collie")
	want := family{identify(os.Getpid()), []child{{"web", identify(mine), lineOf(mine)}}}
	if got.Shepherd != want.Shepherd || !slices.Equal(got.Children, want.Children) || want.Children[0].Line == "" || !got.Shepherd.alive() {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	for _, none := range [][]shepherd.Service{nil, {{Name: "web", PID: mine}}, {{Name: "root", PID: 1}, {Name: "web", PID: mine}}} {
		if got := familyOf(none, ""); got.Shepherd.PID != 0 || got.Children != nil {
			t.Errorf("%+v has a family: %+v", none, got)
		}
	}
}

func TestOnlyWhatIsProvedToBeAnOrphanIsOne(t *testing.T) {
	leader := spawned(t, "sleep 1000 & exec sleep 1001", nil)
	inGroup := func() (n int) {
		for _, s := range statuses() {
			if s.group == leader {
				n++
			}
		}
		return n
	}
	eventually(t, "a group of two", func() bool { return inGroup() == 2 })
	web := child{Service: "web", Process: identify(leader)}
	changed := func(change func(*process)) child {
		c := web
		change(&c.Process)
		return c
	}
	began, _ := strconv.ParseInt(web.Process.Start, 10, 64)
	for _, c := range []struct {
		name string
		of   child
		want int
	}{
		{"the service and its child", web, 2},
		{"the number is another's by now", changed(func(p *process) { p.Start = strconv.FormatInt(began-1, 10) }), 0},
		{"of another boot", changed(func(p *process) { p.Boot = "before" }), 0},
		{"nothing is known", child{Service: "web"}, 0},
		{"the machine's first", child{Service: "web", Process: identify(1)}, 0},
		{"no number", changed(func(p *process) { p.Start = "" }), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.of.members(statuses()); len(got) != c.want {
				t.Errorf("got %v, want %d", got, c.want)
			}
		})
	}
	if err := syscall.Kill(leader, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the leader's end", func() bool { return !web.Process.alive() })
	if got := web.members(statuses()); len(got) != 1 {
		t.Errorf("the group goes on without who led it: got %v", got)
	}
	k := started{Family: family{identify(leader), []child{web}}, Left: []family{{Shepherd: web.Process, Children: []child{{Service: "old", Process: web.Process}}}}}
	if got := k.left(family{}); len(got) != 2 || got[1].Children[0] != web {
		t.Errorf("left: %+v", got)
	}
	if err := endFamilies(t.Context(), k.left(family{})); err != nil {
		t.Fatal(err)
	}
	if got := k.left(family{}); len(got) > 0 || inGroup() > 0 {
		t.Errorf("still left: %+v", got)
	}
}

// What Shepherd started since the last look is known by more than its name: a person may have a process of that name, too.
func TestWhatIsAStranger(t *testing.T) {
	unread := func() *os.File {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		t.Cleanup(func() { w.Close() })
		return w
	}
	r, read, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer read.Close()
	file, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	const command = "exec sleep 1002"
	service := spawned(t, command, unread())
	eventually(t, "its command line", func() bool {
		line, _ := cmdline.System.Read("/proc/"+strconv.Itoa(service), longestCommand)
		return strings.HasPrefix(string(line), "sleep")
	})
	dead := identify(os.Getpid())
	f := family{dead, []child{{Service: "bell", Process: process{PID: 1 << 29, Start: "1", Boot: dead.Boot}, Line: lineOf(service)}}}
	for _, c := range []struct {
		name    string
		command string
		out     *os.File
		change  func(*status)
		want    bool
	}{
		{name: "as Shepherd starts a service", want: true},
		{name: "another command", command: "exec sleep 1003"},
		{name: "somebody reads it", out: read},
		{name: "it writes to a file", out: file},
		{name: "it writes nowhere", out: os.NewFile(0, "")},
		{name: "it has a parent", change: func(s *status) { s.parent = os.Getpid() }},
		{name: "it is in somebody's session", change: func(s *status) { s.session-- }},
		{name: "it leads no group", change: func(s *status) { s.group-- }},
		{name: "it is older than Shepherd", change: func(s *status) { s.began = 0 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := c.out
			if out == nil {
				out = unread()
			} else if out.Name() == "" {
				out = nil
			}
			if c.command == "" {
				c.command = command
			}
			pid := spawned(t, c.command, out)
			eventually(t, "its command line", func() bool {
				line, _ := cmdline.System.Read("/proc/"+strconv.Itoa(pid), longestCommand)
				return strings.HasPrefix(string(line), "sleep")
			})
			s, _ := readStatus(pid)
			s.parent = 1 // as if this test had died
			if c.change != nil {
				c.change(&s)
			}
			got := f.strangers([]status{s})
			if is := len(got) == 1 && got[0].Service == "bell" && got[0].Process == identify(pid); is != c.want {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestWhatIgnoresTermIsKilled(t *testing.T) {
	deaf := spawned(t, "trap '' TERM; echo ready >&2; while :; do sleep 1000; done", nil)
	eventually(t, "a child", func() bool {
		return slices.ContainsFunc(statuses(), func(s status) bool { return s.parent == deaf })
	})
	c := child{Process: identify(deaf)}
	if err := endAll(t.Context(), 200*time.Millisecond, func() []process { return c.members(statuses()) }); err != nil {
		t.Fatal(err)
	}
	if c.Process.alive() {
		t.Error("it goes on")
	}
	other := spawned(t, "exec sleep 1000", nil)
	if err := (process{PID: other, Start: "1", Boot: c.Process.Boot}).signal(syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	if !identify(other).alive() {
		t.Error("another was ended that had the number")
	}
}

// The services of a Shepherd that was killed end before guix starts the next one.
func TestOrphansEndBeforeTheNextShepherd(t *testing.T) {
	m := newMachine(t)
	a := m.item("a", "home")
	h := m.home()
	if err := h.Switch(t.Context(), a, m.tree(a)); err != nil {
		t.Fatal(err)
	}
	dead := spawned(t, "exec true", nil)
	was := identify(dead)
	was.Start = "1"
	orphan, mine := spawned(t, "exec sleep 1000", nil), spawned(t, "exec sleep 1000", nil)
	kept := started{Family: family{was, []child{{Service: "bell", Process: identify(orphan)}}}}
	if err := statefile.WriteJSON(h.Started, kept); err != nil {
		t.Fatal(err)
	}
	changes, err := h.Diff(t.Context(), a)
	if err != nil || len(changes) != 1 || changes[0].Does != ends || changes[0].Subject != "service bell" || !h.Resumes(changes[0].Does, changes[0].Subject) {
		t.Errorf("diff %v, %v", changes, err)
	}
	m.write("fake/early", "grep -q 'State:.[RSDT]' /proc/"+strconv.Itoa(orphan)+"/status && echo beside >>$me/beside || echo alone >>$me/beside\n")
	if err := h.Switch(t.Context(), a, ""); err != nil {
		t.Fatal(err)
	}
	if identify(orphan).alive() || !identify(mine).alive() {
		t.Errorf("the orphan lives: %t, the user's own process: %t", identify(orphan).alive(), identify(mine).alive())
	}
	if text, _ := os.ReadFile(m.path("fake/beside")); string(text) != "alone\n" {
		t.Errorf("guix ran %q", text)
	}
	if changes, err := h.Diff(t.Context(), a); err != nil || len(changes) > 0 {
		t.Errorf("afterwards: diff %v, %v", changes, err)
	}
	left, err := json.Marshal([]family{{Shepherd: was, Children: []child{{Process: identify(mine), Service: "x"}}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := AsUser(t.Context(), []string{"end", string(left)}, strings.NewReader(""), &strings.Builder{}); err != nil || identify(mine).alive() {
		t.Errorf("as-user end: %v", err)
	}
}
