package agent

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"example.org/collie/guix"
	"example.org/collie/manifests"
)

// Validate checks a repository's files as far as that can be done without Guix and Podman. It returns notes, and all
// mistakes, in the order of files and lines.
func Validate(files fs.FS) (notes, mistakes []string) {
	mistakes = links(files)
	for _, err := range unsupported(files) {
		mistakes = append(mistakes, err.Error())
	}
	if text, err := fs.ReadFile(files, "channels.scm"); err == nil {
		if err := guix.CheckChannels(string(text)); err != nil {
			mistakes = append(mistakes, err.Error())
		}
	}
	if !has(files, "system.scm") {
		notes = append(notes, "no system.scm: the operating system is left alone")
	}
	if !has(files, "home.scm") && !has(files, "home") {
		notes = append(notes, "no home.scm: homes are left alone")
	}
	if !has(files, podsDir) {
		return append(notes, "no pods/: pods are left alone"), mistakes
	}
	all, err := manifests.Load(files, podsDir)
	var wrong manifests.Errors
	switch {
	case errors.As(err, &wrong):
		mistakes = append(mistakes, withHints(wrong)...)
	case err != nil:
		mistakes = append(mistakes, err.Error())
	default:
		for _, n := range all.Notes {
			notes = append(notes, n.String())
		}
	}
	return notes, mistakes
}

// links names what git would deliver as no plain file, and Collie would refuse.
func links(files fs.FS) (mistakes []string) {
	err := fs.WalkDir(files, ".", func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && e.Name() == ".git":
			return fs.SkipDir
		case strings.HasPrefix(path, podsDir+"/") && slices.Contains([]string{".yaml", ".yml"}, filepath.Ext(path)): // read, and refused, below
		case e.Type()&fs.ModeSymlink != 0:
			mistakes = append(mistakes, path+": is a symbolic link: put the file itself in its place")
		case !e.IsDir() && !e.Type().IsRegular():
			mistakes = append(mistakes, path+": is no regular file: remove it")
		}
		return nil
	})
	if err != nil {
		mistakes = append(mistakes, err.Error())
	}
	return mistakes
}

// withHints tells each mistake with what to do.
func withHints(mistakes manifests.Errors) []string {
	var all []string
	for _, e := range mistakes {
		line := e.Error()
		if e.Hint != "" {
			line += "\n  hint: " + e.Hint
		}
		all = append(all, line)
	}
	return all
}
