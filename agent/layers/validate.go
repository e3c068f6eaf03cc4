package layers

import (
	"bytes"
	"io/fs"
	"path"
	"slices"

	"example.org/collie/agent/mistake"
	"example.org/collie/agent/source"
	"example.org/collie/guix"
	"example.org/collie/manifests"
)

// Validate checks a repository's files as far as that can be done without Guix and Podman, as host sees them, or as each
// host does that has a folder. It returns notes, and all mistakes, in the order of files and lines.
func Validate(repository fs.FS, host string) (notes, mistakes []string) {
	if mistakes := names(repository); len(mistakes) > 0 {
		return nil, mistakes // with such a name nothing else of a revision is checked
	}
	repository, err := source.Linked(repository)
	if err != nil {
		return nil, []string{err.Error()}
	}
	hosts := []string{host}
	if named, _ := hostsOf(repository); host == "" && len(named) > 0 {
		hosts = named
	}
	var wrong mistake.List
	for _, host := range hosts {
		files, err := viewOf(repository, host)
		if err != nil {
			wrong = append(wrong, mistakesOf(err, hostsDir)...)
			continue
		}
		n, m := validate(files)
		notes, wrong = append(notes, n...), append(wrong, m...)
	}
	for _, e := range wrong.Sorted() {
		mistakes = append(mistakes, e.Text())
	}
	return distinct(notes), mistakes
}

// names finds what no file of a revision may be called.
func names(repository fs.FS) (mistakes []string) {
	err := fs.WalkDir(repository, ".", func(at string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case at == ".":
			return nil
		case e.Name() == ".git": // a file, if the work tree belongs to another repository
			return skip(e)
		}
		if wrong := source.CheckName(at, e.Name()); wrong != nil {
			mistakes = append(mistakes, wrong.Error())
			return skip(e)
		}
		return nil
	})
	if err != nil {
		mistakes = append(mistakes, err.Error())
	}
	return mistakes
}

// skip skips what is in a folder.
func skip(e fs.DirEntry) error {
	if e.IsDir() {
		return fs.SkipDir
	}
	return nil
}

// distinct keeps once what several hosts have in common.
func distinct(lines []string) (all []string) {
	for _, line := range lines {
		if !slices.Contains(all, line) {
			all = append(all, line)
		}
	}
	return all
}

// Placeholder is in the SSH key of examples, in whose place one's own belongs: whoever deploys it can't log in any more.
const Placeholder = "PlaceThePublicKey"

// placeholders finds such keys in the system and in modules. (collie repository) refuses them as well, where Guix sees them.
func placeholders(files view) (mistakes mistake.List) {
	look := func(name string, text []byte) {
		number := 0
		for line := range bytes.Lines(text) {
			if number++; bytes.Contains(line, []byte(Placeholder)) {
				mistakes = append(mistakes, &mistake.Error{File: name, Line: number, Says: "the key …" + Placeholder + "… is a placeholder: " +
					"write your own public key in its place, as `cat ~/.ssh/id_ed25519.pub` shows it, or nobody can log in"})
			}
		}
	}
	if text, err := files.read("system.scm"); err == nil {
		look(files.at("system.scm"), text)
	}
	modules, _ := guix.TopModules(files.repository) // what can't be read is a mistake already
	_ = fs.WalkDir(files.repository, "modules", func(at string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && path.Ext(at) == ".scm" { // without modules there are none
			modules = append(modules, at)
		}
		return nil
	})
	for _, at := range modules {
		if text, err := fs.ReadFile(files.repository, at); err == nil {
			look(at, text)
		}
	}
	return mistakes
}

// validate checks what one host sees.
func validate(files view) (notes []string, wrong mistake.List) {
	notes, wrong = layout(files)
	wrong = slices.Concat(files.wrong, wrong, unsupported(files), channels(files), placeholders(files))
	none := func(name, what string) {
		if files.partial() {
			return
		}
		if files.dir != "" {
			name += ", nor " + files.dir + "/" + name
		}
		notes = append(notes, "no "+name+": "+what+" left alone")
	}
	if !files.has("system.scm") {
		none("system.scm", "the operating system is")
	}
	if !files.has("home.scm") && !files.has("home") {
		none("home.scm", "homes are")
	}
	dirs := files.pods()
	if len(dirs) == 0 {
		none("pods/", "pods are")
		return notes, wrong
	}
	all, err := manifests.Check(closed(files), files.repository, dirs...)
	if err != nil {
		return notes, append(wrong, mistakesOf(err, podsDir)...)
	}
	for _, n := range all.Notes {
		notes = append(notes, n.String())
	}
	return append(notes, sealedNotes(files, all)...), wrong
}
