package podman

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"example.org/collie/manifests"
)

// Prepare brings to the machine all that m needs, and disturbs nothing that runs: it pulls images and makes secrets. An
// *ImageError blames the revision, an *EngineError Podman; any other error is worth another try.
func (p *Podman) Prepare(ctx context.Context, m *manifests.Manifests, revision string, tell func(string)) (Rendered, error) {
	have, err := p.stock(ctx)
	if err != nil {
		return Rendered{}, &EngineError{err}
	}
	everything, err := p.listContainers(ctx)
	if err != nil {
		return Rendered{}, &EngineError{err}
	}
	live := byPod(everything)
	if err := p.learnWhose(ctx, live); err != nil {
		return Rendered{}, &EngineError{err}
	}
	remaining := have.remaining(m, live)
	if err := vacant(m, everything, live, remaining); err != nil {
		return Rendered{}, err
	}
	images, err := p.images(ctx, m, live, tell)
	if err != nil {
		return Rendered{}, err
	}
	var r Rendered
	secrets := map[string]map[string]any{}
	for _, pod := range m.Pods {
		done, err := render(pod, revision, images)
		if err != nil {
			return Rendered{}, err
		}
		r.Pods = append(r.Pods, done.RenderedPod)
		maps.Copy(secrets, done.secrets)
	}
	r.Pods = append(r.Pods, remaining...)
	slices.SortFunc(r.Pods, func(a, b RenderedPod) int { return cmp.Compare(a.Name, b.Name) })
	for _, claim := range m.Claims {
		r.Claims = append(r.Claims, claim.Name)
	}
	if err := p.makeSecrets(ctx, secrets); err != nil {
		return Rendered{}, &EngineError{err}
	}
	return r, nil
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
