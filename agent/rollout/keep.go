package rollout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"gopkg.in/yaml.v3"
)

// A formerSet is what was good before the last good: `git revert' or a person may lead back there. It has no pods: their
// images are kept anyway, and dozens of stopped pods would be in the way.
type formerSet struct {
	Set
	Until time.Time `json:"until"` // another took its place
}

// Retention says for how long former good revisions are kept from `guix gc', and when that is run.
type Retention struct {
	Revisions int      `yaml:"revisions"` // number of former good ones that are kept, whatever their age; default 5
	Age       Duration `yaml:"age"`       // and those that were good until less long ago; default 0s
	Free      Size     `yaml:"free"`      // with less free in the store, `guix gc' is run for as much; default 0: never
}

const mostFormer = 100

// Check reports the values that make no sense, each with its key.
func (k Retention) Check(wrong func(key, says string)) {
	if k.Revisions < 0 || k.Revisions > mostFormer {
		wrong("revisions", fmt.Sprintf("a number up to %d: write 0 to keep the last good one alone", mostFormer))
	}
	if k.Age < 0 {
		wrong("age", "no negative duration")
	}
}

// of are the sets of former that are kept, the newest first.
func (k Retention) of(former []formerSet, now time.Time) []formerSet {
	stay := 0
	for i, f := range former {
		if i < k.Revisions || now.Sub(f.Until) < time.Duration(k.Age) {
			stay = i + 1
		}
	}
	return former[:min(stay, mostFormer)]
}

// retire adds good to former, as next takes its place. A set that is there twice is kept once: a dozen commits that change only
// pods must not push out the system that a revert of the one before them needs.
func retire(former []formerSet, good, next Set, now time.Time) []formerSet {
	good, next = withoutPods(good), withoutPods(next)
	all := slices.DeleteFunc(slices.Clone(former), func(f formerSet) bool { return f.equal(good) || f.equal(next) })
	if len(good.Targets) == 0 || good.equal(next) {
		return all
	}
	return slices.Insert(all, 0, formerSet{good, now})
}

func withoutPods(s Set) Set {
	s = s.clone()
	delete(s.Targets, "pods")
	return s
}

// equal reports whether two sets have the same targets.
func (s Set) equal(other Set) bool { return s.same(other) && other.same(s) }

// former are the kept sets of former good revisions; the others are dropped.
func (c *Conductor) former(now time.Time) ([]Set, error) {
	stay := slices.DeleteFunc(slices.Clone(c.Retention.of(c.state.Former, now)), func(f formerSet) bool { return c.store.lacks(f.Set) })
	var sets []Set
	for _, f := range stay {
		sets = append(sets, f.Set)
	}
	if len(stay) == len(c.state.Former) {
		return sets, nil
	}
	c.state.Former = stay
	return sets, c.save()
}

// startPreparing begins a preparation, for which channels are known that built what was good.
func (c *Conductor) startPreparing(ctx context.Context, j job) {
	sets := []Set{c.state.Good}
	for _, f := range c.state.Former {
		sets = append(sets, f.Set)
	}
	for _, set := range sets {
		if item := c.items(set)["system"]; item != "" {
			j.good = append(j.good, item)
		}
	}
	c.preparer.start(ctx, j)
}

// items are what the targets of a set are in the store, by layer.
func (c *Conductor) items(set Set) map[string]string {
	items := map[string]string{}
	for layer, id := range set.Targets {
		t, err := c.target(layer, id)
		if err != nil {
			continue
		}
		if s, is := c.stored(t); is && s.Item != "" {
			items[layer] = s.Item
		}
	}
	return items
}

// numbers are the generations there are, by layer and item.
func numbers(parts []Part) (map[string]map[string]int, error) {
	all := map[string]map[string]int{}
	for _, p := range parts {
		if layer, is := p.Layer.(stored); is {
			generations, err := layer.Generations()
			if err != nil {
				return nil, err
			}
			all[p.Name] = generations
		}
	}
	return all, nil
}

// Size is bytes, written as 500MiB or 5GiB.
type Size int64

// UnmarshalYAML reads 500MiB, 5GiB, 1TiB, or 0.
func (s *Size) UnmarshalYAML(node *yaml.Node) error {
	number, shift := node.Value, 0
	for unit, bits := range map[string]int{"MiB": 20, "GiB": 30, "TiB": 40} {
		if rest, is := strings.CutSuffix(node.Value, unit); is {
			number, shift = rest, bits
		}
	}
	n, err := strconv.ParseUint(number, 10, 20)
	if err != nil || shift == 0 && n > 0 {
		return fmt.Errorf("%q is no size: write 500MiB or 5GiB", node.Value)
	}
	*s = Size(n << shift)
	return nil
}

// A collector removes from the store what nothing needs.
type collector interface {
	Free() int64 // bytes that the store's disk has left
	Collect(ctx context.Context, bytes int64) error
}

// Garbage is collected while nothing else is going on, if the guest's configuration asks for free space.
type garbage struct {
	collector
	results   chan error         // of one
	idleSince time.Time          // since when nothing else is going on
	cancel    context.CancelFunc // nil: none is being collected
	done      sync.WaitGroup
}

const (
	collectPause = time.Hour        // at least between two collections: one that found too little would find as little at once
	collectQuiet = 10 * time.Second // before one: keepers drop what isn't needed first
)

// collect begins a collection if it is time for one, and ends one that is in the way.
func (c *Conductor) collect(ctx context.Context, now time.Time) error {
	g := &c.garbage
	wanted := int64(c.Retention.Free)
	if wanted == 0 || g.collector == nil {
		return nil
	}
	if c.state.phase() != idle || c.busy != "" || c.untidy || c.preparer.busy() {
		g.idleSince = time.Time{}
		if g.cancel != nil {
			g.cancel()
		}
		return nil
	}
	if g.idleSince.IsZero() {
		g.idleSince = now
	}
	c.wakeAt(g.idleSince.Add(collectQuiet))
	if g.cancel != nil || now.Sub(g.idleSince) < collectQuiet || now.Sub(c.state.Collected) < collectPause {
		return nil
	}
	free := g.Free()
	if free >= wanted {
		return nil
	}
	why := fmt.Sprintf("%d MiB are free in the store, and keep.free is %d MiB", free>>20, wanted>>20)
	if err := c.write(entry{Event: evCollect, Revision: c.state.Current.Revision, Because: why}); err != nil {
		return err
	}
	c.Log.Info("collecting garbage", "because", why)
	c.state.Collected = now
	if err := c.save(); err != nil {
		return err
	}
	ctx, g.cancel = context.WithCancel(ctx)
	g.done.Go(func() { g.results <- g.Collect(ctx, wanted) })
	return nil
}

// collected takes what came of a collection.
func (c *Conductor) collected(err error) {
	c.garbage.cancel()
	c.garbage.cancel = nil
	free := fmt.Sprintf("%d MiB", c.garbage.Free()>>20)
	switch {
	case errors.Is(err, context.Canceled):
		c.Log.Info("garbage is collected another time: there is something to do", "free", free)
	case err != nil:
		c.Log.Warn("garbage isn't collected", "err", err, "free", free)
	default:
		c.Log.Info("garbage is collected", "free", free)
	}
}
