package rollout

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestWhatAPushShows(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.c
		away := func(context.Context) error { return errors.New("repository ops.git: not there") }
		w.push("a", "system=1", "home=1", "pods=1")
		pass(time.Minute)
		shows := func(name, ref, commit string, done bool, says string) {
			t.Helper()
			got, err := a.Pushed(t.Context(), ref, commit, "main", away)
			if err != nil || got.Done != done || !strings.HasPrefix(got.Says, says) || says == "" && got.Says != "" {
				t.Errorf("%s: %+v (%v), want done %v, and %q", name, got, err, done, says)
			}
		}
		shows("the branch that is followed", "refs/heads/main", "a", true, "Revision a was received: `collie sync --wait` shows")
		if err := a.Suspend(t.Context(), "disks"); err != nil {
			t.Fatal(err)
		}
		shows("while suspended", "refs/heads/main", "a", true, "Revision a was received, and waits: suspended: disks.\n")
		shows("a repository that can't be read", "refs/heads/main", "b", true, "collie: repository ")
		for _, ref := range []string{"refs/tags/plan/try", "main", ""} {
			shows("what is nothing to us: "+ref, ref, "a", true, "")
		}
		for _, branch := range []string{"other", "planned", "Main", "main/x"} {
			shows("a branch that isn't followed", "refs/heads/"+branch, "a", true, "Branch "+branch+" isn't followed: this machine follows main. ")
		}

		block := make(chan struct{})
		w.layers[0].set(func(l *fakeLayer) { l.block = block })
		w.propose("try b system=2", "bad c system=bad", "away d home=unreachable")
		pass(time.Second)
		shows("a plan", "refs/heads/plan/try", "b", false, "Plan try, revision b, is being prepared: waits for its turn\n")
		close(block)
		pass(time.Second)
		shows("a plan", "refs/heads/plan/try", "b", true, "Plan try, revision b, would change:\nsystem, what runs:\n  update    system: 1 → 2\n")
		shows("a bad one", "refs/heads/plan/bad", "c", true, "Plan bad, revision c, can't be deployed: system:1: bad\n")
		shows("one that is tried again", "refs/heads/plan/away", "d", true, "Plan away, revision d, is tried again at ")
		shows("one that is older", "refs/heads/plan/try", "older", true, "collie: repository ")
	})
}
