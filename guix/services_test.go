package guix

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"example.org/collie/shepherd"
)

// A pretence is a Shepherd that behaves as 1.0.9 does where it matters here: a definition that is registered replaces a
// stopped service at once, with its history, and waits for a running one to stop; a restart stops what depends on the
// service, and starts nothing more once a start has raised.
type pretence struct {
	mu       sync.Mutex
	files    map[string]define // what a file defines; a file that isn't here can't be loaded
	services []*pretended
	clock    int64
	pid      int
	log      []string // what was done: "start web one"
	endless  []string // services whose start would never have ended

	silent time.Time // until when nobody is answered
}

type define struct {
	file     string
	provides []string
	requires []string
	oneShot  bool
	raises   bool // its start
	falls    bool // its start returns #f
	dies     bool // at once, too often: disabled
	stuck    bool // its stop raises
	slow     bool // to start, until somebody waits for it
	lateStop bool // its stop never ends
	lateUp   bool // nor does its start
	mute     bool // to start it is never answered, and it stays stopped
	blocks   bool // its start keeps Shepherd from all else for an hour
	pauses   bool // and this one for a minute
}

func (d define) name() string { return d.provides[0] }

// body is a file's word for a definition, as it shows in the log: one, two.
func (d define) body() string {
	if d.file == "" {
		return "own"
	}
	return d.file[len("/gnu/store/"):][:3]
}

type pretended struct {
	define
	next      *define // registered while this one runs
	status    string
	disabled  bool
	transient bool
	changes   string
	failures  string
	respawns  string
	exits     string
	messages  string
	pid       int
}

func (p *pretence) find(name string) *pretended {
	for _, s := range p.services {
		if slices.Contains(s.provides, name) {
			return s
		}
	}
	return nil
}

func (p *pretence) is(s *pretended, status string) {
	s.status = status
	s.changes = fmt.Sprintf("(%s . %d) %s", status, p.clock, s.changes)
}

func (p *pretence) takes(d define) {
	for i, s := range p.services {
		if !slices.ContainsFunc(d.provides, func(name string) bool { return slices.Contains(s.provides, name) }) {
			continue
		}
		if s.status == "running" {
			s.next = &d
		} else {
			if s.status == "starting" { // the old one goes on, and nobody knows it
				p.log = append(p.log, "lose "+s.name()+" "+s.body())
			}
			p.services[i] = &pretended{define: d, status: "stopped", disabled: s.disabled}
		}
		return
	}
	p.services = append(p.services, &pretended{define: d, status: "stopped"})
}

// start is nil for a service that runs, "#f" for one that doesn't, and else what was raised. What a service requires is
// started first, also if it runs itself.
func (p *pretence) starts(s *pretended, by ...*pretended) string {
	if slices.Contains(by, s) {
		p.endless = append(p.endless, s.name())
		return "hangs"
	}
	for _, name := range s.requires {
		on := p.find(name)
		switch {
		case on == nil && len(by) > 0:
			p.endless = append(p.endless, s.name())
			return "hangs"
		case on == nil:
			return "misc-error"
		}
		switch p.starts(on, append(by, s)...) {
		case "":
		case "hangs":
			return "hangs"
		default:
			return "#f"
		}
	}
	if s.status == "running" {
		return ""
	}
	if s.disabled {
		return "#f"
	}
	if s.mute {
		return "hangs"
	}
	if s.blocks {
		p.silent = time.Now().Add(time.Hour)
		return "hangs"
	}
	if s.pauses && p.silent.IsZero() {
		p.silent = time.Now().Add(time.Minute)
		return "hangs"
	}
	if s.status != "starting" {
		p.log = append(p.log, "start "+s.name()+" "+s.body())
		p.is(s, "starting")
		if s.slow {
			return ""
		}
	}
	if s.lateUp {
		return "hangs"
	}
	switch {
	case s.raises, s.falls:
		p.is(s, "stopped")
		s.failures = fmt.Sprint(p.clock)
		if s.raises {
			return "misc-error"
		}
		return "#f"
	case s.oneShot:
		p.is(s, "stopped")
	case s.dies:
		p.is(s, "running")
		p.is(s, "stopped")
		s.disabled, s.respawns = true, fmt.Sprint(p.clock)
	default:
		p.pid++
		s.pid = p.pid
		p.is(s, "running")
	}
	return ""
}

// stop returns what stopped, s first, each as what it is by then.
func (p *pretence) stops(s *pretended) ([]*pretended, bool) {
	if s.status != "running" {
		return []*pretended{s}, true
	}
	var stopped []*pretended
	for _, other := range slices.Clone(p.services) {
		if other.status == "running" && slices.ContainsFunc(other.requires, func(name string) bool { return slices.Contains(s.provides, name) }) {
			more, _ := p.stops(other)
			stopped = append(stopped, more...)
		}
	}
	p.log = append(p.log, "stop "+s.name()+" "+s.body())
	p.is(s, "stopping")
	if s.lateStop {
		return nil, true
	}
	p.is(s, "stopped")
	s.pid, s.respawns = 0, ""
	if s.stuck {
		s.stuck = false
		return nil, false
	}
	if s.transient {
		p.services = slices.DeleteFunc(p.services, func(other *pretended) bool { return other == s })
	}
	if s.next != nil {
		d := *s.next
		s.next = nil
		p.takes(d)
		s = p.find(d.name())
	}
	return append([]*pretended{s}, stopped...), true
}

func (s *pretended) sexp() string {
	running := "#f"
	if s.status == "running" {
		running = fmt.Sprintf("(process (version 0) (id %d) (command (\"x\")))", s.pid)
	}
	b := map[bool]string{true: "#t", false: "#f"}
	return fmt.Sprintf("(service (version 0) (provides (%s)) (requires (%s)) (enabled? %s) (running %s) (status %s) (one-shot? %s) (transient? %s) (status-changes (%s)) (startup-failures (%s)) (last-respawns (%s)) (exit-statuses (%s)) (recent-messages (%s)) (pending-replacement? %s))",
		strings.Join(s.provides, " "), strings.Join(s.requires, " "), b[!s.disabled], running, s.status, b[s.oneShot], b[s.transient],
		s.changes, s.failures, s.respawns, s.exits, s.messages, b[s.next != nil])
}

var (
	request    = regexp.MustCompile(`^\(shepherd-command \(version 0\) \(action (\S+)\) \(service (\S+)\) \(arguments \((?s:(.*))\)\) \(directory "/"\)\)$`)
	loadedFile = regexp.MustCompile(`/gnu/store/[^"\\]+`)
)

func (p *pretence) answer(text string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clock++
	ok := func(result string) string {
		return "(reply (version 0) (result " + result + ") (error #f) (messages ()))"
	}
	bad := func(what string) string {
		return "(reply (version 0) (result #f) (error (error (version 0) " + what + ")) (messages ()))"
	}
	words := request.FindStringSubmatch(text)
	action, name, argument := words[1], words[2], strings.Trim(words[3], `"`)
	if name == "root" {
		switch action {
		case "status":
			var all []string
			for _, s := range p.services {
				all = append(all, s.sexp())
			}
			return ok("((" + strings.Join(all, " ") + "))")
		case "eval":
			var all []define
			for _, file := range loadedFile.FindAllString(argument, -1) {
				d, known := p.files[file]
				if !known {
					return bad(`action-exception eval root system-error ("load-thunk-from-file" "~A" ("No such file or directory") (2))`)
				}
				d.file = file
				all = append(all, d)
			}
			for _, d := range all {
				p.takes(d)
			}
			return ok(`("#<unspecified>")`)
		case "unload":
			s := p.find(argument)
			if s == nil {
				return bad("service-not-found " + argument)
			}
			stopped, fine := p.stops(s)
			if !fine {
				return bad("action-exception stop " + argument + ` misc-error (#f "busy" () #f)`)
			}
			if stopped == nil {
				return ""
			}
			p.log = append(p.log, "unload "+argument)
			p.services = slices.DeleteFunc(p.services, func(s *pretended) bool { return s == stopped[0] })
			return ok(`("#<unspecified>")`)
		}
	}
	s := p.find(name)
	if s == nil {
		return bad("service-not-found " + name)
	}
	switch action {
	case "status":
		return ok("(" + s.sexp() + ")")
	case "enable":
		p.log = append(p.log, "enable "+name)
		s.disabled = false
		return ok(`("#<unspecified>")`)
	case "start":
		switch why := p.starts(s); why {
		case "":
			return ok(s.sexp())
		case "#f":
			return ok("#f")
		case "hangs":
			return ""
		default:
			return bad("action-exception start " + name + ` ` + why + ` (#f "no such thing" () #f)`)
		}
	case "stop":
		stopped, fine := p.stops(s)
		if !fine {
			return bad("action-exception stop " + name + ` misc-error (#f "busy" () #f)`)
		}
		if stopped == nil {
			return ""
		}
		return ok("(" + stopped[0].name() + ")")
	}
	return bad("action-not-found " + action + " " + name)
}

func (p *pretence) isSilent() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Now().Before(p.silent)
}

func (p *pretence) dial(context.Context) (io.ReadWriteCloser, error) {
	ours, theirs := net.Pipe()
	go func() { // ends when ours is closed
		defer theirs.Close()
		buf := make([]byte, 1<<16)
		n, err := theirs.Read(buf)
		for err == nil && p.isSilent() {
			_ = theirs.SetReadDeadline(time.Now().Add(time.Second))
			if _, err = theirs.Read(buf[n:]); errors.Is(err, os.ErrDeadlineExceeded) {
				err = nil
			}
		}
		_ = theirs.SetReadDeadline(time.Time{})
		if err != nil {
			return
		}
		if answer := p.answer(string(buf[:n])); answer != "" {
			_, _ = io.WriteString(theirs, answer)
		} else {
			_, _ = theirs.Read(buf) // it hangs until the other side has enough
		}
	}()
	return ours, nil
}

// A guest is a machine with a pretended Shepherd, and systems that are known by their names.
type guest struct {
	*pretence
	*services
	t       *testing.T
	systems map[string][]ServiceFile
	current string
	boot    string
}

func newGuest(t *testing.T) *guest {
	g := &guest{pretence: &pretence{files: map[string]define{}, clock: 1000, pid: 100}, t: t, systems: map[string][]ServiceFile{}}
	g.services = &services{
		shepherd: &shepherd.Client{Dial: g.dial}, started: filepath.Join(t.TempDir(), "started.json"), self: "collie", whole: true,
		timeout:     time.Since(time.Unix(0, 0)) + time.Minute, // the pretended clock begins in 1970
		definitions: func(item string) ([]ServiceFile, error) { return g.systems[item], nil },
		tail:        func(_ context.Context, log string) []string { return tail(log) },
		live:        func() (string, error) { return g.current, nil },
		booted:      func() (string, error) { return g.boot, nil },
	}
	return g
}

// system makes a system of definitions, each "BODY NAME… [<REQUIRED] [!HOW]": two bodies are two files.
func (g *guest) system(item string, definitions ...string) {
	g.systems[item] = nil
	for _, words := range definitions {
		fields := strings.Fields(words)
		d, starts := define{}, true
		for _, w := range fields[1:] {
			switch {
			case w == "!by-hand":
				starts = false
			case w == "!once":
				d.oneShot = true
			case w == "!raises":
				d.raises = true
			case w == "!falls":
				d.falls = true
			case w == "!dies":
				d.dies = true
			case w == "!stuck":
				d.stuck = true
			case w == "!slow":
				d.slow = true
			case w == "!late-stop":
				d.lateStop = true
			case w == "!late-start":
				d.lateUp = true
			case w == "!mute":
				d.mute = true
			case w == "!blocks":
				d.blocks = true
			case w == "!pauses":
				d.pauses = true
			case w == "!broken":
				d.provides = nil
			case w[0] == '<':
				d.requires = append(d.requires, w[1:])
			default:
				d.provides = append(d.provides, w)
			}
		}
		names := fields[1:2]
		if d.provides != nil {
			names = d.provides
		}
		file := fmt.Sprintf("/gnu/store/%s%029d-shepherd-%s.go", fields[0], 0, fileName(names))
		f := ServiceFile{Name: fileName(names), File: file}
		if starts {
			f = ServiceFile{names[0], file, names, true}
		}
		g.systems[item] = append(g.systems[item], f)
		if d.provides != nil {
			g.files[file] = d
		}
	}
}

// boots begins a new life of Shepherd with a system.
func (g *guest) boots(item string) {
	g.pretence.services, g.current, g.boot = nil, item, item
	g.clock += 1000
	g.takes(define{provides: []string{"root", "shepherd"}})
	g.starts(g.find("root"))
	g.load(item)
	g.log = nil
}

// load is what `guix system reconfigure` does to Shepherd: register all, start what doesn't run.
func (g *guest) load(item string) {
	g.current = item
	g.clock++
	for _, f := range g.systems[item] {
		if d, known := g.files[f.File]; known {
			d.file = f.File
			g.takes(d)
		}
	}
	for _, f := range g.systems[item] {
		if s := g.find(f.Name); f.Starts && s != nil && g.starts(s) == "misc-error" {
			return // the first that raises ends it
		}
	}
}

// goes switches to a system as the agent does, and returns what happened to the services, after Guix's part.
func (g *guest) goes(item string) []string {
	g.t.Helper()
	if err := g.expect(g.t.Context(), item); err != nil {
		g.t.Fatal(err)
	}
	g.load(item)
	return g.converges(item)
}

// returns is a switch back, for which nothing is loaded.
func (g *guest) returns(item string) []string {
	g.t.Helper()
	if err := g.expect(g.t.Context(), item); err != nil {
		g.t.Fatal(err)
	}
	g.current = item
	return g.converges(item)
}

func (g *guest) converges(item string) []string {
	g.t.Helper()
	g.log = nil
	if err := g.converge(g.t.Context(), item); err != nil {
		g.t.Fatal(err)
	}
	return g.log
}

func (g *guest) differs(item string) []string {
	g.t.Helper()
	changes, err := g.diff(g.t.Context(), item)
	if err != nil {
		g.t.Fatal(err)
	}
	var lines []string
	for _, c := range changes {
		lines = append(lines, c.Does+" "+strings.TrimPrefix(c.Subject, "service "))
	}
	return lines
}

func (g *guest) wants(what string, got []string, want ...string) {
	g.t.Helper()
	if !slices.Equal(got, want) {
		g.t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}

// Each row is a switch from one system to another, and what may happen to the services beside Guix's own part.
func TestConverge(t *testing.T) {
	tests := []struct {
		name     string
		from, to []string
		forward  []string // after a reconfigure, which started what is new
		diff     []string // before it
		back     []string // from the second to the first, without Guix
		left     []string // the diff to the second after going there
	}{
		{name: "nothing changed", from: []string{"one web", "one db"}, to: []string{"one web", "one db"}},
		{
			name: "exactly what changed is restarted",
			from: []string{"one web", "one db", "one mail"}, to: []string{"one web", "two db", "one mail"},
			diff:    []string{"restart db"},
			forward: []string{"stop db one", "start db two"},
			back:    []string{"stop db two", "start db one"},
		},
		{
			name: "new and gone",
			from: []string{"one web", "one old"}, to: []string{"one web", "one new"},
			diff:    []string{"stop old", "start new"},
			forward: []string{"stop old one", "unload old"},
			back:    []string{"stop new one", "unload new", "start old one"},
		},
		{
			name: "what requires it comes back with it",
			from: []string{"one db", "one web <db", "one front www <web"}, to: []string{"two db", "one web <db", "one front www <web"},
			diff:    []string{"restart db"},
			forward: []string{"stop front one", "stop web one", "stop db one", "start db two", "start web one", "start front one"},
			back:    []string{"stop front one", "stop web one", "stop db two", "start db one", "start web one", "start front one"},
		},
		{
			name: "both changed, each starts once",
			from: []string{"one db", "one web <db"}, to: []string{"two db", "two web <db"},
			diff:    []string{"restart db", "restart web"},
			forward: []string{"stop web one", "stop db one", "start db two", "start web two"},
			back:    []string{"stop web two", "stop db two", "start db one", "start web one"},
		},
		{
			name: "a changed one-shot runs again, once",
			from: []string{"one host-name !once", "one web <host-name"}, to: []string{"two host-name !once", "one web <host-name"},
			diff:    []string{"run host-name"},
			forward: nil, // reconfigure ran it
			back:    []string{"start host-name one"},
		},
		{
			name: "a one-shot that guix didn't come to",
			from: []string{"one once !once", "one web"}, to: []string{"one bad !raises", "two once !once", "one web"},
			diff:    []string{"run once", "start bad"},
			forward: []string{"start once two", "start bad one"},
			back:    []string{"unload bad", "start once one"},
		},
		{
			name: "what the machine stands on waits for the next boot",
			from: []string{"one root-file-system", "one user-processes <root-file-system", "one file-system-/data", "one web <user-processes"},
			to:   []string{"two root-file-system", "two user-processes <root-file-system", "two file-system-/data", "one web <user-processes"},
			diff: []string{"needs reboot root-file-system", "needs reboot user-processes", "needs reboot file-system-/data"},
			left: []string{"needs reboot root-file-system", "needs reboot user-processes", "needs reboot file-system-/data"},
		},
		{
			name: "nor is stopped what that requires",
			from: []string{"one urandom", "one user-processes <urandom"}, to: []string{"two urandom", "one user-processes <urandom"},
			diff: []string{"needs reboot urandom"},
			left: []string{"needs reboot urandom"},
		},
		{
			name: "nor if it left",
			from: []string{"one web", "one urandom", "one user-processes <urandom"}, to: []string{"one web", "two user-processes"},
			diff: []string{"next boot urandom", "needs reboot user-processes"},
			left: []string{"next boot urandom", "needs reboot user-processes"},
		},
		{
			name: "a file system that left is unmounted",
			from: []string{"one web", "one file-system-/data"}, to: []string{"one web"},
			diff:    []string{"stop file-system-/data"},
			forward: []string{"stop file-system-/data one", "unload file-system-/data"},
			back:    []string{"start file-system-/data one"},
		},
		{
			name: "the agent doesn't stop itself",
			from: []string{"one collie", "one db"}, to: []string{"two collie", "two db"},
			diff:    []string{"replace collie", "restart db"},
			forward: []string{"stop db one", "start db two"},
			back:    []string{"stop db two", "start db one"},
			left:    []string{"replace collie"},
		},
		{
			name: "nor what it requires",
			from: []string{"one db", "one collie <db"}, to: []string{"two db", "one collie <db"},
			diff: []string{"next boot db"},
			left: []string{"next boot db"},
		},
		{
			name: "one that raises keeps no other from starting",
			from: []string{"one web"}, to: []string{"one bad !raises", "one web", "one new", "one more"},
			diff:    []string{"start bad", "start new", "start more"},
			forward: []string{"start bad one", "start new one", "start more one"},
			back:    []string{"stop more one", "unload more", "stop new one", "unload new", "unload bad"},
		},
		{
			name: "one that fails is a problem, not a change",
			from: []string{"one web"}, to: []string{"two web !falls"},
			diff:    []string{"restart web"},
			forward: []string{"stop web one", "start web two"},
			back:    []string{"start web one"},
		},
		{
			name: "one that died too often is enabled for its new definition",
			from: []string{"one web"}, to: []string{"two web !dies"},
			diff:    []string{"restart web"},
			forward: []string{"stop web one", "start web two"},
			back:    []string{"enable web", "start web one"},
		},
		{
			name: "one whose stop raises starts anew all the same",
			from: []string{"one web !stuck"}, to: []string{"two web"},
			diff:    []string{"restart web"},
			forward: []string{"stop web one", "start web two"},
			back:    []string{"stop web two", "start web one"},
		},
		{
			name: "one whose stop raises leaves all the same",
			from: []string{"one db", "one web !stuck"}, to: []string{"one db"},
			diff:    []string{"stop web"},
			forward: []string{"stop web one", "unload web"},
			back:    []string{"start web one"},
		},
		{
			name: "what isn't started by itself is left alone",
			from: []string{"one web", "one hand !by-hand", "one once !once !by-hand"}, to: []string{"one web", "two hand !by-hand", "two once !once !by-hand"},
		},
		{
			name: "a name more",
			from: []string{"one sshd"}, to: []string{"two ssh sshd"},
			diff:    []string{"restart sshd"},
			forward: []string{"stop sshd one", "start ssh two"},
			back:    []string{"stop ssh two", "start sshd one"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := newGuest(t)
			g.system("A", test.from...)
			g.system("B", test.to...)
			g.boots("A")
			g.wants("the diff to what runs", g.differs("A"))
			g.wants("the diff", g.differs("B"), test.diff...)
			g.wants("there", g.goes("B"), test.forward...)
			g.wants("the diff once there", g.differs("B"), test.left...)
			g.wants("there again", g.converges("B"), again(test.to)...)
			g.wants("back", g.returns("A"), test.back...)
			g.wants("the diff once back", g.differs("A"))
		})
	}
}

// again is what may happen each time: a service that doesn't start is tried.
func again(definitions []string) []string {
	var want []string
	for _, d := range definitions {
		if strings.Contains(d, "!raises") || strings.Contains(d, "!falls") {
			want = append(want, "start "+strings.Fields(d)[1]+" "+strings.Fields(d)[0])
		}
		if strings.Contains(d, "!dies") {
			want = append(want, "enable "+strings.Fields(d)[1], "start "+strings.Fields(d)[1]+" "+strings.Fields(d)[0])
		}
	}
	return want
}

// Whenever the agent is killed, its next life ends where the last one wanted to be.
func TestConvergeAfterAKill(t *testing.T) {
	systems := func(t *testing.T) *guest {
		g := newGuest(t)
		g.system("A", "one web", "one db", "one once !once", "one old")
		g.system("B", "two web", "one db", "two once !once", "one new")
		g.boots("A")
		if err := g.expect(t.Context(), "B"); err != nil {
			t.Fatal(err)
		}
		return g
	}
	tests := []struct {
		name     string
		until    func(*guest)
		on, back []string
	}{
		{"before guix", func(g *guest) {},
			[]string{"stop old one", "unload old", "stop web one", "start web two", "start once two", "start new one"},
			nil},
		{"after the link was made", func(g *guest) { g.current = "B" },
			[]string{"stop old one", "unload old", "stop web one", "start web two", "start once two", "start new one"},
			nil},
		{"after guix", func(g *guest) { g.load("B") },
			[]string{"stop old one", "unload old", "stop web one", "start web two"},
			[]string{"unload new", "stop new one", "start once one"}},
		{"amid the restarts", func(g *guest) { g.load("B"); g.clock++; stopStart(g, "web") },
			[]string{"stop old one", "unload old", "stop web two", "start web two"}, // once too often
			[]string{"stop web two", "start web one", "stop new one", "unload new", "start once one"}},
		{"and web died meanwhile", func(g *guest) { g.load("B"); g.clock++; g.find("web").dies = true; stopStart(g, "web"); dies(g, "web") },
			[]string{"stop old one", "unload old", "enable web", "start web two"},
			[]string{"stop new one", "unload new", "enable web", "start web one", "start once one"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := systems(t)
			test.until(g)
			g.log = nil
			g.current = "B"
			if got := g.differs("B"); len(got) == 0 || got[0] != "register services" {
				t.Errorf("nothing tells that a switch was cut short: %q", got)
			}
			got := g.converges("B")
			slices.Sort(got)
			slices.Sort(test.on)
			g.wants("on", got, test.on...)
			g.wants("the diff", g.differs("B"))

			g = systems(t)
			test.until(g)
			g.log = nil
			got = g.returns("A")
			slices.Sort(got)
			slices.Sort(test.back)
			g.wants("back", got, test.back...)
			g.wants("the diff", g.differs("A"))
			for _, name := range []string{"web", "db"} {
				if s := g.find(name); s.body() != "one" || s.status != "running" {
					t.Errorf("%s is %s of %s", name, s.status, s.body())
				}
			}
		})
	}
}

func stopStart(g *guest, name string) {
	stopped, _ := g.stops(g.find(name))
	for _, s := range stopped {
		g.starts(s)
	}
}

// dies is what Shepherd does after too many respawns.
func dies(g *guest, name string) {
	s := g.find(name)
	g.is(s, "stopped")
	s.disabled, s.respawns, s.dies = true, fmt.Sprint(g.clock), false
}

// A start that raises ends a restart: what Shepherd had stopped for it, and nobody starts by itself, stays down.
func TestWhatRanRunsAgain(t *testing.T) {
	g := newGuest(t)
	g.system("A", "one db", "one bad <db", "one hand !by-hand <db")
	g.system("B", "two db", "two bad !raises <db", "one hand !by-hand <db")
	g.boots("A")
	g.starts(g.find("hand"))
	g.wants("the switch", g.goes("B"), "stop hand one", "stop bad one", "stop db one", "start db two", "start bad two", "start hand one")
}

// A definition that replaces a service in the midst of its start would leave a process behind that nobody knows.
func TestNothingIsReplacedWhileItStarts(t *testing.T) {
	g := newGuest(t)
	g.system("A", "one web !slow")
	g.system("B", "two web")
	g.boots("A")
	g.wants("what is about to run is no change", g.differs("A"))
	if err := g.expect(t.Context(), "B"); err != nil {
		t.Fatal(err)
	}
	g.load("B")
	g.wants("what guix did", g.log)
	g.wants("the switch", g.converges("B"), "stop web one", "start web two")
}

// One that has been starting or stopping for longer than it may isn't waited for, so Shepherd isn't asked about it.
func TestWhatHangsIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, status := range []string{"starting", "stopping"} {
			g := newGuest(t)
			g.system("A", "one web")
			g.boots("A")
			g.is(g.find("web"), status)
			all, err := g.shepherd.Services(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			g.timeout = 30 * time.Second // and the pretended clock is in 1970
			asked := g.clock
			if got, err := g.settle(t.Context(), all); err != nil || !reflect.DeepEqual(got, all) {
				t.Errorf("%s: %+v, %v", status, got, err)
			}
			if g.clock != asked {
				t.Errorf("%s for too long: Shepherd was asked %d times", status, g.clock-asked)
			}
		}
	})
}

func TestAfterABootTheBootedSystemRuns(t *testing.T) {
	g := newGuest(t)
	g.system("A", "one web", "one root-file-system")
	g.system("B", "two web", "two root-file-system")
	g.boots("A")
	g.goes("B")
	g.wants("before the boot", g.differs("B"), "needs reboot root-file-system")
	g.boots("B")
	g.wants("after it", g.differs("B"))
	g.wants("to A", g.differs("A"), "restart web", "needs reboot root-file-system")
	g.boots("A") // by hand, in the boot menu
	g.current = "B"
	g.wants("to B", g.differs("B"), "restart web", "needs reboot root-file-system")
}

func TestWithoutARecordWhatRunsIsTheCurrentSystem(t *testing.T) {
	g := newGuest(t)
	g.system("A", "one web")
	g.system("B", "two web")
	g.boots("A")
	g.goes("B")
	for _, text := range []string{"", "{", "null"} {
		if err := os.WriteFile(g.started, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		g.wants("the diff with "+text, g.differs("B"))
		g.wants("the diff with "+text, g.differs("A"), "restart web")
	}
}

// What somebody does by hand is seen: only what isn't known is taken for the current system's.
func TestByHand(t *testing.T) {
	g := newGuest(t)
	g.system("A", "one web", "one db", "one hand !by-hand")
	g.system("B", "two web", "one db", "two hand !by-hand")
	g.boots("A")
	g.wants("a first switch", g.returns("A"))
	g.clock++
	g.starts(g.find("hand"))
	g.stops(g.find("db"))
	g.wants("a stopped service", g.differs("A"), "start db")
	g.find("db").disabled = true
	g.wants("a disabled service", g.differs("A"))
	g.wants("what runs though nobody said so is kept", g.differs("B"), "restart web", "restart hand")
	g.goes("B")
	if s := g.find("hand"); s.status != "running" || s.body() != "two" {
		t.Errorf("hand is %s of %s", s.status, s.body())
	}
	if s := g.find("db"); s.status != "stopped" {
		t.Errorf("a service that was disabled by hand is %s", s.status)
	}
	g.load("A") // guix system reconfigure, without Collie
	g.clock++
	stopStart(g, "web") // herd restart web
	g.wants("the drift", g.differs("B"), "restart web")
	g.takes(define{provides: []string{"stranger"}})
	g.starts(g.find("stranger"))
	g.wants("a stranger in PID 1", g.differs("A"), "stop stranger", "restart hand")
	g.whole = false
	g.wants("a stranger in a user's Shepherd", g.differs("A"), "restart hand")
}

func TestADefinitionThatCannotBeLoaded(t *testing.T) {
	for _, waits := range []bool{false, true} { // a definition for each that runs, from the switch before
		g := newGuest(t)
		g.system("A", "one web", "one was")
		g.system("B", "two web", "one odd !broken", "two was !broken", "one new")
		g.boots("A")
		if waits {
			g.converges("A")
		}
		if err := g.expect(t.Context(), "B"); err != nil {
			t.Fatal(err)
		}
		g.current, g.log = "B", nil
		err := g.converge(t.Context(), "B")
		if err == nil || !strings.Contains(err.Error(), "service odd: shepherd: register: system-error: load-thunk-from-file: No such file") {
			t.Errorf("got %v", err)
		}
		g.wants("the others", g.log, "stop web one", "start web two", "start new one")
		g.wants("the diff", g.differs("B"), "register services", "restart was", "start odd")
		g.wants("back", g.returns("A"), "stop new one", "unload new", "stop web two", "start web one")
	}
}

func TestProblems(t *testing.T) {
	g := newGuest(t)
	g.system("A", "one web", "one collie", "one falls !falls", "one dies !dies", "one once !once", "one twice !once !falls", "one odd !broken", "one hand !by-hand", "one raises !raises")
	g.boots("A")
	if err := g.converge(t.Context(), "A"); err == nil {
		t.Error("a definition that can't be loaded is no error")
	}
	web := g.find("web")
	web.respawns = fmt.Sprint(g.clock)
	g.find("collie").respawns = web.respawns
	since := time.Unix(g.clock, 5)
	g.wants("what fails is no change", g.differs("A"), "register services", "start odd")
	got, err := g.problems(t.Context(), "A", since)
	if err != nil {
		t.Fatal(err)
	}
	want := []Problem{
		{Subject: "service web", Says: "died since " + since.Format(time.TimeOnly) + " and was started again, 1×"},
		{Subject: "service falls", Says: "stopped: did not start"},
		{Subject: "service dies", Says: "stopped: disabled, died 2 times"},
		{Subject: "service twice", Says: "didn't succeed: did not start"},
		{Subject: "service odd", Says: "Shepherd doesn't know it: its definition couldn't be loaded"},
		{Subject: "service raises", Says: "stopped: misc-error: no such thing"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// Podman's API ends well when nobody asks it anything. That it died of something else is a problem all the same.
func TestAServiceThatEndsWhenNobodyAsksIsWell(t *testing.T) {
	s := &services{idle: []string{"api"}}
	for _, c := range []struct {
		name   string
		status syscall.WaitStatus
		deaths int
	}{{"api", 0, 0}, {"api", 9, 1}, {"web", 0, 1}} {
		live := shepherd.Service{Name: c.name, Exits: []shepherd.Exit{{Status: c.status}}, Respawns: []time.Time{{}}}
		if deaths := len(s.deaths(live)); deaths != c.deaths {
			t.Errorf("%s %s: died %d times", live.Name, live.Exits[0], deaths)
		}
	}
}

// If a newer definition waited for its end, Shepherd tells of none of its past.
func TestAServiceThatIsAboutToListenIsGivenAMoment(t *testing.T) {
	g := newGuest(t)
	g.system("A", "one api")
	g.boots("A")
	g.idle = []string{"api"}
	api := g.find("api")
	api.status, api.changes = "stopped", ""
	go func() {
		time.Sleep(150 * time.Millisecond)
		g.mu.Lock()
		defer g.mu.Unlock()
		api.status = "running"
	}()
	if got, err := g.problems(t.Context(), "A", time.Time{}); err != nil || len(got) > 0 {
		t.Errorf("got %v, %v", got, err)
	}
	api.status = "stopped"
	if got, err := g.problems(t.Context(), "A", time.Time{}); err != nil || len(got) != 1 {
		t.Errorf("one that stays away: got %v, %v", got, err)
	}
}
