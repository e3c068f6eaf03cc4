package layers

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"example.org/collie/agent/mistake"
	"example.org/collie/agent/rollout"
	"example.org/collie/guix"
	"example.org/collie/manifests/podman"
)

func (l systemLayer) Describe(t rollout.Target) string {
	number, item, err := l.Generation()
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("generation %d, %s, stays, and its services go on", number, item)
}

func (l homeLayer) Describe(t rollout.Target) string {
	var item guixItem
	if err := t.Decode(&item); err != nil {
		return err.Error()
	}
	return filepath.Base(item.Item) + " stays, and its services go on"
}

func (l podsLayer) Describe(t rollout.Target) string {
	var r podman.Rendered
	if err := t.Decode(&r); err != nil {
		return err.Error()
	}
	var names []string
	for _, pod := range r.Pods {
		names = append(names, pod.Name)
	}
	if len(names) == 0 {
		return "there are none"
	}
	return strings.Join(names, ", ") + " go on until the next boot, and nobody starts them then"
}

// A selfOwner may have the agent's own service: the system, or without root the home.
type selfOwner interface {
	Live(ctx context.Context) (item string, err error)
	Runs(item string) (bool, error)
	Drops(live, item string) (bool, error)
	Note(ctx context.Context, item string) (guix.Change, error)
	Leave(ctx context.Context) error
}

// serviceTypes have the agent's own service, by what they are of.
var serviceTypes = map[string]string{"system": "collie-service-type", "home": "home-collie-service-type"}

// mayLeave refuses what takes Collie off the machine, unless the commit says that it is meant so: a service list that was
// copied without it would do that by mistake, and nobody could undo it by a push. item was made of file, and is called what.
func mayLeave(ctx context.Context, l selfOwner, files view, item, what, file string) (leaves bool, err error) {
	cfg, err := readRepositoryConfig(files)
	if err != nil {
		return false, err
	}
	stays, err := l.Runs(item)
	switch {
	case err != nil:
		return false, err
	case stays && cfg.Leave:
		return false, &rollout.BadError{Err: mistake.List{{File: files.at(RepositoryFile), Field: "leave", Hint: "remove the one or the other",
			Says: fmt.Sprintf("true, but the %s of %s still has the service %s", what, files.at(file), OwnService)}}}
	case stays:
		return false, nil
	}
	live, err := l.Live(ctx)
	if err != nil {
		return false, err
	}
	if leaves, err = l.Drops(live, item); err == nil && leaves && !cfg.Leave {
		err = &rollout.BadError{Err: mistake.List{{File: files.at(file), Hint: fmt.Sprintf("keep %s, or say `leave: true` in %s", serviceTypes[what], RepositoryFile),
			Says: fmt.Sprintf("the %s has no service %s any more, so nothing would follow the repository, or roll back what fails", what, OwnService)}}}
	}
	return leaves, err
}

func (l systemLayer) Note(ctx context.Context, t rollout.Target) (rollout.Change, error) {
	return noteOf(ctx, l.System, t)
}

func (l homeLayer) Note(ctx context.Context, t rollout.Target) (rollout.Change, error) {
	return noteOf(ctx, l.Home, t)
}

// noteOf is what is due for the agent's own service, where t is wanted.
func noteOf(ctx context.Context, l selfOwner, t rollout.Target) (rollout.Change, error) {
	var item guixItem
	if t.ID != "" {
		if err := t.Decode(&item); err != nil {
			return rollout.Change{}, err
		}
	}
	own, err := l.Note(ctx, item.Item)
	does := own.Does
	if does == guix.Leaves {
		does = rollout.Leaves
	}
	return rollout.Change{Does: does, Subject: own.Subject, Says: own.Says, Waits: own.Waits()}, err
}
