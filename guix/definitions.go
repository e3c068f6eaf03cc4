package guix

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"example.org/collie/shepherd"
)

// A ServiceFile defines one service of a Shepherd.
type ServiceFile struct {
	Name     string   // the service's first name, if Starts; else how the file is called, its names joined by dashes
	File     string   // /gnu/store/…-shepherd-NAME.go in a system, .scm in a home; another path is another definition
	Provides []string // all its names, if Starts; Guix doesn't say those of the others
	Starts   bool     // Shepherd starts it by itself
}

// systemDefinitions are the services of a system item: its boot script names the configuration of Shepherd.
func (s Store) systemDefinitions(item string) ([]ServiceFile, error) {
	boot, err := s.read(filepath.Join(item, "boot"))
	if err != nil {
		return nil, fmt.Errorf("reading which services the system %s has: %w", filepath.Base(item), err)
	}
	if len(boot) == 0 { // a power cut as it was built, or a bad disk
		return nil, fmt.Errorf("the system %s is damaged, its boot script is empty: `guix build --repair %s` as root rebuilds it", filepath.Base(item), item)
	}
	conf := shepherdConf.Find(boot)
	if conf == nil {
		return nil, fmt.Errorf("the boot script of %s names no configuration of Shepherd: is it a Guix newer than 1.5?", filepath.Base(item))
	}
	return s.serviceFiles(string(conf))
}

// homeDefinitions are the services of a home item, none if it has no Shepherd, or one whose configuration Guix didn't
// make. No item is a home without anything.
func (s Store) homeDefinitions(item string) ([]ServiceFile, error) {
	if item == "" {
		return nil, nil
	}
	conf, _, err := s.real(filepath.Join(item, "files/.config/shepherd/init.scm"))
	outside := (*OutsideError)(nil)
	if errors.Is(err, fs.ErrNotExist) || errors.As(err, &outside) || err == nil && !isConf(conf) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading which services the home %s has: %w", filepath.Base(item), err)
	}
	return s.serviceFiles(conf)
}

// isConf reports whether a file is a configuration of Shepherd that Guix made.
func isConf(file string) bool { return nameOf(file) == "shepherd.conf" }

const maxDefinitions = 4 << 20 // a conf of 13 services has 3 KiB

func readBounded(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxDefinitions+1))
	if err == nil && len(text) > maxDefinitions {
		err = fmt.Errorf("%s is longer than %d bytes", file, maxDefinitions)
	}
	return text, err
}

// How Guix 1.5 writes it: (quote ("/gnu/store/…-shepherd-a.go" …)), (services-to-start (quote (a b …))).
var (
	shepherdConf   = regexp.MustCompile(`/gnu/store/[0-9a-z]{32}-shepherd\.conf`)
	definition     = regexp.MustCompile(`"(/gnu/store/[0-9a-z]{32}-shepherd-([0-9A-Za-z+._?=-]{1,211})\.(?:go|scm))"`)
	notInFileNames = regexp.MustCompile(`[^0-9A-Za-z+._?=-]`)
)

// serviceFiles reads a configuration of Shepherd that Guix made.
func (s Store) serviceFiles(conf string) ([]ServiceFile, error) {
	text, err := s.read(conf)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration of Shepherd: %w", err)
	}
	forms, err := readStore(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s can't be read: %w", conf, err)
	}
	list, ok := seek(forms, "services-to-start")
	if !ok || len(list.list) != 2 || !list.list[1].symbols() {
		return nil, fmt.Errorf("%s doesn't say which services are started: is it a Guix newer than 1.5?", conf)
	}
	starts := list.list[1].atoms()
	var files []ServiceFile
	for _, match := range definition.FindAllSubmatch(text, -1) {
		f := ServiceFile{Name: string(match[2]), File: string(match[1])}
		// The names of those it starts are in the order of the files, and several for a service with several.
		if n := provided(f.Name, starts); n > 0 {
			f.Starts, f.Provides, f.Name = true, starts[:n:n], starts[0]
			starts = starts[n:]
		}
		files = append(files, f)
	}
	if len(starts) > 0 {
		return nil, fmt.Errorf("%s starts %q, which no file of it defines", conf, starts[0])
	}
	return files, nil
}

// provided is how many of names, from the first on, make a file's name; 0 if they don't.
func provided(file string, names []string) int {
	for n := 1; n <= len(names); n++ {
		switch made := fileName(names[:n]); {
		case made == file:
			return n
		case !strings.HasPrefix(file, made):
			return 0
		}
	}
	return 0
}

// fileName is how Guix calls the file of a service of those names.
func fileName(provides []string) string {
	return notInFileNames.ReplaceAllString(strings.Join(provides, "-"), "-")
}

// defines reports whether f is, or replaces, the service s.
func (f ServiceFile) defines(s shepherd.Service) bool {
	if !f.Starts {
		return f.Name == fileName(s.Provides) || slices.Contains(s.Provides, f.Name)
	}
	return slices.ContainsFunc(f.Provides, func(name string) bool { return slices.Contains(s.Provides, name) })
}

// fileOf is the file that defines s, or nothing.
func fileOf(files []ServiceFile, s shepherd.Service) string {
	if i := slices.IndexFunc(files, func(f ServiceFile) bool { return f.defines(s) }); i >= 0 {
		return files[i].File
	}
	return ""
}
