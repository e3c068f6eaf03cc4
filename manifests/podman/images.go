package podman

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"example.org/collie/manifests"
	"example.org/collie/manifests/internal/tree"
)

// Rules are what a machine's configuration says of images.
type Rules struct {
	RequireDigest bool   // an image has to be named with its digest
	AuthFile      string // credentials for registries, as `podman login' writes them; empty: those that the pod user has
	Record        string // file in which Collie keeps what it pulled; empty: no image is ever removed
	Keep          int    // of how many former good revisions the images are kept
}

// An ImageError blames a revision: it names an image that isn't to be had.
type ImageError struct {
	File      string // inside the revision
	Line      int
	Field     string
	Image     string
	Says      string
	Hint      string
	Retriable bool // the registry says that there is none. It may come: a push of the commit is often before that of the image
}

func (e *ImageError) Error() string {
	says := fmt.Sprintf("%s:%d: %s: image %q %s", e.File, e.Line, e.Field, e.Image, e.Says)
	if e.Hint != "" {
		says += "\n    hint: " + e.Hint
	}
	return says
}

// A need is one image, for all pods that name it.
type need struct {
	manifests.Image
	file string
	here localImage // what this machine has of that name
	live bool       // all who name it are live with that: the registry has no say in whether they may stay
}

func (n need) wrong(says string) *ImageError {
	return &ImageError{File: n.file, Line: n.Line, Field: n.Field, Image: n.Name, Says: says}
}

// images brings all images of m here. It checks all of them before it returns an error.
func (p *Podman) images(ctx context.Context, m *manifests.Manifests, live map[string]*livePod, tell func(string)) (map[string]localImage, error) {
	here := map[string]localImage{}
	for _, pod := range m.Pods {
		for _, i := range pod.Images {
			if _, asked := here[i.Name]; asked {
				continue
			}
			found, err := p.inspectImage(ctx, i.Name)
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %s: %w", pod.File, i.Line, i.Field, &EngineError{err})
			}
			here[i.Name] = found
		}
	}
	var (
		mu    sync.Mutex
		found = map[string]localImage{}
		errs  []error
	)
	err := each(workers, needs(m, here, live), func(n need) error {
		i, err := p.image(ctx, n, func(says string) {
			mu.Lock()
			defer mu.Unlock()
			tell(says)
		})
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			errs = append(errs, err)
		}
		found[n.Name] = i
		return ctx.Err()
	})
	slices.SortFunc(errs, func(a, b error) int { // what waiting doesn't mend comes first
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Error(), b.Error()))
	})
	return found, errors.Join(append(errs, err)...)
}

func rank(err error) int {
	if blamed := new(ImageError); errors.As(err, &blamed) && !blamed.Retriable {
		return 0
	}
	return 1
}

// needs gathers the images of m, each once and with the most demanding policy that a pod has for it.
func needs(m *manifests.Manifests, here map[string]localImage, live map[string]*livePod) []need {
	rank := map[string]int{"Never": 0, "IfNotPresent": 1, "Always": 2}
	byName := map[string]*need{}
	for _, pod := range m.Pods {
		l := live[pod.Name+"-"+movable(pod, here)]
		isLive := l != nil && l.ours()
		for _, i := range pod.Images {
			n := byName[i.Name]
			if n == nil {
				byName[i.Name] = &need{Image: i, file: pod.File, here: here[i.Name], live: isLive}
				continue
			}
			n.live = n.live && isLive
			if rank[i.Policy] > rank[n.Policy] {
				n.Policy = i.Policy
			}
		}
	}
	var all []need
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		all = append(all, *byName[name])
	}
	return all
}

// movable is the hash of a pod with the images that its policy checks again: if a tag moved, it is another pod. Any other
// image remains the one from when the pod was made, and a Job doesn't run again for its image.
func movable(pod *manifests.Pod, images map[string]localImage) string {
	if pod.Job != nil {
		return pod.Hash
	}
	var ids []string
	for _, i := range pod.Images {
		if i.Policy == "Always" {
			ids = append(ids, images[i.Name].ID)
		}
	}
	if len(ids) == 0 {
		return pod.Hash
	}
	return tree.Sum(map[string]any{"pod": pod.Hash, "images": ids})[:8]
}

// moves reports whether a registry is to be asked again for an image of pod.
func moves(pod *manifests.Pod) bool {
	return pod.Job == nil && slices.ContainsFunc(pod.Images, func(i manifests.Image) bool {
		return i.Policy == "Always" && !isPinned(i.Name) && !isLocal(i.Name)
	})
}

// isPinned reports whether a name says what is in the image.
func isPinned(name string) bool { return strings.Contains(name, "@sha256:") }

// isLocal reports whether a name is one that Podman gives to what was built here: there is no such registry.
func isLocal(name string) bool { return strings.HasPrefix(name, "localhost/") }

func (p *Podman) image(ctx context.Context, n need, tell func(string)) (localImage, error) {
	there := n.here.ID != ""
	switch {
	case p.Rules.RequireDigest && !isPinned(n.Name):
		err := n.wrong("has no digest, and this machine's configuration asks for one (images.requireDigest)")
		err.Hint = "write it as NAME@sha256:…"
		if n.here.Digest != "" {
			err.Hint = "write " + untagged(n.Name) + "@" + n.here.Digest + " for the one that is here"
		}
		return localImage{}, err
	case there && n.Policy != "Always", there && isLocal(n.Name):
		return n.here, nil
	case n.Policy == "Never":
		return localImage{}, n.wrong("isn't on this machine, and its imagePullPolicy is Never")
	}
	tell("pulling " + n.Name)
	pulled, err := p.fetch(ctx, n.Name)
	switch {
	case err == nil:
		return pulled, nil
	case there && n.live && ctx.Err() == nil:
		tell(fmt.Sprintf("%s couldn't be pulled, but its pods run: %v", n.Name, err))
		return n.here, nil
	case isMissing(err):
		blamed := n.wrong("was not found in the registry: " + err.Error())
		blamed.Retriable = true
		return localImage{}, blamed
	case isRejected(err):
		blamed := n.wrong("is refused by this machine's policy.json: " + err.Error())
		blamed.Hint = "sign it with a key that the policy names, or change the policy in the system's configuration"
		return localImage{}, blamed
	}
	hint := ""
	if wantsLogin(err) {
		keys := registryKeys(n.Name)
		hint = fmt.Sprintf("the registry wants a password: `podman login %s` as the pod user, or name a file in images.authFile: ", keys[len(keys)-1])
	}
	return localImage{}, fmt.Errorf("%s:%d: %s: pulling image %q: %s%w", n.file, n.Line, n.Field, n.Name, hint, err)
}

// fetch pulls an image, with the credentials that there are for it.
func (p *Podman) fetch(ctx context.Context, name string) (localImage, error) {
	var header http.Header
	if p.Rules.AuthFile != "" {
		var err error
		if header, err = credentials(p.Rules.AuthFile, name); err != nil {
			return localImage{}, err
		}
	}
	id, err := p.pull(ctx, name, header)
	if err != nil {
		return localImage{}, err
	}
	if err := p.recordPull(name, id); err != nil {
		return localImage{}, err
	}
	pulled, err := p.inspectImage(ctx, id)
	if err == nil && pulled.ID == "" {
		err = fmt.Errorf("image %s is gone as soon as it was pulled", name)
	}
	return pulled, err
}

// isMissing reports whether a registry answered that there is no such image, rather than nothing or something else.
func isMissing(err error) bool {
	var says pullError
	if !errors.As(err, &says) {
		return false
	}
	has := func(part string) bool { return strings.Contains(string(says), part) }
	switch { // of several registries for a short name, one may be out of reach: then nobody knows
	case has("dial tcp"), has("pinging container registry"), has("imeout"), has("connection re"), has("429"), has("toomanyrequests"):
		return false
	}
	return has("manifest unknown") || has("name unknown") || has("repository name not known") || has("reading manifest") && has("not found") ||
		has("requested access to the resource is denied") || // Docker Hub, of a repository that isn't
		has("parsing reference") || has("invalid reference format") || has("short-name")
}

// isRejected reports whether policy.json doesn't let an image in.
func isRejected(err error) bool {
	var says pullError
	return errors.As(err, &says) && strings.Contains(string(says), "Source image rejected")
}

// wantsLogin reports whether a registry doesn't know who asks, or knows and doesn't let them.
func wantsLogin(err error) bool {
	var says pullError
	return errors.As(err, &says) && (strings.Contains(string(says), "unauthorized") || strings.Contains(string(says), "authentication required"))
}

// haveImages sees that the images of a pod are still here, and fetches again what was removed meanwhile. Only the one
// that was prepared will do.
func (p *Podman) haveImages(ctx context.Context, pod RenderedPod) error {
	for _, name := range slices.Sorted(maps.Keys(pod.Images)) {
		want := pod.Images[name]
		here, err := p.inspectImage(ctx, want)
		if err != nil {
			return err
		}
		if here.ID != "" {
			continue
		}
		pulled, err := p.fetch(ctx, name)
		if err != nil {
			return fmt.Errorf("image %q is gone from this machine, and pulling it again: %w", name, err)
		}
		if digest := pod.Digests[name]; pulled.ID != want && digest != "" { // the tag moved
			if asked, err := p.fetch(ctx, untagged(name)+"@"+digest); err == nil {
				pulled = asked
			}
		}
		if pulled.ID != want {
			return fmt.Errorf("image %q is gone from this machine, and the registry has another under that name: %.12s instead of %.12s", name, pulled.ID, want)
		}
	}
	return nil
}

// untagged is a name without its tag.
func untagged(name string) string {
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		return name[:i]
	}
	return name
}

// Digests are what the tags of all images meant when r was prepared, by name.
func (r Rendered) Digests() map[string]string {
	all := map[string]string{}
	for _, pod := range r.Pods {
		maps.Copy(all, pod.Digests)
	}
	return all
}

// Moves reports whether the tag of an image may lead to another one by now, and the policy wants that.
func (r Rendered) Moves() bool {
	return slices.ContainsFunc(r.Pods, func(pod RenderedPod) bool { return pod.Moves })
}
