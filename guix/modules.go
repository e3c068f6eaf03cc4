package guix

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// A repository's own modules are those in modules/, and those at its top. The whole of modules/ is on the load path. The top
// level can't be: Guix tries each file of the load path as a module with packages, and would evaluate system.scm, home.scm and
// all others once more. So a folder of links to what is a module there is on the load path instead:
//
//	a file at the top, or in a folder of it         is on the load path
//	my/thing.scm: (define-module (my thing) …)      yes
//	thing.scm: (define-module (thing) …)            yes
//	lib/my/thing.scm: (define-module (my thing) …)  no, its name is another than where it is
//	what doesn't begin with define-module           no
//	system.scm, home.scm, home/USER.scm,            no: Collie gives them to Guix
//	channels.scm
//	guix.scm, gnu.scm                               no: these modules are Guix's
//	.name, modules/, hosts/, pods/, secrets/        no

// notAtTop are folders in which no module begins at the top.
var notAtTop = []string{"modules", "hosts", "pods", "secrets"}

// notModules are files at the top that are for something else, whatever they say.
var notModules = []string{"system.scm", "home.scm", channelsFile, "guix.scm", "gnu.scm"}

// beginning is as much of a file as is read to find its define-module.
const beginning = 64 << 10

// TopModules are the files outside of modules/ that are modules by where they are from the top of a repository.
func TopModules(repository fs.FS) (names []string, err error) {
	err = fs.WalkDir(repository, ".", func(at string, e fs.DirEntry, err error) error {
		switch {
		case err != nil || at == ".":
			return err
		case e.IsDir() && (strings.HasPrefix(e.Name(), ".") || slices.Contains(notAtTop, at)):
			return fs.SkipDir
		case !mayBeModule(at), !e.Type().IsRegular():
			return nil
		}
		is, err := defines(repository, at)
		if is {
			names = append(names, at)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("looking for modules at the top: %w", err)
	}
	return names, nil
}

// mayBeModule reports whether a file can be a module by its name.
func mayBeModule(at string) bool {
	return path.Ext(at) == ".scm" && !strings.HasPrefix(path.Base(at), ".") && !slices.Contains(notModules, at) && path.Dir(at) != "home"
}

// defines reports whether a file begins with the definition of the module that its name says.
func defines(repository fs.FS, at string) (bool, error) {
	f, err := repository.Open(at)
	if err != nil {
		return false, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, beginning))
	return definedModule(string(text))+".scm" == at, err
}

// definedModule is the module that a file's first form defines, as a file: (my thing) is my/thing.
func definedModule(text string) string {
	r := &schemeReader{text: text, line: 1, depth: schemeDepth, whole: true}
	r.blank()
	rest, is := strings.CutPrefix(r.text, "(define-module")
	r.text = rest
	r.blank()
	if !is || r.text == "" {
		return ""
	}
	name, err := r.form(0)
	if err != nil || !name.isList {
		return ""
	}
	return strings.ReplaceAll(symbols(name), " ", "/")
}

// LinksOf is the folder of links to the modules at the top of a tree. No tree is named so.
func LinksOf(tree string) string { return tree + "+modules" }

// LinkModules makes the folder of links to the modules at the top of tree, if there are any, and reports that.
func LinkModules(tree, links string) (bool, error) {
	names, err := TopModules(os.DirFS(tree))
	if err != nil {
		return false, err
	}
	for _, name := range names {
		if err := putLink(filepath.Join(tree, name), filepath.Join(links, name)); err != nil {
			return false, fmt.Errorf("putting %s on the load path: %w", name, err)
		}
	}
	return len(names) > 0, nil
}

func putLink(to, at string) error {
	if now, err := os.Readlink(at); err == nil && now == to {
		return nil
	}
	return errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.RemoveAll(at), os.Symlink(to, at))
}

// load is how Guix finds tree's file, and tree's own modules: first those in modules/.
func load(tree, file string) ([]string, error) {
	var args []string
	top, err := LinkModules(tree, LinksOf(tree))
	if err != nil {
		return nil, err
	}
	if top {
		args = append(args, "-L", LinksOf(tree))
	}
	if modules := filepath.Join(tree, "modules"); isDir(modules) {
		args = append(args, "-L", modules) // what Guix is given last comes first
	}
	return append(args, filepath.Join(tree, file)), nil
}
