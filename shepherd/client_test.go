package shepherd

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fake answers requests with recorded replies: testdata holds what Shepherd 1.0.9 said.
type fake struct {
	mu       sync.Mutex
	replies  map[string]string // by the start of the request's "(action …) (service …) (arguments …"
	requests []string
}

func (f *fake) serve(conn net.Conn) {
	defer conn.Close()
	buf := make([]byte, 1<<16)
	n, err := conn.Read(buf)
	if err != nil {
		return
	}
	request := string(buf[:n])
	f.mu.Lock()
	f.requests = append(f.requests, request)
	f.mu.Unlock()
	for key, text := range f.replies {
		if strings.HasPrefix(request, "(shepherd-command (version 0) "+key) {
			io.WriteString(conn, text)
			return
		}
	}
}

// sent are the requests so far.
func (f *fake) sent() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.requests)
}

// listen returns a client of the fake at a real socket.
func (f *fake) listen(t *testing.T) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "socket")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			f.serve(conn)
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return At(path)
}

func recorded(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestServices(t *testing.T) {
	f := &fake{replies: map[string]string{"(action status) (service root)": recorded(t, "status-root")}}
	all, err := f.listen(t).Services(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	byName := map[string]Service{}
	for _, s := range all {
		byName[s.Name] = s
		lines = append(lines, strings.Join([]string{s.Name, s.Status, s.Trouble()}, "|"))
	}
	want := []string{"root|running|", "file-systems|running|", "user-file-systems|running|", "root-file-system|running|",
		"user-processes|running|", "host-name|stopped|", "user-homes|stopped|", "pam|running|", "probe|running|",
		"guix-ownership|stopped|", "guix-daemon|running|", "web|running|", "front|running|",
		"dies|stopped|disabled, died 7 times, exited with 3", "raises|stopped|did not start", "falsy|stopped|did not start",
		"killed|running|", "fs-/mnt/data|running|", "once|stopped|"}
	if !slices.Equal(lines, want) {
		t.Errorf("got %q\nwant %q", lines, want)
	}
	if s := byName["front"]; s.PID != 273 || !slices.Equal(s.Requires, []string{"web"}) || !slices.Equal(s.Provides, []string{"front", "www"}) {
		t.Errorf("front: %+v", s)
	}
	if s := byName["pam"]; s.PID != 0 || s.Since != time.Unix(1795458198, 0) {
		t.Errorf("pam: %+v", s)
	}
	if s := byName["once"]; !s.OneShot || s.Changes[1] != (StatusChange{"starting", time.Unix(1795458592, 0)}) {
		t.Errorf("once: %+v", s)
	}
	if s := byName["killed"]; len(s.Exits) != 1 || s.Exits[0].String() != "killed by signal 9" || len(s.Respawns) != 1 || !s.Enabled {
		t.Errorf("killed: %+v", s)
	}
	stopped := byName["killed"]
	stopped.Status = "stopped"
	stopped.Changes = append([]StatusChange{{"stopped", time.Unix(1, 0)}, {"stopping", time.Unix(1, 0)}}, stopped.Changes...)
	if got := stopped.Trouble(); got != "" {
		t.Errorf("a service that was told to stop is in trouble: %s", got)
	}
	if s := byName["root"]; s.PID != 1 || s.Messages[len(s.Messages)-1] != "Service killed has been started." ||
		!slices.Contains(s.Messages, `sh[309] it \ says 'ärger'`) {
		t.Errorf("root: %+v", s)
	}
	if s := byName["guix-daemon"]; !slices.Equal(s.LogFiles, []string{"/var/log/guix-daemon.log"}) {
		t.Errorf("guix-daemon: %+v", s)
	}
}

// What a service writes is read as it wrote it, whatever that is.
func TestServiceThatWritesOddThings(t *testing.T) {
	f := &fake{replies: map[string]string{"(action status) (service loud)": recorded(t, "status-loud")}}
	s, err := f.listen(t).Service(t.Context(), "loud")
	want := []string{"\x1b[32mINFO\x1b[0m up", "\x7f\x00nul \u00adsoft \u200bzero", "\ufffd\ufffd invalid", `lone " quote ) paren ; \ back`,
		"\u00e9\u0301 😀 \U000e0001 \u009b c1", "(service (version 0) (provides (fake)))", `#{x}# #\`}
	if err != nil || s.Status != "running" || s.PID != 141 || !slices.Equal(s.Messages, want) {
		t.Errorf("got %q, %v\nwant %q", s.Messages, err, want)
	}
}

// A socket that waits for its first client has an address, which is a vector.
func TestServicesAtBoot(t *testing.T) {
	f := &fake{replies: map[string]string{"(action status) (service root)": recorded(t, "status-root-at-boot")}}
	all, err := f.listen(t).Services(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(s Service) bool { return s.Name == "guix-daemon" })
	if i < 0 || all[i].Status != "running" || all[i].PID != 0 {
		t.Errorf("guix-daemon: %+v", all)
	}
}

func TestActions(t *testing.T) {
	tests := []struct {
		name    string
		replies map[string]string // request → file of testdata
		call    func(context.Context, *Client) error
		want    string // error; empty: none
		is      error
	}{
		{"start of what runs", map[string]string{"(action start) (service web)": "start-web"},
			func(ctx context.Context, c *Client) error { return c.Start(ctx, "web") }, "", nil},
		{"start that raises", map[string]string{"(action start) (service raises)": "start-raises"},
			func(ctx context.Context, c *Client) error { return c.Start(ctx, "raises") },
			`shepherd: start raises: misc-error: no such thing x "y" 1.5`, nil},
		{"start that returns #f", map[string]string{"(action start) (service falsy)": "start-falsy", "(action status) (service falsy)": "status-raises"},
			func(ctx context.Context, c *Client) error { return c.Start(ctx, "falsy") },
			"shepherd: start falsy: did not start; Service falsy could not be started.", nil},
		{"start of what is disabled", map[string]string{"(action start) (service dies)": "start-dies", "(action status) (service dies)": "status-dies"},
			func(ctx context.Context, c *Client) error { return c.Start(ctx, "dies") },
			"shepherd: start dies: disabled, died 7 times, exited with 3; Service dies is currently disabled.", nil},
		{"start of a one-shot", map[string]string{"(action start) (service once)": "start-once"},
			func(ctx context.Context, c *Client) error { return c.Start(ctx, "once") }, "", nil},
		{"stop", map[string]string{"(action stop) (service web)": "stop-web"},
			func(ctx context.Context, c *Client) error { return c.Stop(ctx, "web") }, "", nil},
		{"stop of what doesn't run", map[string]string{"(action stop) (service web)": "stop-web-again"},
			func(ctx context.Context, c *Client) error { return c.Stop(ctx, "web") }, "", nil},
		{"stop of what isn't there", map[string]string{"(action stop) (service nope)": "stop-nope"},
			func(ctx context.Context, c *Client) error { return c.Stop(ctx, "nope") }, "shepherd: stop nope: no such service", ErrNotFound},
		{"enable", map[string]string{"(action enable) (service dies)": "enable-dies"},
			func(ctx context.Context, c *Client) error { return c.Enable(ctx, "dies") }, "", nil},
		{"unload", map[string]string{`(action unload) (service root) (arguments ("falsy"))`: "unload-falsy"},
			func(ctx context.Context, c *Client) error { return c.Unload(ctx, "falsy") }, "", nil},
		{"unload of what isn't there", map[string]string{`(action unload) (service root) (arguments ("nope"))`: "unload-nope"},
			func(ctx context.Context, c *Client) error { return c.Unload(ctx, "nope") }, "shepherd: unload nope: no such service", ErrNotFound},
		{"register a file that isn't there", map[string]string{"(action eval) (service root)": "eval-noload"},
			func(ctx context.Context, c *Client) error {
				return c.Register(ctx, "/gnu/store/jf0zf7mp3w39l74y9fpn6yckyjc8hsrz-shepherd-probe.go")
			}, "shepherd: register: system-error: load-thunk-from-file: No such file or directory", nil},
		{"eval that raises", map[string]string{"(action eval) (service root)": "eval-error"},
			func(ctx context.Context, c *Client) error { _, err := c.Eval(ctx, "(car '())"); return err },
			"shepherd: eval: wrong-type-arg: car: Wrong type (expecting pair): ()", nil},
		{"status of Shepherd by name", nil,
			func(ctx context.Context, c *Client) error { _, err := c.Service(ctx, "shepherd"); return err },
			"shepherd: status shepherd: ask for all services instead", nil},
		{"no answer", nil,
			func(ctx context.Context, c *Client) error { return c.Stop(ctx, "web") },
			"shepherd: stop web: it closed the connection without an answer", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := &fake{replies: map[string]string{}}
			for request, file := range test.replies {
				f.replies[request] = recorded(t, file)
			}
			err := test.call(t.Context(), f.listen(t))
			if err == nil && test.want != "" || err != nil && err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
			if test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("%v isn't %v", err, test.is)
			}
		})
	}
}

func TestRequestsAreWhatHerdWrites(t *testing.T) {
	f := &fake{replies: map[string]string{"(action eval)": recorded(t, "eval"), "(action start)": recorded(t, "start-web")}}
	c := f.listen(t)
	got, err := c.Eval(t.Context(), `(string-append "a\n" "b")`)
	if err != nil || got != "4" {
		t.Errorf("got %q, %v", got, err)
	}
	if err := c.Start(t.Context(), "file-system-/mnt/data"); err != nil {
		t.Error(err)
	}
	want := []string{
		`(shepherd-command (version 0) (action eval) (service root) (arguments ("(string-append \"a\\n\" \"b\")")) (directory "/"))`,
		`(shepherd-command (version 0) (action start) (service file-system-/mnt/data) (arguments ()) (directory "/"))`,
	}
	if sent := f.sent(); !slices.Equal(sent, want) {
		t.Errorf("got  %q\nwant %q", sent, want)
	}
}

// A name is sent as one symbol, whatever it is: that of a mount point's service has what the mount point has.
func TestAnyNameIsOneSymbol(t *testing.T) {
	for name, want := range map[string]string{
		"web": "web", "file-system-/mnt/data": "file-system-/mnt/data", "file-system-/mnt/My Größe": "#{file-system-/mnt/My Größe}#",
		"a)": "#{a)}#", `a"b;'c`: `#{a"b;'c}#`, "}#": `#{\x7d;#}#`, `a\x41;`: `#{a\x5c;x41;}#`, "#f": "#{#f}#", "1": "#{1}#", "+i": "#{+i}#", ".": "#{.}#",
	} {
		f := &fake{}
		_ = f.listen(t).Stop(t.Context(), name)
		request := `(shepherd-command (version 0) (action stop) (service ` + want + `) (arguments ()) (directory "/"))`
		if sent := f.sent(); !slices.Equal(sent, []string{request}) {
			t.Errorf("%s: got %q", name, sent)
		}
		if datum, err := read([]byte(want)); err != nil || datum != symbol(name) {
			t.Errorf("%s was read as %q, %v", want, datum, err)
		}
	}
}

func TestNothingButNamesIsSent(t *testing.T) {
	c := &Client{Dial: func(context.Context) (io.ReadWriteCloser, error) {
		t.Error("it was sent")
		return nil, errors.New("no")
	}}
	for _, name := range []string{"", "a\nb", "a\x00", "a\x1b", "a\u200b", "\xff", strings.Repeat("a", 300)} {
		if err := c.Start(t.Context(), name); err == nil {
			t.Errorf("start %q passed", name)
		}
		if err := c.Unload(t.Context(), name); err == nil {
			t.Errorf("unload %q passed", name)
		}
	}
	for _, file := range []string{"", "probe.go", "/tmp/a.go", "/gnu/store/../../tmp/a.go", "/gnu/store/jf0zf7mp3w39l74y9fpn6yckyjc8hsrz-a.sh",
		"/gnu/store/jf0zf7mp3w39l74y9fpn6yckyjc8hsrz-a/b.go", `/gnu/store/jf0zf7mp3w39l74y9fpn6yckyjc8hsrz-a".go`,
		"/gnu/store/jf0zf7mp3w39l74y9fpn6yckyjc8hsrz-a.go\n", "/gnu/store/jf0zf7mp-a.go"} {
		if err := c.Register(t.Context(), file); err == nil {
			t.Errorf("register %q passed", file)
		}
	}
	if err := c.Register(t.Context()); err != nil {
		t.Errorf("to register nothing is no error: %v", err)
	}
}

func TestUnreachable(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	for _, socket := range []string{stale, filepath.Join(dir, "none")} {
		if _, err := At(socket).Services(t.Context()); !errors.Is(err, ErrUnreachable) {
			t.Errorf("%s: %v", socket, err)
		}
	}
}

// mute is a Shepherd that takes requests and never answers, as one does whose fiber hangs.
func mute(t *testing.T) *Client {
	return &Client{Dial: func(context.Context) (io.ReadWriteCloser, error) {
		ours, theirs := net.Pipe()
		go io.Copy(io.Discard, theirs) // ends when ours is closed
		return ours, nil
	}}
}

// A connection that Shepherd forgets costs seconds, where to ask twice does no harm.
func TestAStatusIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer, dialled := recorded(t, "status-root"), 0
		c := &Client{Dial: func(ctx context.Context) (io.ReadWriteCloser, error) {
			if dialled++; dialled < 3 {
				return mute(t).Dial(ctx)
			}
			ours, theirs := net.Pipe()
			go func() {
				_, _ = theirs.Read(make([]byte, 1000))
				_, _ = io.WriteString(theirs, answer)
				theirs.Close()
			}()
			return ours, nil
		}}
		start := time.Now()
		if all, err := c.Services(t.Context()); err != nil || len(all) == 0 || time.Since(start) != 15*time.Second {
			t.Errorf("%v, %v after %v", all, err, time.Since(start))
		}
		dialled = 0
		if _, err := c.Eval(t.Context(), "1"); !errors.Is(err, ErrSilent) || dialled != 1 {
			t.Errorf("evaluated %d times: %v", dialled, err)
		}
	})
}

func TestEveryCallEnds(t *testing.T) {
	tests := []struct {
		name string
		call func(context.Context, *Client) error
		want time.Duration
	}{
		{"status", func(ctx context.Context, c *Client) error { _, err := c.Services(ctx); return err }, 30 * time.Second},
		{"eval", func(ctx context.Context, c *Client) error { _, err := c.Eval(ctx, "1"); return err }, 30 * time.Second},
		{"stop", func(ctx context.Context, c *Client) error { return c.Stop(ctx, "web") }, 30 * time.Minute},
		{"start with a deadline of its own", func(ctx context.Context, c *Client) error {
			ctx, cancel := context.WithTimeout(ctx, 7*time.Second)
			defer cancel()
			return c.Start(ctx, "web")
		}, 7 * time.Second},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				err := test.call(context.Background(), mute(t))
				if silent := !strings.Contains(test.name, "its own"); err == nil || errors.Is(err, ErrSilent) != silent {
					t.Errorf("got %v", err)
				}
				if got := time.Since(start); got != test.want {
					t.Errorf("ended after %v, want %v", got, test.want)
				}
			})
		})
	}
}

func TestAnEndlessAnswer(t *testing.T) {
	c := &Client{Dial: func(context.Context) (io.ReadWriteCloser, error) {
		ours, theirs := net.Pipe()
		go io.Copy(io.Discard, theirs)
		go func() {
			for {
				if _, err := theirs.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}()
		return ours, nil
	}}
	if _, err := c.Services(t.Context()); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("got %v", err)
	}
}
