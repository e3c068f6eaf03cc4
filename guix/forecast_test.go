package guix

import (
	"slices"
	"strings"
	"testing"

	"example.org/collie/shepherd"
)

// Rows are as seen with Shepherd 1.0.9; guix/lab's plan.txt sees the same.
func TestForesee(t *testing.T) {
	// service is NAME, what it requires, and a word for what it is: running, stopped, once.
	service := func(text string) shepherd.Service {
		words := strings.Fields(text)
		s := shepherd.Service{Name: words[0], Provides: words[:1], Requires: words[2:], Status: words[1], Enabled: true}
		if s.Enabled = words[1] != "disabled"; !s.Enabled {
			s.Status = "running"
		}
		if s.OneShot = words[1] == "once"; s.OneShot {
			s.Status = "stopped"
		}
		return s
	}
	tests := []struct {
		name  string
		live  []string
		files []string // "NAME once|auto|hand", with what it requires if that is new
		steps []step
		again bool
		want  []string
	}{
		{
			name:  "what requires a service goes down with it, as it runs now",
			live:  []string{"clock running", "hand running clock", "alarm running hand", "quiet running"},
			files: []string{"clock auto", "hand auto", "alarm auto", "quiet auto"},
			steps: []step{{Change{"restart", "service clock", "changed"}, "clock", "/clock"}},
			want:  []string{"restart clock: changed", "restart alarm: because of clock", "restart hand: because of clock"},
		},
		{
			name:  "what will require it doesn't",
			live:  []string{"clock running", "hand running"},
			files: []string{"clock auto", "hand auto clock"},
			steps: []step{{Change{"restart", "service clock", "changed"}, "clock", "/clock"}, {Change{nextBoot, "service hand", "held"}, "hand", "/hand"}},
			want:  []string{"restart clock: changed", "next boot hand: held"},
		},
		{
			name:  "a start starts what the new definition requires",
			live:  []string{"app running", "idle stopped"},
			files: []string{"app auto idle new", "idle hand", "new hand"},
			steps: []step{{Change{"restart", "service app", "changed"}, "app", "/app"}},
			want:  []string{"restart app: changed", "start idle: for app", "start new: for app"},
		},
		{
			name:  "and runs one-shots once more, also below what runs",
			live:  []string{"app running base", "base running ready", "ready once", "other once"},
			files: []string{"app auto base", "base auto", "ready once", "other once"},
			steps: []step{{Change{"restart", "service app", "changed"}, "app", "/app"}},
			want:  []string{"restart app: changed", "run ready: for base"},
		},
		{
			name:  "what stays is started again when what it required leaves",
			live:  []string{"gone running", "beside running gone"},
			files: []string{"beside auto"},
			steps: []step{{Change{"stop", "service gone", "left"}, "gone", ""}},
			want:  []string{"stop gone: left", "restart beside: because of gone, which leaves"},
		},
		{
			name:  "its own reason is told, not another's",
			live:  []string{"gone running", "beside running gone"},
			files: []string{"beside auto"},
			steps: []step{{Change{"stop", "service gone", "left"}, "gone", ""}, {Change{"restart", "service beside", "changed"}, "beside", "/beside"}},
			want:  []string{"stop gone: left", "restart beside: changed"},
		},
		{
			name:  "what doesn't run is only forgotten, or made known",
			live:  []string{"gone stopped"},
			files: []string{"idle hand"},
			steps: []step{{Change{"stop", "service gone", "left"}, "gone", ""}},
			want:  []string{"load idle: new; it isn't started by itself", "unload gone: left"},
		},
		{
			name:  "Guix runs all one-shots, and tries what doesn't run",
			live:  []string{"ready once", "ill stopped", "idle stopped", "app running"},
			files: []string{"ready once", "ill auto", "idle hand", "app auto"},
			again: true,
			want:  []string{"start ill: it doesn't run; Guix tries again", "run ready: as Guix does each time"},
		},
		{
			name:  "what somebody disabled doesn't come back",
			live:  []string{"clock running", "hand disabled clock"},
			files: []string{"clock auto", "hand auto"},
			steps: []step{{Change{"restart", "service clock", "changed"}, "clock", "/clock"}},
			want:  []string{"stop hand: because of clock; somebody disabled it, so it isn't started again", "restart clock: changed"},
		},
		{
			name:  "a new one-shot is run",
			files: []string{"ready once"},
			steps: []step{{Change{"start", "service ready", "new"}, "ready", "/ready"}},
			want:  []string{"run ready: new"},
		},
		{
			name:  "a circle ends",
			live:  []string{"a running b", "b running a"},
			files: []string{"a auto", "b auto"},
			steps: []step{{Change{"restart", "service a", "changed"}, "a", "/a"}},
			want:  []string{"restart a: changed", "restart b: because of a"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var all []shepherd.Service
			for _, text := range test.live {
				all = append(all, service(text))
			}
			var files []ServiceFile
			programs := map[string]program{}
			for _, text := range test.files {
				words := strings.Fields(text)
				f := ServiceFile{Name: words[0], File: "/" + words[0], Starts: words[1] != "hand"}
				if f.Starts {
					f.Provides = words[:1]
				}
				files = append(files, f)
				if changed := slices.ContainsFunc(test.steps, func(st step) bool { return st.file == f.File }); changed || len(words) > 2 || !slices.ContainsFunc(all, f.defines) {
					programs[f.File] = program{provides: words[:1], requires: words[2:], oneShot: words[1] == "once"}
				}
			}
			var got []string
			for _, d := range foresee(all, files, programs, test.steps, test.again) {
				got = append(got, d.Does+" "+strings.TrimPrefix(d.Subject, "service ")+": "+d.Says)
				if wants := map[string]string{nextBoot: AtBoot, "load": "", "unload": ""}; d.Cost != Running && d.Cost != wants[d.Does] {
					t.Errorf("%s costs %q", d.Subject, d.Cost)
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
}
