package guix

import (
	"compress/gzip"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"example.org/collie/shepherd"
)

// What Shepherd would start for ever, or never, is a mistake that names the services.
func TestMistakes(t *testing.T) {
	endless := "\nhint: Shepherd would never end starting them: remove one of these from `requirement`"
	gap := func(name string) string {
		return "\nhint: Shepherd would wait for it for ever: add a service that provides " + name + ", or remove it from `requirement`"
	}
	twice := "\nhint: Shepherd would know only one of them: give each a name of its own in `provision`"
	for _, row := range []struct {
		name     string
		services []string // "NAME… [<REQUIRED]…", "?FILE" for one of which only the file is known
		want     []string
	}{
		{"a chain", []string{"a <b", "b <c", "c", "d <b <c"}, nil},
		{"Shepherd itself", []string{"a <root", "b <shepherd"}, nil},
		{"two", []string{"x", "a <x <b", "b <a"}, []string{"services a and b require each other" + endless}},
		{"itself", []string{"a <a"}, []string{"service a requires itself" + endless}},
		{"itself by another name", []string{"a also <also"}, []string{"service a requires itself: a requires also, which is a" + endless}},
		{"three", []string{"a <b", "b <c", "c <a"},
			[]string{"services a, b, c require each other in a circle: a requires b, b requires c, c requires a" + endless}},
		{"through another name", []string{"a also <b", "b <also"},
			[]string{"services a and b require each other: b requires also, which is a" + endless}},
		{"what only leads to a circle isn't blamed", []string{"front <a", "a <b", "b <a", "beside"}, []string{"services a and b require each other" + endless}},
		{"two circles", []string{"a <a", "b <c", "c <b"}, []string{"service a requires itself" + endless, "services b and c require each other" + endless}},
		{"two circles of one service", []string{"a <b <c", "b <a", "c <a"},
			[]string{"services a and b require each other" + endless, "services a and c require each other" + endless}},
		{"a gap", []string{"a <b", "b <nowhere"}, []string{"service b requires nowhere, which no service provides" + gap("nowhere")}},
		{"a gap and a circle", []string{"a <a <gone"}, []string{"service a requires gone, which no service provides" + gap("gone"), "service a requires itself" + endless}},
		{"what a file that isn't understood may provide", []string{"a <odd/name <two", "?odd-name-two", "?other"}, nil},
		{"what it can't", []string{"a <third", "?odd-name-two"}, []string{"service a requires third, which no service provides" + gap("third")}},
		{"one name twice", []string{"a web", "b web"}, []string{"service b provides web, and so does a" + twice}},
		{"Shepherd's own name", []string{"root"}, []string{"service root provides root, and so does Shepherd itself" + twice}},
	} {
		var all []defined
		for _, words := range row.services {
			if file, unknown := strings.CutPrefix(words, "?"); unknown {
				all = append(all, defined{Service: shepherd.Service{Name: file}})
				continue
			}
			d := defined{sure: true}
			for _, word := range strings.Fields(words) {
				if required, is := strings.CutPrefix(word, "<"); is {
					d.Requires = append(d.Requires, required)
				} else {
					d.Provides = append(d.Provides, word)
				}
			}
			d.Name = d.Provides[0]
			all = append(all, d)
		}
		if got := mistakes(all); !slices.Equal(got, row.want) {
			t.Errorf("%s:\n got %q\nwant %q", row.name, got, row.want)
		}
	}
}

// All services of a system with some of everything that Guix 1.5 has are understood, and there is no mistake in them.
// Each file was written by `guix repl', behind a line of what the service provides and requires, and whether it is a one-shot.
func TestProgramsOfGuix(t *testing.T) {
	packed, err := os.Open("testdata/services/programs.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	unpacked, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	var all []defined
	for _, one := range strings.Split("\n"+string(text), "\n;;; ")[1:] {
		head, file, _ := strings.Cut(one, "\n")
		want, err := readStore(head)
		if err != nil {
			t.Fatal(err)
		}
		provides, requires, oneShot := want[0].list[0].atoms(), want[0].list[1].atoms(), want[0].list[2].atom == "#t"
		p, ok := readProgram(file)
		if !ok || !p.plain || !slices.Equal(p.provides, provides) || !slices.Equal(p.requires, requires) || p.oneShot != oneShot {
			t.Errorf("%s was read as %v %v %v, plain %v, %v", head, p.provides, p.requires, p.oneShot, p.plain, ok)
		}
		all = append(all, defined{shepherd.Service{Name: provides[0], Provides: provides, Requires: requires}, true})
	}
	if says := mistakes(all); len(says) > 0 || len(all) < 50 {
		t.Errorf("%d services, mistakes %q", len(all), says)
	}
}

// Only names that are written are taken for what a service provides and requires, not what some code would make of them.
func TestWhatProgramsSayPlainly(t *testing.T) {
	for text, want := range map[string]bool{
		"(service (quote (a b)) #:requirement (quote (c)) #:start (lambda _ #t))":     true,
		"(service '(a) #:requirement '(user-processes |odd|) #:one-shot? (quote #t))": true,
		"(service (quote (a)) #:start car)":                                           true,
		"(service (quote (a)) #:requirement (quote ()))":                              true,
		"(timer-service (quote (a)) #:requirement (quote (b)))":                       true,
		"(log-service #:provision (quote (a)) #:requirement (quote (b)))":             true,
		"(service (list (quote a)) #:requirement (quote (b)))":                        false,
		"(service (quote (a)) #:requirement (list (quote b)))":                        false,
		"(service (quote (a)) #:requirement (quasiquote (b (unquote c))))":            false,
		"(service (quote (a)) #:requirement `(b ,@c))":                                false,
		"(service (quote (a)) #:requirement needs)":                                   false,
		"(service (quote (a)) #:requirement (quote (b (c))))":                         false,
		"(service names #:requirement (quote (b)))":                                   false,
	} {
		p, ok := readProgram("(begin (use-modules (gnu)) " + text + ")")
		if got := ok && p.plain; got != want {
			t.Errorf("%s: %v %+v", text, got, p)
		}
	}
}

// What runs keeps its definition until it stops: a commit may be without a circle, and make one with that.
func TestClashes(t *testing.T) {
	apart := "\nhint: Shepherd would never end starting them: make two commits of it, and take the requirement away in the first"
	for _, row := range []struct {
		name     string
		from, to []string
		want     []string
	}{
		{"an order that is turned round, with a one-shot", []string{"one ready !once", "one web <ready"}, []string{"two ready !once <web", "two web"},
			[]string{"services ready and web require each other, as long as web runs as it did before" + apart}},
		{"with what doesn't run", []string{"one idle !by-hand", "one web <idle", "one hand !by-hand <idle"}, []string{"two idle !by-hand <new", "two new", "two web <idle"}, nil},
		{"with what is new", []string{"one web <db", "one db"}, []string{"two web", "two db", "two new <web"}, nil},
		{"both run: they stop together", []string{"one web <db", "one db"}, []string{"two web", "two db <web"}, nil},
		{"the same again", []string{"one ready !once", "one web <ready"}, []string{"one ready !once", "two web <ready"}, nil},
		{"it stays a circle with what nobody starts", []string{"one web"}, []string{"one web", "two a !by-hand <b", "two b !by-hand <a"}, nil},
	} {
		g := newGuest(t)
		g.system("A", row.from...)
		g.system("B", row.to...)
		g.boots("A")
		all, err := g.shepherd.Services(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		g.wants(row.name, clashes(g.defined("B"), g.systems["B"], all), row.want...)
	}
}

func (g *guest) defined(item string) []defined {
	var all []defined
	for _, f := range g.systems[item] {
		d := g.files[f.File]
		all = append(all, defined{shepherd.Service{Name: d.name(), Provides: d.provides, Requires: d.requires}, true})
	}
	return all
}

// A circle that is there for a moment only, on the way back, delays the start of what is in it, and so does a gap.
func TestNothingIsStartedForEver(t *testing.T) {
	g := newGuest(t)
	g.system("A", "one ready !once <web", "one web", "one beside")
	g.system("B", "two ready !once", "two web <ready", "one beside")
	g.boots("A")
	g.wants("there", g.goes("B"), "stop web one", "start ready two", "start web two")
	g.wants("back", g.returns("A"), "stop web two", "start web one", "start ready one")
	if len(g.endless) > 0 {
		t.Errorf("Shepherd was asked for what never ends: %q", g.endless)
	}

	g.system("C", "tri web <self", "tri self <self", "tri deep <gap", "tri gap <nowhere", "tri beside")
	g.current = "C"
	g.wants("a system with circles", g.converges("C"), "unload ready", "stop web one", "stop beside one", "start beside tri")
	g.wants("what is said", g.ill("C"),
		"web: stopped: service self requires itself, and Shepherd would never end starting it",
		"self: stopped: service self requires itself, and Shepherd would never end starting it",
		"deep: stopped: gap requires nowhere, which no service provides",
		"gap: stopped: gap requires nowhere, which no service provides")
	if _, err := g.restart(t.Context(), "self"); err == nil && len(g.endless) > 0 {
		t.Errorf("%v, %q", err, g.endless)
	}
	if len(g.endless) > 0 {
		t.Errorf("Shepherd was asked for what never ends: %q", g.endless)
	}
}

// Mistakes are the commit's, and named with its file.
func TestCheckServices(t *testing.T) {
	m := newMachine(t)
	a := m.item("a", "system")
	s := m.system(a)
	if err := s.CheckServices(t.Context(), a, "system.scm"); err != nil {
		t.Error(err)
	}
	service := func(letter, name, requires string) string {
		source := "/gnu/store/" + strings.Repeat(letter, 32) + "-shepherd-" + name + ".scm"
		m.write(source, "(begin (use-modules (shepherd service)) (service (quote ("+name+")) #:requirement (quote ("+requires+")) #:start (lambda _ #t)))")
		m.write("/gnu/store/"+strings.Repeat(letter, 32)+"-shepherd-"+name+".go", "\x00ELF "+source+"\x00")
		return `"/gnu/store/` + strings.Repeat(letter, 32) + `-shepherd-` + name + `.go"`
	}
	b := m.item("b", "system")
	m.write("gnu/store/"+strings.Repeat("b", 32)+"-shepherd.conf",
		"(begin (map load (quote ("+service("1", "web", "db")+" "+service("2", "db", "web")+"))) (let ((services-to-start (quote (web db)))) #t))")
	err := s.CheckServices(t.Context(), b, "system.scm")
	bad := (*BuildError)(nil)
	if !errors.As(err, &bad) || bad.File != "system.scm" || !strings.HasPrefix(bad.Says, "system.scm: services web and db require each other\nhint: ") {
		t.Errorf("got %v", err)
	}
}
