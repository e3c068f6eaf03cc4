package layers

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"example.org/collie/agent/mistake"
	"example.org/collie/agent/rollout"
	"example.org/collie/agent/source"
	"example.org/collie/guix"
	"example.org/collie/manifests"
)

// hostsDir is where a repository has what differs from host to host, in a folder for each.
const hostsDir = "hosts"

// A view is a repository as one host sees it: the files of its folder in hosts/ are laid over the top level, each in
// place of the one of that name. Of pods there are those of both.
type view struct {
	repository fs.FS
	trees      string          // the folder for what Guix finds; empty: no layer is Guix's
	dir        string          // hosts/NAME; empty where there are no folders of hosts
	laid       map[string]bool // the files of dir that are laid over, by name
	wrong      mistake.List    // why it isn't known what this host sees: then it is what could be laid
}

// partial reports whether the host may have other files than those in the view.
func (v view) partial() bool { return len(v.wrong) > 0 }

// A Repository has the files of revisions.
type Repository struct {
	Tree  func(ctx context.Context, revision string) (fs.FS, error)
	Trees string // the folder for what Guix finds of them; empty: no layer is Guix's
}

// nothing is the repository of what no revision names.
var nothing embed.FS

// Open is a revision as host sees it.
func (r Repository) Open(ctx context.Context, revision, host string) (rollout.Files, error) {
	tree, err := fs.FS(nothing), error(nil)
	if revision != rollout.Baseline {
		tree, err = r.Tree(ctx, revision)
	}
	if err == nil {
		tree, err = source.Linked(tree)
	}
	if err != nil {
		return nil, err
	}
	v, err := viewOf(tree, host)
	v.trees = r.Trees
	return v, err
}

// filesOf are a revision's files, as its host sees them.
func filesOf(rev rollout.Revision) view { return rev.Files.(view) }

// Check finds the mistakes that no layer finds: of where the files lie, of what is encrypted, of channels.scm and of collie.yaml.
func (v view) Check() (notes []string, mistakes error) {
	notes, wrong := layout(v)
	if v.trees == "" {
		wrong = nil // pods have folders of their own
	} else {
		wrong = append(wrong, channels(v)...)
	}
	return notes, slices.Concat(wrong, v.wrong, unsupported(v)).Sorted().Err()
}

// Export writes what Guix sees of this host's files.
func (v view) Export() (string, error) {
	if v.trees == "" {
		return "", nil
	}
	return source.Export(v.repository, v.forGuix, v.trees)
}

func (v view) Place(err error) error { return inRepository(err, v.names()) }

// viewOf is the repository as host sees it. It is a mistake if there are folders of hosts but none of this one: which
// of the others' files would do for it nobody knows. Mistakes are in the view, so that others are reported with them.
func viewOf(repository fs.FS, host string) (view, error) {
	v := view{repository: repository, laid: map[string]bool{}}
	hosts, err := hostsOf(repository)
	if v.wrong = mistake.Of(err); v.wrong != nil {
		return v, nil
	}
	if err != nil || len(hosts) == 0 {
		return v, err
	}
	if !slices.Contains(hosts, host) {
		v.wrong = mistake.List{{File: hostsDir + "/", Says: fmt.Sprintf("there is no folder of this host, %s, only of %s", host, enumerate(hosts)),
			Hint: fmt.Sprintf("make %s/%s, with at least one file, or set `host` in this machine's configuration to one of them", hostsDir, host)}}
		return v, nil
	}
	v.dir = path.Join(hostsDir, host)
	v.wrong, err = v.lay()
	return v, err
}

// hostsOf names the hosts that the repository has folders of; none if it has no hosts/.
func hostsOf(repository fs.FS) ([]string, error) {
	info, err := fs.Stat(repository, hostsDir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err == nil && !info.IsDir():
		return nil, mistake.List{{File: hostsDir, Says: "is for a folder of each host, and no folder itself: give it another name"}}
	case err != nil:
		return nil, err
	}
	entries, err := fs.ReadDir(repository, hostsDir)
	var hosts []string
	for _, e := range entries {
		if e.IsDir() {
			hosts = append(hosts, e.Name())
		}
	}
	if err == nil && len(hosts) == 0 {
		err = mistake.List{{File: hostsDir + "/", Says: "there is no folder in it: make one for each host, or remove it"}}
	}
	return hosts, err
}

func enumerate(names []string) string {
	const most = 10
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// lay finds what is laid over. A file in place of a folder, or a folder in place of a file, would leave it open what
// becomes of the rest.
func (v view) lay() (mistakes mistake.List, err error) {
	wrong := func(at, says string) { mistakes = append(mistakes, &mistake.Error{File: at, Says: says}) }
	err = fs.WalkDir(v.repository, v.dir, func(at string, e fs.DirEntry, err error) error {
		if err != nil || at == v.dir {
			return err
		}
		name := strings.TrimPrefix(at, v.dir+"/")
		top, missing := fs.Stat(v.repository, name)
		switch {
		case name == podsDir && e.IsDir():
			return fs.SkipDir
		case name == hostsDir:
			wrong(at, "a host has no hosts of its own: give it another name")
		case missing == nil && top.IsDir() != e.IsDir():
			wrong(at, "either it or "+name+" is a folder, and the other isn't: give it another name")
		case e.IsDir():
			return nil
		default:
			v.laid[name] = true
			return nil
		}
		if e.IsDir() {
			return fs.SkipDir
		}
		return nil
	})
	return mistakes, err
}

// at is where the repository has what this host knows by name: it is the name itself, or in the host's folder.
func (v view) at(name string) string {
	own := path.Join(v.dir, name)
	if v.laid[name] || !has(v.repository, name) && has(v.repository, own) {
		return own
	}
	return name
}

func (v view) has(name string) bool { return has(v.repository, v.at(name)) }

func (v view) read(name string) ([]byte, error) { return fs.ReadFile(v.repository, v.at(name)) }

// pods are the folders in which this host has its pods; none where no pods are described.
func (v view) pods() (dirs []string) {
	for _, dir := range []string{podsDir, path.Join(v.dir, podsDir)} {
		if has(v.repository, dir) && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// names are the Scheme files that Guix finds under another name than they have in the repository.
func (v view) names() map[string]string {
	names := map[string]string{}
	for name := range v.laid {
		if path.Ext(name) == ".scm" {
			names[name] = path.Join(v.dir, name)
		}
	}
	return names
}

// inRepository is err with files named as the repository has them.
func inRepository(err error, names map[string]string) error {
	if said := new(guix.BuildError); errors.As(err, &said) {
		said.Rename(names)
	}
	for _, e := range mistake.Of(err) {
		if name := names[e.File]; name != "" {
			e.File = name
		}
	}
	return err
}

func has(files fs.FS, name string) bool {
	_, err := fs.Stat(files, name)
	return err == nil
}

// others reports whether a path is of another host.
func (v view) others(at string) bool {
	return strings.HasPrefix(at, hostsDir+"/") && at != v.dir && !strings.HasPrefix(at, v.dir+"/")
}

// forGuix is where Guix finds what is at a path of the repository; nowhere if it is "": Guix has no use for pods, and secrets
// must never become readable.
func (v view) forGuix(at string) string {
	if v.dir != "" && (at == hostsDir || at == v.dir) {
		return "."
	}
	name, own := strings.CutPrefix(at, v.dir+"/")
	top, _, _ := strings.Cut(name, "/")
	if !own && v.laid[at] || slices.Contains([]string{hostsDir, podsDir, secretsDir, RepositoryFile}, top) || manifests.OfEditor(path.Base(at)) {
		return ""
	}
	return name
}

// ForGuix writes what Guix reads of a repository, as host sees it, to a folder in into, and returns that.
func ForGuix(repository fs.FS, host, into string) (string, error) {
	repository, err := source.Linked(repository)
	if err != nil {
		return "", err
	}
	files, err := viewOf(repository, host)
	if err == nil {
		err = files.wrong.Err()
	}
	if err != nil {
		return "", err
	}
	return source.Export(files.repository, files.forGuix, into)
}

// private reports whether what is at a path mustn't become readable, as all is that Guix finds.
func private(at string) bool {
	parts := strings.Split(at, "/")
	if parts[0] == hostsDir && len(parts) > 2 {
		parts = parts[2:]
	}
	return parts[0] == podsDir || parts[0] == secretsDir
}
