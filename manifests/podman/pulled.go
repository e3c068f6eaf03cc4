package podman

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"example.org/collie/agent/statefile"
)

// pulledImages is what Collie knows of the images that it pulled: others are never removed, and images bear no labels of ours.
type pulledImages struct {
	Pulled map[string][]string `json:"pulled"` // id to the names it was pulled by
	Needed [][]string          `json:"needed"` // ids that good revisions needed, the newest first
}

// recordLock guards the file: pulls and removals run in parallel.
var recordLock sync.Mutex

func (p *Podman) readRecord() (pulledImages, error) {
	r, err := statefile.Load[pulledImages](p.Rules.Record) // if it makes no sense, the images are kept
	if err != nil {
		return r, fmt.Errorf("record of images: %w", err)
	}
	if r.Pulled == nil {
		r.Pulled = map[string][]string{}
	}
	return r, nil
}

func (p *Podman) writeRecord(r pulledImages) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("record of images: %w", err)
	}
	if err := statefile.Write(p.Rules.Record, text); err != nil {
		return fmt.Errorf("record of images: %w", err)
	}
	return nil
}

// recordPull notes that an image is here because of Collie.
func (p *Podman) recordPull(name, id string) error {
	if p.Rules.Record == "" {
		return nil
	}
	recordLock.Lock()
	defer recordLock.Unlock()
	r, err := p.readRecord()
	if err != nil {
		return err
	}
	if slices.Contains(r.Pulled[id], name) {
		return nil
	}
	r.Pulled[id] = append(r.Pulled[id], name)
	return p.writeRecord(r)
}

// keepImages removes what Collie pulled and neither rs, nor the last revisions before them, nor any container needs.
func (p *Podman) keepImages(ctx context.Context, rs []Rendered) error {
	if p.Rules.Record == "" {
		return nil
	}
	live, err := p.listContainers(ctx)
	if err != nil {
		return err
	}
	recordLock.Lock()
	defer recordLock.Unlock()
	r, err := p.readRecord()
	if err != nil {
		return err
	}
	needed := r.need(rs, p.Rules.Keep)
	for _, c := range live {
		needed[c.ImageID] = true
	}
	for _, id := range slices.Sorted(maps.Keys(r.Pulled)) {
		if needed[id] {
			continue
		}
		gone, err := p.dropImage(ctx, id, r.Pulled[id])
		if err != nil {
			return errors.Join(err, p.writeRecord(r))
		}
		if gone {
			delete(r.Pulled, id)
		}
	}
	return p.writeRecord(r)
}

// need notes which images rs need, and returns those of all the last ones.
func (r *pulledImages) need(rs []Rendered, keep int) map[string]bool {
	now := map[string]bool{}
	for _, rendered := range rs {
		for _, pod := range rendered.Pods {
			for _, id := range pod.Images {
				now[id] = true
			}
		}
	}
	if ids := slices.Sorted(maps.Keys(now)); len(r.Needed) == 0 || !slices.Equal(r.Needed[0], ids) {
		r.Needed = slices.DeleteFunc(r.Needed, func(old []string) bool { return slices.Equal(old, ids) })
		r.Needed = slices.Insert(r.Needed, 0, ids)
	}
	r.Needed = r.Needed[:min(len(r.Needed), keep+1)]
	for _, ids := range r.Needed {
		for _, id := range ids {
			now[id] = true
		}
	}
	return now
}

// dropImage removes an image by the names under which Collie pulled it. One that somebody gave another name is theirs now.
func (p *Podman) dropImage(ctx context.Context, id string, names []string) (gone bool, err error) {
	here, err := p.inspectImage(ctx, id)
	if err != nil || here.ID == "" {
		return err == nil, err
	}
	if len(here.RepoTags) == 0 { // its tags moved on
		return p.removeImage(ctx, id)
	}
	for _, tag := range here.RepoTags {
		if !slices.ContainsFunc(names, func(name string) bool { return sameImage(name, tag) }) {
			return true, nil
		}
	}
	for _, tag := range here.RepoTags {
		if gone, err = p.removeImage(ctx, tag); !gone || err != nil {
			return false, err
		}
	}
	return true, nil
}

// sameImage reports whether name, as a manifest has it, may stand for Podman's tag of an image.
func sameImage(name, tag string) bool {
	name, _, _ = strings.Cut(name, "@")
	if untagged(name) == name {
		name += ":latest"
	}
	return name == tag || strings.HasSuffix(tag, "/"+name)
}
