package layers

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"example.org/collie/agent/rollout"
	"example.org/collie/agent/statefile"
	"example.org/collie/guix"
)

// evaluations remembers what each evaluation read. A commit that changes none of that reuses the former result, without a
// guix ([guix.Reads] has the table). If a record is lost, its layer is evaluated.
type evaluations struct {
	file string
	mu   sync.Mutex
}

// An evaluated is what came of an evaluation.
type evaluated struct {
	At    time.Time  `json:"at"`
	Item  string     `json:"item"`
	Reads guix.Reads `json:"reads"`
}

const mostEvaluated = 50

// An evaluation is what a layer has to be made of.
type evaluation struct {
	layer   string
	rev     rollout.Revision
	tree    string // as this layer sees it, and no other opens
	profile string // of the guix
	under   string // the circumstances
}

// root is the name of the GC root of what is made.
func (e evaluation) root() string { return rootName(e.layer, e.rev.Tree, e.profile) }

// refusal is the name of these files where they are refused.
func (e evaluation) refusal() string {
	if e.rev.Plan {
		return rootName("plan", e.rev.Tree, e.profile)
	}
	return rootName("tree", e.rev.Tree, e.profile)
}

// same is what an evaluation would come to, if it is known from another tree. It is kept for this one as well.
func (es *evaluations) same(e evaluation, roots guix.Roots) (string, error) {
	es.mu.Lock()
	defer es.mu.Unlock()
	all, err := es.all()
	if err != nil {
		return "", err
	}
	kept, err := roots.List()
	if err != nil {
		return "", err
	}
	root := e.root()
	newest := slices.SortedFunc(maps.Keys(all), func(a, b string) int { return all[b].At.Compare(all[a].At) })
	for _, name := range newest {
		known := all[name]
		if !alike(name, root) || kept[name] != known.Item || known.Item == "" || !known.Reads.Hold(e.tree, e.under) {
			continue
		}
		if _, err := os.Stat(known.Item); err != nil {
			continue
		}
		if err := roots.Keep(root, known.Item); err != nil {
			return "", err
		}
		known.At = time.Now()
		all[root], kept[root] = known, known.Item
		return known.Item, es.write(all, kept)
	}
	return "", nil
}

// alike reports whether two roots differ in the tree alone: the layer comes before it, and the guix, if it is known, after.
func alike(a, b string) bool {
	split := func(root string) (layer, guix string, whole bool) {
		parts := strings.Split(root, ":")
		if len(parts) < 3 {
			return "", "", false
		}
		return strings.Join(parts[:len(parts)-2], ":"), parts[len(parts)-1], true
	}
	layer, guix, whole := split(a)
	otherLayer, otherGuix, otherWhole := split(b)
	return whole && otherWhole && layer == otherLayer && guix == otherGuix
}

// note remembers what an evaluation read; where that isn't known, it forgets what it knew.
func (es *evaluations) note(e evaluation, item string, reads guix.Reads, roots guix.Roots) error {
	es.mu.Lock()
	defer es.mu.Unlock()
	all, err := es.all()
	if err != nil {
		return err
	}
	kept, err := roots.List()
	if err != nil {
		return err
	}
	delete(all, e.root())
	if reads.Known() {
		all[e.root()] = evaluated{time.Now(), item, reads}
	}
	return es.write(all, kept)
}

func (es *evaluations) all() (map[string]evaluated, error) {
	all, err := statefile.Load[map[string]evaluated](es.file)
	if all == nil {
		all = map[string]evaluated{}
	}
	return all, err
}

// write drops what is of items that nobody keeps, and the oldest.
func (es *evaluations) write(all map[string]evaluated, kept map[string]string) error {
	maps.DeleteFunc(all, func(root string, e evaluated) bool { return kept[root] != e.Item })
	for len(all) > mostEvaluated {
		delete(all, slices.MinFunc(slices.Collect(maps.Keys(all)), func(a, b string) int { return all[a].At.Compare(all[b].At) }))
	}
	return statefile.WriteJSON(es.file, all)
}

// mirror makes a folder with the same files next to a tree. The layers are evaluated in parallel, and a file that one of them opens
// must not count for another.
func mirror(tree, layer string) (string, error) {
	into := tree + "." + strings.ReplaceAll(layer, ":", "-")
	err := filepath.WalkDir(tree, func(at string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := into + strings.TrimPrefix(at, tree)
		was, lstatErr := os.Lstat(to)
		switch {
		case e.IsDir() && lstatErr == nil && was.IsDir():
			return nil
		case e.IsDir():
			return os.Mkdir(to, 0o755)
		case e.Type() == fs.ModeSymlink:
			link, err := os.Readlink(at)
			if now, _ := os.Readlink(to); err != nil || now == link {
				return err
			}
			return errors.Join(os.RemoveAll(to), os.Symlink(link, to))
		}
		info, err := e.Info()
		if err != nil || lstatErr == nil && os.SameFile(was, info) {
			return err
		}
		return errors.Join(os.RemoveAll(to), os.Link(at, to))
	})
	if err != nil {
		return "", fmt.Errorf("writing the files of %s for Guix: %w", layer, err)
	}
	return into, nil
}
