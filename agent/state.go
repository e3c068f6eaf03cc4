package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"example.org/collie/agent/api"
	"example.org/collie/agent/source"
)

// State is what must not be forgotten. Only the conductor writes it; deleted, the live machine is adopted.
type State struct {
	Host      string          `json:"host"`
	Newest    source.Revision `json:"newest"`            // fetched and accepted
	Accepted  time.Time       `json:"accepted,omitzero"` // when Newest was
	Prepared  Set             `json:"prepared"`          // the newest that could be prepared
	Current   Set             `json:"current"`           // what the machine was last switched to; a layer in mid-switch is missing
	Good      Set             `json:"good"`              // the newest that passed; a return goes there
	Rollout   *Rollout        `json:"rollout,omitempty"`
	Bad       map[string]Bad  `json:"bad,omitempty"`      // by revision
	Later     *Later          `json:"later,omitempty"`    // what failed for now, and when it is tried again
	MayBuild  string          `json:"mayBuild,omitempty"` // the revision of which all may be built here
	AtOnce    string          `json:"atOnce,omitempty"`   // the revision that needs no open window
	Suspended *api.Suspended  `json:"suspended,omitempty"`
	Stuck     *Stuck          `json:"stuck,omitempty"`

	Plans map[string]Proposal `json:"plans,omitempty"` // by name
	Drift map[string]Drift    `json:"drift,omitempty"` // layers that others switched
	Waits string              `json:"waits,omitempty"` // whom a rollout waits for

	Reboot  *Reboot `json:"reboot,omitempty"`  // the last that the agent asked for
	Outside string  `json:"outside,omitempty"` // why nothing new is switched to at this hour

	Former    []Former  `json:"former,omitempty"`   // that were good before Good, the newest first
	Collected time.Time `json:"collected,omitzero"` // when `guix gc' was last begun for want of space
}

// A Set is the targets of one revision, by layer; the state names them by ID.
type Set struct {
	Revision string            `json:"revision"` // full commit id, or "baseline"; with images that moved since, COMMIT+IMAGES
	Targets  map[string]string `json:"targets"`
	Leaves   bool              `json:"leaves,omitempty"` // its system takes Collie off the machine
}

// over lays s over below: its targets win.
func (s Set) over(below Set) Set {
	targets := maps.Clone(below.Targets)
	if targets == nil {
		targets = map[string]string{}
	}
	maps.Copy(targets, s.Targets)
	return Set{Revision: s.Revision, Targets: targets, Leaves: s.Leaves}
}

// same tells whether each target of s is one of other's.
func (s Set) same(other Set) bool {
	for layer, id := range s.Targets {
		if other.Targets[layer] != id {
			return false
		}
	}
	return true
}

func (s Set) clone() Set {
	s.Targets = maps.Clone(s.Targets)
	return s
}

type phase string

const (
	idle      phase = "idle"
	switching phase = "switching"
	soaking   phase = "soaking"
	returning phase = "returning"
	stuck     phase = "stuck"
)

// A Rollout is a change underway, from its first switch to the verdict.
type Rollout struct {
	Phase    phase               `json:"phase"`
	To       Set                 `json:"to"`
	Because  string              `json:"because"`
	Failed   string              `json:"failed,omitempty"` // returning: the revision that failed
	From     Set                 `json:"from,omitzero"`    // returning: its targets
	Since    time.Time           `json:"since"`
	Before   []Problem           `json:"before,omitempty"`   // that were there just before
	Changes  map[string][]Change `json:"changes,omitempty"`  // by layer
	Attempts int                 `json:"attempts,omitempty"` // returning: how often it was tried
	Refused  map[string]string   `json:"refused,omitempty"`  // returning: layers that wouldn't, with the reason
	Blamed   bool                `json:"blamed,omitempty"`   // returning: for one of them the cause doesn't go away by itself
}

// Bad is why a revision isn't tried again.
type Bad struct {
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
	Asked  int       `json:"asked,omitempty"` // how often, for what it lacks
	Next   time.Time `json:"next,omitzero"`   // when that is asked for again; zero: never

	Targets map[string]string `json:"targets,omitempty"` // that failed, where others are possible without a commit
}

// Later is a revision that failed through no fault of its own.
type Later struct {
	Revision string    `json:"revision"`
	Why      string    `json:"why"`
	Since    time.Time `json:"since"` // when it failed first
	Attempts int       `json:"attempts"`
	Next     time.Time `json:"next"`
	WaitsFor []string  `json:"waitsFor,omitempty"` // substitutes of these
}

// forward names the rollout; on the way back it has no name.
func (r *Rollout) forward() string {
	if r.Phase == returning {
		return ""
	}
	return r.Since.UTC().Format(time.RFC3339Nano)
}

// whose rollout it is: on the way back, that of the revision which failed.
func (r *Rollout) whose() string {
	if r.Phase == returning {
		return r.Failed
	}
	return r.To.Revision
}

// Stuck is a return that failed. A new commit or `collie retry` ends it.
type Stuck struct {
	Prepared string    `json:"prepared"` // the newest prepared revision at that time
	Why      string    `json:"why"`
	At       time.Time `json:"at"`
}

// clone copies what the conductor goes on changing.
func (s State) clone() State {
	s.Prepared, s.Current, s.Good, s.Bad = s.Prepared.clone(), s.Current.clone(), s.Good.clone(), maps.Clone(s.Bad)
	s.Plans = maps.Clone(s.Plans)
	s.Drift = maps.Clone(s.Drift)
	s.Former = slices.Clone(s.Former)
	if s.Rollout != nil {
		r := *s.Rollout
		r.To, r.Changes, r.Refused = r.To.clone(), maps.Clone(r.Changes), maps.Clone(r.Refused)
		s.Rollout = &r
	}
	return s
}

func (s *State) phase() phase {
	switch {
	case s.Stuck != nil:
		return stuck
	case s.Rollout != nil:
		return s.Rollout.Phase
	}
	return idle
}

const stateLimit = 16 << 20 // bytes; a state is some kilobytes

// A store keeps state and targets in a folder of root's.
type store struct{ dir string }

func (st store) stateFile() string           { return filepath.Join(st.dir, "state.json") }
func (st store) targetFile(id string) string { return filepath.Join(st.dir, "targets", id+".json") }

// load reads the state. One that isn't there is new, and one that makes no sense is set aside: the machine is then
// adopted as it is. aside names that file.
func (st store) load() (s State, aside string, err error) {
	err = readJSON(st.stateFile(), &s)
	var access *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return State{}, "", nil
	case errors.As(err, &access):
		return State{}, "", fmt.Errorf("state: %w", err)
	case err != nil:
		aside = st.stateFile() + ".broken"
		if err := os.Rename(st.stateFile(), aside); err != nil {
			return State{}, "", fmt.Errorf("state: set the broken one aside: %w", err)
		}
		return State{}, aside, nil
	}
	gone := func(id string) bool {
		_, err := st.target(id)
		return err != nil
	}
	// A set whose targets are gone can't be switched to: what is missing is made again.
	for _, set := range []*Set{&s.Prepared, &s.Current, &s.Good} {
		for layer, id := range set.Targets {
			if gone(id) {
				delete(set.Targets, layer)
				if set == &s.Prepared && s.bad(set.Revision) == nil { // the targets of a bad one are dropped
					*set = Set{}
				}
			}
		}
	}
	for name, p := range s.Plans {
		if slices.ContainsFunc(slices.Collect(maps.Values(p.Targets)), gone) {
			p.Targets = nil
			s.Plans[name] = p
		}
	}
	if s.Rollout != nil && slices.ContainsFunc(slices.Collect(maps.Values(s.Rollout.To.Targets)), gone) {
		s.Rollout = nil
	}
	return s, "", nil
}

func (st store) save(s State) error { return writeJSON(st.stateFile(), s) }

// keepTarget saves t under its name.
func (st store) keepTarget(t Target) error {
	if !targetName.MatchString(t.ID) {
		return fmt.Errorf("target %q of %s: no name for a file", t.ID, t.Layer)
	}
	return writeJSON(st.targetFile(t.ID), t)
}

func (st store) target(id string) (Target, error) {
	var t Target
	if !targetName.MatchString(id) {
		return t, fmt.Errorf("target %q: no name for a file", id)
	}
	if err := readJSON(st.targetFile(id), &t); err != nil {
		return t, fmt.Errorf("target %s: %w", id, err)
	}
	return t, nil
}

// lacks tells whether a target of s is gone.
func (st store) lacks(s Set) bool {
	return slices.ContainsFunc(slices.Collect(maps.Values(s.Targets)), func(id string) bool {
		_, err := st.target(id)
		return err != nil
	})
}

// dropTargets removes the files of all targets but those of the sets.
func (st store) dropTargets(sets ...Set) error {
	kept := map[string]bool{}
	for _, set := range sets {
		for _, id := range set.Targets {
			kept[id+".json"] = true
		}
	}
	files, err := os.ReadDir(filepath.Join(st.dir, "targets"))
	if err != nil {
		return fmt.Errorf("targets: %w", err)
	}
	for _, f := range files {
		if !kept[f.Name()] {
			err = errors.Join(err, os.Remove(filepath.Join(st.dir, "targets", f.Name())))
		}
	}
	return err
}

var targetName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,127}$`)

func readJSON(file string, v any) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if info.Size() > stateLimit {
		return fmt.Errorf("%s: larger than %d bytes", file, stateLimit)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

func writeJSON(file string, v any) error {
	b, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return replaceFile(file, append(b, '\n'))
}

// replaceFile replaces file wholly or not at all, and what it returned from survives a power cut.
func replaceFile(file string, text []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), ".new-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // in vain once renamed
	_, err = tmp.Write(text)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if err := os.Rename(tmp.Name(), file); err != nil {
		return err
	}
	return syncDir(filepath.Dir(file))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
