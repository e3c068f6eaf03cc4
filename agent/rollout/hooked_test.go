package rollout

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A hookedLayer is a fakeLayer with hooks, each of which takes a minute; those of the values in fail do.
type hookedLayer struct {
	*fakeLayer
	did  *[]string
	fail map[string]bool // "before 2"
}

func (l hookedLayer) do(ctx context.Context, what string, t Target, rollout string, takes time.Duration) error {
	what += " " + l.value(t)
	l.mu.Lock()
	*l.did = append(*l.did, what+" in "+rollout)
	l.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(takes):
	}
	if l.fail[what] {
		return errors.New("the hook " + what + " failed")
	}
	return nil
}

func (l hookedLayer) Before(ctx context.Context, t Target, rollout string) error {
	return l.do(ctx, "before", t, rollout, time.Minute)
}

func (l hookedLayer) After(ctx context.Context, t Target, rollout string) error {
	return l.do(ctx, "after", t, rollout, time.Minute)
}

func (l hookedLayer) Failed(t Target, rollout string) error {
	return l.do(context.Background(), "failed", t, rollout, 0)
}

func TestHooksAroundARollout(t *testing.T) {
	for _, row := range []struct {
		name, fails string
		want        []string // what was done for the second commit
		pods        string   // that are live in the end
	}{
		{"all is well", "", []string{"before 2", "after 2"}, "2"},
		{"what comes before fails", "before 2", []string{"before 2", "failed 2"}, "1"},
		{"what comes after fails", "after 2", []string{"before 2", "after 2", "failed 2"}, "1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, did := newWorld(t), []string{}
				w.pods = func(l *fakeLayer) Layer { return hookedLayer{l, &did, map[string]bool{row.fails: true}} }
				w.start()
				defer func() { w.stop() }()
				w.push("a", "system=1", "home=1", "pods=1")
				pass(4 * time.Minute)
				w.good("a")
				did = nil
				w.push("b", "system=1", "home=1", "pods=2")
				pass(10 * time.Second)
				// What runs is healed while a hook does.
				w.layers[2].set(func(l *fakeLayer) { l.live = "broken" })
				pass(10 * time.Second)
				w.layers[2].set(func(l *fakeLayer) {
					if l.live != "1" {
						t.Errorf("while a hook runs, the pods are %s", l.live)
					}
				})
				// The next life goes on with the same rollout.
				w.stop()
				w.start()
				pass(4 * time.Minute)
				w.is("1", "1", row.pods)
				var got []string
				rollouts := map[string]bool{}
				for _, line := range did {
					what, rollout, _ := strings.Cut(line, " in ")
					if got = append(got, what); !strings.HasPrefix(what, "failed") {
						rollouts[rollout] = true
					}
				}
				if want := slices.Concat([]string{"before 2"}, row.want); !slices.Equal(got, want) || len(rollouts) != 1 {
					t.Errorf("done: %q, want %q, in one rollout", did, want)
				}
				if row.fails == "" {
					w.good("b")
					return
				}
				w.good("a")
				if bad := w.state().Bad["b"].Reason; bad != "the hook "+row.fails+" failed" {
					t.Errorf("bad: %s", bad)
				}
			})
		})
	}
}
