package guix

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// The most that is read of a tree to explain why guix failed.
const (
	explainedFiles = 2000
	explainedFile  = 256 << 10
	explainedBytes = 4 << 20
	explained      = 5 // places that are named
)

// A finding is a place in the files of a tree, and what is wrong there.
type finding struct {
	file string // in the tree
	line int
	says string
}

func (f finding) String() string { return fmt.Sprintf("%s:%d: %s", f.file, f.line, f.says) }

// clues finds in a tree's own files what guix complains of, where guix names no place, or the wrong one. It evaluates nothing.
//
//	guix says                                  named is
//	that a file isn't there                    each literal name that leads to no file: (load "x"), (local-file "x"), …
//	that a module isn't there                  who asks for it, and the channel that has it, or where the repository has it
//	that something isn't permitted             each literal name of what only root may read: (local-file "/root/x"), …
//	                                           and each call that changes a file of that name: (delete-file "/etc/x"), …
//	that a variable is unbound, and not where  each module of the repository's own that can't be read, or asks for one that
//	                                           can't be there: guix doesn't say so of a module that it tried twice
func clues(tree, says string) []finding {
	if tree == "" {
		return nil
	}
	module := noCode.FindStringSubmatch(says)
	var all []finding
	switch {
	case module != nil:
		all = askers(readTree(tree), module[1])
	case strings.Contains(says, "No such file or directory"), strings.Contains(says, "Unable to find file"):
		all = missing(readTree(tree), quotedPath.FindStringSubmatch(says))
	case strings.Contains(says, "Permission denied"):
		all = forbidden(readTree(tree))
	case strings.Contains(says, "nbound variable") && !placeRE.MatchString(says):
		all = unreadable(readTree(tree))
	}
	if more := len(all) - explained; more > 0 {
		all = append(all[:explained], finding{all[explained].file, all[explained].line, fmt.Sprintf("and %d more", more)})
	}
	return all
}

var (
	noCode     = regexp.MustCompile(`no code for module \(([^()\n]{1,200})\)`)
	quotedPath = regexp.MustCompile(`(?:No such file or directory: |Unable to find file )"([^"\n]+)"`)
)

// A sourceTree is what a tree's Scheme says, as far as it can be read.
type sourceTree struct {
	dir      string
	files    []sourceFile // by name
	channels map[string]string
}

type sourceFile struct {
	name  string
	forms []form
	err   *schemeError
}

func readTree(dir string) sourceTree {
	t := sourceTree{dir: dir, channels: builtFrom(dir)}
	bytes := 0
	_ = filepath.WalkDir(dir, func(at string, e fs.DirEntry, err error) error { // what can't be read explains nothing
		if err != nil || !e.Type().IsRegular() || path.Ext(at) != ".scm" {
			return nil
		}
		info, err := e.Info()
		if err != nil || info.Size() > explainedFile {
			return nil
		}
		if bytes += int(info.Size()); bytes > explainedBytes || len(t.files) == explainedFiles {
			return fs.SkipAll
		}
		text, err := os.ReadFile(at)
		if err != nil {
			return nil
		}
		f := sourceFile{name: strings.TrimPrefix(at, dir+"/")}
		var readErr error
		f.forms, readErr = readStore(string(text))
		f.err, _ = readErr.(*schemeError)
		t.files = append(t.files, f)
		return nil
	})
	return t
}

// each visits all lists of a file, with the list that each is in, and its place there.
func (f sourceFile) each(visit func(list, in form, i int)) {
	var walk func(in form)
	walk = func(in form) {
		for i, item := range in.list {
			if item.isList {
				visit(item, in, i)
				walk(item)
			}
		}
	}
	walk(form{list: f.forms})
}

// fromHere are the procedures and syntax that look for a file where the one is that names it.
var fromHere = []string{"load", "include", "include-ci", "local-file", "primitive-load"}

// fromLoadPath look in modules/, and where Guix has its own.
var fromLoadPath = []string{"load-from-path", "primitive-load-path", "include-from-path"}

// changing are the procedures that change a file, or a folder, that their first argument names.
var changing = strings.Fields(`delete-file delete-file-recursively rmdir mkdir mkdir-p rename-file copy-file copy-recursively symlink link chmod chown
	truncate-file utime open-output-file call-with-output-file with-output-to-file`)

// forbidden are the literal names that take root's rights, which nothing has that is only prepared.
func forbidden(t sourceTree) (all []finding) {
	for _, f := range t.files {
		f.each(func(list, _ form, _ int) {
			if len(list.list) < 2 || !list.list[1].str || list.head() == "" || !path.IsAbs(list.list[1].atom) {
				return
			}
			name, says := list.list[1].atom, ""
			if shut := closed(name); shut != "" {
				says = "not everybody may read " + shut + ", and this runs without root's rights"
			} else if slices.Contains(changing, list.head()) {
				says = "it changes the machine, and this runs without root's rights"
			}
			if says != "" {
				all = append(all, finding{f.name, list.line, fmt.Sprintf("(%s %q): %s", list.head(), shorten(name), says)})
			}
		})
	}
	return all
}

// closed is the first on the way to a file that isn't open to everybody. What is below that isn't checked: who wrote the
// name mustn't learn whether it is there.
func closed(name string) string {
	for i, at := range slices.Backward(ancestors(path.Clean(name))) {
		info, err := os.Lstat(at)
		if err != nil || info.Mode().Type() == fs.ModeSymlink {
			return ""
		}
		if needs := map[bool]os.FileMode{true: 0o001, false: 0o004}[info.IsDir() && i > 0]; info.Mode()&needs == 0 {
			return at
		}
	}
	return ""
}

// ancestors are a file's name, and those of the folders above it.
func ancestors(name string) []string {
	all := []string{name}
	for ; name != "/"; name = path.Dir(name) {
		all = append(all, path.Dir(name))
	}
	return all
}

// missing are the literal names of files that aren't there; named is what guix misses, if it says so.
func missing(t sourceTree, named []string) (all []finding) {
	for _, f := range t.files {
		f.each(func(list, _ form, _ int) {
			if len(list.list) < 2 || !list.list[1].str {
				return
			}
			head, name := list.head(), list.list[1].atom
			says := ""
			switch {
			case slices.Contains(fromHere, head):
				says = t.lacks(path.Dir(f.name), name)
			case slices.Contains(fromLoadPath, head) && named != nil && strings.HasSuffix(named[1], name):
				says = "it isn't in modules/, nor has Guix such a file"
			}
			if says != "" {
				all = append(all, finding{f.name, list.line, fmt.Sprintf("(%s %q): %s", head, shorten(name), says)})
			}
		})
	}
	if named == nil {
		return all
	}
	it := slices.DeleteFunc(slices.Clone(all), func(f finding) bool { return !strings.Contains(f.says, path.Base(named[1])) })
	if len(it) > 0 {
		return it
	}
	return all
}

// lacks says why there is no file of a name that is used in a folder of the tree; nothing if there is one.
func (t sourceTree) lacks(folder, name string) string {
	if path.IsAbs(name) {
		if _, err := os.Stat(name); err == nil {
			return ""
		}
		return "the machine has no such file"
	}
	at := path.Join(folder, name)
	top, _, _ := strings.Cut(at, "/")
	switch _, err := os.Lstat(filepath.Join(t.dir, at)); {
	case at == ".." || strings.HasPrefix(at, "../"):
		return "that is outside of the repository"
	case err == nil:
		return ""
	case top == "pods" || top == "secrets" || top == "hosts":
		return "Guix doesn't get what is in " + top + "/"
	}
	return "there is no " + shorten(at) + " in the repository"
}

// askers are the places that ask for a module.
func askers(t sourceTree, module string) (all []finding) {
	says := "(" + module + ") is " + t.whence(module)
	for _, f := range t.files {
		f.each(func(list, in form, i int) {
			if symbols(list) == module && !(i == 1 && in.head() == "define-module") {
				all = append(all, finding{f.name, list.line, says})
			}
		})
	}
	return all
}

// symbols are those of a list that has nothing else: the name of a module.
func symbols(list form) string {
	var names []string
	for _, item := range list.list {
		if item.isList || item.str || item.quoted {
			return ""
		}
		names = append(names, item.atom)
	}
	return strings.Join(names, " ")
}

// whence says who may have a module.
func (t sourceTree) whence(module string) string {
	file := strings.ReplaceAll(module, " ", "/") + ".scm"
	prefix, _, _ := strings.Cut(module, " ")
	for _, c := range knownChannels {
		if !slices.Contains(c.prefixes, prefix) {
			continue
		}
		if _, has := t.channels[c.name]; has {
			return fmt.Sprintf("not in channel %s at the commit that %s has: take another, or look for the module's new name", c.name, channelsFile)
		}
		return fmt.Sprintf("of the channel %s: add it to %s (%s)", c.name, channelsFile, c.url)
	}
	for _, f := range t.files {
		switch {
		case f.name == file && mayBeModule(file):
			return "not what " + f.name + " defines: begin that with (define-module (" + module + "))"
		case f.name == file, strings.HasSuffix(f.name, "/"+file) && f.name != path.Join("modules", file):
			return "at " + f.name + ", where nobody looks for it: move it to " + path.Join("modules", file)
		}
	}
	return "neither in the repository nor in Guix or a channel of " + channelsFile
}

// unreadable are the modules of a tree's own that can't be read, or ask for one that can't be there.
func unreadable(t sourceTree) (all []finding) {
	own := map[string]bool{} // by file, as on the load path
	folders := map[string]bool{}
	for _, f := range t.files {
		name := strings.TrimPrefix(f.name, "modules/")
		own[name] = true
		if folder, _, deep := strings.Cut(name, "/"); deep {
			folders[folder] = true
		}
	}
	for _, f := range t.files {
		defines := false
		f.each(func(list, in form, i int) {
			module := symbols(list)
			if in.head() != "define-module" || i == 0 {
				return
			}
			defines = true
			if i == 1 {
				return
			}
			if module == "" && len(list.list) > 0 { // ((a b) #:select (c))
				module = symbols(list.list[0])
			}
			prefix, _, _ := strings.Cut(module, " ")
			known := slices.ContainsFunc(knownChannels, func(c knownChannel) bool {
				_, has := t.channels[c.name]
				return slices.Contains(c.prefixes, prefix) && !has
			})
			if module != "" && (known || folders[prefix]) && !own[strings.ReplaceAll(module, " ", "/")+".scm"] && !slices.Contains([]string{"guix", "gnu"}, prefix) && usesModule(in, i) {
				all = append(all, finding{f.name, list.line, "(" + module + ") is " + t.whence(module)})
			}
		})
		if f.err != nil && (defines || strings.HasPrefix(f.name, "modules/")) {
			all = append(all, finding{f.name, f.err.line, f.err.says})
		}
	}
	return all
}

// usesModule reports whether item i of a define-module follows #:use-module.
func usesModule(in form, i int) bool {
	return i > 0 && (in.list[i-1].atom == "#:use-module" || in.list[i-1].atom == ":use-module")
}

// A knownChannel has modules whose names begin so.
type knownChannel struct {
	name, url string
	prefixes  []string
}

var knownChannels = []knownChannel{
	{"nonguix", "https://gitlab.com/nonguix/nonguix", []string{"nongnu", "nonguix"}},
	{"rde", "https://git.sr.ht/~abcdw/rde", []string{"rde"}},
	{"guix-science", "https://codeberg.org/guix-science/guix-science", []string{"guix-science"}},
	{"guix-science-nonfree", "https://codeberg.org/guix-science/guix-science-nonfree", []string{"guix-science-nonfree"}},
	{"guix-hpc", "https://gitlab.inria.fr/guix-hpc/guix-hpc", []string{"guix-hpc"}},
	{"rosenthal", "https://codeberg.org/hako/rosenthal", []string{"rosenthal"}},
	{"saayix", "https://codeberg.org/look/saayix", []string{"saayix"}},
	{"sops-guix", "https://github.com/fishinthecalculator/sops-guix", []string{"sops"}},
}
