package podman

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containers/podman/v5/pkg/bindings"
)

// repeated is a text that costs nothing to make: what, times.
func repeated(w io.Writer, what string, times int) {
	block := strings.Repeat(what, 1000)
	for range times / 1000 {
		if _, err := io.WriteString(w, block); err != nil {
			return // the reader has had enough
		}
	}
}

// What an answer of the API becomes is bounded, however small the answer is. The first three took gigabytes once.
func TestWhatAnAnswerBecomesIsBounded(t *testing.T) {
	list := func(of func(w io.Writer)) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "[")
			of(w)
			fmt.Fprint(w, `{}]`)
		}
	}
	for name, row := range map[string]struct {
		answer http.HandlerFunc
		says   string
	}{
		"empty containers": {list(func(w io.Writer) { repeated(w, "{},", 3_000_000) }), "lists more than 5000 things"},
		"no containers":    {list(func(w io.Writer) { repeated(w, "null,", 1_500_000) }), "lists more than 5000 things"},
		"wide mappings": {list(func(w io.Writer) {
			fmt.Fprint(w, `{"Ports":[`)
			repeated(w, `{"range":65536},`, 1000)
			fmt.Fprint(w, `{}]},`)
		}), "publish more than 131072 ports"},
		"one impossible mapping":  {list(func(w io.Writer) { fmt.Fprint(w, `{"Ports":[{"range":2147483647}]},`) }), "publishes a range of 2147483647 ports"},
		"a mapping less than one": {list(func(w io.Writer) { fmt.Fprint(w, `{"Ports":[{"range":-1}]},`) }), "publishes a range of -1 ports"},
		"many mappings":           {list(func(w io.Writer) { fmt.Fprint(w, `{"Ports":[`); repeated(w, `{},`, 1_000_000); fmt.Fprint(w, `{}]},`) }), "holds more than 200000 values"},
		"many names":              {list(func(w io.Writer) { fmt.Fprint(w, `{"Names":[`); repeated(w, `"",`, 2_000_000); fmt.Fprint(w, `""]},`) }), "holds more than 200000 values"},
		"many labels": {list(func(w io.Writer) {
			fmt.Fprint(w, `{"Labels":{`)
			for i := range 1_000_000 {
				if _, err := fmt.Fprintf(w, `"%x":"",`, i); err != nil {
					return
				}
			}
			fmt.Fprint(w, `"":""}},`)
		}), "holds more than 200000 values"},
		"nesting":          {list(func(w io.Writer) { repeated(w, "[", 3_000_000) }), "it is no JSON"},
		"one large string": {list(func(w io.Writer) { fmt.Fprint(w, `{"Id":"`); repeated(w, `\"[{,`, 5_000_000); fmt.Fprint(w, `"},`) }), "has more than 8 MiB"},
		"nothing but room": {list(func(w io.Writer) { repeated(w, " ", 50_000_000) }), "has more than 8 MiB"},
		"no JSON":          {func(w http.ResponseWriter, _ *http.Request) { repeated(w, "x", 50_000_000) }, "it is no JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.answers["GET /containers/json"] = row.answer
			p := Connect(f.socket)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := p.listContainers(t.Context())
			runtime.ReadMemStats(&after)
			if err == nil || !strings.Contains(err.Error(), row.says) {
				t.Errorf("got %v, want %s", err, row.says)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20 {
				t.Errorf("%d MiB were allocated, want at most 64", used>>20)
			}
		})
	}
}

// A machine with many containers is read: the bounds are far from what Podman says of real ones.
func TestManyContainersAreRead(t *testing.T) {
	f := newFake(t)
	f.answers["GET /containers/json"] = func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "[")
		for i := range 1000 {
			labels := new(strings.Builder)
			for l := range 20 {
				fmt.Fprintf(labels, `"org.example.label%d": "a:b,c[d]{e}\"",`, l)
			}
			fmt.Fprintf(w, `{"Id":"%064d","Names":["web-%d"],"Labels":{%s"x":""},"Ports":[{"host_port":%d,"range":10}],%s"Pid":1},`,
				i, i, labels, i, strings.Repeat(`"Other":[],`, 20))
		}
		fmt.Fprint(w, `{}]`)
	}
	all, err := Connect(f.socket).listContainers(t.Context())
	if err != nil || len(all) != 1001 || len(all[999].Labels) != 21 || all[999].Ports[0].HostPort != 999 {
		t.Errorf("%d containers, %v", len(all), err)
	}
}

// Of what a command or a container writes without end, the last lines are kept.
func TestOutputsAreCut(t *testing.T) {
	f := newFake(t)
	frame := append([]byte{1, 0, 0, 0, 0, 1, 0, 0}, bytes.Repeat([]byte("0123456789abcde\n"), 1<<12)...)
	endless := func(w http.ResponseWriter, _ *http.Request) {
		for range 32 << 4 {
			if _, err := w.Write(frame); err != nil {
				return
			}
		}
		_, _ = w.Write([]byte("\x02\x00\x00\x00\x00\x00\x00\x05last\n"))
	}
	f.answers["GET /containers/web/logs"] = endless
	f.answers["POST /containers/web/exec"] = func(w http.ResponseWriter, _ *http.Request) { answer(w, 201, map[string]string{"ID": "e"}) }
	f.answers["POST /exec/e/start"] = endless
	f.answers["GET /exec/e/json"] = func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, map[string]any{"ExitCode": 3}) }
	f.answers["POST /exec/e/remove"] = func(w http.ResponseWriter, _ *http.Request) {}
	p := Connect(f.socket)
	for what, run := range map[string]func(context.Context) (string, error){
		"log": func(ctx context.Context) (string, error) {
			lines, err := p.containerLog(ctx, "web", 2)
			return strings.Join(lines, "|"), err
		},
		"probe": func(ctx context.Context) (string, error) {
			return fmt.Sprint(p.execProbe(ctx, "web", []string{"yes"})), nil
		},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		says, err := run(t.Context())
		runtime.ReadMemStats(&after)
		want := map[string]string{"log": "0123456789abcde|last", "probe": "exit code 3: last"}[what]
		if says != want || err != nil {
			t.Errorf("%s: %q, %v, want %q", what, says, err, want)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 {
			t.Errorf("%s: %d KiB were allocated, want at most 4096", what, used>>10)
		}
	}
}

// Pods that are only in a list can't be stopped: a healing gives up, and doesn't read the list for each of them at a time.
func TestPodsThatAreOnlyListed(t *testing.T) {
	f := newFake(t)
	var list strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&list, `{"Id":"%064x","Names":["web-%[1]d-c"],"PodName":"web-%[1]d","State":"running","Labels":{"collie.io/owner":"collie","collie.io/object":"Pod/web-%[1]d"}},`, i)
	}
	var now, most, stops atomic.Int64
	f.answers["GET /containers/json"] = func(w http.ResponseWriter, _ *http.Request) {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer now.Add(-1)
		fmt.Fprint(w, "["+list.String()+"{}]")
	}
	for i := range 1000 {
		f.answers[fmt.Sprintf("POST /containers/%064x/stop", i)] = func(w http.ResponseWriter, _ *http.Request) {
			stops.Add(1)
			answer(w, 500, map[string]string{"message": "no"})
		}
	}
	err := Connect(f.socket).Heal(t.Context(), Rendered{})
	if !errors.Is(err, errTooManyUnhealed) || stops.Load() > mostUnhealed+waiters+1 {
		t.Errorf("%d stops, %.200v", stops.Load(), err)
	}
	if most.Load() > listsAtOnce {
		t.Errorf("%d lists at a time", most.Load())
	}
}

// Any number of pods of others costs a look one question.
func TestPodsOfOthersAreNotAskedAbout(t *testing.T) {
	f := newFake(t)
	w := &world{Podman: Connect(f.socket), t: t, fake: f}
	w.alive, w.steady = f.alive, 0
	w.deploy("r1", newPod("web"))
	f.mu.Lock()
	for i := range 2000 {
		name := fmt.Sprintf("other-%d", i)
		f.pods[name] = &fakePod{Name: name, ID: fmt.Sprintf("%064d", i), containers: []*fakeContainer{{container: container{ID: fmt.Sprintf("%063dc", i), PodName: name, IsInfra: true, State: "running"}}}}
	}
	f.mu.Unlock()
	f.forget()
	r := w.prepare("r2", newPod("web", env("A", "b")))
	w.must(w.Switch(t.Context(), r))
	asked := slices.DeleteFunc(f.log(), func(call string) bool { return !strings.Contains(call, "other-") })
	if len(asked) > 0 || len(f.log()) > 60 {
		t.Errorf("%d calls, of others: %q", len(f.log()), asked)
	}
}

// FuzzAnswer: no answer of Podman's ends the agent, or becomes more than a bounded list.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`[{"Id":"a","Names":["web"],"Ports":[{"host_port":1,"range":2}],"Labels":{"a":"b"}}]`))
	f.Add([]byte(`[{},{},null]`))
	f.Add([]byte(`{"a":"\"[,"}`))
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x03abc"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var all []container
		if err := decode(bytes.NewReader(raw), &all); err == nil && len(all) > mostElements+1 {
			t.Errorf("%d containers", len(all))
		}
		if countPorts(all) == nil {
			byPod(all)
			for _, c := range all {
				ports := (&livePod{infra: &c}).hostPorts()
				if len(ports) > mostPorts {
					t.Errorf("%d ports", len(ports))
				}
			}
		}
		var log said
		_, _ = log.Write(raw)
		if lines := log.lines(10); len(lines) > 10 {
			t.Errorf("%d lines", len(lines))
		}
	})
}

// slowAPI answers each question after 25 s, as fast as is needed not to be silent.
type slowAPI struct{ pods []string }

func (s slowAPI) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case <-r.Context().Done():
		return nil, r.Context().Err()
	case <-time.After(25 * time.Second):
	}
	body := `{"Labels":{"collie.io/owner":"collie"}}`
	if strings.HasSuffix(r.URL.Path, "/containers/json") {
		var all []string
		for _, id := range s.pods {
			all = append(all, fmt.Sprintf(`{"Id":%q,"PodName":%q,"IsInfra":true}`, id, id))
		}
		body = "[" + strings.Join(all, ",") + "]"
	}
	if strings.HasSuffix(r.URL.Path, "/pods/json") {
		body = "[]"
	}
	return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(body)), Header: http.Header{}, Request: r}, nil
}

// Each question may take its time, and all of a look together theirs.
func TestALookHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Rendered
		var ids []string
		for i := range 100 {
			pod := RenderedPod{Name: fmt.Sprintf("p%d", i), Hash: "h", Restart: "Always"}
			r.Pods, ids = append(r.Pods, pod), append(ids, pod.id())
		}
		p := Connect("/podman.sock")
		p.conn = &bindings.Connection{URI: &url.URL{Scheme: "unix", Path: "/podman.sock"}, Client: &http.Client{Transport: slowAPI{ids}}}
		for what, look := range map[string]func() error{
			"diff":     func() error { _, err := p.Diff(t.Context(), r); return err },
			"problems": func() error { _, err := p.Problems(t.Context(), r, time.Now()); return err },
			"list":     func() error { _, err := p.List(t.Context(), r); return err },
		} {
			began := time.Now()
			err := look()
			if took := time.Since(began); err == nil || took > wholeLook+time.Second {
				t.Errorf("%s: %v after %v", what, err, took)
			}
		}
	})
}

// Blanks cost nothing, and part what they parted.
func TestBlanksOfAnAnswer(t *testing.T) {
	for text, want := range map[string]string{
		`  [ "a  b" , "c\" \t" ]` + strings.Repeat(" \n", 100): `["a  b","c\" \t"]`,
		`[1` + strings.Repeat(" ", 4096) + `2]`:                "it is no JSON",
		strings.Repeat("\n", 1<<20) + `null`:                   `null`,
	} {
		var got []any
		err := decode(strings.NewReader(text), &got)
		says, _ := json.Marshal(got)
		if err != nil {
			says = []byte(err.Error())
		}
		if !strings.HasPrefix(string(says), want) {
			t.Errorf("%.20q: %s, want %s", text, says, want)
		}
	}
}
