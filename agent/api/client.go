package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// A Client asks the agent whose control socket is Socket. An agent that doesn't answer is asked again for as long as Patience:
// it may be about to start again.
type Client struct {
	Socket   string
	Patience time.Duration
}

const bodyLimit = 64 << 20 // bytes of an answer

func (c Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.do(ctx, "GET", "/v1/status", "", &s)
}

func (c Client) Sync(ctx context.Context) (s Synced, err error) {
	return s, c.do(ctx, "POST", "/v1/sync", "", &s)
}

// Accept takes the newest commit, by its full id, though it doesn't descend from the accepted one.
func (c Client) Accept(ctx context.Context, commit string) (s Synced, err error) {
	return s, c.do(ctx, "POST", "/v1/accept", commit, &s)
}

// Plan is that of a branch plan/NAME; without a name, of what waits.
func (c Client) Plan(ctx context.Context, name string) (p Plan, err error) {
	return p, c.do(ctx, "GET", "/v1/plan?name="+url.QueryEscape(name), "", &p)
}

func (c Client) History(ctx context.Context) (d []Deployment, err error) {
	return d, c.do(ctx, "GET", "/v1/history", "", &d)
}

// Suspend stops new revisions from being switched to; why is for whoever asks later.
func (c Client) Generations(ctx context.Context) (g []Generation, err error) {
	return g, c.do(ctx, "GET", "/v1/generations", "", &g)
}

func (c Client) Suspend(ctx context.Context, why string) error {
	return c.do(ctx, "POST", "/v1/suspend", why, nil)
}

func (c Client) Resume(ctx context.Context) error { return c.do(ctx, "POST", "/v1/resume", "", nil) }

// Now lets the newest revision be switched to though no window is open.
func (c Client) Now(ctx context.Context) error { return c.do(ctx, "POST", "/v1/now", "", nil) }

// Build lets all of the newest revision be built here, instead of waiting for substitutes.
func (c Client) Build(ctx context.Context) error { return c.do(ctx, "POST", "/v1/build", "", nil) }

// Evaluate has Guix evaluate the newest revision, though nothing changed that an evaluation read.
func (c Client) Evaluate(ctx context.Context) error {
	return c.do(ctx, "POST", "/v1/evaluate", "", nil)
}

// Only has the newest revision deployed to these layers at once, whatever the others wait for. Those follow.
func (c Client) Only(ctx context.Context, layers []string) error {
	return c.do(ctx, "POST", "/v1/only", strings.Join(layers, ","), nil)
}

// Retry gives the newest revision another chance.
func (c Client) Retry(ctx context.Context) error { return c.do(ctx, "POST", "/v1/retry", "", nil) }

// Restart restarts a service of the system, or USER/SERVICE of a home.
func (c Client) Restart(ctx context.Context, service string) (r Restarted, err error) {
	return r, c.do(ctx, "POST", "/v1/restart", service, &r)
}

// Key is the machine's public key.
func (c Client) Key(ctx context.Context) (k Key, err error) {
	return k, c.do(ctx, "GET", "/v1/key", "", &k)
}

// Import is the YAML of a pod, or a container, that somebody made by hand.
func (c Client) Import(ctx context.Context, name string) (i Imported, err error) {
	return i, c.do(ctx, "GET", "/v1/import?name="+url.QueryEscape(name), "", &i)
}

func (c Client) do(ctx context.Context, method, path, body string, into any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, answerLimit, fmt.Errorf("no answer within %v", answerLimit))
	defer cancel()
	patience := c.Patience
	if method != "GET" {
		patience = 0 // it may have been done
	}
	var answer io.ReadCloser
	err := patiently(ctx, patience, func() (err error) {
		answer, err = c.ask(ctx, method, path, body)
		return err
	})
	if err != nil {
		return err
	}
	defer answer.Close()
	text, err := io.ReadAll(io.LimitReader(answer, bodyLimit))
	if err != nil {
		return c.cutShort(ctx, err)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("the answer of the agent at %s: %w", c.Socket, err)
	}
	return nil
}

// ask sends a request and returns the answer, which is an error if it says that something is wrong.
func (c Client) ask(ctx context.Context, method, path, body string) (io.ReadCloser, error) {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", c.Socket)
	}}
	req, err := http.NewRequestWithContext(ctx, method, "http://collie"+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, bodyLimit))
	if err != nil {
		return nil, c.cutShort(ctx, err)
	}
	switch says := string(bytes.TrimSpace(text)); says {
	case ErrStopping.Error():
		return nil, &awayError{ErrStopping}
	case "":
		return nil, fmt.Errorf("the agent at %s answered %s", c.Socket, resp.Status)
	default:
		return nil, errors.New(says)
	}
}

// errAway is what each awayError is: the agent may come back.
var errAway = errors.New("no agent answers")

// Away reports whether err says that no agent answers.
func Away(err error) bool { return errors.Is(err, errAway) }

type awayError struct{ error }

func (e *awayError) Unwrap() error        { return e.error }
func (e *awayError) Is(target error) bool { return target == errAway }

// cutShort explains an answer that didn't come whole.
func (c Client) cutShort(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return c.ended(ctx)
	}
	return fmt.Errorf("the agent at %s: %w", c.Socket, err)
}

// An EndedError says that who asked didn't wait for the answer.
type EndedError struct {
	says string
	err  error // of the context
}

func (e *EndedError) Error() string { return e.says }
func (e *EndedError) Unwrap() error { return e.err }

// ended says why ctx ended: nobody reads the words that Go has for it.
func (c Client) ended(ctx context.Context) error {
	switch cause := context.Cause(ctx); {
	case errors.Is(ctx.Err(), context.Canceled):
		return &EndedError{"asking the agent at " + c.Socket + ": interrupted", ctx.Err()}
	case errors.Is(cause, context.DeadlineExceeded): // the deadline has no words of its own
		return &EndedError{"asking the agent at " + c.Socket + ": no answer in time", ctx.Err()}
	default:
		return &EndedError{"asking the agent at " + c.Socket + ": " + cause.Error(), ctx.Err()}
	}
}

// explain says what to do when nobody answers.
func (c Client) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return c.ended(ctx)
	}
	if asked := new(url.Error); errors.As(err, &asked) {
		err = asked.Err // the URL is only ours
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return &awayError{fmt.Errorf("no agent answers at %s: is it running? see `herd status collie` and `collie doctor`: %w", c.Socket, err)}
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET): // it ended in mid-answer
		return &awayError{fmt.Errorf("the agent at %s ended before it answered: %w", c.Socket, err)}
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s is for root and the group collie: %w", c.Socket, err)
	}
	return fmt.Errorf("asking the agent at %s: %w", c.Socket, err)
}

const (
	pollEvery   = 200 * time.Millisecond
	restartTime = 15 * time.Second // in which an agent that ended answers again
)

// Poll asks for the status until enough says so, nobody answers for longer than a restart of the agent takes, or ctx
// ends. It returns the last status that came.
func (c Client) Poll(ctx context.Context, enough func(Status) bool) (Status, error) {
	var last Status
	for {
		err := patiently(ctx, restartTime, func() error {
			s, err := c.Status(ctx)
			if err == nil {
				last = s
			}
			return err
		})
		if err != nil || enough(last) {
			return last, err
		}
		if err := pause(ctx); err != nil {
			return last, c.ended(ctx)
		}
	}
}

// PollPlan asks for a plan until enough says so, as Poll does for the status.
func (c Client) PollPlan(ctx context.Context, name string, enough func(Plan) bool) (Plan, error) {
	var last Plan
	for {
		err := patiently(ctx, restartTime, func() error {
			p, err := c.Plan(ctx, name)
			if err == nil {
				last = p
			}
			return err
		})
		if err != nil || enough(last) {
			return last, err
		}
		if err := pause(ctx); err != nil {
			return last, c.ended(ctx)
		}
	}
}

// SyncPatiently is Sync of an agent that may be about to start again.
func (c Client) SyncPatiently(ctx context.Context) (s Synced, err error) {
	err = patiently(ctx, restartTime, func() error {
		s, err = c.Sync(ctx)
		return err
	})
	return s, err
}

// patiently asks again while nobody answers, for as long as patience.
func patiently(ctx context.Context, patience time.Duration, ask func() error) error {
	until := time.Now().Add(patience)
	for {
		err := ask()
		if !errors.Is(err, errAway) || !time.Now().Before(until) || pause(ctx) != nil {
			return err
		}
	}
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(pollEvery):
		return nil
	}
}
