// Package layertest has what each [rollout.Layer] has to keep, whatever it makes a layer of. The fake of the conductor's tests
// keeps it, the secrets of services do, and on a real machine the system, the homes and the pods.
package layertest

import (
	"context"
	"reflect"
	"slices"
	"testing"
	"time"

	"example.org/collie/agent/rollout"
	"example.org/collie/agent/source"
)

// limit is for one thing that is asked of a layer. Guix takes seconds for a switch, and minutes on a slow machine.
const limit = 10 * time.Minute

// Test holds a layer to its contract, between two of its targets that differ. It leaves the layer at the first. files are those
// of no revision. What but names differs in any case.
func Test(t *testing.T, l rollout.Layer, files rollout.Files, one, two rollout.Target, but ...string) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*limit)
	defer cancel()
	c := contract{t, ctx, l, but}

	c.to(one)
	c.differs("the other target", two)
	c.asks(one, two)
	c.to(one) // it is there: nothing happens
	c.to(two)
	c.differs("the target before", one)
	c.asks(two, one)

	// What a target needs is kept, also of one that isn't live.
	c.prune(one, two)
	c.is(two)
	c.to(one)
	c.to(two)
	c.to(one)

	// What makes no sense is an error, and changes nothing.
	torn := two
	torn.Data = []byte("[")
	if err := l.Switch(ctx, torn); err == nil {
		t.Error("a switch to a target that makes no sense is no error")
	}
	if _, err := l.Diff(ctx, torn); err == nil {
		t.Error("what a target that makes no sense changes is no error")
	}
	c.is(one)

	// The baseline is what is live.
	live, err := l.Prepare(ctx, rollout.Revision{Revision: source.Revision{ID: rollout.Baseline}, Files: files}, func(rollout.Progress) {})
	if err != nil {
		t.Fatalf("taking the layer as it is: %v", err)
	}
	c.is(live)
	c.to(live)
	c.to(one)
}

type contract struct {
	t   *testing.T
	ctx context.Context
	l   rollout.Layer
	but []string // subjects
}

// to switches, and sees that the layer is there.
func (c contract) to(t rollout.Target) {
	c.t.Helper()
	if err := c.l.Switch(c.ctx, t); err != nil {
		c.t.Fatalf("switching to %s: %v", t.ID, err)
	}
	c.is(t)
}

// is sees that nothing but what waits differs from t.
func (c contract) is(t rollout.Target) {
	c.t.Helper()
	for _, change := range c.diff(t) {
		if !change.Waits {
			c.t.Errorf("at %s, and this differs: %s", t.ID, change)
		}
	}
}

func (c contract) differs(what string, t rollout.Target) {
	c.t.Helper()
	if len(c.diff(t)) == 0 {
		c.t.Errorf("%s, %s, doesn't differ from what is live", what, t.ID)
	}
}

func (c contract) diff(t rollout.Target) []rollout.Change {
	c.t.Helper()
	changes, err := c.l.Diff(c.ctx, t)
	if err != nil {
		c.t.Fatalf("comparing with %s: %v", t.ID, err)
	}
	return slices.DeleteFunc(changes, func(change rollout.Change) bool { return slices.Contains(c.but, change.Subject) })
}

// asks asks each question twice, at live: the answers are the same, and nothing changes.
func (c contract) asks(live, other rollout.Target) {
	c.t.Helper()
	since := time.Now().Add(-time.Minute)
	for _, t := range []rollout.Target{live, other} {
		if first, second := c.diff(t), c.diff(t); !reflect.DeepEqual(first, second) {
			c.t.Errorf("compared with %s: %v, and then %v", t.ID, first, second)
		}
	}
	first, err := c.l.Problems(c.ctx, live, since)
	if err != nil {
		c.t.Fatalf("problems of %s: %v", live.ID, err)
	}
	if second, err := c.l.Problems(c.ctx, live, since); err != nil || !reflect.DeepEqual(first, second) {
		c.t.Errorf("problems of %s: %v, and then %v (%v)", live.ID, first, second, err)
	}
	c.is(live)
}

func (c contract) prune(needed ...rollout.Target) {
	c.t.Helper()
	if err := c.l.Prune(c.ctx, needed); err != nil {
		c.t.Fatalf("pruning: %v", err)
	}
}
