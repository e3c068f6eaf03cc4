package agent

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.org/collie/guix"
	"example.org/collie/manifests/podman"
)

// This is how the agent ends for its own sake: its service got another definition, or a commit took it off the machine.
// Both wait for a quiet point, with nothing underway that a person waits for.

var (
	// errReplaced ends the agent so that Shepherd starts its new definition.
	errReplaced = errors.New("the agent's own service has changed; Shepherd starts the new one")
	// errLeft ends it for good.
	errLeft = errors.New("the agent leaves this machine")
)

const (
	longestPreparation = 30 * time.Minute // that a replacement waits for: a stream of commits mustn't keep the old one for ever
	farewell           = 3 * time.Second  // in which whoever follows the last rollout hears of its end
)

// quiet ends the agent, or with it the machine, if that is due. It is called where nothing is underway: idle, suspended, stuck, or before the
// first revision.
func (c *conductor) quiet(now time.Time) error {
	var own Change
	for _, p := range c.parts {
		if seen := c.seen[p.Name]; seen.own.Does != "" {
			own = seen.own
		}
	}
	if own.Does == "" {
		c.due = time.Time{}
		return c.reboot(now)
	}
	if c.due.IsZero() {
		c.due = now
	}
	switch {
	case own.Does == guix.Leaves && c.state.Stuck != nil:
		return nil // it isn't known how the machine is left
	case own.Does == guix.Leaves:
		if until := c.due.Add(farewell); now.Before(until) {
			c.wakeAt(until)
			return nil
		}
		return c.leave()
	case c.preparer.busy() && now.Before(c.due.Add(longestPreparation)):
		c.wakeAt(c.due.Add(longestPreparation))
		return nil
	}
	return c.replace(own)
}

// replace ends the agent for its next definition. Whether that one comes up, nobody has tried by then: a guard of that
// begins here, by what it keeps to go back to.
func (c *conductor) replace(own Change) error {
	if err := c.write(Entry{Event: evReplaced, Revision: c.state.Current.Revision, Because: own.Says}); err != nil {
		return err
	}
	return errReplaced
}

// leave tells how the machine is left, and ends the agent.
func (c *conductor) leave() error {
	account := c.account()
	if err := c.write(Entry{Event: evLeft, Revision: c.state.Current.Revision, Because: strings.Join(account, "; ")}); err != nil {
		return err
	}
	for _, line := range account {
		c.log.Info("leaving: " + line)
	}
	return errLeft
}

// account is how Collie leaves the machine.
func (c *conductor) account() []string {
	all := []string{"at revision " + c.state.Current.Revision + ", which has no service " + ownService}
	for _, p := range c.parts {
		t, err := c.target(p.Name, c.state.Current.Targets[p.Name])
		if l, tells := p.Layer.(describer); tells && err == nil {
			all = append(all, p.Name+": "+l.Describe(t))
		}
	}
	return append(all,
		"nobody looks at the repository any more, restarts what changes, heals pods, or returns from what fails",
		"what Collie kept stays in "+c.store.dir+" until `"+c.removal+"` removes it")
}

func (l systemLayer) Describe(t Target) string {
	number, item, err := l.Generation()
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("generation %d, %s, stays, and its services go on", number, item)
}

func (l homeLayer) Describe(t Target) string {
	var item guixItem
	if err := decode(t, &item); err != nil {
		return err.Error()
	}
	return filepath.Base(item.Item) + " stays, and its services go on"
}

func (l podsLayer) Describe(t Target) string {
	var r podman.Rendered
	if err := decode(t, &r); err != nil {
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
	Own(ctx context.Context, item string) (guix.Change, error)
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
		return false, &BadError{Err: fmt.Errorf("%s: leave: true, but the %s of %s still has the service %s\n"+
			"  hint: remove the one or the other", files.at(repositoryFile), what, files.at(file), ownService)}
	case stays:
		return false, nil
	}
	live, err := l.Live(ctx)
	if err != nil {
		return false, err
	}
	if leaves, err = l.Drops(live, item); err == nil && leaves && !cfg.Leave {
		err = &BadError{Err: fmt.Errorf("%s: the %s has no service %s any more, so nothing would follow the repository, or return from what fails\n"+
			"  hint: keep %s, or say `leave: true` in %s", files.at(file), what, ownService, serviceTypes[what], repositoryFile)}
	}
	return leaves, err
}

func (l systemLayer) Own(ctx context.Context, t Target) (Change, error) {
	return ownOf(ctx, l.System, t)
}

func (l homeLayer) Own(ctx context.Context, t Target) (Change, error) { return ownOf(ctx, l.Home, t) }

// ownOf is what is due for the agent's own service, where t is wanted.
func ownOf(ctx context.Context, l selfOwner, t Target) (Change, error) {
	var item guixItem
	if t.ID != "" {
		if err := decode(t, &item); err != nil {
			return Change{}, err
		}
	}
	own, err := l.Own(ctx, item.Item)
	return Change{Does: own.Does, Subject: own.Subject, Says: own.Says, Waits: own.Waits()}, err
}

// leaves tells whether t takes Collie off the machine.
func leaves(t Target) bool {
	var item guixItem
	return (t.Layer == "system" || strings.HasPrefix(t.Layer, "home:")) && decode(t, &item) == nil && item.Leaves
}

// sequence is the order in which the layers are switched to set. The system that takes Collie off the machine also takes
// the pod user and Podman's API: it comes last.
func (c *conductor) sequence(set Set) []Part {
	if !set.Leaves {
		return c.parts
	}
	last := slices.Clone(c.parts)
	slices.Reverse(last)
	return last
}

// judges tells whether a layer at a target is looked at for the verdict: once Collie's own services are gone, only what they
// left can be.
func (c *conductor) judges(layer, id string) bool {
	if !c.state.Rollout.To.Leaves {
		return true
	}
	t, err := c.target(layer, id)
	return err == nil && leaves(t)
}
