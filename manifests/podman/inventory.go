package podman

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"

	"example.org/collie/agent/statefile"
)

// An inventory has the objects with which a revision is compared before it may remove something, and facts that Podman doesn't
// have. It is on disk before a switch makes or stops anything. Labels show which objects nobody needs. If the inventory is lost,
// the objects in Podman with our labels replace it.
type inventory struct {
	mu    sync.Mutex
	file  string // none: it is lost with the process
	known bool
	state inventoryState
}

type inventoryState struct {
	Pods    []RenderedPod     `json:"pods,omitempty"`    // of the last switch; how to make them only if they are kept after they left the repository
	Claims  []string          `json:"claims,omitempty"`  // of all kept revisions
	Adopted map[string]string `json:"adopted,omitempty"` // pods that somebody made by hand, by Podman's name: whose place they had
}

// TakeInventory keeps the inventory in file, and reads what is there. With an error nothing may be switched: the file would be
// written over.
func (p *Podman) TakeInventory(file string) error {
	p.inventory.mu.Lock()
	p.inventory.file = file
	p.inventory.mu.Unlock()
	return p.ReadInventory(file)
}

// ReadInventory reads the inventory for somebody who only looks.
func (p *Podman) ReadInventory(file string) error {
	v := &p.inventory
	v.mu.Lock()
	defer v.mu.Unlock()
	state, err := statefile.Read[inventoryState](file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("the inventory of pods: %w", err)
	}
	v.state, v.known = state, true
	return nil
}

// Check returns what makes no sense in an inventory.
func (s inventoryState) Check() error {
	for _, pod := range s.Pods {
		if pod.Name == "" {
			return errors.New("it has a pod without a name")
		}
	}
	return nil
}

// change changes the inventory, on disk first.
func (v *inventory) change(do func(s *inventoryState)) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	next := v.state
	next.Adopted = maps.Clone(next.Adopted)
	do(&next)
	was, err := json.Marshal(v.state)
	data, err2 := json.Marshal(next)
	if err = errors.Join(err, err2); err != nil {
		return fmt.Errorf("writing the inventory of pods: %w", err)
	}
	if v.known && string(was) == string(data) {
		return nil
	}
	if v.file != "" {
		if err := statefile.Write(v.file, data); err != nil {
			return fmt.Errorf("writing the inventory of pods: %w", err)
		}
	}
	v.state, v.known = next, true
	return nil
}

// take writes down that the machine is switched to r, which takes over what somebody made by hand.
func (v *inventory) take(r Rendered, adopted map[string]string) error {
	return v.change(func(s *inventoryState) {
		s.Pods = nil
		for _, pod := range r.Pods {
			if !pod.Options.Stays {
				pod = RenderedPod{Name: pod.Name, Kind: pod.Kind, Hash: pod.Hash, File: pod.File, Line: pod.Line, Options: pod.Options}
			}
			s.Pods = append(s.Pods, pod)
		}
		s.Claims = slices.Compact(slices.Sorted(slices.Values(slices.Concat(s.Claims, r.Claims))))
		for name, object := range adopted {
			if s.Adopted == nil {
				s.Adopted = map[string]string{}
			}
			s.Adopted[name] = object
		}
	})
}

// keep forgets the claims that none of rs has.
func (v *inventory) keep(rs []Rendered) error {
	if len(rs) == 0 {
		return nil
	}
	var claims []string
	for _, r := range rs {
		claims = append(claims, r.Claims...)
	}
	return v.change(func(s *inventoryState) {
		s.Claims = slices.DeleteFunc(slices.Clone(s.Claims), func(claim string) bool { return !slices.Contains(claims, claim) })
	})
}

// stock is the inventory. If there is none, it is what Podman has of ours. Of the volumes of claims those count then that a pod
// mounts: of another nobody knows whether the last commit still had its claim, or it was given up long ago.
func (p *Podman) stock(ctx context.Context) (inventoryState, error) {
	v := &p.inventory
	v.mu.Lock()
	state, known := v.state, v.known
	v.mu.Unlock()
	if known {
		return state, nil
	}
	live, err := p.Live(ctx)
	if err != nil {
		return state, err
	}
	volumes, err := p.listVolumes(ctx)
	if err != nil {
		return state, err
	}
	mounted, err := p.mounted(ctx)
	if err != nil {
		return state, err
	}
	state.Pods = live.Pods
	for _, volume := range volumes {
		switch {
		case volume.Labels[labelObject] != persistentClaim+"/"+volume.Name:
		case mounted[volume.Name]:
			state.Claims = append(state.Claims, volume.Name)
		default:
			p.Log.Info("it isn't known any more which commit had a claim; its volume is kept", "claim", volume.Name)
		}
	}
	return state, nil
}

// mounted are the volumes that containers of Collie's pods mount, whether these run or not.
func (p *Podman) mounted(ctx context.Context) (map[string]bool, error) {
	live, err := p.observe(ctx)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, l := range live {
		if !l.ours() {
			continue
		}
		for _, c := range l.containers {
			state, err := p.inspectContainer(ctx, c.ID)
			if err != nil {
				return nil, err
			}
			for _, name := range state.volumes {
				names[name] = true
			}
		}
	}
	return names, nil
}

// Unused are the volumes of claims that no kept revision has. Only a person removes them.
func (p *Podman) Unused(ctx context.Context) ([]string, error) {
	have, err := p.stock(ctx)
	if err != nil {
		return nil, err
	}
	volumes, err := p.listVolumes(ctx)
	if err != nil {
		return nil, err
	}
	var unused []string
	for _, volume := range volumes {
		if volume.Labels[labelObject] == persistentClaim+"/"+volume.Name && !slices.Contains(have.Claims, volume.Name) {
			unused = append(unused, volume.Name)
		}
	}
	slices.Sort(unused)
	return unused, nil
}

// adopted are pods made by hand, by Podman's name, with the name of what took their place.
func (v *inventory) adopted() map[string]string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return maps.Clone(v.state.Adopted)
}
