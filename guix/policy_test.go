package guix

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.org/collie/shepherd"
)

// Each row changes all services of a machine, in which web requires db, and front requires web.
func TestPolicies(t *testing.T) {
	for _, row := range []struct {
		name     string
		policies map[string]Policy
		services []string
		diff     []string
	}{
		{"usual", nil, []string{"db", "web <db"}, []string{"restart db", "restart web"}},
		{"deferred", map[string]Policy{"db": Defer}, []string{"db", "mail"}, []string{"defer db", "restart mail"}},
		{"by another of its names", map[string]Policy{"www": Never}, []string{"web www"}, []string{"next boot web"}},
		{"what requires it is deferred", map[string]Policy{"web": Defer}, []string{"db", "web <db"}, []string{"defer db", "defer web"}},
		{"the strictest counts, at any distance", map[string]Policy{"web": Defer, "front": Reboot}, []string{"db", "web <db", "front <web"},
			[]string{"needs reboot db", "needs reboot web", "needs reboot front"}},
		{"never is stricter than defer", map[string]Policy{"db": Defer, "web": Never}, []string{"db", "web <db"}, []string{"next boot db", "next boot web"}},
		{"usually not, but this machine may", map[string]Policy{"dbus-system": Restart, "xorg-server": Restart}, []string{"dbus-system", "xorg-server", "elogind"},
			[]string{"restart dbus-system", "restart xorg-server", "defer elogind"}},
		{"a display, consoles, pods", nil, []string{"xorg-server-tty7", "term-tty1", "podman-pods", "collie-forward"},
			[]string{"defer xorg-server-tty7", "defer term-tty1", "defer podman-pods", "defer collie-forward"}},
		{"file systems", nil, []string{"file-system-/data", "db <file-system-/data"}, []string{"needs reboot file-system-/data", "restart db"}},
		{"sshd", nil, []string{"ssh-daemon"}, []string{"restart ssh-daemon"}}, // its sessions have processes of their own
	} {
		t.Run(row.name, func(t *testing.T) {
			g := newGuest(t)
			g.policies = row.policies
			of := func(body string) (all []string) {
				for _, s := range row.services {
					all = append(all, body+" "+s)
				}
				return all
			}
			g.system("A", of("one")...)
			g.system("B", of("two")...)
			g.boots("A")
			g.wants("the plan", g.differs("B"), row.diff...)
			g.goes("B")
			g.wants("what is left", g.differs("B"), slices.DeleteFunc(row.diff, func(c string) bool { return strings.HasPrefix(c, "restart ") })...)
		})
	}
}

// late is a guest in which nothing may take long. Its clock is long before now, so that nothing is new either.
func late(t *testing.T) *guest {
	g := newGuest(t)
	g.timeout = 30 * time.Millisecond
	g.clock = time.Now().Unix() - 1_000_000
	return g
}

func (g *guest) ill(item string) []string {
	g.t.Helper()
	problems, err := g.problems(g.t.Context(), item, time.Time{})
	if err != nil {
		g.t.Fatal(err)
	}
	var all []string
	for _, p := range problems {
		all = append(all, strings.TrimPrefix(p.Subject, "service ")+": "+p.Says)
	}
	return all
}

func (g *guest) wantsLike(what string, got []string, parts ...string) {
	g.t.Helper()
	if len(got) != len(parts) {
		g.t.Errorf("%s:\n got %q\nwant %q", what, got, parts)
		return
	}
	for i := range got {
		if !strings.Contains(got[i], parts[i]) {
			g.t.Errorf("%s:\n got %q\nwant %q", what, got[i], parts[i])
		}
	}
}

func TestOneThatDoesNotStopHoldsNothingUp(t *testing.T) {
	g := late(t)
	g.system("A", "one web !late-stop", "one mail")
	g.system("B", "two web", "two mail")
	g.boots("A")
	g.wants("the switch", g.goes("B"), "stop web one", "stop mail one", "start mail two")
	g.wantsLike("the problem", g.ill("B"), "web: stopping since ")
	g.wantsLike("why", g.ill("B"), ": it didn't stop within 30ms")
	g.wants("the return", g.returns("A"), "stop mail two", "start mail one") // web isn't asked again, nor replaced beside what goes on
	g.wants("then", g.differs("A"))
	g.wantsLike("the problem stays", g.ill("A"), "web: stopping since ")
	web := g.find("web") // at last it ends, and what had been registered last takes over
	web.lateStop, web.status = false, "running"
	g.stops(web)
	g.wants("and is drift", g.differs("A"), "start web")
	if _, err := g.restart(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	if s := g.find("web"); s.body() != "one" || s.status != "running" {
		t.Errorf("web %s is %s", s.body(), s.status)
	}
	g.wants("no more", g.ill("A"))
}

func TestWhatOneThatDoesNotStopRequiresGoesOn(t *testing.T) {
	g := late(t)
	g.system("A", "one db", "one web <db !late-stop", "one mail <db")
	g.system("B", "two db", "one web <db !late-stop", "one mail <db")
	g.boots("A")
	g.expects("B")
	g.load("B")
	g.log = nil
	err := g.converge(t.Context(), "B")
	if err == nil || !strings.Contains(err.Error(), "service db keeps its old definition: web, which requires it, doesn't stop") {
		t.Errorf("the switch: %v", err)
	}
	g.wants("what happened", g.log, "stop mail one", "stop web one", "start mail one")
	if s := g.find("db"); s.body() != "one" || s.status != "running" {
		t.Errorf("db %s is %s", s.body(), s.status)
	}
	g.wants("the return", g.returns("A"))
	g.wants("then", g.differs("A"))
}

func TestOneThatDoesNotStartHoldsNothingUp(t *testing.T) {
	g := late(t)
	g.system("A", "one web")
	g.system("B", "one web", "one slow !late-start", "one atop <slow", "one other")
	g.boots("A")
	g.expects("B")
	g.wants("the switch", g.returns("B"), "start slow one", "start other one")
	g.wantsLike("the problems", g.ill("B"), "slow: starting since ", "atop: stopped: it requires slow, which hangs")
	g.wants("the return", g.returns("A"), "stop other one", "unload other", "unload atop")
	g.wantsLike("what can't be stopped is told", g.ill("A"), "slow: it left the configuration, and is starting since ")
}

func (g *guest) expects(item string) {
	g.t.Helper()
	if err := g.expect(g.t.Context(), item); err != nil {
		g.t.Fatal(err)
	}
}

func TestRestartOnRequest(t *testing.T) {
	boot := func(t *testing.T) *guest {
		g := newGuest(t)
		g.policies = map[string]Policy{"db": Defer, "fixed": Never}
		g.system("A", "one db", "one web www <db", "one fixed", "one below", "one above <below", "one collie", "one bad", "one user-processes", "one once !once")
		g.system("B", "two db", "one web www <db", "two fixed", "two below", "one above <below", "two collie", "two bad !falls", "one user-processes", "one once !once")
		g.policies["above"] = Never
		g.boots("A")
		g.goes("B")
		g.log = nil
		return g
	}
	for _, row := range []struct {
		name, service string
		done          string // what happened, or why nothing did
		with, ill     string
	}{
		{"deferred", "db", "stop web one, stop db one, start db two, start web one", "web", ""},
		{"by another name", "www", "stop web one, start web one", "", ""},
		{"a one-shot", "once", "start once one", "", ""},
		{"what fails", "bad", "start bad two", "", "bad: stopped"},
		{"never", "fixed", "service fixed isn't restarted: the machine's configuration says never; only a boot restarts it", "", ""},
		{"below what is never restarted", "below", "service below isn't restarted: above requires it", "", ""},
		{"what kills the machine", "user-processes", "service user-processes isn't restarted: the machine can't run without it", "", ""},
		{"the agent", "collie", "service collie isn't restarted: Collie does that by itself", "", ""},
		{"Shepherd", "root", "service root isn't restarted: the machine can't run without it", "", ""},
		{"nobody", "nobody", `there is no service "nobody"`, "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := boot(t)
			done, err := g.restart(t.Context(), row.service)
			happened := strings.Join(g.log, ", ")
			if err != nil {
				happened += err.Error()
			}
			if !strings.HasPrefix(happened, row.done) {
				t.Errorf("%s\nwant %s", happened, row.done)
			}
			var ill []string
			for _, p := range done.Problems {
				ill = append(ill, strings.TrimPrefix(p.Subject, "service ")+": "+p.Says)
			}
			if got := strings.Join(done.With, ", "); got != row.with || !strings.HasPrefix(strings.Join(ill, ", "), row.ill) || (row.ill == "") != (ill == nil) {
				t.Errorf("with %q, problems %q", got, ill)
			}
		})
	}

	g := boot(t)
	g.expects("A")
	if _, err := g.restart(t.Context(), "db"); err == nil || !strings.Contains(err.Error(), "was cut short, and comes first") {
		t.Errorf("in a switch that was cut short: %v", err)
	}
	g = boot(t)
	dies(g, "web")
	if _, err := g.restart(t.Context(), "web"); err != nil || g.find("web").disabled || g.find("web").status != "running" {
		t.Errorf("one that Shepherd gave up: %v, %+v", err, g.find("web"))
	}
}

// The reconfigure itself starts what is new, and would wait for ever; all else is done by then.
func TestGuixThatWaitsForAServiceIsEnded(t *testing.T) {
	m := newMachine(t)
	a, b := m.item("a", "system"), m.item("b", "system")
	s := m.system(a)
	s.Timeout = time.Second
	var hangs atomic.Bool
	s.Shepherd = &shepherd.Client{Dial: func(context.Context) (io.ReadWriteCloser, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			_, _ = theirs.Read(make([]byte, 1<<16))
			answer := quietAnswer
			if live, _ := s.Live(t.Context()); live == b {
				late := `(service (version 0) (provides (late)) (requires ()) (enabled? #t) (running #f) (status starting) (status-changes ((starting . %d))))`
				answer = strings.Replace(answer, "((service", "("+fmt.Sprintf(late, time.Now().Unix()-1)+" (service", 1)
				hangs.Store(true)
			}
			_, _ = io.WriteString(theirs, answer)
		}()
		return ours, nil
	}}
	m.now("late", "sleep 600\n")
	began := time.Now()
	if err := s.Switch(t.Context(), b, m.tree(b)); err == nil || !strings.Contains(err.Error(), "starting since") || strings.Contains(err.Error(), "guix") {
		t.Errorf("the switch: %v, want what hangs", err)
	}
	if took := time.Since(began); !hangs.Load() || took > time.Minute {
		t.Errorf("it waited %v for guix", took)
	}
	if live, err := s.Live(t.Context()); live != b || err != nil {
		t.Errorf("live is %s (%v)", live, err)
	}
}
