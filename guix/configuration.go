package guix

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// A PlaceError says where a person has to add a service to a configuration, because its text leaves more than one reading.
type PlaceError struct{ Says string }

func (e *PlaceError) Error() string { return e.Says }

// AddService returns text, an operating system's configuration, with service added to its services, and the module that
// defines the service imported. Nothing else is changed. The error is a PlaceError if the place isn't certain.
func AddService(text, service, module string) (string, error) {
	forms, err := readStore(text)
	if err != nil {
		return "", &PlaceError{fmt.Sprintf("the file can't be read: line %d: %s", lineOfError(err), err)}
	}
	system, err := theSystem(forms)
	if err != nil {
		return "", err
	}
	e := editor{text: text}
	if err := e.addService(system, service); err != nil {
		return "", err
	}
	e.importModule(forms, module)
	return e.done(), nil
}

func lineOfError(err error) int {
	if s, ok := err.(*schemeError); ok {
		return s.line
	}
	return 1
}

// theSystem is the only operating-system form of a configuration.
func theSystem(forms []form) (form, error) {
	all := formsOf(forms, "operating-system")
	switch len(all) {
	case 1:
		return all[0], nil
	case 0:
		return form{}, &PlaceError{"the file has no (operating-system …) of its own"}
	}
	var lines []string
	for _, f := range all {
		lines = append(lines, fmt.Sprint(f.line))
	}
	return form{}, &PlaceError{"the file has several (operating-system …), in lines " + strings.Join(lines, ", ")}
}

// formsOf are the lists that begin with head, looked for in depth; nothing quoted, and none within another.
func formsOf(forms []form, head string) (all []form) {
	for _, f := range forms {
		switch {
		case f.quoted || f.head() == "quote" || f.head() == "quasiquote":
		case f.head() == head:
			all = append(all, f)
		default:
			all = append(all, formsOf(f.list, head)...)
		}
	}
	return all
}

// An editor inserts into a text.
type editor struct {
	text    string
	inserts []insert
}

type insert struct {
	at   int
	text string
}

func (e *editor) before(f form, text string) { e.inserts = append(e.inserts, insert{e.begin(f), text}) }
func (e *editor) behind(f form, text string) { e.inserts = append(e.inserts, insert{e.end(f), text}) }

func (e *editor) begin(f form) int { return len(e.text) - f.from }
func (e *editor) end(f form) int   { return len(e.text) - f.to }

// column is how far a form is from the beginning of its line.
func (e *editor) column(f form) int {
	before := e.text[:e.begin(f)]
	return utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
}

func (e *editor) done() string {
	slices.SortStableFunc(e.inserts, func(a, b insert) int { return b.at - a.at })
	text := e.text
	for _, i := range e.inserts {
		text = text[:i.at] + i.text + text[i.at:]
	}
	return text
}

// addService adds service to the field services of system.
//
//	(services (cons* A B …))            in front of A; and so with (list A …), (append (list A …) …)
//	(services (append (list) …))        into the list
//	(services EXPRESSION)               (cons SERVICE EXPRESSION)
//	no such field                       in front of %base-services, or of those that are inherited
func (e *editor) addService(system form, service string) error {
	var field *form
	var inherited string
	for i, f := range system.list[1:] {
		switch f.head() {
		case "services":
			if field != nil {
				return &PlaceError{fmt.Sprintf("the operating-system in line %d has two fields (services …)", system.line)}
			}
			field = &system.list[i+1]
		case "inherit":
			if len(f.list) != 2 || f.list[1].isList || f.list[1].str {
				inherited = "?"
				continue
			}
			inherited = f.list[1].atom
		}
	}
	if field == nil {
		base := "%base-services"
		switch {
		case inherited == "?":
			return &PlaceError{fmt.Sprintf("the operating-system in line %d inherits its services from an expression", system.line)}
		case inherited != "":
			base = "(operating-system-user-services " + inherited + ")"
		}
		if len(system.list) == 1 {
			return &PlaceError{fmt.Sprintf("the operating-system in line %d has no fields", system.line)}
		}
		last := system.list[len(system.list)-1]
		indent := strings.Repeat(" ", e.column(last))
		e.behind(last, "\n"+indent+"(services\n"+indent+" (cons "+indented(service, len(indent)+7)+"\n"+indent+"       "+base+"))")
		return nil
	}
	if len(field.list) != 2 {
		return &PlaceError{fmt.Sprintf("the field services in line %d has no one value", field.line)}
	}
	value := field.list[1]
	list := value
	if value.head() == "append" && len(value.list) > 1 && value.list[1].head() == "list" {
		list = value.list[1]
	}
	switch {
	case list.quoted:
	case list.head() == "list" && len(list.list) == 1:
		e.behind(list.list[0], " "+indented(service, e.column(list)+len("(list ")))
		return nil
	case (list.head() == "list" || list.head() == "cons*") && len(list.list) > 1:
		first := list.list[1]
		column := e.column(first)
		e.before(first, indented(service, column)+"\n"+strings.Repeat(" ", column))
		return nil
	}
	column := e.column(value)
	e.before(value, "(cons "+indented(service, column+len("(cons "))+"\n"+strings.Repeat(" ", column))
	e.behind(value, ")")
	return nil
}

// indented moves all lines of text but the first to the right.
func indented(text string, columns int) string {
	return strings.ReplaceAll(text, "\n", "\n"+strings.Repeat(" ", columns))
}

// importModule has the file use a module, unless it does.
func (e *editor) importModule(forms []form, module string) {
	var uses, defines *form
	for i, f := range forms {
		if f.head() == "use-modules" && uses == nil && len(f.list) > 1 {
			uses = &forms[i]
		}
		if f.head() == "define-module" {
			defines = &forms[i]
		}
		if (f.head() == "use-modules" || f.head() == "define-module") && imports(f, module) {
			return
		}
	}
	switch {
	case uses != nil:
		last := uses.list[len(uses.list)-1]
		e.behind(last, "\n"+strings.Repeat(" ", e.column(uses.list[1]))+module)
	case defines != nil:
		e.behind(*defines, "\n\n(use-modules "+module+")")
	default:
		e.before(forms[0], "(use-modules "+module+")\n")
	}
}

// imports reports whether a module is named in f.
func imports(f form, module string) bool {
	for _, item := range f.list {
		if item.isList && ("("+strings.Join(item.atoms(), " ")+")" == module || imports(item, module)) {
			return true
		}
	}
	return false
}

// A Loaded is a file that a text of Scheme names, in its own folder.
type Loaded struct {
	Line   int
	Name   string // as it stands there
	Scheme bool   // it is Scheme, and may name others
}

// Loads are the files that text loads by a literal name: (load "x.scm"), (include "x.scm"), (local-file "x") and their like,
// and relative to the file itself. Absolute names are left out: they mean the same from everywhere.
func Loads(text string) []Loaded {
	forms, err := readStore(text)
	if err != nil {
		return nil // what derives the system says so
	}
	var all []Loaded
	var look func(forms []form)
	look = func(forms []form) {
		for _, f := range forms {
			scheme, is := loaders[f.head()]
			if is && !f.quoted && len(f.list) > 1 && f.list[1].str && !filepath.IsAbs(f.list[1].atom) {
				all = append(all, Loaded{f.list[1].line, f.list[1].atom, scheme})
			}
			look(f.list)
		}
	}
	look(forms)
	return all
}

var loaders = map[string]bool{"load": true, "primitive-load": true, "include": true, "local-file": false}

// Modules are those that text uses, by name: (guix gexp) is "guix/gexp".
func Modules(text string) []string {
	forms, err := readStore(text)
	if err != nil {
		return nil
	}
	var all []string
	add := func(f form) {
		if len(f.list) > 0 && f.list[0].isList { // ((name) #:select (…))
			f = f.list[0]
		}
		if names := f.atoms(); len(names) > 0 && !slices.Contains(names, "") {
			all = append(all, strings.Join(names, "/"))
		}
	}
	for _, f := range forms {
		switch f.head() {
		case "use-modules":
			for _, m := range f.list[1:] {
				add(m)
			}
		case "define-module":
			for i, m := range f.list {
				if i > 0 && (f.list[i-1].atom == "#:use-module" || f.list[i-1].atom == "#:autoload") {
					add(m)
				}
			}
		}
	}
	return all
}

// Uses reports whether text has the symbol, outside of comments and strings.
func Uses(text, symbol string) bool {
	forms, err := readStore(text)
	if err != nil {
		return false
	}
	var has func(forms []form) bool
	has = func(forms []form) bool {
		return slices.ContainsFunc(forms, func(f form) bool { return !f.isList && !f.str && f.atom == symbol || has(f.list) })
	}
	return has(forms)
}
