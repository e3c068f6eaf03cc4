package rollout

import (
	"maps"
	"testing"
	"time"

	"example.org/collie/agent/api"
	"example.org/collie/agent/source"
)

// All policy is here: each row is a state of the world, the set it calls for, and why.
func TestWanted(t *testing.T) {
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	set := func(revision string, targets ...string) Set {
		s := Set{Revision: revision, Targets: map[string]string{}}
		for i, layer := range []string{"system", "home", "pods"} {
			if i < len(targets) && targets[i] != "" {
				s.Targets[layer] = targets[i]
			}
		}
		return s
	}
	base := set(Baseline, "s0", "h0", "p0")
	a, b, c := set("a", "s1", "h1", "p1"), set("b", "s2", "h2", "p2"), set("c", "s3", "h3", "p3")
	badness := func(revision string) map[string]failure {
		return map[string]failure{revision: {Reason: revision + " died"}}
	}
	aside := func(why string) *api.Suspended { return &api.Suspended{Why: why} }
	later := func(revision string, in time.Duration) *backoff {
		return &backoff{Revision: revision, Why: "no route to host", Next: now.Add(in)}
	}
	rollout := func(p phase, to Set, because string) *rollout {
		return &rollout{Phase: p, To: to, Because: because}
	}
	b2, c2 := source.Revision{ID: "b"}, source.Revision{ID: "c"}
	drift := func(layer, newest string) map[string]Drift {
		return map[string]Drift{layer: {Drift: api.Drift{Generation: 7, Since: now}, Live: "theirs", Newest: newest}}
	}
	held := func(layer string) string {
		return layer + " is at generation 7, to which someone else switched on " + now.Local().Format(time.DateTime) +
			"; it is left so until the next commit, or `collie retry`"
	}
	for _, row := range []struct {
		name    string
		state   State
		want    Set
		because string
	}{
		// Nothing is known, or nothing new.
		{"first start", State{}, Set{}, "nothing newer could be prepared"},
		{"adopted, nothing prepared", State{Current: base, Good: base}, base, "nothing newer could be prepared"},
		{"at rest", State{Prepared: a, Current: a, Good: a}, a, "the newest that could be prepared"},

		// Forward.
		{"the first revision", State{Prepared: a, Current: base, Good: base}, a, "the newest that could be prepared"},
		{"a newer revision", State{Prepared: b, Current: a, Good: a}, b, "the newest that could be prepared"},
		{"a newer one while the last soaks", State{Prepared: c, Current: b, Good: a, Rollout: rollout(soaking, b, "")}, c, "the newest that could be prepared"},
		{"the same one soaks", State{Prepared: b, Current: b, Good: a, Rollout: rollout(soaking, b, "")}, b, "the newest that could be prepared"},
		{"a newer one waits for the switch to end", State{Prepared: c, Current: set("b", "s2"), Good: a, Rollout: rollout(switching, b, "push")}, b, "push"},
		{"a switch that was begun goes on though it was suspended", State{Prepared: b, Current: a, Good: a, Rollout: rollout(switching, b, "push"), Suspended: aside("")}, b, "push"},

		// Layers that a revision doesn't name.
		{"without home, it stays", State{Prepared: set("b", "s2", "", "p2"), Current: a, Good: a}, set("b", "s2", "h1", "p2"), "the newest that could be prepared"},
		{"a layer that a failure left unknown returns", State{Prepared: set("b", "s2"), Current: set("a", "s1", "", "p1"), Good: base}, set("b", "s2", "h0", "p1"), "the newest that could be prepared"},

		// Back.
		{"current is bad", State{Prepared: b, Current: b, Good: a, Bad: badness("b")}, a, "the last good: b died"},
		{"current is bad, something newer is prepared", State{Prepared: c, Current: b, Good: a, Bad: badness("b")}, a, "the last good: b died"},
		{"the newest is bad", State{Prepared: b, Current: a, Good: a, Bad: badness("b")}, a, "the last good: b died"},
		{"the bad one came back after its fix", State{Prepared: c, Current: a, Good: a, Bad: badness("b")}, c, "the newest that could be prepared"},
		{"bad in its soak", State{Prepared: b, Current: b, Good: a, Bad: badness("b"), Rollout: rollout(soaking, b, "push")}, a, "the last good: b died"},
		{"on the way back", State{Prepared: b, Current: set("a", "s1"), Good: a, Bad: badness("b"), Rollout: rollout(rollingBack, a, "the last good: b died")}, a, "the last good: b died"},
		{"on the way back, a fix is prepared", State{Prepared: c, Current: set("a", "s1"), Good: a, Bad: badness("b"), Rollout: rollout(rollingBack, a, "the last good: b died")}, a, "the last good: b died"},

		// Suspended.
		{"suspended", State{Prepared: b, Current: a, Good: a, Suspended: aside("moving disks")}, a, "suspended: moving disks"},
		{"suspended without a reason", State{Prepared: b, Current: a, Good: a, Suspended: aside("")}, a, "suspended"},
		{"suspended in a soak", State{Prepared: c, Current: b, Good: a, Rollout: rollout(soaking, b, ""), Suspended: aside("")}, b, "suspended"},
		{"suspended, and what runs is bad", State{Prepared: b, Current: b, Good: a, Bad: badness("b"), Suspended: aside("")}, a, "the last good: b died"},

		// Tried again later.
		{"later", State{Prepared: b, Current: a, Good: a, Later: later("b", time.Minute)}, a, "tried again later: no route to host"},
		{"now it is later", State{Prepared: b, Current: a, Good: a, Later: later("b", 0)}, b, "the newest that could be prepared"},
		{"another waits", State{Prepared: b, Current: a, Good: a, Later: later("c", time.Minute)}, b, "the newest that could be prepared"},

		// Others.
		{"someone else is at it", State{Prepared: b, Current: a, Good: a, WaitsFor: "guix"}, a, "waits for guix"},
		{"it began before", State{Prepared: b, Current: a, Good: a, WaitsFor: "guix", Rollout: rollout(switching, b, "push")}, b, "push"},
		{"they switched the system, and what waits is older", State{Newest: b2, Prepared: b, Current: a, Good: a, Drift: drift("system", "b")}, a, held("system")},
		{"so is what is prepared, though something newer is known", State{Newest: c2, Prepared: b, Current: a, Good: a, Drift: drift("system", "b")}, a, held("system")},
		{"what waits is newer", State{Newest: c2, Prepared: c, Current: a, Good: a, Drift: drift("system", "b")}, c, "the newest that could be prepared"},
		{"it was tried again by a person", State{Newest: b2, Prepared: b, Current: a, Good: a, Drift: drift("system", "")}, b, "the newest that could be prepared"},
		{"what waits leaves the system alone", State{Newest: b2, Prepared: set("b", "s1", "h1", "p2"), Current: a, Good: a, Drift: drift("system", "b")},
			set("b", "s1", "h1", "p2"), "the newest that could be prepared"},
		{"what waits doesn't name it", State{Newest: b2, Prepared: set("b", "", "h1", "p2"), Current: a, Good: a, Drift: drift("system", "b")},
			set("b", "s1", "h1", "p2"), "the newest that could be prepared"},
		{"they did what waits", State{Newest: b2, Prepared: set("b", "theirs", "h1", "p1"), Current: a, Good: a, Drift: drift("system", "b")},
			set("b", "theirs", "h1", "p1"), "the newest that could be prepared"},
		{"the way back goes over it", State{Newest: b2, Prepared: b, Current: b, Good: a, Bad: badness("b"), Drift: drift("system", "b")}, a, "the last good: b died"},

		// Windows.
		{"no window is open", State{Prepared: b, Current: a, Good: a, Outside: "outside"}, a, "outside"},
		{"a person wants it at once", State{Prepared: b, Current: a, Good: a, Outside: "outside", AtOnce: "b"}, b, "the newest that could be prepared"},
		{"a person wanted an older one at once", State{Prepared: c, Current: a, Good: a, Outside: "outside", AtOnce: "b"}, a, "outside"},
		{"nothing waits for one", State{Prepared: a, Current: a, Good: a, Outside: "outside"}, a, "the newest that could be prepared"},
		{"what began goes on", State{Prepared: b, Current: a, Good: a, Outside: "outside", Rollout: rollout(switching, b, "push")}, b, "push"},
		{"it soaks as it closes", State{Prepared: b, Current: b, Good: a, Outside: "outside", Rollout: rollout(soaking, b, "push")}, b, "the newest that could be prepared"},
		{"the way back needs none", State{Prepared: b, Current: b, Good: a, Bad: badness("b"), Outside: "outside"}, a, "the last good: b died"},

		// Commits that come faster than a soak.
		{"one soak was cut short", State{Prepared: c, Current: b, Good: a, Rollout: rollout(soaking, b, ""), Cut: 1}, c, "the newest that could be prepared"},
		{"two were, so this one ends", State{Prepared: c, Current: b, Good: a, Rollout: rollout(soaking, b, ""), Cut: 2}, b, "its soak ends first, as newer revisions cut short the two before"},
		{"the same while it is switched to", State{Prepared: c, Current: a, Good: a, Rollout: rollout(switching, b, "push"), Cut: 2}, b, "push"},
		{"it turned out bad", State{Prepared: c, Current: b, Good: a, Bad: badness("b"), Rollout: rollout(soaking, b, ""), Cut: 2}, a, "the last good: b died"},
		{"it is over", State{Prepared: c, Current: b, Good: b, Cut: 2}, c, "the newest that could be prepared"},
		{"suspended, it ends too", State{Prepared: c, Current: b, Good: a, Rollout: rollout(soaking, b, ""), Suspended: aside(""), Cut: 2}, b, "suspended"},

		// Stuck beats everything.
		{"stuck", State{Prepared: b, Current: set("a", "s1"), Good: a, Bad: badness("b"), Stuck: &deadEnd{Why: "home won't"}}, set("a", "s1"), "stuck: home won't"},
		{"stuck and suspended", State{Prepared: b, Current: a, Good: a, Suspended: aside("x"), Stuck: &deadEnd{Why: "home won't"}}, a, "stuck: home won't"},
	} {
		t.Run(row.name, func(t *testing.T) {
			before := row.state.clone()
			got, because := wanted(row.state, now)
			if got.Revision != row.want.Revision || !maps.Equal(got.Targets, row.want.Targets) {
				t.Errorf("wanted %v, want %v", got, row.want)
			}
			if because != row.because {
				t.Errorf("because %q, want %q", because, row.because)
			}
			if !maps.Equal(before.Current.Targets, row.state.Current.Targets) || !maps.Equal(before.Good.Targets, row.state.Good.Targets) ||
				!maps.Equal(before.Prepared.Targets, row.state.Prepared.Targets) {
				t.Errorf("asking changed the state: %+v, was %+v", row.state, before)
			}
		})
	}
}

func TestOver(t *testing.T) {
	below := Set{Revision: "a", Targets: map[string]string{"system": "s1", "pods": "p1"}}
	got := Set{Revision: "b", Targets: map[string]string{"pods": "p2", "home": "h2"}}.over(below)
	want := map[string]string{"system": "s1", "pods": "p2", "home": "h2"}
	if got.Revision != "b" || !maps.Equal(got.Targets, want) {
		t.Errorf("b over a is %v, want b with %v", got, want)
	}
	if below.Targets["pods"] != "p1" {
		t.Error("laying b over a changed a")
	}
	if got := (Set{}).over(Set{}); got.Targets == nil {
		t.Error("nothing over nothing has no map of targets to write to")
	}
}

func TestSame(t *testing.T) {
	a := Set{Revision: "a", Targets: map[string]string{"system": "s1", "pods": "p1"}}
	for _, row := range []struct {
		name    string
		targets map[string]string
		want    bool
	}{
		{"all equal", map[string]string{"system": "s1", "pods": "p1"}, true},
		{"a part of it", map[string]string{"pods": "p1"}, true},
		{"none", nil, true},
		{"one differs", map[string]string{"system": "s1", "pods": "p2"}, false},
		{"one more", map[string]string{"system": "s1", "home": "h1"}, false},
	} {
		if got := (Set{Revision: "b", Targets: row.targets}).same(a); got != row.want {
			t.Errorf("%s: same is %v, want %v", row.name, got, row.want)
		}
	}
}
