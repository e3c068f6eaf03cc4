package rollout

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"example.org/collie/agent/api"
)

// A displacingLayer moves a file with each switch forward.
type displacingLayer struct {
	*fakeLayer
	moved *[]string
	fails bool // to put back
}

func (l displacingLayer) Switch(ctx context.Context, t Target) error {
	l.set(func(*fakeLayer) { *l.moved = append(*l.moved, "moved for "+l.value(t)) })
	return l.fakeLayer.Switch(ctx, t)
}

func (l displacingLayer) PutBack(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fails {
		return errors.New("no right to")
	}
	for i, says := range *l.moved {
		(*l.moved)[i] = strings.Replace(says, "moved", "put back", 1)
	}
	return nil
}

func (l displacingLayer) MovedAside() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(*l.moved)
}

func (l displacingLayer) Settle() error {
	l.set(func(*fakeLayer) { *l.moved = nil })
	return nil
}

// What a rollout moved is shown with its verdict, and in the status until the next begins.
func TestFilesThatARolloutMoved(t *testing.T) {
	for _, row := range []struct {
		name  string
		ill   string // the value of the system that isn't well
		fails bool
		want  []string
	}{
		{"good", "", false, []string{"pods: moved for 2"}},
		{"taken back", "2", false, []string{"pods: put back for 2", "pods: put back for 1"}},
		{"taken back in part", "2", true, []string{"pods: moved for 2", "pods: moved for 1"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, moved := newWorld(t), []string{}
				w.pods = func(l *fakeLayer) Layer { return displacingLayer{l, &moved, row.fails} }
				w.start()
				w.push("a", "system=1", "home=1", "pods=1")
				pass(testSoak * 2)
				w.layers[0].set(func(l *fakeLayer) { l.ill[row.ill] = 0 })
				w.push("b", "system=2", "home=1", "pods=2")
				pass(testSoak * 4)
				a := w.c
				if s := w.status(t, a); s.Phase != "idle" || !reflect.DeepEqual(s.Notes, row.want) {
					t.Errorf("the status notes %q, want %q", s.Notes, row.want)
				}
				all, err := a.Deployments()
				if err != nil || all[0].Revision != "b" || !reflect.DeepEqual(all[0].Moved, row.want) {
					t.Errorf("the history has %+v, %v; want %q", all[0], err, row.want)
				}
				if text := api.HistoryText(all); !strings.Contains(text, "b "+all[0].Outcome+": "+row.want[0]) {
					t.Errorf("the history reads\n%s", text)
				}
				if !reflect.DeepEqual(all[1].Moved, []string{"pods: moved for 1"}) {
					t.Errorf("of the first: %q", all[1].Moved)
				}
				w.push("c", "system=1", "home=3", "pods=1")
				pass(testSoak * 4)
				if s := w.status(t, a); slices.ContainsFunc(s.Notes, func(n string) bool { return strings.Contains(n, "for 2") }) {
					t.Errorf("after the next commit the status notes %q", s.Notes)
				}
				w.stop()
			})
		})
	}
}
