package rollout

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A diary says in which order layers did something.
type diary struct {
	mu    sync.Mutex
	on    func(line string) // before a line is written
	lines []string
}

func (d *diary) write(line string) {
	if d.on != nil {
		d.on(line)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

// read tells what was written since it was read last.
func (d *diary) read() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	lines := d.lines
	d.lines = nil
	return lines
}

// A holdingLayer holds something with the value port, and lets go of it when asked.
type holdingLayer struct {
	*fakeLayer
	diary  *diary
	faults *[]error // of the next times that it is to let go
}

func (l holdingLayer) Release(_ context.Context, now, t Target) (Target, error) {
	if len(*l.faults) > 0 {
		err := (*l.faults)[0]
		*l.faults = (*l.faults)[1:]
		return Target{}, err
	}
	if l.is() != "port" || l.value(t) == "port" {
		return now, nil
	}
	l.diary.write(l.name + " lets go of port")
	l.set(func(l *fakeLayer) { l.live = "rest of port" })
	if now.ID == "" {
		return Target{}, nil
	}
	return Encode(l.name, l.name+"-left", now.Revision, "rest of port")
}

// A writingLayer writes what it is switched to, and starts something at each switch to the value service.
type writingLayer struct {
	*fakeLayer
	diary *diary
}

func (l writingLayer) Diff(ctx context.Context, t Target) ([]Change, error) {
	changes, err := l.fakeLayer.Diff(ctx, t)
	if v := l.value(t); len(changes) > 0 && v == "service" {
		changes = append(changes, Change{Does: "start", Subject: "service door"})
	}
	return changes, err
}

func (l writingLayer) Switch(ctx context.Context, t Target) error {
	l.diary.write(l.name + " switches to " + l.value(t))
	return l.fakeLayer.Switch(ctx, t)
}

// inOrder runs a world whose system and pods write a diary.
func inOrder(t *testing.T, f func(t *testing.T, w *world, d *diary, faults *[]error)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w, d, faults := newWorld(t), &diary{}, &[]error{}
		w.pods = func(l *fakeLayer) Layer { return holdingLayer{l, d, faults} }
		w.layers[2].onSwitch = func(when string) {
			if when == "before" {
				d.write("pods switch")
			}
		}
		w.system = inDiary(d)
		w.start()
		f(t, w, d, faults)
		w.stop()
	})
}

// inDiary makes a layer of one that writes a diary.
func inDiary(d *diary) func(*fakeLayer) Layer {
	return func(l *fakeLayer) Layer { return writingLayer{l, d} }
}

// What a pod holds, and no next pod does, is let go of before a service starts; else the pod stays until it is its turn.
func TestWhoLetsGoBeforeOthersTake(t *testing.T) {
	for _, row := range []struct {
		name          string
		before, after []string
		want          []string
	}{
		{"a pod's port for a service", []string{"system=1", "pods=port"}, []string{"system=service", "pods=2"},
			[]string{"pods lets go of port", "system switches to service", "pods switch"}},
		{"no service starts", []string{"system=1", "pods=port"}, []string{"system=2", "pods=2"},
			[]string{"system switches to 2", "pods switch"}},
		{"the system stays", []string{"system=service", "pods=port"}, []string{"system=service", "pods=2"},
			[]string{"pods switch"}},
		{"the pod stays", []string{"system=1", "pods=port"}, []string{"system=service", "pods=port"},
			[]string{"system switches to service"}},
		{"a service's port for a pod", []string{"system=service", "pods=1"}, []string{"system=2", "pods=port"},
			[]string{"system switches to 2", "pods switch"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			inOrder(t, func(t *testing.T, w *world, d *diary, _ *[]error) {
				w.push("a", row.before...)
				pass(time.Minute)
				w.good("a")
				d.read()
				w.push("b", row.after...)
				pass(time.Minute)
				w.good("b")
				if got := d.read(); !slices.Equal(got, row.want) {
					t.Errorf("%q, want %q", got, row.want)
				}
			})
		})
	}
}

// On the way back it is the same, whatever it is that failed, and what had let go is there again.
func TestReturnLetsGoBeforeOthersTake(t *testing.T) {
	for _, row := range []struct {
		name          string
		before, after []string
		fails         int // the layer
		want          []string
	}{
		{"a service's port that a pod took", []string{"system=service", "pods=1"}, []string{"system=2", "pods=port"}, 1,
			[]string{"pods lets go of port", "system switches to service", "pods switch"}},
		{"a pod's port that a service took", []string{"system=1", "pods=port"}, []string{"system=service", "pods=2"}, 1,
			[]string{"system switches to 1", "pods switch"}},
		{"a pod's port that a service couldn't take", []string{"system=1", "pods=port"}, []string{"system=service", "pods=2"}, 0,
			[]string{"system switches to 1", "pods switch"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			inOrder(t, func(t *testing.T, w *world, d *diary, _ *[]error) {
				w.push("a", row.before...)
				pass(time.Minute)
				w.good("a")
				l, bad := w.layers[row.fails], ""
				for _, one := range append(row.after, "home=2") {
					if name, value, _ := strings.Cut(one, "="); name == l.name {
						bad = value
					}
				}
				l.set(func(l *fakeLayer) { l.ill[bad] = 10 * time.Second })
				w.push("b", append(row.after, "home=2")...)
				pass(8 * time.Second)
				d.read()
				pass(time.Minute)
				w.good("a")
				if got := d.read(); !slices.Equal(got, row.want) {
					t.Errorf("%q, want %q", got, row.want)
				}
				if h := w.history(); h[0].Outcome != "rolled back" {
					t.Errorf("history: %+v", h[0])
				}
			})
		})
	}
}

// That a layer couldn't be asked to let go makes no revision bad, and what it had stopped is there again.
func TestLettingGoThatFails(t *testing.T) {
	inOrder(t, func(t *testing.T, w *world, d *diary, faults *[]error) {
		w.push("a", "system=1", "pods=port")
		pass(time.Minute)
		*faults = []error{&TransientError{errors.New("Podman doesn't answer")}}
		w.push("b", "system=service", "pods=2")
		pass(10 * time.Second)
		if s := w.state(); s.bad("b") != nil || s.Later == nil || s.Good.Revision != "a" {
			t.Errorf("state %+v", s)
		}
		w.is("1", "old", "port")
		pass(2 * time.Minute)
		w.good("b")

		d.read()
		w.layers[2].set(func(l *fakeLayer) { l.ill["3"] = 10 * time.Second })
		*faults = []error{nil, &TransientError{errors.New("Podman doesn't answer")}}
		w.push("c", "system=2", "pods=3")
		pass(time.Minute)
		w.good("b")
		w.is("service", "old", "2")
	})
}

// Whenever an agent dies, its next life lets go before others take, and what let go comes back if the revision fails.
func TestLettingGoIsResumed(t *testing.T) {
	for _, row := range []struct {
		name string
		dies string // before this line of the diary
		ill  bool
		want []string
	}{
		{"before it let go", "pods lets go of port", false, []string{"service", "old", "2"}},
		{"after it let go", "system switches to service", false, []string{"service", "old", "2"}},
		{"before it let go, and the service dies", "pods lets go of port", true, []string{"1", "old", "port"}},
		{"after it let go, and the service dies", "system switches to service", true, []string{"1", "old", "port"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, d := newWorld(t), &diary{}
				holds := func(l *fakeLayer) Layer { return holdingLayer{l, d, &[]error{}} }
				w.system, w.pods = inDiary(d), holds
				w.start()
				w.push("a", "system=1", "pods=port")
				pass(time.Minute)
				d.read()
				next := newWorld(t) // what the agent that dies leaves behind
				d.on = func(line string) {
					if line != row.dies {
						return
					}
					d.on = nil
					if err := os.CopyFS(next.dir+"/copy", os.DirFS(w.dir)); err != nil {
						t.Error(err)
					}
					for i, l := range w.layers {
						next.layers[i].live = l.is()
					}
				}
				w.push("b", "system=service", "pods=2")
				pass(time.Minute)
				w.stop()
				next.dir, next.system, next.pods, next.commits = next.dir+"/copy", inDiary(d), holds, w.commits
				if row.ill {
					next.layers[0].ill["service"] = 5 * time.Second
				}
				d.read()
				next.start()
				pass(2 * time.Minute)
				next.is(row.want...)
				switches := []string{"pods lets go of port", "system switches to service"}
				if strings.HasPrefix(row.dies, "system") {
					switches = switches[1:]
				}
				if got := d.read(); !slices.Equal(got[:min(len(got), len(switches))], switches) {
					t.Errorf("the next life: %q, want %q first", got, switches)
				}
				next.stop()
			})
		})
	}
}
