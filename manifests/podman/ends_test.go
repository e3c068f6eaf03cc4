package podman

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// testdata/died.json is what Podman 5.8.6 answers of a container that was started again.
func TestDeathsAreReadAsTheyAreWritten(t *testing.T) {
	f, err := os.Open("testdata/died.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	codes, err := readDeaths(f)
	if err != nil || !slices.Equal(codes, []int{3, 3}) {
		t.Errorf("exit codes %v, error %v", codes, err)
	}
	if codes, err := readDeaths(strings.NewReader(`{"Action":"died","Actor":{"Attributes":{"containerExitCode":"1"}}}{"Action":"start"}[]`)); err == nil || len(codes) != 1 {
		t.Errorf("of what makes no sense: %v, %v", codes, err)
	}
}

func TestExitCodesNameWhatEndedAProcess(t *testing.T) {
	for _, tt := range []struct {
		code int
		oom  bool
		want string
	}{
		{0, false, "exit code 0"}, {1, false, "exit code 1"}, {128, false, "exit code 128"}, {255, false, "exit code 255"},
		{137, false, "exit code 137 (SIGKILL)"}, {143, false, "exit code 143 (SIGTERM)"}, {139, false, "exit code 139 (SIGSEGV)"},
		{137, true, "exit code 137 (out of memory)"}, {1, true, "exit code 1"}, {-1, false, "exit code -1"},
	} {
		if got := exitCode(tt.code, tt.oom); got != tt.want {
			t.Errorf("%d: %q, want %q", tt.code, got, tt.want)
		}
	}
}

// A pod that fails in a switch is removed with its log, so the error has what its container said last.
func TestAPodThatFailsSaysWhatItWroteLast(t *testing.T) {
	w := newWorld(t)
	w.steady = time.Minute // a real container may take a while to end
	r := w.prepare("1", newPod("web", restart("Never"), command("/bin/sh", "-c", "echo no database; exit 3")))
	err := w.Switch(t.Context(), r)
	want := "pod web (pods/web.yaml:1): " + of(r, "web").id() + " is not ready: container c ended with exit code 3; container c wrote: no database"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// Podman has a container up again before anybody looks, and says that its exit code is 0.
func TestACrashLoopSaysHowItEnds(t *testing.T) {
	w := newWorld(t)
	since := time.Now().Add(-time.Second)
	r := w.prepare("1", newPod("web", command("/bin/sh", "-c", "sleep 0.3; echo no database; exit 3")))
	w.must(w.Switch(t.Context(), r))
	if w.fake != nil {
		c := w.fake.pods[r.Pods[0].id()].containers[1]
		c.Restarts = 3
		w.fake.answers["GET /containers/"+c.ID+"/logs"] = func(rw http.ResponseWriter, _ *http.Request) {
			_, _ = rw.Write([]byte("\x01\x00\x00\x00\x00\x00\x00\x10no \x1b[1mdatabase\n\n"))
		}
		w.fake.answers["GET /events"] = func(rw http.ResponseWriter, q *http.Request) {
			if got, want := q.URL.Query().Get("filters"), fmt.Sprintf(`{"container":[%q],"event":["died"]}`, c.ID); got != want {
				t.Errorf("the filters are %s, want %s", got, want)
			}
			_, _ = rw.Write([]byte(`{"Action":"died","Actor":{"Attributes":{"containerExitCode":"3"}}}`))
		}
	}
	var got []string
	w.eventually(func() bool {
		got = w.problems(r, since)
		return slices.ContainsFunc(got, func(s string) bool {
			return strings.Contains(s, "was restarted ") && strings.Contains(s, "; container c ended with exit code 3, and wrote: no") && strings.Contains(s, "database")
		})
	})
	if strings.ContainsRune(strings.Join(got, ""), '\x1b') {
		t.Errorf("it isn't cleaned: %q", got)
	}
}

// What holds a container kills it: that is not how it ended.
func TestAHeldContainerSaysHowItEndedByItself(t *testing.T) {
	w := newFakeWorld(t)
	r := w.deploy("1", newPod("web"))
	c := w.fake.pods[r.Pods[0].id()].containers[1]
	w.crashLoops.of = map[string]*crashLoop{c.ID: {holds: 1, until: time.Now().Add(10 * time.Second)}}
	c.end(137, true)
	w.fake.answers["GET /events"] = func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = rw.Write([]byte(`{"Action":"died","Actor":{"Attributes":{"containerExitCode":"5"}}}{"Action":"died","Actor":{"Attributes":{"containerExitCode":"137"}}}`))
	}
	problems := w.problems(r, time.Time{})
	if len(problems) != 1 || !strings.Contains(problems[0], "ends again and again") || !strings.Contains(problems[0], "; container c ended with exit code 5, and wrote nothing") {
		t.Errorf("the problems: %q", problems)
	}
}

// An init container that fails is named as the file names it, with what it wrote.
func TestAnInitContainerThatFailsSaysWhatItWrote(t *testing.T) {
	w := newFakeWorld(t)
	r := w.prepare("1", newPod("web"))
	id := of(r, "web").id()
	failed := &fakeContainer{container: container{ID: strings.Repeat("e", 64), Names: []string{id + "-schema"}, PodName: id, Labels: map[string]string{labelOwner: owner}}, command: "/bin/sh -c echo no database; exit 4"}
	w.fake.answers["POST /pods/"+id+"/start"] = func(rw http.ResponseWriter, _ *http.Request) {
		w.fake.mu.Lock()
		defer w.fake.mu.Unlock()
		failed.State, failed.ExitCode, failed.StartedAt, failed.ExitedAt = "stopped", 4, 100, 101
		w.fake.pods[id].containers = append(w.fake.pods[id].containers, failed)
		reject(rw, 500, "init container "+failed.ID+" exited with code 4") // as Podman 5.8.6 says
	}
	err := w.Switch(t.Context(), r)
	want := "pod web (pods/web.yaml:1): starting " + id + ": init container schema ended with exit code 4, and wrote: no database"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}
