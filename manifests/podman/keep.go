package podman

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"example.org/collie/manifests"
)

// Keep removes Collie's pods that none of rs names, and their volumes and secrets. Those that still run are first
// stopped with their grace. The volume of a claim is never removed.
func (p *Podman) Keep(ctx context.Context, rs []Rendered) error {
	ctx, cancel := withLimit(ctx, wholeKeep)
	defer cancel()
	all, err := p.listPods(ctx)
	if err != nil {
		return err
	}
	live, err := p.observe(ctx)
	if err != nil {
		return err
	}
	pods, secrets := p.needed(rs, all)
	if err := p.keepAdopted(ctx, rs); err != nil {
		return err
	}
	if err := p.inventory.keep(rs); err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(i podInfo) bool { return pods[i.Name] })
	err = each(waiters, all, func(i podInfo) error {
		if l := live[i.Name]; l != nil && l.runs() {
			if err := p.stopPod(ctx, l.name); err != nil {
				return err
			}
		}
		if err := p.removePod(ctx, i.Name); err != nil {
			return fmt.Errorf("removing pod %s: %w", i.Name, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	volumes, err := p.listVolumes(ctx)
	if err != nil {
		return err
	}
	for _, run := range p.runsOf(rs) {
		pods[run.id()] = true
		run.Run = "" // what it shares with others
		pods[run.id()] = true
	}
	for _, v := range volumes {
		if pod := v.Labels[labelPod]; pod == "" || pods[pod] {
			continue
		}
		if err := p.removeVolume(ctx, v.Name); err != nil {
			return err
		}
	}
	if err := p.keepJobs(pods, time.Now()); err != nil {
		return err
	}
	if err := p.keepSecrets(ctx, secrets); err != nil {
		return err
	}
	return p.keepImages(ctx, rs)
}

// needed are the pods, of all that there are, and the secrets that rs, or Jobs that aren't over, need.
func (p *Podman) needed(rs []Rendered, all []podInfo) (pods, secrets map[string]bool) {
	pods, secrets = map[string]bool{}, map[string]bool{}
	need := func(pod RenderedPod) {
		pods[pod.id()] = true
		for _, s := range pod.Secrets {
			secrets[s] = true
		}
	}
	alone := map[string]bool{}
	for _, r := range rs {
		for _, pod := range r.Pods {
			need(pod)
			alone[pod.Name] = alone[pod.Name] || pod.Options.Alone
		}
	}
	for _, r := range p.jobs.runs() {
		if r.Pod.Options.Hook == manifests.HookFailure && !r.over() {
			need(r.Pod)
		}
	}
	for _, run := range p.runsOf(rs) { // none of all was made for one that isn't known yet
		need(run)
	}
	for _, i := range all {
		if _, name, _ := strings.Cut(i.Labels[labelObject], "/"); alone[name] {
			pods[i.Name] = true
		}
	}
	return pods, secrets
}

// keepSecrets removes Collie's secrets, but for those in keep and those that the newest Prepare wants.
func (p *Podman) keepSecrets(ctx context.Context, keep map[string]bool) error {
	p.secrets.Lock()
	defer p.secrets.Unlock()
	all, err := p.listSecrets(ctx)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if all[name][labelOwner] != owner || keep[name] || p.fresh[name] {
			continue
		}
		if err := p.removeSecret(ctx, name); err != nil {
			return err
		}
	}
	return nil
}
