package rollout

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"example.org/collie/agent/api"
	"example.org/collie/agent/source"
	"example.org/collie/agent/statefile"
)

// State is what must not be forgotten. Only the conductor writes it; deleted, the live machine is adopted.
type State struct {
	Host      string             `json:"host"`
	Newest    source.Revision    `json:"newest"`            // fetched and accepted
	Accepted  time.Time          `json:"accepted,omitzero"` // when Newest was
	Prepared  Set                `json:"prepared"`          // the newest that could be prepared
	Current   Set                `json:"current"`           // what the machine was last switched to; a layer in mid-switch is missing
	Good      Set                `json:"good"`              // the newest that passed; a return goes there
	Rollout   *rollout           `json:"rollout,omitempty"`
	Bad       map[string]failure `json:"bad,omitempty"`      // by revision
	Later     *backoff           `json:"later,omitempty"`    // what failed for now, and when it is tried again
	MayBuild  string             `json:"mayBuild,omitempty"` // the revision of which all may be built here
	AtOnce    string             `json:"atOnce,omitempty"`   // the revision that needs no open window
	Evaluate  string             `json:"evaluate,omitempty"` // the revision to evaluate, though it is known what comes of it
	Suspended *api.Suspended     `json:"suspended,omitempty"`
	Stuck     *deadEnd           `json:"stuck,omitempty"`

	Without map[string]exclusion `json:"without,omitempty"` // layers that a revision is deployed without, for now
	Only    *selection           `json:"only,omitempty"`    // the revision to deploy to some layers first

	Incomplete *incompleteReturn `json:"incomplete,omitempty"` // good isn't well since a return
	Cut        int               `json:"cut,omitempty"`        // soaks in a row that a newer revision cut short

	Plans    map[string]planBranch `json:"plans,omitempty"` // by name
	Drift    map[string]Drift      `json:"drift,omitempty"` // layers that others switched
	WaitsFor string                `json:"waits,omitempty"` // whom a rollout waits for

	Reboot  *rebooted `json:"reboot,omitempty"`  // the last that the agent asked for
	Outside string    `json:"outside,omitempty"` // why nothing new is switched to at this hour

	Moved []string `json:"moved,omitempty"` // files of users' own that the last rollout moved: where each is

	Notes []string `json:"notes,omitempty"` // on files of the newest revision that was prepared: what isn't wrong, but good to know

	Failed []Set `json:"failed,omitempty"` // systems and homes that were rolled back since Good is good, the newest last

	Former    []formerSet `json:"former,omitempty"`   // that were good before Good, the newest first
	Collected time.Time   `json:"collected,omitzero"` // when `guix gc' was last begun for want of space

	Lost map[string]loss `json:"lost,omitempty"` // layers of which nobody knows what they were like at the good revision
}

// A loss is of a layer whose target at the good revision is gone, or makes no sense. Until a revision is good again the layer
// is as it was found, and nothing of it is removed.
type loss struct {
	Revision string    `json:"revision"`
	At       time.Time `json:"at"`
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

// same reports whether each target of s is one of other's.
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

// A phase is what state.json has for it: an older Collie, which a boot into an older system brings back, knows no other words.
type phase string

func (p phase) String() string {
	if p == rollingBack {
		return api.PhaseRollingBack
	}
	return string(p)
}

const (
	idle        phase = "idle"
	switching   phase = "switching"
	soaking     phase = "soaking"
	rollingBack phase = "returning"
	stuck       phase = "stuck"
)

// A rollout is a change underway, from its first switch to the verdict.
type rollout struct {
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
	Released map[string]bool     `json:"released,omitempty"` // layers that let go of what others may take
}

// failure is why a revision isn't tried again.
type failure struct {
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
	Asked  int       `json:"asked,omitempty"` // how often, for what it lacks
	Next   time.Time `json:"next,omitzero"`   // when that is asked for again; zero: never

	Targets map[string]string `json:"targets,omitempty"` // that failed, where others are possible without a commit

	Switched bool `json:"switched,omitempty"` // to it, before it failed
}

// backoff is a revision that failed through no fault of its own.
type backoff struct {
	Revision string    `json:"revision"`
	Why      string    `json:"why"`
	Since    time.Time `json:"since"` // when it failed first
	Attempts int       `json:"attempts"`
	Next     time.Time `json:"next"`
	WaitsFor []string  `json:"waitsFor,omitempty"` // substitutes of these
	Taken    bool      `json:"taken,omitempty"`    // a switch found that somebody has what it needs, and no layer of it gives that up

	Layers map[string]time.Time `json:"layers,omitempty"` // of users, for which it waits, though no commit is to blame: since when
}

// forward names the rollout; on the way back it has no name.
func (r *rollout) forward() string {
	if r.Phase == rollingBack {
		return ""
	}
	return r.Since.UTC().Format(time.RFC3339Nano)
}

// whose rollout it is: on the way back, that of the revision which failed.
func (r *rollout) whose() string {
	if r.Phase == rollingBack {
		return r.Failed
	}
	return r.To.Revision
}

// deadEnd is a return that failed. A new commit or `collie retry` ends it.
type deadEnd struct {
	Prepared string    `json:"prepared"` // the newest prepared revision at that time
	Why      string    `json:"why"`
	At       time.Time `json:"at"`
}

// incompleteReturn is a return after which not all of good is well. It ends as soon as that is well, or
// another revision is good.
type incompleteReturn struct {
	Revision string    `json:"revision"` // that failed
	Good     string    `json:"good"`
	Ill      []Problem `json:"ill"`
	At       time.Time `json:"at"`
}

func (i *incompleteReturn) String() string {
	var says []string
	for _, p := range i.Ill {
		says = append(says, p.String())
	}
	return fmt.Sprintf("the roll-back from revision %s to %s is incomplete: %s", api.Short(i.Revision), api.Short(i.Good), strings.Join(says, "; "))
}

// clone copies what the conductor goes on changing.
func (s State) clone() State {
	s.Prepared, s.Current, s.Good, s.Bad = s.Prepared.clone(), s.Current.clone(), s.Good.clone(), maps.Clone(s.Bad)
	s.Plans = maps.Clone(s.Plans)
	s.Drift = maps.Clone(s.Drift)
	s.Former = slices.Clone(s.Former)
	s.Failed = slices.Clone(s.Failed)
	s.Lost = maps.Clone(s.Lost)
	s.Without = maps.Clone(s.Without)
	if s.Only != nil {
		only := *s.Only
		only.Layers = slices.Clone(only.Layers)
		s.Only = &only
	}
	if s.Rollout != nil {
		r := *s.Rollout
		r.To, r.Changes, r.Refused, r.Released = r.To.clone(), maps.Clone(r.Changes), maps.Clone(r.Refused), maps.Clone(r.Released)
		s.Rollout = &r
	}
	return s
}

// mostCut soaks in a row are cut short by a newer revision. The next one isn't, so that a stream of commits starves no verdict.
const mostCut = 2

// finishes reports whether a soak is one that no newer revision cuts short.
func (s *State) finishes() bool {
	return s.Rollout != nil && s.Rollout.Phase == soaking && s.Cut >= mostCut
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

// Check returns what makes no sense in a state.
func (s State) Check() error {
	if r := s.Rollout; r != nil && !slices.Contains([]phase{switching, soaking, rollingBack}, r.Phase) {
		return fmt.Errorf("the rollout is in phase %q", r.Phase)
	}
	return nil
}

// A Folder has state, targets and journal.
type Folder string

// Load reads the state, and changes nothing; one that isn't there is new. With an error nobody knows what it was, and nothing
// may be deployed.
func (f Folder) Load() (State, error) { return f.store().load() }

func (f Folder) store() store { return store{dir: string(f)} }

// Peek reads the state without its targets; none there is an [fs.ErrNotExist].
func (f Folder) Peek() (State, error) { return statefile.Read[State](f.StateFile()) }

// Save writes the state.
func (f Folder) Save(s State) error { return f.store().save(s) }

// StateFile is where the state is.
func (f Folder) StateFile() string { return f.store().stateFile() }

// Deployed is the target that a layer was last switched to; it has no ID if there is none.
func (f Folder) Deployed(layer string) (Target, error) {
	s, err := f.Peek()
	if errors.Is(err, fs.ErrNotExist) {
		return Target{}, nil // the agent didn't run yet
	}
	id := cmp.Or(s.Current.Targets[layer], s.Good.Targets[layer])
	if err != nil || id == "" {
		return Target{}, err
	}
	return f.store().target(layer, id)
}

// A store keeps state and targets in a folder of root's.
type store struct {
	dir     string
	replace func(file string, text []byte) error // nil: statefile.Write
}

func (st store) stateFile() string { return filepath.Join(st.dir, "state.json") }

func (st store) targetFile(id string) string { return filepath.Join(st.dir, "targets", id+".json") }

// An UnwrittenError says that state or journal can't be written: what was to be done isn't begun.
type UnwrittenError struct{ Err error }

func (e *UnwrittenError) Error() string { return e.Err.Error() }

func (e *UnwrittenError) Unwrap() error { return e.Err }

// load reads the state, and changes nothing. One that isn't there is new: the machine is then adopted as it is. With an error
// nobody knows what it was, and nothing may be deployed.
func (st store) load() (State, error) {
	s, err := statefile.Read[State](st.stateFile())
	if errors.Is(err, fs.ErrNotExist) {
		return State{}, nil
	}
	if err == nil {
		err = st.dropLost(&s)
	}
	if err != nil {
		return State{}, fmt.Errorf("state: %w", err)
	}
	return s, nil
}

// dropLost takes out of s what its targets are gone of, or make no sense: that can't be switched to, and what is missing is
// made again, or taken from the machine as it is. Nothing is removed for it. The error says which target a fault of the disk hides.
func (st store) dropLost(s *State) (hidden error) {
	gone := func(layer, id string) bool {
		_, err := st.target(layer, id)
		if of := new(fs.PathError); errors.As(err, &of) && !errors.Is(err, fs.ErrNotExist) {
			hidden = err
		}
		return err != nil
	}
	anyGone := func(targets map[string]string) bool {
		for layer, id := range targets {
			if gone(layer, id) {
				return true
			}
		}
		return false
	}
	for layer, id := range s.Good.Targets {
		if gone(layer, id) {
			s.lose(layer, s.Good.Revision)
		}
	}
	for _, set := range []*Set{&s.Prepared, &s.Current, &s.Good} {
		for layer, id := range set.Targets {
			if gone(layer, id) {
				delete(set.Targets, layer)
				if set == &s.Prepared && s.bad(set.Revision) == nil { // the targets of a bad one are dropped
					*set = Set{}
				}
			}
		}
	}
	for name, p := range s.Plans {
		if anyGone(p.Targets) {
			p.Targets = nil
			s.Plans[name] = p
		}
	}
	if s.Rollout != nil && anyGone(s.Rollout.To.Targets) {
		s.Rollout = nil
	}
	return hidden
}

// lose notes that what a layer was like at a good revision isn't known any more.
func (s *State) lose(layer, revision string) {
	if s.Lost == nil {
		s.Lost = map[string]loss{}
	}
	s.Lost[layer] = loss{Revision: revision, At: time.Now()}
}

func (st store) save(s State) error { return st.writeJSON(st.stateFile(), s) }

// saveTarget saves t under its name.
func (st store) saveTarget(t Target) error {
	if !targetName.MatchString(t.ID) {
		return fmt.Errorf("target %q of %s: no name for a file", t.ID, t.Layer)
	}
	t.Sum = t.sum()
	return st.writeJSON(st.targetFile(t.ID), t)
}

// target reads a target of a layer, and checks that it is that one.
func (st store) target(layer, id string) (Target, error) {
	if !targetName.MatchString(id) {
		return Target{}, fmt.Errorf("target %q: no name for a file", id)
	}
	t, err := statefile.Read[Target](st.targetFile(id))
	if err == nil {
		err = t.isOf(layer, id)
	}
	if err != nil {
		return Target{}, fmt.Errorf("target %s: %w", id, err)
	}
	t.Sum = ""
	return t, nil
}

// isOf says why t isn't the target of a layer with that ID.
func (t Target) isOf(layer, id string) error {
	switch {
	case t.ID != id || t.Layer != layer:
		return fmt.Errorf("the file is that of target %q of layer %q", t.ID, t.Layer)
	case t.Sum != "" && t.Sum != t.sum():
		return errors.New("its data doesn't have the checksum that it was written with")
	case t.Sum == "" && slices.Contains([]string{"", "null", "{}"}, string(t.Data)): // of a version that wrote none
		return errors.New("it has no data")
	}
	return nil
}

// sum is a checksum of a target's data, however that is indented.
func (t Target) sum() string {
	var text bytes.Buffer
	if json.Compact(&text, t.Data) != nil {
		return ""
	}
	sum := sha256.Sum256(text.Bytes())
	return hex.EncodeToString(sum[:])
}

// lacks reports whether a target of s can't be read.
func (st store) lacks(s Set) bool {
	for layer, id := range s.Targets {
		if _, err := st.target(layer, id); err != nil {
			return true
		}
	}
	return false
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
			err = errors.Join(err, os.RemoveAll(filepath.Join(st.dir, "targets", f.Name())))
		}
	}
	return err
}

var targetName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,127}$`)

func (st store) writeJSON(file string, v any) error {
	text, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	replace := st.replace
	if replace == nil {
		replace = statefile.Write
	}
	if err := replace(file, append(text, '\n')); err != nil {
		return &UnwrittenError{err}
	}
	return nil
}
