package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"example.org/collie/agent/api"
	"example.org/collie/agent/source"
	"example.org/collie/agent/waits"
	"example.org/collie/guix"
)

// fakeFiles are those of a revision; a file of each layer has the value that the layer is to get.
type fakeFiles struct{ fstest.MapFS }

func (f fakeFiles) has(name string) bool { return f.MapFS[name] != nil }

// Check refuses what the file wrong says, and notes what the file notes says.
func (f fakeFiles) Check() (notes []string, mistakes error) {
	if n := f.MapFS["notes"]; n != nil {
		notes = strings.Split(string(n.Data), ",")
	}
	if w := f.MapFS["wrong"]; w != nil {
		mistakes = errors.New(string(w.Data))
	}
	return notes, mistakes
}

func (f fakeFiles) Export() (string, error) { return "", nil }

func (f fakeFiles) Place(err error) error { return err }

// A fakeLayer is one value; what a revision wants of it is in its file of that name.
type fakeLayer struct {
	theirs time.Time // when someone else switched it
	name   string

	mu       sync.Mutex
	live     string
	switches []string // what it was switched to
	prepares int
	refuse   map[string]error         // switching to this value fails, and leaves it half done
	waits    []Change                 // what no switch makes
	ill      map[string]time.Duration // this value has a problem so long after it was switched to
	always   []Problem
	block    chan struct{} // preparing waits for it
	slow     time.Duration // so long it prepares
	kept     [][]string
	tag      string // where the value "tag" leads
	breaks   bool   // it can't be prepared, for reasons that lie with its user
	came     bool   // what the value "missing" lacks
	clock    string // what an evaluation of the value "clock" comes to
	read     string // what it came to
	since    time.Time
	onSwitch func(when string)
}

func (l *fakeLayer) Prepare(ctx context.Context, rev Revision, tell func(Progress)) (Target, error) {
	if rev.ID == Baseline {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.breaks {
			return Target{}, &UserError{errors.New(l.name + " is broken")}
		}
		if l.live == "" && !rev.Files.(fakeFiles).has(l.name) {
			return Target{}, ErrAbsent
		}
		return Encode(l.name, l.name+"-"+l.live, Baseline, l.live)
	}
	l.mu.Lock()
	l.prepares++
	block, slow := l.block, l.slow
	l.mu.Unlock()
	defer waits.For(ctx, "a guix")()
	select {
	case <-time.After(slow):
	case <-ctx.Done():
		return Target{}, ctx.Err()
	}
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return Target{}, ctx.Err()
		}
	}
	want, err := fs.ReadFile(rev.Files.(fakeFiles), l.name)
	if errors.Is(err, fs.ErrNotExist) {
		return Target{}, ErrAbsent
	}
	value := string(want)
	if value == "clock" {
		value = l.evaluated(rev.Evaluate)
	}
	switch {
	case strings.HasPrefix(value, "bad"):
		return Target{}, &BadError{Err: errors.New(l.name + ":1: " + value)}
	case l.broken():
		return Target{}, &UserError{errors.New(l.name + " is broken")}
	case value == "tag":
		value = l.leads()
	case value == "missing" && !l.has():
		return Target{}, &BadError{Err: errors.New(l.name + ":1: missing"), Retriable: true}
	case strings.HasPrefix(value, "large") && !rev.MayBuild:
		return Target{}, &guix.WaitError{Builds: []string{"linux", "gcc"}, Most: 1}
	case strings.HasPrefix(value, "unreachable"):
		return Target{}, errors.New(value)
	}
	return Encode(l.name, l.name+"-"+value, rev.ID, value)
}

func (l *fakeLayer) broken() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.breaks
}

func (l *fakeLayer) leads() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tag
}

func (l *fakeLayer) evaluated(again bool) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.read == "" || again {
		l.read = l.clock
	}
	return l.read
}

func (l *fakeLayer) has() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.came
}

func (l *fakeLayer) value(t Target) string {
	var v string
	if err := json.Unmarshal(t.Data, &v); err != nil {
		panic(err)
	}
	return v
}

func (l *fakeLayer) Diff(_ context.Context, t Target) ([]Change, error) {
	if err := t.Decode(new(string)); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if v := l.value(t); v != l.live {
		return []Change{{Does: "update", Subject: l.name, Says: l.live + " → " + v}}, nil
	}
	return l.waits, nil
}

func (l *fakeLayer) Switch(_ context.Context, t Target) error {
	if err := t.Decode(new(string)); err != nil {
		return err
	}
	v := l.value(t)
	l.hook("before")
	l.mu.Lock()
	l.live = "half " + v
	l.mu.Unlock()
	l.hook("within")
	time.Sleep(time.Second)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.switches = append(l.switches, v)
	if err := l.refuse[v]; err != nil {
		return err
	}
	l.live, l.since = v, time.Now()
	return nil
}

func (l *fakeLayer) hook(when string) {
	l.mu.Lock()
	hook := l.onSwitch
	l.mu.Unlock()
	if hook != nil {
		hook(when)
	}
}

func (l *fakeLayer) Problems(context.Context, Target, time.Time) ([]Problem, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	problems := slices.Clone(l.always)
	if after, ok := l.ill[l.live]; ok && time.Since(l.since) >= after {
		problems = append(problems, Problem{Subject: l.name, Says: "died"})
	}
	return problems, nil
}

func (l *fakeLayer) Prune(_ context.Context, ts []Target) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var ids []string
	for _, t := range ts {
		ids = append(ids, t.ID)
	}
	l.kept = append(l.kept, ids)
	return nil
}

// set changes what the layer does from now on.
func (l *fakeLayer) set(change func(l *fakeLayer)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l)
}

func (l *fakeLayer) is() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.live
}

func (l *fakeLayer) switched() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.switches)
}

// A world is a machine of fake layers with a repository.
type world struct {
	pods   func(*fakeLayer) Layer // what stands for the pods; nil: the fake itself
	system func(*fakeLayer) Layer // and for the system

	t       *testing.T
	dir     string
	layers  []*fakeLayer
	mu      sync.Mutex
	commits map[string]fstest.MapFS
	others  []Other // guixes that others run
	heal    bool    // drift of system and home
	rule    Retention
	garbage collector
	images  time.Duration // between two questions for tags
	windows []Window
	reboots bool
	begins  bool         // whoever asks at once waits for the first looks
	silent  error        // of Podman, which is asked for the pods in a status
	full    func() error // what a write to the disk of the state says; nil: it succeeds
	rests   atomic.Int32 // how often memory was given back
	c       *Conductor
	stop    func()
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, dir: t.TempDir(), commits: map[string]fstest.MapFS{}}
	for _, name := range []string{"system", "home", "pods"} {
		w.layers = append(w.layers, &fakeLayer{name: name, live: "old", refuse: map[string]error{}, ill: map[string]time.Duration{}})
	}
	if err := os.Mkdir(filepath.Join(w.dir, "targets"), 0o700); err != nil {
		t.Fatal(err)
	}
	return w
}

const testSoak = 30 * time.Second

// start begins a life of the agent.
func (w *world) start() {
	w.t.Helper()
	st := store{dir: w.dir, replace: w.replace}
	state, err := st.load()
	if err != nil {
		w.t.Fatal(err)
	}
	j, err := openJournal(filepath.Join(w.dir, "journal"))
	if err != nil {
		w.t.Fatal(err)
	}
	j.file = fullFile{j.file, w}
	var parts []Part
	for _, l := range w.layers {
		p := Part{Name: l.name, Layer: l, Heals: true}
		if l.name == "system" && w.system != nil {
			p.Layer = w.system(l)
		} else if l.name != "pods" {
			p.Layer, p.Heals = fakeGuix{l}, w.heal
		} else if w.images > 0 {
			p.Layer = movingLayer{l}
		} else if w.pods != nil {
			p.Layer = w.pods(l)
		} else {
			p.Layer = listingLayer{l, &w.silent}
		}
		parts = append(parts, p)
	}
	w.c = w.conductor(parts, st, j, state)
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.c.Run(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("run: %v", err)
		}
		j.close()
	}
}

// conductor is one that only counts how often it gives memory back: to do so is slow, as the race detector maps much of it.
func (w *world) conductor(parts []Part, st store, j *journal, state State) *Conductor {
	c := newConductor(w.config(parts), st, j, state)
	if w.begins {
		c.Begin()
	}
	c.giveBack = func() error { w.rests.Add(1); return nil }
	return c
}

func (w *world) config(parts []Part) Config {
	return Config{
		Parts: parts, Soak: testSoak, WaitForOthers: guix.DefaultPatience, Images: w.images, Windows: w.windows, Reboots: w.reboots, Retention: w.rule, Removal: "collie uninstall", Mark: unmarked,
		Log: slog.New(slog.DiscardHandler), Collector: w.garbage,
		Open: func(_ context.Context, id, _ string) (Files, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return fakeFiles{w.commits[id]}, nil
		},
		Drop: func([]Target) {},
		Others: func() []Other {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.others
		},
	}
}

func unmarked(ctx context.Context, _ string) context.Context { return ctx }

// push makes the commit the newest; layers are "name=value".
func (w *world) push(id string, layers ...string) {
	files := fstest.MapFS{}
	for _, l := range layers {
		name, value, _ := strings.Cut(l, "=")
		files[name] = &fstest.MapFile{Data: []byte(value)}
	}
	w.mu.Lock()
	w.commits[id] = files
	w.mu.Unlock()
	w.c.source <- source.Revision{ID: id, Author: "ann", Subject: "commit " + id}
}

// pass lets time go by until nothing happens any more.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (w *world) is(want ...string) {
	w.t.Helper()
	var got []string
	for _, l := range w.layers {
		got = append(got, l.is())
	}
	if !reflect.DeepEqual(got, want) {
		w.t.Errorf("live is %q, want %q", got, want)
	}
}

func (w *world) state() State { return w.c.look().state }

func (w *world) good(want string) {
	w.t.Helper()
	if s := w.state(); s.Good.Revision != want || s.phase() != idle {
		w.t.Errorf("good %q in phase %s, want %q, idle", s.Good.Revision, s.phase(), want)
	}
}

func inBubble(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start()
		f(t, w)
		w.stop()
	})
}

func TestPushDeploysAllLayersAndIsGoodAfterTheSoak(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=1", "home=1", "pods=1")
		pass(3*time.Second + testSoak/2)
		w.is("1", "1", "1")
		if s := w.state(); s.phase() != soaking || s.Good.Revision != Baseline {
			t.Errorf("phase %s, good %s, want soaking, baseline", s.phase(), s.Good.Revision)
		}
		pass(testSoak)
		w.good("a")
		h := w.history()
		if len(h) != 1 || h[0].Outcome != "good" || h[0].Author != "ann" || h[0].Subject != "commit a" || !slices.Equal(h[0].Layers, []string{"system", "home", "pods"}) {
			t.Errorf("history: %+v", h)
		}
	})
}

// A home that isn't there gets a baseline, to which it returns, only when a revision names it.
func TestWhatIsNotThereIsLeftAloneUntilARevisionNamesIt(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.layers[1].set(func(l *fakeLayer) { l.live = "" })
		w.push("a", "system=1", "pods=1")
		pass(time.Minute)
		w.push("worse", "system=1", "pods=bad")
		pass(time.Minute)
		w.is("1", "", "1")
		w.good("a")
		if s := w.status(t, w.c); len(s.Layers) != 2 {
			t.Errorf("status tells of a home: %+v", s.Layers)
		}
		if id, is := w.state().Good.Targets["home"]; is {
			t.Errorf("nobody named a home, and it was taken as %s", id)
		}
		w.layers[2].set(func(l *fakeLayer) { l.refuse["2"] = errors.New("no") })
		w.push("b", "system=2", "home=2", "pods=2")
		pass(time.Minute)
		w.is("1", "", "1")
		w.good("a")
		if got, want := w.layers[1].switched(), []string{"2", ""}; !slices.Equal(got, want) {
			t.Errorf("the home was switched to %q, want %q", got, want)
		}
	})
}

func (w *world) history() []api.Deployment {
	w.t.Helper()
	entries, err := readJournal(filepath.Join(w.dir, "journal"), journalLimit)
	if err != nil {
		w.t.Fatal(err)
	}
	return history(entries, nil, time.Now())
}

func TestFailureOfTheLastLayerReturnsAll(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		w.layers[2].set(func(l *fakeLayer) { l.refuse["2"] = errors.New("pods/web.yaml:3: no") })
		w.push("b", "system=2", "home=2", "pods=2")
		pass(time.Minute)
		w.is("1", "1", "1")
		w.good("a")
		if b := w.state().Bad["b"]; b.Reason != "pods/web.yaml:3: no" {
			t.Errorf("bad: %+v", b)
		}
		for i, want := range [][]string{{"1", "2", "1"}, {"1", "2", "1"}, {"1", "2", "1"}} {
			if got := w.layers[i].switched(); !slices.Equal(got, want) {
				t.Errorf("%s was switched to %q, want %q", w.layers[i].name, got, want)
			}
		}
		pass(24 * time.Hour)
		if got := len(w.layers[0].switched()); got != 3 {
			t.Errorf("a bad revision was tried again: %d switches", got)
		}
		w.push("c", "system=3", "home=1", "pods=1")
		pass(time.Minute)
		w.is("3", "1", "1")
		w.good("c")
		if h := w.history(); len(h) != 3 || h[1].Outcome != "rolled back" || h[1].Reason == "" {
			t.Errorf("history: %+v", h)
		}
	})
}

func TestProblemInTheSoakReturnsAll(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		w.layers[0].set(func(l *fakeLayer) { l.ill["2"] = 10 * time.Second })
		w.push("b", "system=2", "home=1", "pods=2")
		pass(time.Minute)
		w.is("1", "1", "1")
		w.good("a")
		if got := w.layers[1].switched(); !slices.Equal(got, []string{"1"}) {
			t.Errorf("the unchanged home was switched to %q", got)
		}
	})
}

func TestProblemThatWasThereBeforeDoesNotCount(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=1", "pods=1")
		pass(time.Minute)
		w.layers[0].set(func(l *fakeLayer) { l.always = []Problem{{Subject: "service old", Says: "stopped"}} })
		pass(time.Minute)
		w.push("b", "system=1", "pods=2")
		pass(time.Minute)
		w.is("1", "old", "2")
		w.good("b")
	})
}

func TestProblemBeforeTheFirstRevisionDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.layers[0].always = []Problem{{Subject: "service old", Says: "stopped"}}
		w.start()
		w.push("a", "pods=1")
		pass(time.Minute)
		w.is("old", "old", "1")
		w.good("a")
		w.stop()
		w.start()
		w.push("b", "pods=2")
		pass(time.Minute)
		w.good("b")
		w.stop()
	})
}

func TestForwardBackAndForward(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		w.push("b", "system=2", "home=2", "pods=2")
		pass(time.Minute)
		w.is("2", "2", "2")
		w.push("a2", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		w.is("1", "1", "1")
		w.good("a2")
	})
}

func TestRevertOfABadRevisionTouchesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		w.push("b", "system=bad", "home=2", "pods=2")
		pass(time.Minute)
		w.push("a2", "system=1", "home=1", "pods=1")
		pass(time.Second)
		w.is("1", "1", "1")
		w.good("a2")
		if got := w.layers[0].switched(); !slices.Equal(got, []string{"1"}) {
			t.Errorf("system was switched to %q", got)
		}
	})
}

func TestUnpreparableRevisionTouchesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=unreachable", "home=1", "pods=1")
		pass(5 * time.Minute)
		w.is("old", "old", "old")
		s := w.state()
		if len(s.Bad) != 0 || s.Later == nil || s.Later.Attempts < 3 {
			t.Errorf("state %+v: want it tried again, not blamed", s)
		}
		w.push("b", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		w.is("1", "1", "1")
	})
}

func TestTransientSwitchReturnsAndIsTriedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=1", "pods=1")
		pass(time.Minute)
		w.layers[2].set(func(l *fakeLayer) { l.refuse["2"] = &TransientError{errors.New("no space left")} })
		w.push("b", "system=2", "pods=2")
		pass(10 * time.Second)
		w.is("1", "old", "1")
		if len(w.state().Bad) != 0 {
			t.Errorf("blamed: %v", w.state().Bad)
		}
		w.layers[2].set(func(l *fakeLayer) { delete(l.refuse, "2") })
		pass(2 * time.Minute)
		w.is("2", "old", "2")
		w.good("b")
	})
}

func TestFailedReturnIsStuckUntilANewCommit(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		w.layers[2].set(func(l *fakeLayer) { l.refuse["2"] = errors.New("no") })
		w.push("b", "system=2", "home=2", "pods=2")
		w.layers[1].set(func(l *fakeLayer) { l.refuse["1"] = errors.New("home won't") })
		pass(2 * time.Minute)
		if s := w.state(); s.Stuck == nil || !strings.Contains(s.Stuck.Why, "home won't") {
			t.Fatalf("stuck: %+v", s.Stuck)
		}
		w.is("1", "half 1", "1") // the others did return
		w.push("c", "system=3", "home=3", "pods=3")
		pass(time.Minute)
		w.is("3", "3", "3")
		w.good("c")
	})
}

func TestReturnThatNobodyHindersGoesOnUntilTheCauseIsGone(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		w.layers[2].set(func(l *fakeLayer) { l.refuse["2"] = errors.New("no") })
		w.push("b", "system=2", "home=2", "pods=2")
		w.layers[1].set(func(l *fakeLayer) { l.refuse["1"] = &TransientError{errors.New("the disk is full")} })
		pass(10 * time.Minute)
		w.is("1", "half 1", "1")
		if s := w.state(); s.phase() != rollingBack {
			t.Errorf("phase %s, want returning", s.phase())
		}
		w.layers[1].set(func(l *fakeLayer) { delete(l.refuse, "1") })
		pass(10 * time.Minute)
		w.is("1", "1", "1")
		w.good("a")
	})
}

func TestSuspendedPreparesAndWaits(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=1", "pods=1")
		pass(time.Minute)
		if err := w.c.ask(t.Context(), func() error { return w.c.suspend("moving disks") }); err != nil {
			t.Fatal(err)
		}
		w.push("b", "system=2", "pods=2")
		pass(time.Minute)
		w.is("1", "old", "1")
		if s := w.state(); s.Prepared.Revision != "b" {
			t.Errorf("prepared %q, want b", s.Prepared.Revision)
		}
		if err := w.c.ask(t.Context(), w.c.resumeDeploying); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		w.is("2", "old", "2")
		w.good("b")
	})
}

func TestHealingDoesNotWaitForAPreparation(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=1", "pods=1")
		pass(time.Minute)
		block := make(chan struct{})
		w.layers[0].set(func(l *fakeLayer) { l.block = block })
		w.push("b", "system=2", "pods=1")
		pass(time.Second)
		w.layers[2].set(func(l *fakeLayer) { l.live = "killed" })
		pass(10 * time.Second)
		w.is("1", "old", "1")
		close(block)
		pass(time.Minute)
		w.good("b")
	})
}

func TestStreamOfCommitsStarvesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		block := make(chan struct{})
		w.layers[0].set(func(l *fakeLayer) { l.block = block })
		for _, id := range []string{"a", "b", "c", "d", "e"} {
			w.push(id, "system="+id)
			pass(time.Second)
		}
		got := 0
		w.layers[0].set(func(l *fakeLayer) { got = l.prepares })
		if got != 3 {
			t.Errorf("%d preparations began, want 3: the third may finish", got)
		}
		close(block)
		pass(time.Minute)
		w.is("e", "old", "old")
		entries, err := readJournal(filepath.Join(w.dir, "journal"), journalLimit)
		if i := slices.IndexFunc(entries, func(e entry) bool { return e.Event == evPrepared }); err != nil || entries[i].Revision != "c" {
			t.Errorf("prepared %+v, want c first (%v)", entries[i], err)
		}
	})
}

func TestStopFinishesTheSwitchInFlight(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=1", "pods=1")
		pass(time.Second / 2) // the system is half switched
		w.is("half 1", "old", "old")
		w.stop()
		w.is("1", "old", "old")
		w.start()
		pass(time.Minute)
		w.is("1", "old", "1")
		w.good("a")
		if got := w.layers[0].switched(); !slices.Equal(got, []string{"1"}) {
			t.Errorf("system was switched to %q: the first switch had returned", got)
		}
	})
}

func TestNewerRevisionEndsTheSoakByItsSwitchOnly(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=1")
		pass(10 * time.Second)
		w.push("b", "system=2")
		pass(10 * time.Second)
		w.is("2", "old", "old")
		w.layers[0].set(func(l *fakeLayer) { l.ill["2"] = 0 })
		pass(time.Minute)
		w.is("old", "old", "old") // a was never good
		w.good(Baseline)
	})
}

func TestDeletedStateAdoptsTheMachine(t *testing.T) {
	for _, gone := range [][]string{{"state.json"}, {"journal"}, {"targets"}, {"state.json", "journal", "targets"}} {
		t.Run(strings.Join(gone, "+"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.start()
				w.push("a", "system=1", "home=1", "pods=1")
				pass(time.Minute)
				w.stop()
				for _, name := range gone {
					if err := os.RemoveAll(filepath.Join(w.dir, name)); err != nil {
						t.Fatal(err)
					}
				}
				if err := os.MkdirAll(filepath.Join(w.dir, "targets"), 0o700); err != nil {
					t.Fatal(err)
				}
				w.start()
				w.push("a", "system=1", "home=1", "pods=1")
				pass(2 * time.Minute)
				w.is("1", "1", "1")
				w.good("a")
				for _, l := range w.layers {
					if got := l.switched(); len(got) != 1 {
						t.Errorf("%s was switched again: %q", l.name, got)
					}
				}
				w.push("b", "system=2", "home=1", "pods=1")
				pass(time.Minute)
				w.is("2", "1", "1")
				w.stop()
			})
		})
	}
}

// A kill at any moment of a switch, forward or back, is resumed: the world as it was then, in a new life, ends as the first does.
func TestKilledAnywhereIsResumed(t *testing.T) {
	type moment struct {
		dir  string
		live []string
		name string
	}
	var moments []moment
	base := t.TempDir()
	story := func(w *world) {
		w.layers[2].set(func(l *fakeLayer) { l.refuse["2"] = errors.New("no") })
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		story(w)
		w.start()
		for _, l := range w.layers {
			hook := func(when string) {
				m := moment{dir: filepath.Join(base, l.name+when+string(rune('a'+len(moments)))), name: l.name + " " + when}
				if err := os.CopyFS(m.dir, os.DirFS(w.dir)); err != nil {
					t.Error(err)
				}
				for _, other := range w.layers {
					m.live = append(m.live, other.is())
				}
				moments = append(moments, m)
			}
			l.set(func(l *fakeLayer) { l.onSwitch = hook })
		}
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		w.push("b", "system=2", "home=2", "pods=2")
		pass(time.Minute)
		w.is("1", "1", "1")
		w.stop()
	})
	if len(moments) != 2*9 {
		t.Fatalf("%d moments, want 18: three layers forward, forward and back", len(moments))
	}
	for i, m := range moments {
		t.Run(m.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				story(w)
				w.dir = m.dir
				for k, l := range w.layers {
					l.live = m.live[k]
				}
				for id, v := range map[string]string{"a": "1", "b": "2"} {
					w.commits[id] = fstest.MapFS{"system": {Data: []byte(v)}, "home": {Data: []byte(v)}, "pods": {Data: []byte(v)}}
				}
				w.start()
				pass(2 * time.Minute)
				w.is("1", "1", "1")
				w.good("a")
				if _, bad := w.state().Bad["b"]; bad != (i >= 6) {
					t.Errorf("b is bad: %v", bad)
				}
				w.stop()
			})
		})
	}
}

func TestKeepNamesWhatAReturnNeeds(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		last := func() []string {
			w.layers[0].mu.Lock()
			defer w.layers[0].mu.Unlock()
			return w.layers[0].kept[len(w.layers[0].kept)-1]
		}
		w.push("a", "system=1")
		pass(time.Minute)
		w.push("b", "system=2")
		pass(20 * time.Second)
		if !slices.Contains(last(), "system-1") {
			t.Errorf("in the soak of b %q is kept, and not what a return needs", last())
		}
		pass(time.Minute)
		if kept := last(); !slices.Contains(kept, "system-2") || slices.Contains(kept, "system-1") {
			t.Errorf("kept %q, want system-2 alone", kept)
		}
		w.layers[0].set(func(l *fakeLayer) { l.refuse["3"] = errors.New("no") })
		w.push("c", "system=3")
		pass(time.Minute)
		if kept := last(); !slices.Contains(kept, "system-3") {
			t.Errorf("kept %q, without what failed, which a person may look at", kept)
		}
		if v, reason := (&State{Good: w.state().Good, Failed: w.state().Failed, Bad: w.state().Bad}).verdictOn("system", "system-3"); v != "rolled back" || reason != "no" {
			t.Errorf("what failed is %q, %q", v, reason)
		}
		w.push("d", "system=4")
		pass(time.Minute)
		if kept := last(); slices.Contains(kept, "system-3") {
			t.Errorf("kept %q, with what failed before the last good", kept)
		}
	})
}

// What a preparation makes isn't in a set yet: nothing may be dropped beside it.
func TestNothingIsDroppedBesideAPreparation(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.push("a", "system=1")
		pass(10 * time.Second)
		block := make(chan struct{})
		w.layers[1].set(func(l *fakeLayer) { l.block = block })
		w.push("b", "system=2", "home=2")
		kept := func() int {
			w.layers[0].mu.Lock()
			defer w.layers[0].mu.Unlock()
			return len(w.layers[0].kept)
		}
		pass(time.Second)
		before := kept()
		pass(time.Minute)
		w.good("a")
		if got := kept(); got != before {
			t.Errorf("something was dropped %d times while b was being prepared", got-before)
		}
		close(block)
		pass(time.Minute)
		w.good("b")
		if got := kept(); got == before {
			t.Error("nothing was dropped after that")
		}
	})
}

// Layers are prepared one beside the other: a mistake in one is told though another would take for ever, and ends that.
func TestAMistakeDoesNotWaitForOtherLayers(t *testing.T) {
	for slow := range 3 {
		inBubble(t, func(t *testing.T, w *world) {
			w.layers[slow].set(func(l *fakeLayer) { l.block = make(chan struct{}) })
			wrong := w.layers[(slow+1)%3].name
			w.push("a", "system=1", "home=1", "pods=1", wrong+"=bad")
			pass(time.Second)
			if b := w.state().Bad["a"]; b.Reason != wrong+":1: bad" {
				t.Errorf("bad: %+v", b)
			}
		})
	}
}
