package guix

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A program is what the file of a service says of it, as far as it is data.
type program struct {
	provides, requires []string
	oneShot            bool
	plain              bool // names and requirements are lists of symbols, not what some code makes
	form               form // (service '(NAME …) #:requirement '(…) …)
}

// programOf reads the program in a file of services. A compiled file names its source, which is in the store as
// long as it is itself. It is false for what isn't as Guix 1.5 writes it: such a service is taken as Shepherd has it.
func (s Store) programOf(file string) (program, bool) {
	text, err := s.read(file)
	if err != nil {
		return program{}, false
	}
	if name, compiled := strings.CutSuffix(filepath.Base(file), ".go"); compiled {
		_, name, _ = strings.Cut(name, "-") // without the hash
		source := regexp.MustCompile(`/gnu/store/[0-9a-z]{32}-` + regexp.QuoteMeta(name) + `\.scm`).Find(text)
		if source == nil {
			return program{}, false
		}
		if text, err = s.read(string(source)); err != nil {
			return program{}, false
		}
	}
	return readProgram(string(text))
}

func readProgram(text string) (program, bool) {
	forms, err := readStore(text)
	if err != nil {
		return program{}, false
	}
	// Shepherd's own are made by others: (timer-service '(NAME …) #:requirement …), (system-log-service #:provision …).
	f, ok := seekFunc(forms, func(head string) bool { return head == "service" || strings.HasSuffix(head, "-service") })
	if !ok || len(f.list) < 2 {
		return program{}, false
	}
	names, ok := f.keyword("provision")
	if !ok {
		names = f.list[1]
	}
	requires, asked := f.keyword("requirement")
	oneShot, _ := f.keyword("one-shot?")
	p := program{provides: names.atoms(), requires: requires.atoms(), oneShot: oneShot.bare().atom == "#t", form: f}
	p.plain = names.symbols() && (requires.symbols() || !asked)
	return p, len(p.provides) > 0 && !slices.Contains(p.provides, "")
}

// symbols reports whether f is a quoted list of symbols: (quote (a b)), '(a b).
func (f form) symbols() bool {
	if !f.quoted && f.head() != "quote" {
		return false
	}
	f = f.bare()
	return f.isList && !slices.ContainsFunc(f.list, func(item form) bool {
		return item.isList || item.str || item.quoted || strings.HasPrefix(item.atom, "#")
	})
}
