package guix

import (
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Scripts are those that make a system live, as far as it is data.
type scripts struct {
	users      []account
	groups     []group
	privileged map[string]privilege // set-uid programs and the like, by name
	others     []form               // scripts of which no more is known
	known      bool                 // all could be read
}

const maxScripts = 500 // a desktop has some 40

var activationScript = regexp.MustCompile(`"(/gnu/store/[0-9a-z]{32}-activate-service\.scm)"`)

// scriptsOf reads the scripts of a system, which its activate names.
func (s Store) scriptsOf(item string) scripts {
	text, err := s.read(filepath.Join(item, "activate"))
	if err != nil {
		return scripts{}
	}
	a := scripts{known: true, privileged: map[string]privilege{}}
	for i, match := range activationScript.FindAllSubmatch(text, -1) {
		script, err := s.read(string(match[1]))
		if err != nil || i == maxScripts {
			a.known = false
			break
		}
		a.read(string(script))
	}
	return a
}

func (a *scripts) read(script string) {
	forms, err := readStore(script)
	if err != nil {
		a.known = false
		return
	}
	if f, ok := seek(forms, "activate-users+groups"); ok {
		if len(f.list) != 3 { // it holds passwords: nothing of it is shown
			a.known = false
			return
		}
		for _, u := range f.list[1].tuples(10) {
			a.users = append(a.users, account{
				name: u[0].atom, uid: u[1].number(), group: u[2].atom, groups: slices.Sorted(slices.Values(u[3].atoms())),
				comment: u[4].atom, home: u[5].atom, shell: u[7].text(), system: u[9].atom == "#t",
			})
		}
		for _, g := range f.list[2].tuples(4) {
			a.groups = append(a.groups, group{g[0].atom, g[2].number()})
		}
		a.known = a.known && len(a.users) > 0 && len(a.groups) > 0
		return
	}
	if f, ok := seek(forms, "activate-privileged-programs"); ok {
		a.readPrivileged(f)
		return
	}
	if _, ok := seek(forms, "activate-etc"); ok {
		return
	}
	for _, f := range forms { // without what sets the load path, and loads modules
		if f.head() == "begin" {
			a.others = append(a.others, slices.DeleteFunc(f.list[1:], func(f form) bool { return f.head() == "use-modules" })...)
		}
	}
}

// A privilege is what a program may do, whoever runs it, and the file in the store that it is a copy of.
type privilege struct{ file, may string }

// readPrivileged reads (activate-privileged-programs (list (privileged-program (setuid? #t) … (program "…")) …)).
func (a *scripts) readPrivileged(f form) {
	list, _ := seek(f.list, "list")
	for _, item := range list.list {
		is := map[string]string{}
		for _, field := range item.list {
			if len(field.list) == 2 {
				is[field.head()] = field.list[1].text()
			}
		}
		var may []string
		if is["setuid?"] == "#t" {
			may = append(may, "set-uid "+or2(strings.TrimPrefix(is["user"], "0"), "root"))
		}
		if is["setgid?"] == "#t" {
			may = append(may, "set-gid "+or2(strings.TrimPrefix(is["group"], "0"), "root"))
		}
		if is["capabilities"] != "#f" && is["capabilities"] != "" {
			may = append(may, is["capabilities"])
		}
		if is["program"] != "" {
			a.privileged[filepath.Base(is["program"])] = privilege{is["program"], or2(strings.Join(may, ", "), "no privilege")}
		}
	}
}

// privileges compares the privileged programs of two systems.
func privileges(was, is scripts) []Detail {
	both := maps.Clone(was.privileged)
	maps.Copy(both, is.privileged)
	var all []Detail
	for _, name := range slices.Sorted(maps.Keys(both)) {
		old, had := was.privileged[name]
		next, has := is.privileged[name]
		d := Detail{Change: Change{Does: "update", Subject: "program " + name}}
		switch {
		case old == next:
			continue
		case !had:
			d.Does, d.Says = "add", next.may+": "+storeName(next.file)
		case !has:
			d.Does, d.Says = "remove", "it loses "+old.may
		case old.may != next.may:
			d.Old, d.New = old.may, next.may
		case storeName(old.file) == storeName(next.file):
			d.Does, d.Says = "rebuild", "a privileged copy of the same version, rebuilt"
		default:
			d.Old, d.New, d.Says = storeName(old.file), storeName(next.file), next.may
		}
		all = append(all, d)
	}
	return all
}

// otherScripts shows what changed in the scripts of which no more is known: what they do can't be foretold.
func otherScripts(was, is scripts, store Store) []Detail {
	left := func(all, others []form) []form {
		return slices.DeleteFunc(slices.Clone(all), func(f form) bool { return slices.ContainsFunc(others, f.same) })
	}
	before, after := left(was.others, is.others), left(is.others, was.others)
	if len(before)+len(after) == 0 {
		return nil
	}
	d := Detail{Change: Change{"update", "activation", "what its scripts do can't be foretold"}}
	t, says := texts{store: store}, ""
	if d.Diff, says = t.explain(before, after); says != "" {
		d.Says += "; " + says
	}
	return []Detail{d}
}

// tuples are the lists of n data in (map … (list `(…) `(…))), or in (map … (list (list …) (list …))).
func (f form) tuples(n int) [][]form {
	list, _ := seek([]form{f}, "list")
	var all [][]form
	for _, item := range list.list {
		item = item.bare()
		parts := item.list
		if item.head() == "list" {
			parts = parts[1:]
		}
		if len(parts) != n {
			continue
		}
		var tuple []form
		for _, part := range parts {
			tuple = append(tuple, part.bare())
		}
		all = append(all, tuple)
	}
	return all
}

// number is the digits of f; nothing for #f, or what isn't a number.
func (f form) number() string {
	if f.str || strings.Trim(f.atom, "0123456789") != "" {
		return ""
	}
	return f.atom
}

// text is a string, or one that is put together of strings.
func (f form) text() string {
	f = f.bare()
	if f.head() != "string-append" {
		return f.atom
	}
	var b strings.Builder
	for _, part := range f.list[1:] {
		b.WriteString(part.text())
	}
	return b.String()
}
