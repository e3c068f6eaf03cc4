package api

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// serve answers for agent at a socket of its own until the test ends.
func serve(t *testing.T, agent Agent) Client {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, []net.Listener{l}, agent, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("serving ended: %v", err)
		}
	})
	return Client{Socket: socket}
}

var at = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// full has something in every field of a status.
func full() Status {
	return Status{
		Version: "1.2.3", Host: "guest", Phase: "soaking",
		Preparing: &Preparing{Revision: strings.Repeat("3", 40), Since: at.Add(-90 * time.Second), Progress: Progress{Layer: "system", Item: "building"}},
		Suspended: &Suspended{Since: at.Add(-time.Hour), Why: "moving disks"},
		Wanted:    Wanted{Revision: strings.Repeat("2", 40), Because: "the newest that could be prepared"},
		Source: Source{URL: "file:///srv/git/ops.git", Branch: "main", LastPoll: at.Add(-12 * time.Second), Error: "no route to host",
			Answered: "git@mirror.example.org:ops.git", Wrong: []Wrong{{URL: "file:///srv/git/ops.git", Says: "no route to host"}}},
		Revisions: Revisions{Newest: strings.Repeat("3", 40), Current: strings.Repeat("2", 40), Good: "baseline"},
		Layers: []Layer{
			{Name: "system", InSync: true, Changes: []Change{{Does: "update", Subject: "kernel", Says: "at the next boot", Waits: true}}},
			{Name: "home:ann", Error: "Shepherd doesn't answer"},
			{Name: "pods", Changes: []Change{{Does: "start", Subject: "pod web"}, {Does: "replace", Subject: "pod api", Says: "image"}}},
		},
		Pods:   []Pod{{Name: "web", Ready: true, Revision: strings.Repeat("2", 40)}, {Name: "api", Restarts: 3, Revision: strings.Repeat("2", 40)}},
		Failed: []Failed{{Revision: strings.Repeat("4", 40), Outcome: OutcomeRejected, Reason: "pods/web.yaml:3: kind: Podd\npods/web.yaml:7: no name", At: at.Add(-26 * time.Hour)}},
		Problems: []Problem{
			{Layer: "pods", Subject: "pod api", Says: "exited with 1"},
			{Layer: "system", Subject: "service web", Says: "stopped: disabled: no more", Details: []string{"listening", "\x1b[1mno more"}},
			{Layer: "system", Subject: "service db", Says: "stopped: the only line", Details: []string{"the only line"}},
			{Subject: "collie", Says: "it said \x1b[31mred\x1b[0m\u202e\r and\ta tab\x00"},
		},
		Notes: []string{"pods: Podman doesn't answer"},
	}
}

func TestEachPath(t *testing.T) {
	var told []string
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	status := full()
	plan := Plan{Revision: "a", Because: "suspended", Layers: []PlanLayer{{Name: "pods", Changes: []Change{{Does: "start", Subject: "pod web"}}}}}
	restarted := Restarted{"ann/web", []string{"ann/front"}, []Problem{{Subject: "service web", Says: "stopped"}}}
	past := []Deployment{{Revision: "a", Author: "ann", Subject: "first", Started: at, Duration: time.Minute, Layers: []string{"pods"}, Outcome: "good", Reason: "r", Because: "b"}}
	c := serve(t, Agent{
		Status: func(context.Context) (Status, error) { return status, nil },
		Sync:   func(context.Context) (Synced, error) { return Synced{"a"}, nil },
		Accept: func(_ context.Context, id string) (Synced, error) { return Synced{id}, nil },
		Plan: func(_ context.Context, name string) (Plan, error) {
			named := plan
			named.Name = name
			return named, nil
		},
		History: func(context.Context) ([]Deployment, error) { return past, nil },
		Suspend: func(_ context.Context, why string) error { told = append(told, "suspend "+why); return nil },
		Resume:  func(context.Context) error { told = append(told, "resume"); return nil },
		Build:   func(context.Context) error { told = append(told, "build"); return nil },
		Retry:   func(context.Context) error { told = append(told, "retry"); return nil },

		Evaluate: func(context.Context) error { told = append(told, "evaluate"); return nil },
		Only: func(_ context.Context, layers []string, by string) error {
			told = append(told, fmt.Sprintf("only %q, for %s", layers, by))
			return nil
		},

		Restart: func(_ context.Context, service string) (Restarted, error) {
			told = append(told, "restart "+service)
			return restarted, nil
		},
	})
	ctx := t.Context()
	for _, row := range []struct {
		name string
		ask  func() (any, error)
		want any
	}{
		{"status", func() (any, error) { return c.Status(ctx) }, status},
		{"sync", func() (any, error) { return c.Sync(ctx) }, Synced{"a"}},
		{"sync, patiently", func() (any, error) { return c.SyncPatiently(ctx) }, Synced{"a"}},
		{"accept", func() (any, error) { return c.Accept(ctx, "b") }, Synced{"b"}},
		{"plan", func() (any, error) { return c.Plan(ctx, "") }, plan},
		{"plan of a name", func() (any, error) { return c.Plan(ctx, "a&b") }, Plan{Name: "a&b", Revision: plan.Revision, Because: plan.Because, Layers: plan.Layers}},
		{"history", func() (any, error) { return c.History(ctx) }, past},
		{"suspend", func() (any, error) { return nil, c.Suspend(ctx, " moving\nthe disks ") }, nil},
		{"resume", func() (any, error) { return nil, c.Resume(ctx) }, nil},
		{"build", func() (any, error) { return nil, c.Build(ctx) }, nil},
		{"evaluate", func() (any, error) { return nil, c.Evaluate(ctx) }, nil},
		{"only", func() (any, error) { return nil, c.Only(ctx, []string{"system", "home:ann"}) }, nil},
		{"retry", func() (any, error) { return nil, c.Retry(ctx) }, nil},
		{"restart", func() (any, error) { return c.Restart(ctx, "ann/web\n") }, restarted},
	} {
		got, err := row.ask()
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
		}
		if !reflect.DeepEqual(got, row.want) {
			t.Errorf("%s answered %+v, want %+v", row.name, got, row.want)
		}
	}
	if want := []string{"suspend moving\nthe disks", "resume", "build", "evaluate", `only ["system" "home:ann"], for ` + me.Username, "retry", "restart ann/web"}; !reflect.DeepEqual(told, want) {
		t.Errorf("the agent was told %q, want %q", told, want)
	}
}

// ask speaks HTTP as herd's actions and curl do.
func ask(t *testing.T, c Client, method, path, accept, body string) (code int, kind, text string) {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", c.Socket)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://collie"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(b)
}

func TestOverTheWire(t *testing.T) {
	refuse := func(context.Context) error { return errors.New("the disk is full: make room\nand ask again") }
	var why string
	c := serve(t, Agent{
		Status:  func(context.Context) (Status, error) { return Status{Host: "guest", Phase: "idle"}, nil },
		Sync:    func(context.Context) (Synced, error) { return Synced{}, nil },
		Plan:    func(context.Context, string) (Plan, error) { return Plan{}, ErrStopping },
		History: func(context.Context) ([]Deployment, error) { return []Deployment{}, nil },
		Suspend: func(_ context.Context, w string) error { why = w; return nil },
		Resume:  refuse,
		Build:   func(context.Context) error { return nil },
		Retry:   func(context.Context) error { return nil },
	})
	const text, html, jsonType = "text/plain; charset=utf-8", "text/html", "application/json"
	for _, row := range []struct {
		method, path, accept string
		code                 int
		kind, has            string
	}{
		{"GET", "/v1/status", "text/plain", 200, text, "phase    idle\n"},
		{"GET", "/v1/status", "", 200, jsonType, `"phase":"idle"`},
		{"GET", "/v1/status", html, 200, jsonType, `"phase":"idle"`},
		{"POST", "/v1/sync", "text/plain", 200, text, "no revision yet\n"},
		{"POST", "/v1/sync", "", 200, jsonType, `{"revision":""}`},
		{"GET", "/v1/history", "", 200, jsonType, "[]\n"},
		{"GET", "/v1/history", "text/plain", 200, text, "No deployment yet.\n"},
		{"POST", "/v1/suspend", "text/plain", 200, text, "suspended\n"},
		{"POST", "/v1/build", "text/plain", 200, text, "built here\n"},
		{"POST", "/v1/retry", "text/plain", 200, text, "tried again\n"},

		{"POST", "/v1/resume", "text/plain", 500, text, "the disk is full: make room\nand ask again\n"},
		{"POST", "/v1/resume", "", 500, text, "the disk is full: make room\nand ask again\n"},
		{"GET", "/v1/plan", "", 503, text, "the agent is stopping: ask again once it runs\n"},
		{"GET", "/v1/sync", "", 405, text, "Method Not Allowed\n"},
		{"GET", "/v1/suspend", "", 405, text, "Method Not Allowed\n"},
		{"POST", "/v1/status", "", 405, text, "Method Not Allowed\n"},
		{"DELETE", "/v1/status", "", 405, text, "Method Not Allowed\n"},
		{"GET", "/v1/nothing", "", 404, text, "404 page not found\n"},
		{"GET", "/", "", 404, text, "404 page not found\n"},
	} {
		code, kind, got := ask(t, c, row.method, row.path, row.accept, "")
		if code != row.code || kind != row.kind || !strings.Contains(got, row.has) {
			t.Errorf("%s %s (%s): %d, %s, %q\nwant %d, %s, %q", row.method, row.path, row.accept, code, kind, got, row.code, row.kind, row.has)
		}
	}
	// A reason is for people: it needs no more than a kilobyte of the agent's memory and state.
	if code, _, _ := ask(t, c, "POST", "/v1/suspend", "", strings.Repeat("x", 1<<20)); code != 200 || len(why) != 1<<10 {
		t.Errorf("a long reason: %d, and %d bytes were taken", code, len(why))
	}
}

func TestHeadersAreBounded(t *testing.T) {
	c := serve(t, Agent{Status: func(context.Context) (Status, error) { return Status{}, nil }})
	if code, _, _ := ask(t, c, "GET", "/v1/status", strings.Repeat("x", 1<<20), ""); code != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a header of a megabyte: %d, want 431", code)
	}
}

func TestServeFinishesWhatWasAsked(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	asked := make(chan struct{})
	agent := Agent{Status: func(context.Context) (Status, error) {
		close(asked)
		<-ctx.Done()
		return Status{Host: "guest"}, nil
	}}
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, []net.Listener{l}, agent, slog.New(slog.DiscardHandler)) }()
	answered := make(chan error, 1)
	go func() {
		s, err := Client{Socket: socket}.Status(t.Context())
		if err == nil && s.Host != "guest" {
			err = fmt.Errorf("host %q", s.Host)
		}
		answered <- err
	}()
	<-asked
	stop()
	if err := <-answered; err != nil {
		t.Errorf("what was asked before the stop: %v", err)
	}
	if err := <-ended; err != nil {
		t.Errorf("the stop: %v", err)
	}
	if _, err := (Client{Socket: socket}).Status(t.Context()); !errors.Is(err, errAway) {
		t.Errorf("after the stop: %v", err)
	}
}

func TestServeEndsWithItsListener(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Serve(t.Context(), []net.Listener{l}, Agent{}, slog.New(slog.DiscardHandler)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("serving on a closed listener: %v", err)
	}
}

// raw answers each connection with text, or by hanging up.
func raw(t *testing.T, text string) Client {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096)) // the request
			_, _ = io.WriteString(conn, text)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-ended
	})
	return Client{Socket: socket}
}

func TestClientSaysWhatIsWrong(t *testing.T) {
	none := filepath.Join(t.TempDir(), "s")
	left := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: left})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name   string
		client Client
		want   string // %s is the socket
		away   bool   // asked again, the agent may answer
	}{
		{"no socket", Client{Socket: none}, "no agent answers at %s: is it running? see `herd status collie` and `collie doctor`: dial unix %s: connect: no such file or directory", true},
		{"a socket that was left", Client{Socket: left}, "no agent answers at %s: is it running? see `herd status collie` and `collie doctor`: dial unix %s: connect: connection refused", true},
		{"hangs up", raw(t, ""), "the agent at %s ended before it answered: EOF", true},
		{"is stopping", serve(t, Agent{Status: func(context.Context) (Status, error) { return Status{}, fmt.Errorf("status: %w", ErrStopping) }}),
			"the agent is stopping: ask again once it runs", true},
		{"is slow", raw(t, "HTTP/1.1 503 x\r\nContent-Length: 9\r\n\r\ntoo slow\n"), "too slow", false},
		{"stops in its answer", raw(t, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"), "the agent at %s: unexpected EOF", false},
		{"an error in its words", raw(t, "HTTP/1.1 500 x\r\nContent-Length: 7\r\n\r\nno disk"), "no disk", false},
		{"an error without words", raw(t, "HTTP/1.1 500 Odd\r\nContent-Length: 0\r\n\r\n"), "the agent at %s answered 500 Odd", false},
		{"no JSON", raw(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno"), "the answer of the agent at %s: invalid character 'o' in literal null (expecting 'u')", false},
		{"no HTTP", raw(t, "SSH-2.0\r\n\r\n"), `asking the agent at %s: net/http: HTTP/1.x transport connection broken: malformed HTTP response "SSH-2.0"`, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := row.client.Status(t.Context())
			if want := strings.ReplaceAll(row.want, "%s", row.client.Socket); err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
			if got := errors.Is(err, errAway); got != row.away {
				t.Errorf("asked again: %v, want %v", got, row.away)
			}
		})
	}
}

func TestClientWithoutTheRight(t *testing.T) {
	err := Client{Socket: "/run/s"}.explain(t.Context(), &os.PathError{Op: "connect", Err: os.ErrPermission})
	if want := "/run/s is for root and the group collie: connect : permission denied"; err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestClientGivesUp(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	c := serve(t, Agent{Status: func(ctx context.Context) (Status, error) {
		stop()
		<-ctx.Done() // the server sees that the client hung up
		return Status{}, ctx.Err()
	}})
	if _, err := c.Status(ctx); !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "asking the agent at "+c.Socket) {
		t.Errorf("a client that gives up: %v", err)
	}
}

func TestPoll(t *testing.T) {
	answers := []Status{{Phase: "idle"}, {Phase: "switching"}, {Phase: "soaking"}, {Phase: "done"}}
	n := 0
	c := serve(t, Agent{Status: func(context.Context) (Status, error) {
		s := answers[min(n, len(answers)-1)]
		n++
		return s, nil
	}})
	var seen []string
	s, err := c.Poll(t.Context(), func(s Status) bool {
		seen = append(seen, s.Phase)
		return s.Phase == "done"
	})
	if want := []string{"idle", "switching", "soaking", "done"}; err != nil || s.Phase != "done" || !reflect.DeepEqual(seen, want) {
		t.Errorf("polled %q, %+v, %v; want %q", seen, s, err, want)
	}
}

// When the time is up, the last answer tells how far it came.
func TestPollReturnsTheLastAnswer(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	c := serve(t, Agent{Status: func(context.Context) (Status, error) { return Status{Phase: "soaking"}, nil }})
	s, err := c.Poll(ctx, func(Status) bool { stop(); return false })
	if !errors.Is(err, context.Canceled) || s.Phase != "soaking" {
		t.Errorf("got %+v, %v; want the soaking one, cancelled", s, err)
	}
	s, err = c.Poll(ctx, func(Status) bool { return true })
	if !errors.Is(err, context.Canceled) || s.Phase != "" {
		t.Errorf("got %+v, %v; want nothing, cancelled", s, err)
	}
}

func TestPollTakesAnErrorForAnAnswer(t *testing.T) {
	c := serve(t, Agent{Status: func(context.Context) (Status, error) { return Status{}, errors.New("no disk") }})
	if _, err := c.Poll(t.Context(), func(Status) bool { return true }); err == nil || err.Error() != "no disk" {
		t.Errorf("got %v, want the agent's own words", err)
	}
}

// An agent that restarts doesn't answer for a while: that is no failure before the time for it is over.
func TestPatience(t *testing.T) {
	away := &awayError{errors.New("nobody")}
	for _, row := range []struct {
		name  string
		away  time.Duration // from the start
		limit time.Duration // of the context
		then  error
		took  time.Duration
		err   error
	}{
		{"there", 0, time.Hour, nil, 0, nil},
		{"refuses", 0, time.Hour, io.ErrClosedPipe, 0, io.ErrClosedPipe},
		{"restarts", 10 * time.Second, time.Hour, nil, 10 * time.Second, nil},
		{"restarts, then refuses", 10 * time.Second, time.Hour, io.ErrClosedPipe, 10 * time.Second, io.ErrClosedPipe},
		{"stays away", time.Hour, time.Hour, nil, restartTime, errAway},
		{"stays away for longer than the caller waits", time.Hour, 3 * time.Second, nil, 3 * time.Second, errAway},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), row.limit)
				defer cancel()
				err := patiently(ctx, restartTime, func() error {
					if time.Since(began) < row.away {
						return away
					}
					return row.then
				})
				if !errors.Is(err, row.err) || time.Since(began) != row.took {
					t.Errorf("%v after %v, want %v after %v", err, time.Since(began), row.err, row.took)
				}
			})
		})
	}
}

// What only asks is asked again while the agent starts; what does something isn't: it may have been done.
func TestTheClientsPatience(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	c := Client{Socket: socket, Patience: time.Minute}
	if err := c.Retry(t.Context()); !errors.Is(err, errAway) {
		t.Errorf("a request to do something: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		time.Sleep(2 * pollEvery)
		l, err := net.Listen("unix", socket)
		if err == nil {
			err = Serve(ctx, []net.Listener{l}, Agent{Status: func(context.Context) (Status, error) { return full(), nil }}, slog.New(slog.DiscardHandler))
		}
		served <- err
	}()
	if s, err := c.Status(t.Context()); err != nil || s.Host != full().Host {
		t.Errorf("a question: %+v, %v", s, err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v: write it with `go test ./agent/api -update`, and read it", err)
	}
	if got != string(want) {
		t.Errorf("%s (rewrite it with -update):\n--- got\n%s--- want\n%s", file, got, want)
	}
}

// Time in a bubble begins at a fixed moment: what is "12s ago" then is so always.
func TestText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		status := full()
		shift := now.Sub(at)
		for _, p := range []*time.Time{&status.Preparing.Since, &status.Suspended.Since, &status.Source.LastPoll, &status.Failed[0].At} {
			*p = p.Add(shift)
		}
		var out strings.Builder
		show := func(name, text string) { fmt.Fprintf(&out, "== %s\n%s", name, text) }
		show("all at once", status.Text())
		show("at first", Status{Host: "guest", Phase: "idle", Source: Source{URL: "u", Branch: "main"}, Wanted: Wanted{Because: "nothing newer could be prepared"}}.Text())
		show("tried again", Status{Preparing: &Preparing{Revision: "a", Error: "no route\nto host", Retry: now.Add(30 * time.Second)}, Suspended: &Suspended{Since: now}}.Text())

		show("plan: nothing", Plan{}.Text())
		show("plan", Plan{Revision: strings.Repeat("2", 40), Because: "suspended", Layers: []PlanLayer{
			{Name: "system", Changes: []Change{
				{Does: "restart", Subject: "service clock", Says: "its definition changed", Cost: CostRunning, Diff: "@@ -1 +1 @@\n-\tsleep 1d\n+\tsleep \x1b2d\n"},
				{Does: "restart", Subject: "service bell", Says: "it requires clock", Cost: CostRunning},
				{Does: "restart", Subject: "service hand", Says: "it requires clock", Cost: CostRunning},
				{Does: "next boot", Subject: "kernel", Old: "6.1", New: "6.2", Waits: true, Cost: CostBoot},
				{Does: "rebuild", Subject: "package a", Says: "the same version, rebuilt"},
				{Does: "rebuild", Subject: "package b", Says: "the same version, rebuilt"},
				{Does: "add", Subject: "package c", New: "1"},
				{Does: "add", Subject: "package d", New: "1"},
				{Does: "add", Subject: "user e", New: "1"},
			}},
			{Name: "home:ann", Changes: []Change{}},
			{Name: "pods", Changes: []Change{{Does: "create", Subject: "pod web", Cost: CostRunning}, {Does: "replace", Subject: "pod api", Says: "image\nand \x1bcommand", Cost: CostRunning}}},
		}}.Text())

		show("synced", Synced{strings.Repeat("2", 40)}.Text())
		show("synced: nothing", Synced{}.Text())

		show("history: none", HistoryText(nil))
		show("history", HistoryText([]Deployment{
			{Revision: strings.Repeat("3", 40), Author: "bob", Subject: "a \x1b[2Jb", Started: time.Date(2026, 7, 1, 12, 0, 0, 0, time.Local), Duration: 1234567890, Layers: []string{"system", "pods"}, Outcome: OutcomeRolledBack, Reason: "x.yaml:1: no\nx.yaml:2: no"},
			{Revision: "baseline", Started: time.Date(2026, 6, 1, 12, 0, 0, 0, time.Local), Duration: 26 * time.Hour, Layers: []string{}, Outcome: "good"},
		}))
		golden(t, "text.golden", out.String())
	})
}

func TestPending(t *testing.T) {
	for _, row := range []struct {
		plan Plan
		want bool
	}{
		{Plan{}, false},
		{Plan{Revision: "a", Layers: []PlanLayer{{Name: "pods"}}}, false},
		{Plan{Revision: "a", Layers: []PlanLayer{{Name: "system"}, {Name: "pods", Changes: []Change{{Does: "start"}}}}}, true},
		{Plan{Revision: "a", Layers: []PlanLayer{{Name: "system", Changes: []Change{{Does: "next boot", Waits: true}}}}}, false},
	} {
		if got := row.plan.Pending(); got != row.want {
			t.Errorf("%+v is pending: %v, want %v", row.plan, got, row.want)
		}
	}
}

// The names in JSON are a promise to the programs that read them.
func TestNamesInJSON(t *testing.T) {
	b, err := json.MarshalIndent(full(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "status.golden.json", string(b)+"\n")
}

// A request that takes longer than a stop may is cut off, and makes the stop no failure.
func TestStopWithARequestThatHangs(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	asked, never := make(chan struct{}), make(chan struct{})
	defer close(never)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- Serve(ctx, []net.Listener{l}, Agent{Status: func(context.Context) (Status, error) {
			close(asked)
			<-never
			return Status{}, nil
		}}, slog.New(slog.DiscardHandler))
	}()
	answered := make(chan error, 1)
	go func() {
		_, err := Client{Socket: l.Addr().String()}.Status(t.Context())
		answered <- err
	}()
	<-asked
	stop()
	if err := <-served; err != nil {
		t.Errorf("the stop failed: %v", err)
	}
	if err := <-answered; !Away(err) {
		t.Errorf("who asked is told %v", err)
	}
}
