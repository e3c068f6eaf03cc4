package rollout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gopkg.in/yaml.v3"
)

func TestWhichFormerStay(t *testing.T) {
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	hours := func(ago ...int) (former []formerSet) {
		for _, h := range ago {
			former = append(former, formerSet{Until: now.Add(-time.Duration(h) * time.Hour)})
		}
		return former
	}
	for _, row := range []struct {
		name   string
		keep   Retention
		former []formerSet
		stay   int
	}{
		{"none there", Retention{Revisions: 5}, nil, 0},
		{"fewer than may be", Retention{Revisions: 5}, hours(1, 2), 2},
		{"more", Retention{Revisions: 2}, hours(1, 2, 3), 2},
		{"however old", Retention{Revisions: 2, Age: Duration(time.Hour)}, hours(1000, 2000, 3000), 2},
		{"more, but young", Retention{Revisions: 1, Age: Duration(3 * time.Hour)}, hours(1, 2, 3, 4), 2},
		{"only the last good one", Retention{}, hours(0, 1), 0},
		{"only the young", Retention{Age: Duration(time.Hour)}, hours(0, 1), 1},
		{"never more than fit", Retention{Age: Duration(time.Hour)}, make([]formerSet, 2*mostFormer), 0},
		{"a push each minute", Retention{Age: Duration(time.Hour)}, hours(make([]int, 2*mostFormer)...), mostFormer},
	} {
		if got := len(row.keep.of(row.former, now)); got != row.stay {
			t.Errorf("%s: %d stay, want %d", row.name, got, row.stay)
		}
	}
}

func TestGoodRevisionsRetire(t *testing.T) {
	set := func(system, pods string) Set {
		return Set{Revision: "r-" + system + pods, Targets: map[string]string{"system": system, "pods": pods}}
	}
	for _, row := range []struct{ name, goods, former string }{
		{"the first", "a1", ""},
		{"one after the other", "a1 b1 c1", "b a"},
		{"only pods change", "a1 b1 b2 b3", "a"},
		{"there and back", "a1 b1 a1", "b"},
		{"and there again", "a1 b1 a1 b1", "a"},
		{"what is there twice counts once", "a1 b1 c1 a1 c1", "a b"},
	} {
		var former []formerSet
		var good Set
		for _, next := range strings.Fields(row.goods) {
			next := set(next[:1], next[1:])
			former = retire(former, good, next, time.Time{})
			good = next
		}
		var got []string
		for _, f := range former {
			got = append(got, f.Targets["system"])
			if f.Targets["pods"] != "" {
				t.Errorf("%s: pods are kept: %v", row.name, f)
			}
		}
		if strings.Join(got, " ") != row.former {
			t.Errorf("%s: former are %v, want %s", row.name, got, row.former)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]Size{"0": 0, "500MiB": 500 << 20, "5GiB": 5 << 30, "1TiB": 1 << 40, "0GiB": 0,
		"5": -1, "5GB": -1, "GiB": -1, "-5GiB": -1, "5.5GiB": -1, "99999999TiB": -1, "[]": -1} {
		var got Size
		if err := yaml.Unmarshal([]byte(text), &got); (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("%s is %d (%v), want %d", text, got, err, want)
		}
	}
}

func TestHistoryTellsGenerations(t *testing.T) {
	start := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	var entries []entry
	for _, row := range []struct {
		event    event
		revision string
		item     string
	}{
		{evSwitching, "a", ""}, {evGood, "a", "/gnu/store/a-system"},
		{evSwitching, "b", ""}, {evFailed, "b", ""}, {evRolledBack, "b", "/gnu/store/a-system"},
		{evSwitching, "c", ""}, {evGood, "c", "/gnu/store/c-system"},
		{evSwitching, "d", ""}, {evGood, "d", ""}, // of an older Collie
	} {
		e := entry{At: start, Event: row.event, Revision: row.revision}
		if row.item != "" {
			e.Items = map[string]string{"system": row.item}
		}
		entries = append(entries, e)
	}
	numbers := map[string]map[string]int{"system": {"/gnu/store/a-system": 3, "/gnu/store/x-system": 4}} // 4 was c's, and was given again
	var got []string
	for _, d := range history(entries, numbers, start) {
		got = append(got, fmt.Sprint(d.Revision, d.Generations))
	}
	if want := "dmap[] cmap[] bmap[system:3] amap[system:3]"; strings.Join(got, " ") != want {
		t.Errorf("history is %v, want %s", got, want)
	}
}

// fakeGarbage is a store with little room.
type fakeGarbage struct {
	mu         sync.Mutex // guards what follows
	free, gain int64
	asked      []int64
	takes      time.Duration
	ended      error
}

func (f *fakeGarbage) set(change func(*fakeGarbage)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *fakeGarbage) Free() (free int64) {
	f.set(func(f *fakeGarbage) { free = f.free })
	return free
}

func (f *fakeGarbage) Collect(ctx context.Context, bytes int64) error {
	var takes time.Duration
	f.set(func(f *fakeGarbage) {
		f.asked = append(f.asked, bytes)
		takes = f.takes
	})
	select {
	case <-time.After(takes):
		f.set(func(f *fakeGarbage) { f.free += f.gain })
	case <-ctx.Done():
		f.set(func(f *fakeGarbage) { f.ended = ctx.Err() })
		return errors.Join(errors.New("ended"), ctx.Err())
	}
	return nil
}

// told is what was asked of it, and how the last that was ended was.
func (f *fakeGarbage) told() (asked []int64, ended error) {
	f.set(func(f *fakeGarbage) { asked, ended = slices.Clone(f.asked), f.ended })
	return asked, ended
}

func TestGarbageIsCollectedWhenAllIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeGarbage{free: 1 << 30, gain: 1 << 30, takes: 10 * time.Second}
		w := newWorld(t)
		w.rule, w.garbage = Retention{Free: 3 << 30}, store
		w.start()
		pass(5 * time.Second)
		w.push("a", "system=one")
		pass(20 * time.Second)
		s := w.state()
		if asked, _ := store.told(); len(asked) != 0 || s.phase() != soaking {
			t.Fatalf("collected %d times in phase %s", len(asked), s.phase())
		}
		pass(2 * time.Minute)
		if asked, _ := store.told(); !slices.Equal(asked, []int64{3 << 30}) {
			t.Fatalf("asked for %v in the first minutes, want 3 GiB once", asked)
		}
		w.stop() // that it was tried outlives the agent
		w.start()
		pass(50 * time.Minute)
		if asked, _ := store.told(); len(asked) != 1 {
			t.Errorf("asked for %v within an hour", asked)
		}
		pass(3 * time.Hour)
		if asked, _ := store.told(); len(asked) != 2 {
			t.Errorf("asked %d times until there was enough, want 2", len(asked))
		}
		store.set(func(f *fakeGarbage) { f.free, f.takes = 0, time.Hour })
		pass(2 * time.Minute)
		w.push("b", "system=two")
		pass(2 * time.Minute)
		if asked, ended := store.told(); len(asked) != 3 || !errors.Is(ended, context.Canceled) {
			t.Errorf("asked %d times, and the last one ended by %v: a revision came", len(asked), ended)
		}
		w.good("b")
		if got := len(w.events(t, evCollect)); got != 3 {
			t.Errorf("the journal tells %d collections, want 3", got)
		}
		w.stop()
	})
}

func TestFormerGoodTargetsStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.rule = Retention{Revisions: 1}
		w.start()
		for _, id := range []string{"a", "b", "c"} {
			w.push(id, "system="+id, "pods="+id)
			pass(time.Minute)
		}
		w.good("c")
		if got := strings.Join(w.targets(), " "); got != "home-old pods-c system-b system-c" {
			t.Errorf("targets are %s", got)
		}
		w.stop()
	})
}
