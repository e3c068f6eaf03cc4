package podman

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.org/collie/manifests"
)

// hang ends the connection without an answer.
func hang(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func TestAPostIsSentOnce(t *testing.T) {
	f := newFake(t)
	p := Connect(f.socket)
	f.answers["POST /pods/web/start"] = hang
	f.answers["GET /containers/json"] = hang
	if err := p.startPod(t.Context(), "web", nil); err == nil || !strings.Contains(err.Error(), "the Podman API at "+f.socket+" doesn't answer") {
		t.Errorf("error of the POST: %v", err)
	}
	if _, err := p.listContainers(t.Context()); err == nil {
		t.Error("no error of the GET")
	}
	sent := map[string]int{}
	for _, c := range f.log() {
		sent[c]++
	}
	if sent["POST /pods/web/start"] != 1 || sent["GET /containers/json"] < 2 {
		t.Errorf("a POST is sent once, a GET may be repeated: %v", sent)
	}
}

func TestTheServiceMayComeLate(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "podman.sock")
	p := Connect(socket)
	_, err := p.Live(t.Context())
	if err == nil || !strings.Contains(err.Error(), "the Podman API at "+socket+" doesn't answer: ") || !strings.Contains(err.Error(), "no such file or directory") {
		t.Errorf("error: %v", err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: &fakePodman{}}}
	s.Start()
	t.Cleanup(s.Close)
	if _, err := p.Live(t.Context()); err != nil {
		t.Errorf("when it is there: %v", err)
	}
}

func TestAnOldPodmanIsRefused(t *testing.T) {
	for version, says := range map[string]string{"4.7.9": "needs 4.8 or newer", "3.4.0": "too old", "4.8.0": "", "6.0.0": ""} {
		l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
		if err != nil {
			t.Fatal(err)
		}
		s := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Libpod-API-Version", version)
			fmt.Fprint(w, "[]")
		})}}
		s.Start()
		_, err = Connect(l.Addr().String()).Live(t.Context())
		s.Close()
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%s: %v", version, err)
		}
	}
}

func TestAnswersAreBounded(t *testing.T) {
	f := newFake(t)
	p := Connect(f.socket)
	f.answers["GET /volumes/json"] = func(w http.ResponseWriter, _ *http.Request) { reject(w, 500, strings.Repeat("é", 1<<20)) }
	if _, err := p.listVolumes(t.Context()); err == nil || len(err.Error()) > 2*maxComplain {
		t.Errorf("a refusal of %d bytes", len(err.Error()))
	}
	f.answers["GET /secrets/json"] = func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, strings.Repeat("x", 1<<20))
	}
	if _, err := p.listSecrets(t.Context()); err == nil || len(err.Error()) > 2*maxComplain {
		t.Errorf("nonsense: an error of %d bytes", len(err.Error()))
	}
}

func TestNamesAreNeverFormats(t *testing.T) {
	f := newFake(t)
	p := Connect(f.socket)
	f.images["a%20b%s/x:1"] = "id"
	if i, err := p.inspectImage(t.Context(), "a%20b%s/x:1"); i.ID != "id" || err != nil {
		t.Errorf("got %v, %v", i, err)
	}
}

func TestErrorsInABodyAreErrors(t *testing.T) {
	f := newFake(t)
	w := &world{Podman: Connect(f.socket), t: t, fake: f}
	w.alive, w.steady = f.alive, 0
	w.deploy("r1", newPod("web"))
	before := w.containers("web")
	two := w.prepare("r2", newPod("web", env("A", "b")))

	f.answers["POST /play/kube"] = func(rw http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.play(httptest.NewRecorder(), r)
		answer(rw, 200, map[string]any{"Pods": []any{map[string]any{"ContainerErrors": []string{"no, I won't"}}}})
	}
	if err := w.Switch(t.Context(), two); err == nil || !strings.Contains(err.Error(), "no, I won't") {
		t.Errorf("play: %v", err)
	}
	w.same("containers", w.containers("web"), before)
	delete(f.answers, "POST /play/kube")

	start := "POST /pods/" + two.Pods[0].id() + "/start"
	for says, status := range map[string]int{"no, not with 200": 200, "no, not with 409": 409} {
		f.answers[start] = func(rw http.ResponseWriter, _ *http.Request) {
			answer(rw, status, map[string]any{"Errs": []string{says}})
		}
		if err := w.Switch(t.Context(), two); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("start: %v", err)
		}
		w.same("containers", w.containers("web"), before)
	}
}

func TestASwitchOutOfTimePutsThingsBack(t *testing.T) {
	f := newFake(t)
	w := &world{Podman: Connect(f.socket), t: t, fake: f}
	w.alive, w.steady = f.alive, 0
	one := w.deploy("r1", newPod("web", hostPort(8080)))
	before := w.containers("web")
	two := w.prepare("r2", newPod("web", hostPort(8080), env("A", "b")))
	ctx, cancel := context.WithCancel(t.Context())
	f.answers["POST /pods/"+two.Pods[0].id()+"/start"] = func(http.ResponseWriter, *http.Request) {
		cancel() // its time is over, the old pod has stopped, and no answer comes
		<-ctx.Done()
		hang(nil, nil)
	}
	if err := w.Switch(ctx, two); err == nil {
		t.Error("no error")
	}
	w.same("containers", w.containers("web"), before)
	w.same("diff", w.diff(one), nil)
}

func TestWhatCannotBePutBackIsSaid(t *testing.T) {
	f := newFake(t)
	w := &world{Podman: Connect(f.socket), t: t, fake: f}
	w.alive, w.steady = f.alive, 0
	one := w.deploy("r1", newPod("web", hostPort(8080)))
	two := w.prepare("r2", newPod("web", hostPort(8080), command("/nope")))
	f.answers["POST /pods/"+one.Pods[0].id()+"/start"] = func(rw http.ResponseWriter, _ *http.Request) { reject(rw, 500, "out of luck") }
	err := w.Switch(t.Context(), two)
	if err == nil || !strings.Contains(err.Error(), "/nope") || !strings.Contains(err.Error(), "starting "+one.Pods[0].id()+" again: out of luck") {
		t.Errorf("error: %v", err)
	}
}

func TestNothingIsBegunAfterAFailure(t *testing.T) {
	begun := make(chan int, 100)
	var items []int
	for i := range cap(begun) {
		items = append(items, i)
	}
	err := each(workers, items, func(i int) error {
		begun <- i
		return fmt.Errorf("no %d", i)
	})
	if err == nil || len(begun) > workers {
		t.Errorf("each: %v after %d", err, len(begun))
	}
}

func TestAPortIsHeldByTheSamePortAndProtocol(t *testing.T) {
	l := &livePod{infra: &container{Ports: []portMapping{{HostPort: 80, Range: 3, Protocol: "tcp"}}}}
	for _, c := range []struct {
		port manifests.HostPort
		held bool
	}{
		{manifests.HostPort{Port: 80, Protocol: "TCP"}, true}, {manifests.HostPort{Port: 82, Protocol: "TCP", IP: "127.0.0.1"}, true},
		{manifests.HostPort{Port: 83, Protocol: "TCP"}, false}, {manifests.HostPort{Port: 80, Protocol: "UDP"}, false},
	} {
		s := step{pod: RenderedPod{HostPorts: []manifests.HostPort{c.port}}}
		if got := s.afterPorts(l); got != c.held {
			t.Errorf("%+v: %v", c.port, got)
		}
	}
}

func TestWhoSaysThatAnImageIsMissing(t *testing.T) {
	for says, missing := range map[string]bool{
		"reading manifest 1 in 127.0.0.1:5000/no: manifest unknown":                                                     true,
		"reading manifest 1 in docker.io/library/x: errors: denied: requested access to the resource is denied":         true,
		`parsing reference "Web:1": repository name must be lowercase`:                                                  true,
		`pinging container registry 127.0.0.1:5009: Get "https://127.0.0.1:5009/v2/": dial tcp: connection refused`:     false,
		"pinging container registry x: Get: dial tcp: lookup x: Temporary failure in name resolution":                   false,
		"2 errors occurred: a/x: manifest unknown; b/x: pinging container registry b: i/o timeout":                      false,
		"initializing source docker://x: reading manifest: toomanyrequests: You have reached your pull rate limit: 429": false,
		"writing blob: storing blob to file: no space left on device":                                                   false,
		"Source image rejected: A signature was required, but no signature exists":                                      false,
	} {
		if got := isMissing(fmt.Errorf("pulling: %w", pullError(says))); got != missing {
			t.Errorf("%s: %v", says, got)
		}
	}
	if isMissing(errors.New("manifest unknown")) {
		t.Error("only a registry can say that")
	}
}

func TestWhoWantsALogin(t *testing.T) {
	for says, wants := range map[string]bool{
		`initializing source docker://127.0.0.1:5001/web:2: Requesting bearer token: unauthorized: authentication required`: true,
		`reading manifest 2 in 127.0.0.1:5001/web: authentication required`:                                                 true,
		`reading manifest 1 in 127.0.0.1:5000/no: manifest unknown`:                                                         false,
	} {
		if got := wantsLogin(fmt.Errorf("pulling: %w", pullError(says))); got != wants {
			t.Errorf("%s: %v", says, got)
		}
	}
	if wantsLogin(errors.New("unauthorized")) {
		t.Error("only a registry can say that")
	}
}

func TestAnUnreachableRegistryDoesNotEvictWhatRuns(t *testing.T) {
	f := newFake(t)
	w := &world{Podman: Connect(f.socket), t: t, fake: f}
	w.alive, w.steady = f.alive, 0
	pod := newPod("web", image(imageOne, "Always"))
	r := w.deploy("r1", pod)
	f.deaf = true
	again := w.prepare("r2", pod)
	w.same("diff", w.diff(again), nil)
	if again.ID() != r.ID() {
		t.Error("the same pods have another ID")
	}
	if _, err := w.Prepare(t.Context(), &manifests.Manifests{Pods: []*manifests.Pod{pod, newPod("api", image(imageOne, "Always"))}}, "r3", func(string) {}); err == nil {
		t.Error("a new pod, whose policy is Always, got an image that nobody asked the registry for")
	}
}

func TestAnImageThatWasRemovedIsFetchedAgain(t *testing.T) {
	f := newFake(t)
	w := &world{Podman: Connect(f.socket), t: t, fake: f}
	w.alive, w.steady = f.alive, 0
	r := w.prepare("r1", newPod("web"))
	delete(f.images, imageOne)
	w.switchTo(r)

	two := w.prepare("r2", newPod("web", env("A", "b")))
	delete(f.images, imageOne)
	f.registry[imageOne] = strings.Repeat("c", 64)
	if err := w.Switch(t.Context(), two); err == nil || !strings.Contains(err.Error(), "the registry has another under that name") {
		t.Errorf("error: %v", err)
	}
	w.same("running", w.running(), []string{r.Pods[0].id()})
}

func TestContainersThatJustDiedAreLeftToPodman(t *testing.T) {
	f := newFake(t)
	w := &world{Podman: Connect(f.socket), t: t, fake: f}
	w.alive, w.steady = f.alive, 0
	r := w.deploy("r1", newPod("web"))
	c := f.pods[r.Pods[0].id()].containers[1]
	c.end(1, false)
	w.same("diff", w.diff(r), nil)
	if got := w.problems(r, time.Time{}); len(got) != 1 {
		t.Errorf("problems: %q", got)
	}
	c.ExitedAt -= 10
	w.same("diff of one that stays dead", w.diff(r), []string{"start pod web"})
}

// It is made anew once it is gone: a start in the middle of that fails, and would count as a heal.
func TestAPodThatIsBeingRemovedIsLeftUntilItIsGone(t *testing.T) {
	f := newFake(t)
	w := &world{Podman: Connect(f.socket), t: t, fake: f}
	w.alive, w.steady = f.alive, 0
	for _, policy := range []string{"Always", "OnFailure", "Never"} {
		r := w.deploy("r-"+policy, newPod("web", restart(policy)))
		c := f.pods[r.Pods[0].id()].containers[1]
		c.end(137, true)
		c.State = "removing"
		w.same("diff, "+policy, w.diff(r), nil)
		if got := w.problems(r, time.Time{}); len(got) != 1 || !strings.Contains(got[0], "container c is removing") {
			t.Errorf("problems: %q", got)
		}
		c.ExitedAt -= 10
		w.same("diff of one whose removal hangs, "+policy, w.diff(r), []string{"start pod web"})
		delete(f.pods, r.Pods[0].id())
		w.same("diff of one that is gone, "+policy, w.diff(r), []string{"create pod web"})
	}
}

func TestAfterTheMachineStopped(t *testing.T) {
	f := newFake(t)
	w := &world{Podman: Connect(f.socket), t: t, fake: f}
	w.alive, w.steady = f.alive, 0
	one := w.deploy("r1", newPod("web"), newPod("job", restart("Never")))
	w.deploy("r2", newPod("web", env("A", "b")), newPod("job", restart("Never")))
	for _, pod := range f.pods {
		for _, c := range pod.containers {
			c.StartedAt -= 100
			if c.State == "running" { // Podman's list after a boot: no exit code, and the end of an earlier life
				c.State, c.Pid, c.ExitCode, c.stoppedByUser = "exited", 0, 0, false
				c.ExitedAt = -62135596800
			}
		}
	}
	base, err := w.Live(t.Context())
	w.must(err)
	if len(base.Pods) != 2 || of(base, "web").Hash == of(one, "web").Hash {
		t.Errorf("what ran before the machine stopped: %+v", base.Pods)
	}
	w.same("diff", w.diff(base), []string{"start pod job", "start pod web"})
	w.switchTo(base)
}
