package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"example.org/collie/agent/api"
)

var update = flag.Bool("update", false, "rewrite the golden parts of the scripts")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"collie": main})
}

// Each script is a user's story, with the real main in it.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("COLLIE_SOCKET", filepath.Join(env.WorkDir, "collie.sock"))
			env.Setenv("TZ", "UTC")
			env.Setenv("GORACE", "atexit_sleep_ms=0") // of each process: else a second
			user := "nobody"
			if os.Getuid() == 0 {
				user = "daemon" // git runs as the owner of a repository: root, who may not be the pod user
			}
			env.Setenv("POD_USER", user)
			return nil
		},
		Condition: func(name string) (bool, error) {
			if name != "guix-system" {
				return false, fmt.Errorf("no condition %q", name)
			}
			_, err := os.Stat(configurationFile)
			return err == nil, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"activate": activate,
			"agent":    serveAgent,
			"exits":    exits,
			"mode":     mode,
			"lines":    lines,
			"socket":   socket,
			"podman":   servePodman,
			"push":     push,
			"pushes":   servePushes,
			"expand":   expand,
			"term":     term,
		},
	})
}

// exits CODE COMMAND… runs a command that has to end with CODE.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// mode OCTAL FILE… looks at permissions.
func mode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: mode OCTAL FILE…")
	}
	want, err := strconv.ParseUint(args[0], 8, 32)
	ts.Check(err)
	for _, name := range args[1:] {
		info, err := os.Lstat(ts.MkAbs(name))
		ts.Check(err)
		if got := info.Mode().Perm(); got != fs.FileMode(want) {
			ts.Fatalf("%s has mode %o, want %o", name, got, want)
		}
	}
}

// lines N says how many lines the last command wrote to stderr.
func lines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: lines N")
	}
	if got := strings.Count(ts.ReadFile("stderr"), "\n"); strconv.Itoa(got) != args[0] {
		ts.Fatalf("%d lines on stderr, want %s", got, args[0])
	}
}

// socket FILE leaves a socket behind that nobody listens at.
func socket(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: socket FILE")
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: ts.MkAbs(args[0])})
	ts.Check(err)
	l.SetUnlinkOnClose(false)
	ts.Check(l.Close())
}

// push DIR makes what is in DIR the newest commit of ops.git, which it makes at first; its id is then in $HEAD.
func push(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: push DIR")
	}
	repo := ts.MkAbs("ops.git")
	git := func(what ...string) string {
		cmd := exec.Command("git", what...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
			"GIT_AUTHOR_NAME=ann", "GIT_AUTHOR_EMAIL=ann@example.org", "GIT_COMMITTER_NAME=ann", "GIT_COMMITTER_EMAIL=ann@example.org",
			"GIT_DIR="+repo, "GIT_WORK_TREE="+ts.MkAbs(args[0]))
		out, err := cmd.CombinedOutput()
		if err != nil {
			ts.Fatalf("git %v: %v\n%s", what, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	if _, err := os.Stat(repo); err != nil {
		ts.Check(exec.Command("git", "init", "-q", "--bare", "-b", "main", repo).Run())
	}
	git("add", "--all", ".")
	git("commit", "-q", "--allow-empty", "-m", "make it "+args[0])
	ts.Setenv("HEAD", git("rev-parse", "HEAD"))
}

// term sends SIGTERM to what runs in the background.
func term(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: term")
	}
	for _, cmd := range ts.BackgroundCmds() {
		ts.Check(cmd.Process.Signal(syscall.SIGTERM))
	}
}

// activate SOCKET COMMAND… listens, and starts the command with that, as systemd and Shepherd do. It has to end well
// when the script does.
func activate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: activate SOCKET COMMAND…")
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: ts.MkAbs(args[0])})
	ts.Check(err)
	defer l.Close() // the command has its own
	l.SetUnlinkOnClose(false)
	file, err := l.File()
	ts.Check(err)
	defer file.Close()
	cmd := exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"`, "sh"}, args[1:]...)...)
	cmd.Dir, cmd.ExtraFiles = ts.MkAbs("."), []*os.File{file}
	cmd.Env = append(os.Environ(), "PATH="+ts.Getenv("PATH"), "GORACE="+ts.Getenv("GORACE"))
	var says bytes.Buffer
	cmd.Stdout, cmd.Stderr = &says, &says
	ts.Check(cmd.Start())
	ts.Defer(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			ts.Fatalf("%v: %v\n%s", args[1:], err, says.String())
		}
	})
}

// expand FILE puts the values of $VARIABLES into it.
func expand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: expand FILE")
	}
	text := os.Expand(ts.ReadFile(args[0]), ts.Getenv)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// podman SOCKET stands in for a Podman that has nothing.
func servePodman(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: podman SOCKET")
	}
	socket := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(filepath.Dir(socket), 0o700))
	l, err := net.Listen("unix", socket)
	ts.Check(err)
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Libpod-API-Version", "5.8.0")
		switch {
		case strings.HasSuffix(r.URL.Path, "/_ping"):
		case r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "s/json"): // all there are
			_, _ = io.WriteString(w, "[]")
		default:
			http.Error(w, `{"message": "nothing of that name"}`, http.StatusNotFound)
		}
	})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(l)
	}()
	ts.Defer(func() {
		_ = server.Close()
		<-ended
	})
}

// agent DIR stands in for a running agent until the script ends. What it answers is in DIR: sync.json, accept.json, plan.json,
// history.json, generations.json, and one after the other status*.json, the last again and again; NAME.error is an error instead. What
// it was told to do is written to the file asked.
func serveAgent(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: agent DIR")
	}
	a := &cannedAgent{dir: ts.MkAbs(args[0]), asked: ts.MkAbs("asked")}
	statuses, err := filepath.Glob(filepath.Join(a.dir, "status*.json"))
	ts.Check(err)
	slices.Sort(statuses)
	a.statuses = statuses
	l, err := net.Listen("unix", ts.Getenv("COLLIE_SOCKET"))
	ts.Check(err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- api.Serve(ctx, []net.Listener{l}, api.Agent{
			Status: a.status,
			Sync: func(context.Context) (s api.Synced, err error) {
				return s, errors.Join(a.note("sync"), a.answer("sync", &s))
			},
			Accept: func(_ context.Context, commit string) (s api.Synced, err error) {
				return s, errors.Join(a.note("accept "+commit), a.answer("accept", &s))
			},
			Plan: func(_ context.Context, name string) (p api.Plan, err error) {
				return p, a.answer(strings.TrimSuffix("plan-"+name, "-"), &p)
			},
			History: func(context.Context) (d []api.Deployment, err error) {
				return d, a.answer("history", &d)
			},
			Generations: func(context.Context) (g []api.Generation, err error) {
				return g, a.answer("generations", &g)
			},
			Import: func(_ context.Context, name string) (i api.Imported, err error) {
				return i, a.answer("import-"+name, &i)
			},
			Key: func(context.Context) (k api.Key, err error) {
				return k, a.answer("key", &k)
			},
			Suspend: func(_ context.Context, why string) error { return a.do("suspend", why) },
			Resume:  func(context.Context) error { return a.do("resume", "") },
			Now:     func(context.Context) error { return a.do("now", "") },
			Build:   func(context.Context) error { return a.do("build", "") },
			Retry:   func(context.Context) error { return a.do("retry", "") },
			Restart: func(_ context.Context, service string) (r api.Restarted, err error) {
				return r, errors.Join(a.note("restart "+service), a.answer("restart", &r))
			},
			Logs: func(_ context.Context, q api.LogQuery, w io.Writer) error {
				if err := a.note(fmt.Sprintf("logs %+v", q)); err != nil {
					return err
				}
				text, err := os.ReadFile(filepath.Join(a.dir, "logs.txt"))
				_, fault := w.Write(text)
				return errors.Join(err, fault)
			},
		}, slog.New(slog.DiscardHandler))
	}()
	ts.Defer(func() {
		stop()
		if err := <-ended; err != nil {
			ts.Fatalf("the agent ended: %v", err)
		}
	})
}

// pushes DIR stands in for what an agent tells of pushes, at push.sock: the files in DIR one after the other, the last again
// and again. What it was asked is written to the file asked.
func servePushes(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: pushes DIR")
	}
	files, err := filepath.Glob(filepath.Join(ts.MkAbs(args[0]), "*.json"))
	ts.Check(err)
	slices.Sort(files)
	asked := ts.MkAbs("asked")
	ts.Check(os.RemoveAll(asked))
	ts.Check(os.RemoveAll(ts.MkAbs("push.sock")))
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: ts.MkAbs("push.sock")})
	ts.Check(err)
	l.SetUnlinkOnClose(false)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	var mu sync.Mutex
	go func() {
		ended <- api.ServePushes(ctx, l, func(_ context.Context, ref, commit string) (p api.Pushed, err error) {
			mu.Lock()
			defer mu.Unlock()
			f, err := os.OpenFile(asked, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
			if err != nil {
				return p, err
			}
			_, err = fmt.Fprintln(f, ref, commit)
			text, unread := os.ReadFile(files[0])
			if len(files) > 1 {
				files = files[1:]
			}
			return p, errors.Join(err, f.Close(), unread, json.Unmarshal(text, &p))
		}, slog.New(slog.DiscardHandler))
	}()
	ts.Defer(func() {
		stop()
		if err := <-ended; err != nil {
			ts.Fatalf("the agent ended: %v", err)
		}
	})
}

type cannedAgent struct {
	dir, asked string

	mu       sync.Mutex
	statuses []string // files; the first is next
}

func (a *cannedAgent) status(context.Context) (s api.Status, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.statuses) == 0 {
		return s, a.answer("status", &s)
	}
	name := strings.TrimSuffix(filepath.Base(a.statuses[0]), ".json")
	if len(a.statuses) > 1 {
		a.statuses = a.statuses[1:]
	}
	return s, a.answer(name, &s)
}

// answer reads NAME.json into v, or returns what NAME.error says.
func (a *cannedAgent) answer(name string, v any) error {
	if says, err := os.ReadFile(filepath.Join(a.dir, name+".error")); err == nil {
		return errors.New(strings.TrimSpace(string(says)))
	}
	b, err := os.ReadFile(filepath.Join(a.dir, name+".json"))
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

func (a *cannedAgent) do(what, why string) error {
	if says, err := os.ReadFile(filepath.Join(a.dir, what+".error")); err == nil {
		return errors.New(strings.TrimSpace(string(says)))
	}
	return a.note(strings.TrimSpace(what + " " + why))
}

func (a *cannedAgent) note(line string) error {
	f, err := os.OpenFile(a.asked, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, line)
	return errors.Join(err, f.Close())
}
