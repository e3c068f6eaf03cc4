package manifests

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// An ImageError blames a revision: it names an image that isn't to be had.
type ImageError struct {
	File  string // inside the revision
	Line  int
	Field string
	Image string
	Says  string
}

func (e *ImageError) Error() string {
	return fmt.Sprintf("%s:%d: %s: image %q %s", e.File, e.Line, e.Field, e.Image, e.Says)
}

// Prepare brings to the machine all that m needs, and disturbs nothing that runs: it pulls images and makes secrets. An
// *ImageError blames the revision; any other error is worth another try.
func (p *Podman) Prepare(ctx context.Context, m *Manifests, revision string, tell func(string)) (Rendered, error) {
	live, err := p.observe(ctx)
	if err != nil {
		return Rendered{}, err
	}
	ids, err := p.images(ctx, needs(m, live), tell)
	if err != nil {
		return Rendered{}, err
	}
	var r Rendered
	secrets := map[string]map[string]any{}
	for _, pod := range m.Pods {
		done, err := render(pod, revision, ids)
		if err != nil {
			return Rendered{}, err
		}
		r.Pods = append(r.Pods, done.RenderedPod)
		maps.Copy(secrets, done.secrets)
	}
	for _, claim := range m.Claims {
		r.Claims = append(r.Claims, claim.Name)
	}
	if err := p.makeSecrets(ctx, secrets); err != nil {
		return Rendered{}, err
	}
	return r, nil
}

// A need is one image, for all pods that name it.
type need struct {
	Image
	file string
	live bool // all who name it are live already: the registry has no say in whether they may stay
}

// needs gathers the images of m, each once and with the most demanding policy that a pod has for it.
func needs(m *Manifests, live map[string]*livePod) []need {
	rank := map[string]int{"Never": 0, "IfNotPresent": 1, "Always": 2}
	byName := map[string]*need{}
	for _, pod := range m.Pods {
		l := live[pod.Name+"-"+pod.Hash]
		isLive := l != nil && l.ours()
		for _, image := range pod.Images {
			n := byName[image.Name]
			if n == nil {
				byName[image.Name] = &need{Image: image, file: pod.File, live: isLive}
				continue
			}
			n.live = n.live && isLive
			if rank[image.Policy] > rank[n.Policy] {
				n.Policy = image.Policy
			}
		}
	}
	var all []need
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		all = append(all, *byName[name])
	}
	return all
}

// images returns the ids of all images, by name. It looks at all of them before it complains.
func (p *Podman) images(ctx context.Context, all []need, tell func(string)) (map[string]string, error) {
	var (
		mu   sync.Mutex
		ids  = map[string]string{}
		errs []error
	)
	err := each(workers, all, func(n need) error {
		id, err := p.image(ctx, n, func(says string) {
			mu.Lock()
			defer mu.Unlock()
			tell(says)
		})
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			errs = append(errs, err)
		}
		ids[n.Name] = id
		return ctx.Err()
	})
	slices.SortFunc(errs, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	return ids, errors.Join(append(errs, err)...)
}

func (p *Podman) image(ctx context.Context, n need, tell func(string)) (string, error) {
	blame := func(says string) error {
		return &ImageError{File: n.file, Line: n.Line, Field: n.Field, Image: n.Name, Says: says}
	}
	id, err := p.imageID(ctx, n.Name)
	switch {
	case err != nil:
		return "", fmt.Errorf("%s:%d: %s: %w", n.file, n.Line, n.Field, err)
	case id != "" && n.Policy != "Always":
		return id, nil
	case id != "" && strings.HasPrefix(n.Name, "localhost/"):
		return id, nil // Podman's name for what was built here: there is no such registry
	case n.Policy == "Never":
		return "", blame("isn't on this machine, and its imagePullPolicy is Never")
	}
	tell("pulling " + n.Name)
	pulled, err := p.pull(ctx, n.Name)
	switch {
	case err == nil:
		return pulled, nil
	case id != "" && n.live && ctx.Err() == nil:
		tell(fmt.Sprintf("%s couldn't be pulled, but its pods run: %v", n.Name, err))
		return id, nil
	case isMissing(err):
		return "", blame("was not found in the registry: " + err.Error())
	}
	return "", fmt.Errorf("%s:%d: %s: pulling image %q: %w", n.file, n.Line, n.Field, n.Name, err)
}

// isMissing tells whether a registry answered that there is no such image, rather than nothing or something else.
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

// haveImages sees that the images of a pod are still here, and fetches again what was removed meanwhile. Only the one
// that was prepared will do.
func (p *Podman) haveImages(ctx context.Context, pod RenderedPod) error {
	for _, name := range slices.Sorted(maps.Keys(pod.Images)) {
		want := pod.Images[name]
		here, err := p.imageID(ctx, want)
		if err != nil {
			return err
		}
		if here != "" {
			continue
		}
		pulled, err := p.pull(ctx, name)
		if err != nil {
			return fmt.Errorf("image %q is gone from this machine, and pulling it again: %w", name, err)
		}
		if pulled != want {
			return fmt.Errorf("image %q is gone from this machine, and the registry has another under that name: %.12s instead of %.12s", name, pulled, want)
		}
	}
	return nil
}

// makeSecrets makes the secrets that aren't there. Their names say what is in them, so one that is there is right.
func (p *Podman) makeSecrets(ctx context.Context, docs map[string]map[string]any) error {
	p.secrets.Lock()
	defer p.secrets.Unlock()
	p.fresh = map[string]bool{}
	if len(docs) == 0 {
		return nil
	}
	there, err := p.listSecrets(ctx)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(docs)) {
		p.fresh[name] = true
		labels, ok := there[name]
		switch {
		case ok && labels[labelOwner] != owner:
			return fmt.Errorf("secret %s isn't Collie's: it has no label %s=%s; remove it from Podman", name, labelOwner, owner)
		case ok:
			continue
		}
		if err := p.createSecret(ctx, name, docs[name]); err != nil {
			return err
		}
	}
	return nil
}
