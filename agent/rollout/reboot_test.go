package rollout

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestRebootsOnceForAGoodSystem(t *testing.T) {
	kernel := []Change{{Does: "next boot", Subject: "kernel", Waits: true, Boot: true}}
	for _, row := range []struct {
		name    string
		reboots bool
		waits   []Change
		window  bool // one that is open in the first minute of each day
		after   time.Duration
		want    bool
	}{
		{"not allowed", false, kernel, false, time.Hour, false},
		{"nothing takes one", true, []Change{{Does: "next boot", Subject: "service udev", Waits: true}, {Does: "defer", Subject: "service x", Waits: true}}, false, time.Hour, false},
		{"the kernel does", true, kernel, false, 2 * time.Minute, true},
		{"a service does", true, []Change{{Does: "needs reboot", Subject: "service x", Waits: true, Boot: true}}, false, 2 * time.Minute, true},
		{"whoever waits for the end of the rollout hears of it first", true, kernel, false, time.Second + testSoak + farewell - time.Second, false},
		{"and then it reboots", true, kernel, false, time.Second + testSoak + farewell + time.Second, true},
		{"still in the soak", true, kernel, false, testSoak / 2, false},
		{"the window closed meanwhile", true, kernel, true, time.Hour, false},
		{"the next one opened", true, kernel, true, 25 * time.Hour, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.reboots = row.reboots
				if row.window {
					now := time.Now()
					window, err := parseWindow("daily " + now.Format("15:04") + "-" + now.Add(time.Minute).Format("15:04"))
					if err != nil {
						t.Fatal(err)
					}
					w.windows = []Window{window}
				}
				w.layers[0].waits = row.waits
				end := w.startWith(fakeGuix{w.layers[0]})
				defer w.stop()
				pass(45 * time.Second)
				w.push("a", "system=1")
				pass(row.after)
				var err error
				select {
				case err = <-end:
				default:
				}
				if (err == ErrReboots) != row.want {
					t.Errorf("ended with %v, want a reboot: %v", err, row.want)
				}
			})
		})
	}
}

func TestARebootInVainIsToldAndNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.reboots, w.layers[0].waits = true, []Change{{Does: "next boot", Subject: "kernel", Waits: true, Boot: true}}
		ended := w.startWith(fakeGuix{w.layers[0]})
		w.push("a", "system=1")
		if err := <-ended; err != ErrReboots {
			t.Fatal(err)
		}
		w.stop()
		ended = w.startWith(fakeGuix{w.layers[0]})
		defer w.stop()
		pass(24 * time.Hour)
		select {
		case err := <-ended:
			t.Errorf("it ended again: %v", err)
		default:
		}
		s := w.state()
		if says, want := s.inVain(w.layers[0].waits), "and not in force: kernel"; !strings.Contains(says, want) {
			t.Errorf("it says %q, want %q", says, want)
		}
		if d := w.history()[0]; d.Outcome != "reboot" || d.Reason != "kernel" || d.Layers[0] != "system" {
			t.Errorf("history tells %+v", d)
		}
	})
}
