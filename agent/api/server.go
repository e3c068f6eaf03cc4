package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Agent is what the server asks; each function is one path.
type Agent struct {
	Status      func(ctx context.Context) (Status, error)
	Sync        func(ctx context.Context) (Synced, error)
	Accept      func(ctx context.Context, commit string) (Synced, error)
	Plan        func(ctx context.Context, name string) (Plan, error) // no name: what waits
	History     func(ctx context.Context) ([]Deployment, error)
	Generations func(ctx context.Context) ([]Generation, error)

	Suspend func(ctx context.Context, why string) error
	Resume  func(ctx context.Context) error
	Now     func(ctx context.Context) error
	Build   func(ctx context.Context) error
	Retry   func(ctx context.Context) error

	Evaluate func(ctx context.Context) error
	Only     func(ctx context.Context, layers []string, by string) error

	Logs    func(ctx context.Context, q LogQuery, w io.Writer) error
	Restart func(ctx context.Context, service string) (Restarted, error)
	Key     func(ctx context.Context) (Key, error)
	Import  func(ctx context.Context, name string) (Imported, error)
}

// A Key is the machine's own, of age: what Secrets are encrypted for.
type Key struct {
	PublicKey string `json:"publicKey"`
}

// Text is the key as a person reads it, and a list of recipients has it.
func (k Key) Text() string { return k.PublicKey + "\n" }

// Imported is what was made by hand, as a repository says it.
type Imported struct {
	YAML string `json:"yaml"`
}

// Text is the file.
func (i Imported) Text() string { return i.YAML }

// ErrStopping says that the agent ends, and does no more.
var ErrStopping = errors.New("the agent is stopping: ask again once it runs")

// answerLimit is for one request, a poll of a slow repository included.
const answerLimit = 2 * time.Minute

// Serve answers on the listeners until ctx ends, then finishes what was asked.
func Serve(ctx context.Context, listeners []net.Listener, agent Agent, log *slog.Logger) error {
	return answerOn(ctx, listeners, handler(ctx, agent), log)
}

func answerOn(ctx context.Context, listeners []net.Listener, handler http.Handler, log *slog.Logger) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    64 << 10,
		ConnContext:       withAsker,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { ended <- server.Serve(l) }()
	}
	var err error
	open := len(listeners)
	select {
	case <-ctx.Done():
	case err = <-ended:
		open--
	}
	shutdown, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	cut := server.Shutdown(shutdown)
	if errors.Is(cut, context.DeadlineExceeded) {
		cut = server.Close() // a client that still waits sees that the agent ended
	}
	err = errors.Join(err, cut)
	for range open {
		if e := <-ended; !errors.Is(e, http.ErrServerClosed) {
			err = errors.Join(err, e)
		}
	}
	return err
}

type askerKey struct{}

// withAsker notes who is at the other end of a connection, as the kernel says it.
func withAsker(ctx context.Context, c net.Conn) context.Context {
	unix, is := c.(*net.UnixConn)
	if !is {
		return ctx
	}
	raw, err := unix.SyscallConn()
	if err != nil {
		return ctx
	}
	who := ""
	_ = raw.Control(func(fd uintptr) { // without an answer nobody is named
		if cred, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); err == nil {
			who = strconv.Itoa(int(cred.Uid))
		}
	})
	if u, err := user.LookupId(who); err == nil {
		who = u.Username
	}
	return context.WithValue(ctx, askerKey{}, who)
}

// asker is the name of who asks.
func asker(ctx context.Context) string {
	if who, _ := ctx.Value(askerKey{}).(string); who != "" {
		return who
	}
	return "somebody"
}

func handler(stopped context.Context, a Agent) http.Handler {
	all := http.NewServeMux()
	all.HandleFunc("GET /v1/logs", stream(stopped, a.Logs))
	all.Handle("/", http.TimeoutHandler(answers(a), answerLimit, "the agent didn't answer in time\n"))
	return all
}

// answers are the paths that answer at once, and whole.
func answers(a Agent) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", answer(func(r *http.Request) (any, error) { return a.Status(r.Context()) }))
	mux.HandleFunc("POST /v1/sync", answer(func(r *http.Request) (any, error) { return a.Sync(r.Context()) }))
	mux.HandleFunc("POST /v1/accept", answer(func(r *http.Request) (any, error) {
		commit, err := io.ReadAll(io.LimitReader(r.Body, 1<<10))
		if err != nil {
			return nil, err
		}
		return a.Accept(r.Context(), strings.TrimSpace(string(commit)))
	}))
	mux.HandleFunc("GET /v1/plan", answer(func(r *http.Request) (any, error) { return a.Plan(r.Context(), r.URL.Query().Get("name")) }))
	mux.HandleFunc("GET /v1/history", answer(func(r *http.Request) (any, error) {
		all, err := a.History(r.Context())
		return past(all), err
	}))
	mux.HandleFunc("GET /v1/generations", answer(func(r *http.Request) (any, error) {
		all, err := a.Generations(r.Context())
		return numbered(all), err
	}))
	mux.HandleFunc("GET /v1/key", answer(func(r *http.Request) (any, error) { return a.Key(r.Context()) }))
	mux.HandleFunc("GET /v1/import", answer(func(r *http.Request) (any, error) { return a.Import(r.Context(), r.URL.Query().Get("name")) }))
	mux.HandleFunc("POST /v1/suspend", answer(func(r *http.Request) (any, error) {
		why, err := io.ReadAll(io.LimitReader(r.Body, 1<<10))
		if err != nil {
			return nil, err
		}
		return done("suspended\n"), a.Suspend(r.Context(), strings.TrimSpace(string(why)))
	}))
	mux.HandleFunc("POST /v1/resume", answer(func(r *http.Request) (any, error) { return done("resumed\n"), a.Resume(r.Context()) }))
	mux.HandleFunc("POST /v1/now", answer(func(r *http.Request) (any, error) { return done("it needs no window\n"), a.Now(r.Context()) }))
	mux.HandleFunc("POST /v1/build", answer(func(r *http.Request) (any, error) { return done("built here\n"), a.Build(r.Context()) }))
	mux.HandleFunc("POST /v1/evaluate", answer(func(r *http.Request) (any, error) { return done("evaluated again\n"), a.Evaluate(r.Context()) }))
	mux.HandleFunc("POST /v1/only", answer(func(r *http.Request) (any, error) {
		layers, err := io.ReadAll(io.LimitReader(r.Body, 1<<10))
		if err != nil {
			return nil, err
		}
		return done("deployed first\n"), a.Only(r.Context(), strings.FieldsFunc(string(layers), func(c rune) bool { return c == ',' || c == '\n' }), asker(r.Context()))
	}))
	mux.HandleFunc("POST /v1/retry", answer(func(r *http.Request) (any, error) { return done("tried again\n"), a.Retry(r.Context()) }))
	mux.HandleFunc("POST /v1/restart", answer(func(r *http.Request) (any, error) {
		service, err := io.ReadAll(io.LimitReader(r.Body, 1<<10))
		if err != nil {
			return nil, err
		}
		return a.Restart(r.Context(), strings.TrimSpace(string(service)))
	}))
	return mux
}

// past is a history as an answer.
type numbered []Generation

func (n numbered) Text() string { return GenerationsText(n) }

type past []Deployment

// Text is the answer for people.
func (p past) Text() string { return HistoryText(p) }

// done is an answer that says only that it was done.
type done string

func (d done) Text() string { return string(d) }

// answer writes what f returns: as text for people (Shepherd's actions did once, and may until the service is restarted), else as JSON.
func answer(f func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := f(r)
		if errors.Is(err, ErrStopping) || errors.Is(err, context.Canceled) { // by the agent's end; who hung up reads nothing
			http.Error(w, ErrStopping.Error(), http.StatusServiceUnavailable)
			return
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		if text, ok := v.(interface{ Text() string }); ok && r.Header.Get("Accept") == "text/plain" {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			_, _ = io.WriteString(w, text.Text()) // who hung up doesn't read the error either
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
}

// Text is the answer for people.
func (s Synced) Text() string {
	if s.Revision == "" {
		return "no revision yet\n"
	}
	return fmt.Sprintf("newest revision %s\n", s.Revision)
}
