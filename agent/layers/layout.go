package layers

import (
	"io/fs"
	"slices"
	"strings"

	"example.org/collie/agent/mistake"
	"example.org/collie/agent/source"
	"example.org/collie/manifests"
)

// layout checks the places of the files that this host sees, before anything reads them:
//
//	a file                                         what happens to it
//	an editor's own, whatever it is                left out, with a note; in pods/ manifests does so
//	a link that [source.Linked] took               as what it leads to
//	such a link from Guix's files to pods/ or      a mistake: everyone on the machine can read what Guix reads
//	secrets/
//	another link, a submodule                      a mistake
//	.guix-authorizations                           as any other, with a note
func layout(files view) (notes []string, mistakes mistake.List) {
	wrong := func(path, says string) { mistakes = append(mistakes, &mistake.Error{File: path, Says: says}) }
	pods := files.pods()
	inPods := func(path string) bool {
		return slices.ContainsFunc(pods, func(dir string) bool { return strings.HasPrefix(path, dir+"/") })
	}
	err := fs.WalkDir(files.repository, ".", func(at string, e fs.DirEntry, err error) error {
		switch real := source.Real(files.repository, at); {
		case err != nil:
			return err
		case at == ".":
		case e.Name() == ".git", files.others(at): // the first may be a file, in a work tree
			return skip(e)
		case inPods(at): // read, and refused or left out, by manifests
		case manifests.OfEditor(e.Name()):
			notes = append(notes, at+": is left out: that is how editors name files of their own")
			return skip(e)
		case e.Type()&fs.ModeSymlink != 0:
			wrong(at, source.LinkError(files.repository, at).Says)
		case e.IsDir():
		case !e.Type().IsRegular():
			wrong(at, "is no regular file: remove it")
		case real != at && files.forGuix(at) != "" && private(real):
			wrong(at, "is "+real+" by a symbolic link, and everyone on the machine can read what Guix reads: put what may be read there")
		}
		return nil
	})
	if err != nil {
		wrong(".", err.Error())
	}
	if files.has(authorizationsFile) {
		notes = append(notes, files.at(authorizationsFile)+": signatures aren't checked yet: whoever can push is trusted, whatever it says")
	}
	return notes, mistakes
}

// authorizationsFile says in a channel, and in whatever `guix git authenticate` is for, who may sign commits.
const authorizationsFile = ".guix-authorizations"
