package rollout

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"example.org/collie/agent/api"
	"example.org/collie/agent/source"
)

func TestOffered(t *testing.T) {
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	before := now.Add(-time.Hour)
	plan := func(name, id, refused string) source.Plan {
		return source.Plan{Name: name, Revision: source.Revision{ID: id}, Refused: refused}
	}
	made := map[string]string{"system": "system-1"}
	known := map[string]planBranch{
		"made":    {Revision: source.Revision{ID: "a"}, Since: before, Targets: made},
		"bad":     {Revision: source.Revision{ID: "b"}, Since: before, Bad: "system.scm:1: no"},
		"refused": {Revision: source.Revision{ID: "c"}, Since: before, Refused: "aside"},
	}
	fresh := func(id, refused string) planBranch {
		return planBranch{Revision: source.Revision{ID: id}, Since: now, Refused: refused}
	}
	for _, row := range []struct {
		name  string
		plans []source.Plan
		want  map[string]planBranch
	}{
		{"as they were", []source.Plan{plan("made", "a", ""), plan("bad", "b", ""), plan("refused", "c", "aside")}, known},
		{"gone, all", nil, map[string]planBranch{}},
		{"a new one", []source.Plan{plan("new", "d", "")}, map[string]planBranch{"new": fresh("d", "")}},
		{"another commit", []source.Plan{plan("made", "d", ""), plan("bad", "d", "")}, map[string]planBranch{"made": fresh("d", ""), "bad": fresh("d", "")}},
		{"the branch went on", []source.Plan{plan("made", "a", "aside")}, map[string]planBranch{"made": fresh("a", "aside")}},
		{"not refused any more", []source.Plan{plan("refused", "c", "")}, map[string]planBranch{"refused": fresh("c", "")}},
	} {
		if got := offered(known, row.plans, now); !reflect.DeepEqual(got, row.want) {
			t.Errorf("%s: %+v, want %+v", row.name, got, row.want)
		}
	}
}

func TestToPrepare(t *testing.T) {
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	later := func(in time.Duration) planBranch { return planBranch{Later: &backoff{Next: now.Add(in)}} }
	settled := map[string]planBranch{"a": {Refused: "aside"}, "b": {Bad: "no"}, "c": {Targets: map[string]string{}}}
	for _, row := range []struct {
		name string
		all  map[string]planBranch
		want string
		next time.Duration // 0: none
	}{
		{"none", nil, "", 0},
		{"nothing left to do", settled, "", 0},
		{"one by one", map[string]planBranch{"y": {}, "x": {}, "a": {Bad: "no"}}, "x", 0},
		{"later", map[string]planBranch{"x": later(time.Hour), "y": later(time.Minute), "z": later(time.Hour)}, "", time.Minute},
		{"now it is later", map[string]planBranch{"x": later(time.Hour), "y": later(0)}, "y", 0},
		{"one isn't held up by another", map[string]planBranch{"x": later(time.Hour), "y": {}}, "y", 0},
	} {
		name, next := toPrepare(row.all, now)
		if want := now.Add(row.next); name != row.want || row.next == 0 && !next.IsZero() || row.next > 0 && !next.Equal(want) {
			t.Errorf("%s: %q, next %v; want %q, in %v", row.name, name, next, row.want, row.next)
		}
	}
}

// propose offers the plans, each as "NAME ID LAYER=VALUE…", beside what is followed.
func (w *world) propose(plans ...string) { w.offer("", plans...) }

// offer has the followed branch move to revision at the same time, unless that is empty.
func (w *world) offer(revision string, plans ...string) {
	w.t.Helper()
	var all []source.Plan
	for _, p := range plans {
		words := strings.Fields(p)
		files := fstest.MapFS{}
		for _, l := range words[2:] {
			name, value, _ := strings.Cut(l, "=")
			files[name] = &fstest.MapFile{Data: []byte(value)}
		}
		w.mu.Lock()
		w.commits[words[1]] = files
		w.mu.Unlock()
		all = append(all, source.Plan{Name: words[0], Revision: source.Revision{ID: words[1], Subject: "try " + words[0]}})
	}
	err := w.c.ask(w.t.Context(), func() error {
		if revision != "" {
			w.c.newest(source.Revision{ID: revision})
		}
		return w.c.propose(all)
	})
	if err != nil {
		w.t.Error(err)
	}
}

// prepared counts how often a layer was prepared.
func (l *fakeLayer) prepared() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.prepares
}

func (w *world) plan(a *Conductor, name string) api.Plan {
	w.t.Helper()
	p, err := a.Plan(w.t.Context(), name)
	if err != nil {
		w.t.Fatalf("plan %s: %v", name, err)
	}
	return p
}

func (w *world) targets() (all []string) {
	files, err := filepath.Glob(filepath.Join(w.dir, "targets", "*.json"))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range files {
		all = append(all, strings.TrimSuffix(filepath.Base(f), ".json"))
	}
	return all
}

func TestAPlanIsPreparedAndNeverSwitchedTo(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.c
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		w.good("a")
		w.propose("try b system=2 pods=1")
		pass(24 * time.Hour)
		w.is("1", "1", "1")
		w.good("a")
		want := api.Plan{Name: "try", Revision: "b", Layers: []api.PlanLayer{
			{Name: "system", Changes: []Change{{Does: "update", Subject: "system", Says: "1 → 2", Cost: api.CostRunning}}},
			{Name: "pods", Changes: []Change{}},
		}}
		if got := w.plan(a, "try"); !reflect.DeepEqual(got, want) {
			t.Errorf("plan %+v, want %+v", got, want)
		}
		if p := w.plan(a, ""); p.Revision != "" || p.Pending() || !reflect.DeepEqual(p.Plans, []api.Proposal{{Name: "try", Revision: "b", Subject: "try try", State: api.PlanPrepared}}) {
			t.Errorf("what waits: %+v, want nothing but to hear of the plan", p)
		}
		if got := len(w.history()); got != 1 {
			t.Errorf("%d deployments in the history", got)
		}
		if got := w.layers[0].prepared(); got != 2 {
			t.Errorf("the system was prepared %d times, want once for each revision", got)
		}

		// What it needs is kept as long as it is there.
		if !slices.Contains(w.targets(), "system-2") || !slices.Contains(w.layers[0].lastKept(), "system-2") {
			t.Errorf("kept %q, and %q of the system", w.targets(), w.layers[0].lastKept())
		}
		w.propose()
		pass(time.Minute)
		if slices.Contains(w.targets(), "system-2") || slices.Contains(w.layers[0].lastKept(), "system-2") {
			t.Errorf("kept %q, and %q of the system, though the plan is gone", w.targets(), w.layers[0].lastKept())
		}
		if _, err := a.Plan(t.Context(), "try"); err == nil || !strings.Contains(err.Error(), "there is no plan try: push a branch plan/try") {
			t.Errorf("a plan that is gone: %v", err)
		}
		if _, err := a.Plan(t.Context(), "a/b"); err == nil || !strings.Contains(err.Error(), "no name of a plan") {
			t.Errorf("no name of a plan: %v", err)
		}
	})
}

func (l *fakeLayer) lastKept() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.kept) == 0 {
		return nil
	}
	return l.kept[len(l.kept)-1]
}

// The merge finds all made: what the plan needed is kept until the revision needs it.
func TestAMergedPlanIsKeptForItsDeployment(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		w.propose("try b system=2 home=2 pods=2")
		pass(time.Minute)
		before := 0
		w.layers[0].set(func(l *fakeLayer) { before = len(l.kept) })
		w.offer("b")
		pass(3*time.Second + testSoak/2)
		w.layers[0].set(func(l *fakeLayer) {
			for _, ids := range l.kept[before:] {
				if !slices.Contains(ids, "system-2") {
					t.Errorf("for a while only %q was kept", ids)
				}
			}
		})
		pass(testSoak)
		w.is("2", "2", "2")
		w.good("b")
		if len(w.state().Plans) > 0 {
			t.Errorf("plans %+v after the merge", w.state().Plans)
		}
	})
}

func TestTheFollowedBranchComesFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.c
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		block := make(chan struct{})
		w.layers[0].set(func(l *fakeLayer) { l.block = block })
		w.propose("try b system=2")
		pass(time.Minute)
		if p := w.plan(a, "try").Preparing; p == nil || p.Revision != "b" || time.Since(p.Since) != time.Minute || p.Progress.Item != "starting" {
			t.Errorf("preparing %+v", p)
		}
		if p := w.plan(a, ""); p.Preparing != nil || p.Plans[0].State != api.PlanPreparing || p.Plans[0].Says != "is being prepared: starting" {
			t.Errorf("what waits: %+v", p)
		}
		if s := w.status(t, a); s.Preparing != nil {
			t.Errorf("status tells of preparing %+v as if it were to be deployed", s.Preparing)
		}
		w.layers[0].set(func(l *fakeLayer) { l.block = nil })
		w.push("c", "system=3", "home=1", "pods=1")
		pass(3*time.Second + testSoak/2) // its rollout is underway
		w.is("3", "1", "1")
		if p := w.plan(a, "try").Preparing; p == nil || p.Progress.Item != "waits for its turn" {
			t.Errorf("preparing %+v while something is switched", p)
		}
		pass(testSoak)
		w.good("c")
		if p := w.plan(a, "try"); p.Preparing != nil || len(p.Layers) != 1 || p.Layers[0].Changes[0].Says != "3 → 2" {
			t.Errorf("plan %+v, want it taken up again, and compared with what is there now", p)
		}
		close(block)
	})
}

// However many commits end a plan's preparation, it costs the followed branch none of its own turns.
func TestEndingAPlanIsNoCancellation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLayer{name: "system", block: make(chan struct{})}
		p := &preparer{parts: []Part{{Name: "system", Layer: l}}, results: make(chan prepared)}
		p.open = func(context.Context, string, string) (Files, error) {
			return fakeFiles{fstest.MapFS{"system": {Data: []byte("1")}}}, nil
		}
		begin := func(id, plan string) bool {
			j := job{Revision: source.Revision{ID: id}, plan: plan}
			ready := p.ready(j)
			if ready {
				p.start(t.Context(), j)
			}
			return ready
		}
		ended := func(id string, cancelled bool) {
			t.Helper()
			r := <-p.results
			p.finished(r)
			if r.revision.ID != id || errors.Is(r.err, context.Canceled) != cancelled || !cancelled && r.err != nil {
				t.Errorf("ended %s with %v, want %s, cancelled %v", r.revision.ID, r.err, id, cancelled)
			}
		}
		for range 5 {
			if !begin("plan", "try") || begin("a", "") {
				t.Fatal("a plan wasn't begun, or another beside it")
			}
			ended("plan", true)
		}
		if begin("same", "try"); begin("same", "") {
			t.Error("two at a time")
		}
		close(l.block)
		ended("same", false) // the commit that is followed now: nothing of it is lost
	})
}

func TestABadPlanBlamesNobodyElse(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.c
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		w.propose("try b system=bad", "well c system=2", "away d home=unreachable")
		pass(time.Minute)
		if p := w.plan(a, "try"); p.Rejected != "system:1: bad" || p.Pending() {
			t.Errorf("plan %+v, want its mistake", p)
		}
		if p := w.plan(a, "well"); p.Rejected != "" || len(p.Layers) != 1 {
			t.Errorf("another plan is %+v", p)
		}
		if p := w.plan(a, "away").Preparing; p == nil || p.Error != "unreachable" || !p.Retry.After(time.Now()) {
			t.Errorf("a plan whose network is away is %+v, want it tried again", p)
		}
		if s := w.state(); len(s.Bad) > 0 || s.Later != nil || s.Newest.ID != "a" {
			t.Errorf("bad %+v, later %+v, newest %s: want the plans' own matter", s.Bad, s.Later, s.Newest.ID)
		}
		w.propose("try b system=bad", "well c system=2") // the third would be tried again
		before := w.layers[0].prepared()
		pass(24 * time.Hour)
		if got := w.layers[0].prepared(); got != before {
			t.Errorf("a bad plan was prepared %d times more", got-before)
		}
		if err := a.Retry(t.Context()); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		if got := w.layers[0].prepared(); got == before {
			t.Error("a bad plan wasn't tried again, though a person asked for it")
		}
		w.offer("b")
		pass(time.Minute)
		if b := w.state().Bad["b"]; b.Reason != "system:1: bad" {
			t.Errorf("the same commit on the followed branch: %+v, want it bad", b)
		}
		w.is("1", "1", "1")
		w.good("a")
	})
}

func TestPlansOutliveTheAgent(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		w.propose("bad b system=bad", "made c system=2", "lost d system=3")
		pass(time.Minute)
		w.stop()
		if err := os.Remove(filepath.Join(w.dir, "targets", "system-3.json")); err != nil {
			t.Fatal(err)
		}
		before := w.layers[0].prepared()
		w.start()
		a := w.c
		pass(time.Minute)
		for name, want := range map[string]string{"made": "1 → 2", "lost": "1 → 3"} {
			if p := w.plan(a, name); p.Rejected != "" || p.Preparing != nil || len(p.Layers) != 1 || p.Layers[0].Changes[0].Says != want {
				t.Errorf("plan %s: %+v, want %s", name, p, want)
			}
		}
		if p := w.plan(a, "bad"); p.Rejected == "" {
			t.Errorf("plan %+v, want its mistake", p)
		}
		if got := w.layers[0].prepared() - before; got != 1 {
			t.Errorf("%d were prepared anew, want the one that was lost", got)
		}
		if names := slices.Sorted(maps.Keys(w.state().Plans)); !slices.Equal(names, []string{"bad", "lost", "made"}) {
			t.Errorf("plans %q", names)
		}
		w.is("1", "1", "1")
	})
}

// A plan that moves or goes while it is prepared isn't waited for.
func TestAPlanThatGoesIsGivenUp(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.c
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		w.layers[0].set(func(l *fakeLayer) { l.block = make(chan struct{}) })
		w.propose("try b system=2")
		pass(time.Minute)
		w.layers[0].set(func(l *fakeLayer) { l.block = nil })
		w.propose("try c system=3", "other d system=4")
		pass(time.Second)
		if p := w.plan(a, "try"); p.Revision != "c" || p.Preparing != nil || p.Layers[0].Changes[0].Says != "1 → 3" {
			t.Errorf("plan %+v", p)
		}
		w.layers[0].set(func(l *fakeLayer) { l.block = make(chan struct{}) })
		w.propose("try e system=5")
		pass(time.Minute)
		w.propose()
		pass(time.Second)
		if w.c.preparer.busy() {
			t.Error("what nobody wants is prepared")
		}
	})
}

// Asking for the branch that is followed tells what is being prepared, too.
func TestPlanTellsWhatIsPrepared(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.c
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		w.push("b", "system=unreachable")
		pass(time.Second)
		if p := w.plan(a, ""); p.Revision != "" || p.Preparing == nil || p.Preparing.Revision != "b" || p.Preparing.Error != "unreachable" || !p.Pending() {
			t.Errorf("plan %+v, want to hear what is tried again later", p)
		}
		if err := a.Suspend(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		w.push("c", "system=2")
		pass(time.Second)
		w.layers[0].set(func(l *fakeLayer) { l.block = make(chan struct{}) })
		w.push("d", "system=3")
		pass(time.Second)
		if p := w.plan(a, ""); p.Revision != "c" || p.Because != "suspended" || p.Preparing == nil || p.Preparing.Revision != "d" || len(p.Layers) != 1 {
			t.Errorf("plan %+v, want what waits and what will", p)
		}
		if err := a.Retry(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
