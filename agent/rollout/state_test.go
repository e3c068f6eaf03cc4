package rollout

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/collie/agent/api"
	"example.org/collie/agent/source"
	"example.org/collie/agent/statefile"
)

// newStore is a folder as the agent makes it.
func newStore(t *testing.T) store {
	t.Helper()
	st := store{dir: t.TempDir()}
	if err := os.Mkdir(filepath.Join(st.dir, "targets"), 0o700); err != nil {
		t.Fatal(err)
	}
	return st
}

func (st store) with(t *testing.T, ids ...string) store {
	t.Helper()
	for _, id := range ids {
		layer, _, _ := strings.Cut(id, "-")
		if err := st.saveTarget(Target{Layer: layer, ID: id, Revision: "a", Data: json.RawMessage(`"1"`)}); err != nil {
			t.Fatal(err)
		}
	}
	return st
}

// fullState has something in every field, so that a field that isn't saved is noticed.
func fullState() State {
	at := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	set := func(revision, id string) Set {
		return Set{Revision: revision, Targets: map[string]string{"pods": id}}
	}
	return State{
		Host:     "guest",
		Newest:   source.Revision{ID: "c", Author: "ann", Subject: "more", Time: at},
		Accepted: at,
		Prepared: set("c", "pods-c"), Current: set("b", "pods-b"), Good: set("a", "pods-a"),
		Rollout: &rollout{
			Phase: rollingBack, To: set("a", "pods-a"), Because: "the last good: died", Failed: "b", Since: at,
			Before: []Problem{{Layer: "pods", Subject: "pod web", Says: "exited"}}, Attempts: 1,
			Changes: map[string][]Change{"pods": {{Does: "replace", Subject: "pod web", Says: "image", Waits: true}}},
			Refused: map[string]string{"pods": "no"}, Released: map[string]bool{"pods": true},
		},
		Bad:       map[string]failure{"b": {Reason: "died", At: at}},
		Later:     &backoff{Revision: "c", Why: "no route", Attempts: 2, Next: at, WaitsFor: []string{"linux"}, Layers: map[string]time.Time{"pods": at}},
		MayBuild:  "c",
		AtOnce:    "c",
		Evaluate:  "c",
		Outside:   "outside its windows",
		Reboot:    &rebooted{Target: "system-b", For: "kernel", At: at},
		Suspended: &api.Suspended{Since: at, Why: "disks"},
		Stuck:     &deadEnd{Prepared: "c", Why: "no", At: at},
		Plans: map[string]planBranch{
			"made": {Revision: source.Revision{ID: "d"}, Since: at, Targets: map[string]string{"pods": "pods-c"}},
			"bad":  {Revision: source.Revision{ID: "e"}, Since: at, Bad: "system.scm:1: no"},
			"away": {Revision: source.Revision{ID: "f"}, Since: at, Refused: "aside", Later: &backoff{Revision: "f", Why: "no route"}},
		},
		Drift:     map[string]Drift{"system": {Drift: api.Drift{Generation: 3, Item: "/gnu/store/x-system", Since: at}, Live: "system-x", Newest: "c"}},
		WaitsFor:  "guix",
		Failed:    []Set{{Revision: "b", Targets: map[string]string{"system": "system-b"}}},
		Former:    []formerSet{{Set: set("z", "pods-c"), Until: at}},
		Moved:     []string{"home:podman: podman's own ~/.bashrc was put back"},
		Notes:     []string{"home.scm~: is left out"},
		Lost:      map[string]loss{"home": {Revision: "a", At: at}},
		Collected: at,
		Without:   map[string]exclusion{"pods": {Revision: "c", Why: "Podman doesn't answer", By: "ann", Since: at, Attempts: 1, Next: at}},
		Only:      &selection{Revision: "c", Layers: []string{"system"}, By: "ann"},

		Cut:        1,
		Incomplete: &incompleteReturn{Revision: "b", Good: "a", Ill: []Problem{{Layer: "pods", Subject: "pod web", Says: "exited"}}, At: at},
	}
}

func TestStateSurvives(t *testing.T) {
	st := newStore(t).with(t, "pods-a", "pods-b", "pods-c")
	want := fullState()
	v := reflect.ValueOf(want)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Fatalf("the state of this test has nothing in %s", v.Type().Field(i).Name)
		}
	}
	if err := st.save(want); err != nil {
		t.Fatal(err)
	}
	got, err := st.load()
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestStateIsRootsAlone(t *testing.T) {
	st := newStore(t).with(t, "pods-a")
	for _, s := range []State{{Host: "a"}, {Host: "b"}} {
		if err := st.save(s); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{st.stateFile(), st.targetFile("pods-a")} {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", filepath.Base(file), info.Mode())
		}
	}
}

// Who reads while it is saved sees the old state or the new one, and a save that fails leaves the old one.
func TestStateIsReplacedWhollyOrNotAtAll(t *testing.T) {
	st := newStore(t)
	if err := st.save(State{Host: "old"}); err != nil {
		t.Fatal(err)
	}
	held, err := os.Open(st.stateFile())
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := st.save(State{Host: "new"}); err != nil {
		t.Fatal(err)
	}
	var s State
	if err := json.NewDecoder(held).Decode(&s); err != nil || s.Host != "old" {
		t.Errorf("who had it open read host %q (%v), want the whole old state", s.Host, err)
	}
	if err := st.writeJSON(st.stateFile(), func() {}); err == nil {
		t.Error("a function was saved as JSON")
	}
	if got, err := st.load(); err != nil || got.Host != "new" {
		t.Errorf("after saves that failed: host %q (%v), want new", got.Host, err)
	}
	left, err := filepath.Glob(filepath.Join(st.dir, ".new-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

func TestLoadState(t *testing.T) {
	whole, err := json.Marshal(State{Host: "guest"})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, text string
		host       string
		unread     bool
	}{
		{"whole", string(whole), "guest", false},
		{"from the future", `{"host": "guest", "moon": {"phase": 3}, "newest": {"id": "a", "sun": 1}}`, "guest", false},
		{"from the past", `{"host": "guest"}`, "guest", false},
		{"torn", string(whole[:len(whole)/2]), "", true},
		{"empty", "", "", true},
		{"zeroes, as after a power cut", strings.Repeat("\x00", 512), "", true},
		{"no JSON", "host: guest", "", true},
		{"another kind of JSON", "[]", "", true},
		{"a number for a set", `{"host": "guest", "good": 3}`, "", true},
		{"no time", `{"host": "guest", "newest": {"time": "yesterday"}}`, "", true},
		{"huge", strings.Repeat(" ", statefile.Limit) + "{}", "", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			st := newStore(t)
			if err := os.WriteFile(st.stateFile(), []byte(row.text), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := st.load()
			if senseless := new(statefile.SenselessError); errors.As(err, &senseless) != row.unread || !row.unread && err != nil {
				t.Errorf("error: %v", err)
			}
			if s.Host != row.host {
				t.Errorf("host %q, want %q", s.Host, row.host)
			}
			if kept, err := os.ReadFile(st.stateFile()); string(kept) != row.text {
				t.Errorf("there are %d bytes (%v), want what was there", len(kept), err)
			}
			if err := st.save(State{Host: "next"}); err != nil {
				t.Fatal(err)
			}
			if s, err := st.load(); err != nil || s.Host != "next" {
				t.Errorf("after the next save: host %q (%v)", s.Host, err)
			}
		})
	}
}

func TestLoadStateOfANewMachine(t *testing.T) {
	s, err := newStore(t).load()
	if err != nil || !reflect.DeepEqual(s, State{}) {
		t.Errorf("got %+v, %v, want an empty state", s, err)
	}
}

func TestLoadStateThatCannotBeRead(t *testing.T) {
	st := newStore(t)
	if err := os.Symlink("state.json", st.stateFile()); err != nil { // to itself
		t.Fatal(err)
	}
	if _, err := st.load(); err == nil || !strings.HasPrefix(err.Error(), "state: ") {
		t.Errorf("a circle of links for a state: %v", err)
	}
}

// A target that the disk hides may be there: nothing is forgotten for it.
func TestLoadStateWhoseTargetsCannotBeRead(t *testing.T) {
	st := newStore(t).with(t, "pods-1")
	if err := st.save(State{Good: Set{Revision: "a", Targets: map[string]string{"pods": "pods-1"}}}); err != nil {
		t.Fatal(err)
	}
	file := st.targetFile("pods-1")
	if err := errors.Join(os.Remove(file), os.Symlink(filepath.Base(file), file)); err != nil {
		t.Fatal(err)
	}
	if _, err := st.load(); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a circle of links for a target: %v", err)
	}
}

// A set whose targets are gone can't be switched to: it is forgotten, and made again.
func TestLoadStateForgetsWhatItsTargetsAreGoneOf(t *testing.T) {
	set := func(revision string, ids ...string) Set {
		s := Set{Revision: revision, Targets: map[string]string{}}
		for _, id := range ids {
			layer, _, _ := strings.Cut(id, "-")
			s.Targets[layer] = id
		}
		return s
	}
	st := newStore(t).with(t, "system-1", "pods-1", "system-2")
	if err := os.WriteFile(st.targetFile("home-1"), []byte("{torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := st.save(State{
		Prepared: set("b", "system-2", "pods-2"),
		Current:  set("a", "system-1", "home-1", "pods-1"),
		Good:     set("a", "system-1", "home-1", "pods-1"),
		Rollout:  &rollout{Phase: switching, To: set("b", "system-2", "pods-2")},
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := st.load()
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(s.Prepared, Set{}) {
		t.Errorf("prepared %v, want none: one target is missing", s.Prepared)
	}
	want := set("a", "system-1", "pods-1")
	if !reflect.DeepEqual(s.Current, want) || !reflect.DeepEqual(s.Good, want) {
		t.Errorf("current %v, good %v, want both %v: the torn home is unknown", s.Current, s.Good, want)
	}
	if s.Rollout != nil {
		t.Errorf("rollout %+v goes on, want none: its pods are missing", s.Rollout)
	}
}

func TestTargets(t *testing.T) {
	st := newStore(t)
	want := Target{Layer: "home:ann", ID: "home-0a1b.c", Revision: "a", Data: json.RawMessage(`{"item":"/gnu/store/x"}`)}
	if err := st.saveTarget(want); err != nil {
		t.Fatal(err)
	}
	got, err := st.target(want.Layer, want.ID)
	if err != nil {
		t.Fatal(err)
	}
	var data struct{ Item string }
	if err := got.Decode(&data); err != nil || got.Layer != want.Layer || got.Revision != "a" || data.Item != "/gnu/store/x" {
		t.Errorf("got %+v (%v), want %+v", got, err, want)
	}
	if _, err := st.target("home", "home-none"); !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "target home-none: ") {
		t.Errorf("a missing target: %v", err)
	}
	for _, id := range []string{"", ".", "..", "../state", "a/b", "-x", ".x", "A", "a b", "a\n", "a\x00", strings.Repeat("a", 129)} {
		if err := st.saveTarget(Target{ID: id, Layer: "pods"}); err == nil {
			t.Errorf("kept a target under the name %q", id)
		}
		if _, err := st.target("pods", id); err == nil || !strings.HasSuffix(err.Error(), "no name for a file") {
			t.Errorf("read the target %q: %v", id, err)
		}
	}
}

func TestDropTargets(t *testing.T) {
	st := newStore(t).with(t, "pods-1", "pods-2", "pods-3", "pods-4")
	kept := Set{Targets: map[string]string{"pods": "pods-2"}}
	if err := st.dropTargets(kept, Set{}, Set{Targets: map[string]string{"pods": "pods-4"}}); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(filepath.Join(st.dir, "targets"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	if want := []string{"pods-2.json", "pods-4.json"}; !slices.Equal(names, want) {
		t.Errorf("left are %v, want %v", names, want)
	}
}

// What status shows must not change under its reader.
func TestStateClone(t *testing.T) {
	s := fullState()
	c := s.clone()
	if !reflect.DeepEqual(s, c) {
		t.Fatalf("clone %+v, want %+v", c, s)
	}
	s.Prepared.Targets["pods"], s.Current.Targets["pods"], s.Good.Targets["pods"] = "x", "x", "x"
	s.Bad["x"] = failure{}
	s.Rollout.Phase = stuck
	s.Rollout.To.Targets["pods"], s.Rollout.Refused["pods"], s.Rollout.Changes["x"] = "x", "x", nil
	if want := fullState(); !reflect.DeepEqual(c, want) {
		t.Errorf("the clone changed with the state: %+v", c)
	}
}

func TestPhase(t *testing.T) {
	for _, row := range []struct {
		state State
		want  phase
	}{
		{State{}, idle},
		{State{Suspended: &api.Suspended{}}, idle},
		{State{Rollout: &rollout{Phase: switching}}, switching},
		{State{Rollout: &rollout{Phase: soaking}}, soaking},
		{State{Rollout: &rollout{Phase: rollingBack}}, rollingBack},
		{State{Stuck: &deadEnd{}}, stuck},
	} {
		if got := row.state.phase(); got != row.want {
			t.Errorf("phase of %+v is %s, want %s", row.state, got, row.want)
		}
	}
}
