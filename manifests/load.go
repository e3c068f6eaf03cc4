package manifests

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path"
	"slices"
	"strings"

	"example.org/collie/agent/mistake"
)

// Manifests are the checked objects of one revision.
type Manifests struct {
	Pods    []*Pod   // by name
	Stopped []*Pod   // by name: they are there, but with no replica
	Claims  []*Claim // by name
	Notes   []Note   // by file and line

	Plain []*Object // Secrets that aren't encrypted in the repository, whether a pod uses them or not
}

// A Pod is what a Pod, a Deployment or a Job asks for.
type Pod struct {
	Name       string         // metadata.name of the Pod, or of what asks for it: what users call it
	Kind       string         // "Pod", "Deployment", "DaemonSet", "Job" or "CronJob"
	File       string         // inside the revision
	Line       int            // where the object begins
	Hash       string         // 8 hex digits over Doc and all that the pod uses
	Doc        map[string]any // a canonical v1 Pod; made of map[string]any, []any, string, int64 and bool
	ConfigMaps []*Object      // used by it, by name
	Secrets    []*Object      // used by it, by name
	Claims     []string       // names of the claims it uses, sorted
	Images     []Image        // in the order of the file, init containers first
	HostPorts  []HostPort
	Options    Options
	Deadline   int      // progressDeadlineSeconds; 0: none is given
	Job        *Job     // nil: it runs until it is stopped
	Cron       *Cron    // of a CronJob, which has a Job too
	Probes     []Probes // of its containers that have any, in the order of the file

	HostNetwork bool // it has the machine's
}

// An Object is a ConfigMap or a Secret.
type Object struct {
	Kind, Name string
	File       string
	Line       int
	Hash       string // the first 8 hex digits of sum
	sum        string // over name and content; of a Secret with the machine's key
	Doc        Redacted
}

// A Claim is a PersistentVolumeClaim.
type Claim struct {
	Name    string
	File    string
	Line    int
	Doc     map[string]any
	Options Options
}

// An Image is needed by a pod, for a container or a volume.
type Image struct {
	Name   string
	Policy string // "Always", "IfNotPresent" or "Never"; Kubernetes' default if the file has none
	Field  string
	Line   int
}

// A HostPort is a port of the machine that a pod takes.
type HostPort struct {
	IP       string // empty: all addresses
	Port     int
	Protocol string // "TCP", "UDP" or "SCTP"
	Field    string
	Line     int
}

// Redacted holds a document that may be secret: it can't be printed, logged or marshalled, not even by accident.
type Redacted struct {
	doc func() map[string]any // a function: where this sits in an unexported field, fmt prints no more than its address
}

func redact(doc map[string]any) Redacted { return Redacted{func() map[string]any { return doc }} }

// Reveal returns the document itself, to be handed to Podman and nobody else.
func (r Redacted) Reveal() map[string]any {
	if r.doc == nil {
		return nil
	}
	return r.doc()
}

func (Redacted) String() string                { return "[redacted]" }
func (Redacted) Format(f fmt.State, verb rune) { fmt.Fprint(f, "[redacted]") }
func (Redacted) LogValue() slog.Value          { return slog.StringValue("[redacted]") }

func (Redacted) MarshalJSON() ([]byte, error) {
	return nil, errors.New("a redacted document isn't written down: name it by its hash")
}

// Bounds on a revision.
const (
	mostEntries = 10_000   // files and folders
	mostFile    = 1 << 20  // bytes
	mostBytes   = 16 << 20 // bytes of all files
)

// Load reads and checks all YAML (*.yaml, *.yml) under dirs of fsys, sub-folders too, as one, but for editors' own files. If the files are at fault, its
// error is of type [mistake.List] and holds all mistakes, by file and line.
func Load(fsys fs.FS, dirs ...string) (*Manifests, error) {
	return LoadWith(context.Background(), Private{}, fsys, dirs...)
}

// LoadWith is Load with what the machine adds: the Secrets of sealed files are as good as those of others.
func LoadWith(ctx context.Context, private Private, fsys fs.FS, dirs ...string) (*Manifests, error) {
	return (&checker{key: private.Key, torn: private.Partial}).load(ctx, private.Sealed, fsys, dirs)
}

// Check is LoadWith for a caller that wants the mistakes and notes alone. It returns no pods, as it keeps of each only what other
// documents are compared with: 10,000 pods take 20 MiB in place of 65.
func Check(private Private, fsys fs.FS, dirs ...string) (*Manifests, error) {
	return (&checker{key: private.Key, torn: private.Partial, brief: true}).load(context.Background(), private.Sealed, fsys, dirs)
}

func (c *checker) load(ctx context.Context, sealed []Sealed, fsys fs.FS, dirs []string) (*Manifests, error) {
	entries, bytes := 0, int64(0)
	count := func(name string, size int) error {
		if bytes += int64(size); bytes > mostBytes {
			return &mistake.Error{File: name, Line: 1, Says: fmt.Sprintf("is too much: all files together may have %d MiB", mostBytes>>20)}
		}
		return context.Cause(ctx)
	}
	read := func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		entries++
		if entries > mostEntries {
			return &mistake.Error{File: name, Line: 1, Says: fmt.Sprintf("is one too many: there may be %d files and folders", mostEntries)}
		}
		if entry.IsDir() {
			return nil
		}
		data, err := c.readFile(fsys, name, entry)
		if err != nil {
			return err
		}
		if err := count(name, len(data)); err != nil {
			return err
		}
		c.file(name, data)
		return nil
	}
	var err error
	for i := 0; i < len(sealed) && err == nil; i++ {
		if err = count(sealed[i].File, sealed[i].size()); err == nil {
			c.open(sealed[i])
		}
	}
	for i := 0; i < len(dirs) && err == nil; i++ {
		err = fs.WalkDir(fsys, dirs[i], read)
	}
	var limit *mistake.Error
	switch {
	case errors.As(err, &limit): // the rest wasn't read
		c.errs = append(c.errs, limit)
		c.torn = true
	case err != nil:
		return nil, fmt.Errorf("reading the manifests in %s: %w", strings.Join(dirs, " and "), err)
	}
	m := c.bind()
	if len(c.errs) > 0 {
		return nil, c.mistakes()
	}
	return m, nil
}

// readFile returns what a manifest holds. It is empty for a file that is none, and for one that isn't read: then c knows why.
func (c *checker) readFile(fsys fs.FS, name string, entry fs.DirEntry) ([]byte, error) {
	p := place{file: name, line: 1}
	if base := path.Base(name); strings.HasPrefix(base, ".") || OfEditor(base) {
		c.note(p, "is left out: that is how editors name files of their own")
		return nil, nil
	}
	if !entry.Type().IsRegular() {
		c.torn = true
		if says, known := whyLink(fsys, name); known {
			c.wrong(p, "", "%s", says)
			return nil, nil
		}
		c.wrong(p, "put the file itself there", "is not a plain file, but %s", fileType(entry.Type()))
		return nil, nil
	}
	switch ext := path.Ext(name); {
	case ext == ".yaml" || ext == ".yml":
	case strings.EqualFold(ext, ".yaml") || strings.EqualFold(ext, ".yml") || ext == ".json":
		c.note(p, "is not read: the names of manifests end in .yaml or .yml")
		return nil, nil
	default:
		return nil, nil
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, mostFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > mostFile {
		c.torn = true
		c.wrong(p, "split it", "is larger than %d MiB", mostFile>>20)
		return nil, nil
	}
	return data, nil
}

// OfEditor reports whether a file is one that an editor, or a file manager, makes by itself: a lock, a copy, unsaved text.
func OfEditor(name string) bool {
	return strings.HasPrefix(name, ".#") || strings.HasSuffix(name, "~") || len(name) > 1 && strings.HasPrefix(name, "#") && strings.HasSuffix(name, "#") ||
		slices.Contains([]string{".swp", ".swo", ".swx"}, path.Ext(name))
}

// whyLink is why fsys doesn't open a link, if it says so.
func whyLink(fsys fs.FS, name string) (says string, known bool) {
	_, err := fsys.Open(name)
	var blamed interface{ Blames() string }
	if errors.As(err, &blamed) {
		return blamed.Blames(), true
	}
	return "", false
}

func fileType(mode fs.FileMode) string {
	if mode&fs.ModeSymlink != 0 {
		return "a symbolic link"
	}
	return "something else"
}

// file reads the documents of one file.
func (c *checker) file(name string, data []byte) {
	roots, wrong := mistake.Documents(name, data)
	for _, root := range roots {
		c.document(name, root, "")
	}
	if wrong != nil {
		c.torn = true
		c.errs = append(c.errs, wrong)
	}
}

// mistakes are all that were found, each once: an alias can make one mistake in many places.
func (c *checker) mistakes() mistake.List {
	c.shutMistakes()
	return c.errs.Sorted()
}

// Removing objects, and what a revision has to contain for it:
//
//	the revision no longer has             what happens
//	a pod                                  it is stopped, and removed once the revision is good
//	any pod that there was, of several     refused, unless its collie.yaml names each: prune: [Pod/web, Deployment/api]
//	a pod with collie.io/prune: disabled   it continues as it is; removed by hand, it is gone
//	a claim                                refused, unless its collie.yaml names it: prune: [PersistentVolumeClaim/data].
//	                                       Even then the volume is kept, until a person removes it
//	a pod, but its Deployment, replicas: 0 it is stopped and removed, without more words
//	pods/ itself                           all pods are kept
//
// The former objects are those of the revisions that the state names (inventory.go). If the state is lost, they are the objects in
// Podman, except a claim whose volume no pod mounts: it may have been given up long ago.
//
// A name in collie.yaml that the revision still has is a mistake, so a stale entry can't delete it later.
