package lab

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

const (
	answerGoal = 64 // MiB above idle
	packGoal   = 32
	podmanAPI  = "run/collie/podman/podman.sock"
)

// A hostile answer is what Podman's API says in place of the real one, where a path of it ends.
type hostile struct {
	what, path string
	times      int64 // that it is given before the agent is measured
	body       func(w io.Writer)
}

// repeated writes until the other end has enough.
func repeated(text string, times int) func(io.Writer) {
	return func(w io.Writer) {
		block := []byte(strings.Repeat(text, 1000))
		for range times / 1000 {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}
}

// around writes what begins and ends an answer, too.
func around(begin string, middle func(io.Writer), end string) func(io.Writer) {
	return func(w io.Writer) {
		fmt.Fprint(w, begin)
		middle(w)
		fmt.Fprint(w, end)
	}
}

func numbered(format string, times int) func(io.Writer) {
	return func(w io.Writer) {
		for i := range times {
			if _, err := fmt.Fprintf(w, format, i); err != nil {
				return
			}
		}
	}
}

var listed = "/containers/json"

var hostileAnswers = []hostile{
	{"3 million containers", listed, 3, around("[", repeated("{},", 3_000_000), "{}]")},
	{"200,000 containers with names", listed, 3, around("[", numbered(`{"Id":"%064x","Names":["web"],"Pod":"x","State":"running"},`, 200_000), "{}]")},
	{"4,900 pods of Collie's", listed, 3, around("[", numbered(`{"Id":"%064x","Names":["web-%[1]d-c"],"PodName":"web-%[1]d","State":"running",`+
		`"Labels":{"collie.io/owner":"collie","collie.io/object":"Pod/web-%[1]d","collie.io/hash":"%08[1]x","collie.io/file":"pods/web.yaml:1"}},`, 4_900), "{}]")},
	{"200 mappings of 65,536 ports", listed, 3, around(`[{"Ports":[`, func(w io.Writer) { fmt.Fprint(w, strings.Repeat(`{"range":65536},`, 200)) }, "{}]}]")},
	{"a million labels", listed, 3, around(`[{"Labels":{`, numbered(`"%x":"",`, 1_000_000), `"":""}}]`)},
	{"2 million names", listed, 3, around(`[{"Names":[`, repeated(`"",`, 2_000_000), `""]}]`)},
	{"a text of 25 MB", listed, 3, around(`[{"Id":"`, repeated(`\"[{,`, 5_000_000), `"}]`)},
	{"3 million open brackets", listed, 3, repeated("[", 3_000_000)},
	{"50 MB of blanks", listed, 3, repeated(" ", 50_000_000)},
	{"200,000 pods", "/pods/json", 1, around("[", numbered(`{"Name":"web-%[1]d","Labels":{"collie.io/owner":"collie"}},`, 200_000), "{}]")},
	{"16 probes that write 32 MiB each", "/start", 32, func(w io.Writer) {
		frame := append([]byte{1, 0, 0, 0, 0, 1, 0, 0}, bytes.Repeat([]byte("0123456789abcde\n"), 1<<12)...)
		for range 32 << 4 {
			if _, err := w.Write(frame); err != nil {
				return
			}
		}
	}},
}

// hostile measures how much memory the agent needs where Podman's API, or a git server, answers as it likes.
func (g *bench) hostile() {
	g.hostileAnswers()
	g.hostilePacks()
}

// hostileAnswers puts a proxy before Podman's API, which gives one hostile answer and passes on the rest.
func (g *bench) hostileAnswers() {
	g.commit(map[string]string{"pods/web.yaml": probed(8)})
	g.status(isGood)
	real := filepath.Join(g.root, podmanAPI+".real")
	if err := os.Rename(filepath.Join(g.root, podmanAPI), real); err != nil {
		g.Fatal(err)
	}
	var now atomic.Pointer[hostile]
	var given atomic.Int64
	through := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: "podman"}) },
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", real)
		}},
		ErrorLog:     log.New(io.Discard, "", 0),
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	listener, err := net.Listen("unix", filepath.Join(g.root, podmanAPI))
	if err != nil {
		g.Fatal(err)
	}
	server := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := now.Load(); h != nil && strings.HasSuffix(r.URL.Path, h.path) {
			h.body(w)
			given.Add(1)
			return
		}
		through.ServeHTTP(w, r)
	})}
	go server.Serve(listener)

	again := func() (pid string) {
		g.do("herd", "restart", "collie")
		g.status(`.phase == "idle"`)
		return strings.TrimSpace(g.lab.out(g.name, "pgrep", "-xo", "collie"))
	}
	pid := again()
	g.status(isGood + ` and .problems == []`)
	time.Sleep(settles)
	idle := g.memory(pid, "VmRSS")
	for _, h := range hostileAnswers {
		given.Store(0)
		now.Store(&h)
		pid := again()
		g.until(fmt.Sprintf("%d answers: %s", h.times, h.what), func() bool { return given.Load() >= h.times })
		g.status(`.phase == "idle"`)
		above := g.memory(pid, "VmHWM") - idle
		g.atMost("Podman answers with "+h.what+": peak above idle", fmt.Sprintf("%d MiB", answerGoal), fmt.Sprintf("%.1f MiB", above), above <= answerGoal)
	}
	now.Store(nil)
	server.Close() // removes its socket
	if err := os.Rename(real, filepath.Join(g.root, podmanAPI)); err != nil {
		g.Fatal(err)
	}
	again()
	g.commit(map[string]string{"pods/web.yaml": pod(1)})
	g.status(isGood)
}

// probed is a pod of containers with two exec probes each.
func probed(containers int) string {
	text := "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\n  containers:\n"
	for i := range containers {
		text += fmt.Sprintf("    - name: c%d\n      image: 127.0.0.1:5000/sleeper:1\n", i)
		for _, probe := range []string{"livenessProbe", "readinessProbe"} {
			text += "      " + probe + ": {exec: {command: [\"true\"]}, periodSeconds: 2, failureThreshold: 1000}\n"
		}
	}
	return text
}

// hostilePacks has an agent of its own for each pack, which knows nothing yet and follows a server that sends it.
func (g *bench) hostilePacks() {
	dir := g.TempDir()
	make := exec.Command("go", "test", "-count=1", "-run", "^TestHostilePacks$", "example.org/collie/agent/source")
	make.Env = append(os.Environ(), "COLLIE_TEST_PACKS="+dir)
	if out, err := make.CombinedOutput(); err != nil {
		g.Fatalf("making packs: %v\n%s", err, out)
	}
	packs, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(packs) == 0 {
		g.Fatalf("there are no packs in %s: %v", dir, err)
	}
	const tip = "6ecf0ef2c2dffb796033e5a02219af86ec6584e5"
	var pack atomic.Pointer[[]byte] // nil: there are no branches
	var polls, sent atomic.Int64
	listener, err := g.listen()
	if err != nil {
		g.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		bytes := pack.Load()
		switch {
		case strings.HasSuffix(r.URL.Path, "/info/refs"):
			w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
			fmt.Fprint(w, "001e# service=git-upload-pack\n0000")
			if bytes != nil {
				line := tip + " refs/heads/main\x00shallow\n"
				fmt.Fprintf(w, "%04x%s", len(line)+4, line)
			}
			fmt.Fprint(w, "0000")
			polls.Add(1)
		default:
			w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
			fmt.Fprintf(w, "0034shallow %s0000"+"0008NAK\n", tip)
			_, _ = w.Write(*bytes)
			sent.Add(1)
		}
	})}
	go server.Serve(listener)
	defer server.Close()

	g.write(filepath.Join(g.root, "tmp/hostile.yaml"), "source:\n  url: http://"+address+"/ops.git\n  interval: 1s\nsystem: true\nstate: /tmp/hostile/state\n")
	// measure returns the memory of an agent that begins, and did something as often.
	measure := func(kind string, done *atomic.Int64, times int64) float64 {
		done.Store(0)
		g.do("sh", "-c", "rm -rf /tmp/hostile; setsid collie run --config /tmp/hostile.yaml --runtime /tmp/hostile/run >/tmp/hostile.log 2>&1 </dev/null & echo $! >/tmp/hostile.pid")
		pid := strings.TrimSpace(string(g.read(filepath.Join(g.root, "tmp/hostile.pid"))))
		defer g.do("sh", "-c", "kill "+pid+"; while kill -0 "+pid+" 2>/dev/null; do sleep 0.1; done")
		g.until("the agent to ask", func() bool { return done.Load() >= times })
		return g.memory(pid, kind)
	}
	idle := measure("VmRSS", &polls, 5)
	for _, file := range packs {
		bytes := g.read(file)
		pack.Store(&bytes)
		above := measure("VmHWM", &sent, 2) - idle
		g.atMost(fmt.Sprintf("a pack with %s, of %d bytes: peak above idle", filepath.Base(file), len(bytes)), fmt.Sprintf("%d MiB", packGoal),
			fmt.Sprintf("%.1f MiB", above), above <= packGoal)
	}
}
