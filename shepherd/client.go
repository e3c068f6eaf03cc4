package shepherd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"example.org/collie/agent/waits"
)

const (
	maxReply = 8 << 20

	// No call takes longer, whatever its context allows: once, Shepherd 1.0.9 kept a connection open for ever. To start
	// a service takes its pid file's time-out (30 s on Guix), to stop one its grace period, for each of those that depend
	// on it, one after another: only the caller knows how long that may take.
	answerTime = 30 * time.Second
	askAgain   = 5 * time.Second // for a status, over another connection; then twice that, and so on: to ask twice does no harm
	actionTime = 30 * time.Minute
)

var (
	// ErrUnreachable: nobody answers at the socket.
	ErrUnreachable = errors.New("nobody answers at its socket")
	// ErrSilent: Shepherd is there, and said nothing within the time that it had.
	ErrSilent = errors.New("it is silent")
	// ErrNotFound: Shepherd has no service of that name.
	ErrNotFound = errors.New("no such service")
)

// Client speaks to one Shepherd, over a new connection for each call. It may be used by several goroutines.
type Client struct {
	// Dial connects. Closing the connection must end a Read that waits.
	Dial func(ctx context.Context) (io.ReadWriteCloser, error)
	// Patience is how long what is no action may take, as long as Shepherd is silent; 30 s if 0.
	Patience time.Duration
}

// At returns a client of the Shepherd that listens on the Unix socket at that path.
func At(socket string) *Client {
	return &Client{Dial: func(ctx context.Context) (io.ReadWriteCloser, error) {
		return Connect(ctx, socket)
	}}
}

// Connect connects to a Shepherd's socket. One that is stopped, or busy, has ten callers wait (Shepherd 1.0.9) and the kernel
// refuses the next: it is there all the same, and is waited for.
func Connect(ctx context.Context, socket string) (net.Conn, error) {
	const pause = 100 * time.Millisecond
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		if !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, context.DeadlineExceeded) { // which is ctx's
			return conn, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// Error is what Shepherd answered instead of doing what it was asked.
type Error struct {
	Action, Service string // what went wrong with what; not always as it was asked
	Says            string
	cause           error
}

func (e *Error) Error() string {
	if e.Service == "root" {
		return fmt.Sprintf("shepherd: %s: %s", e.Action, e.Says)
	}
	return fmt.Sprintf("shepherd: %s %s: %s", e.Action, e.Service, e.Says)
}

func (e *Error) Unwrap() error { return e.cause }

// Services tells of all services, Shepherd itself ("root") among them.
func (c *Client) Services(ctx context.Context) ([]Service, error) {
	return c.status(ctx, "root")
}

// Service tells of one service, by any of its names.
func (c *Client) Service(ctx context.Context, name string) (Service, error) {
	if name == "root" || name == "shepherd" {
		return Service{}, &Error{"status", name, "ask for all services instead", nil}
	}
	all, err := c.status(ctx, name)
	if err != nil {
		return Service{}, err
	}
	return all[0], nil
}

func (c *Client) status(ctx context.Context, name string) ([]Service, error) {
	r, err := c.request(ctx, askAgain, max(answerTime, c.Patience), "status", name)
	if err != nil {
		return nil, err
	}
	result, ok := r.result.([]any)
	if !ok || len(result) != 1 {
		return nil, &Error{"status", name, fmt.Sprintf("not understood: %.80s", write(r.result)), nil}
	}
	all, err := services(result[0])
	if err != nil {
		return nil, &Error{"status", name, "not understood: " + err.Error(), err}
	}
	return all, nil
}

// Start starts a service and what it requires. A service that runs already is left as it is.
func (c *Client) Start(ctx context.Context, name string) error {
	r, err := c.act(ctx, "start", name)
	if err != nil {
		return err
	}
	if r.result == false { // the only word of a start that went wrong without raising
		return &Error{"start", name, c.why(ctx, name, r.messages), nil}
	}
	return nil
}

// Stop stops a service and all that depends on it; one that doesn't run is no error.
func (c *Client) Stop(ctx context.Context, name string) error {
	_, err := c.act(ctx, "stop", name)
	return err
}

// Enable lets a service start again that Shepherd, or somebody, disabled.
func (c *Client) Enable(ctx context.Context, name string) error {
	_, err := c.ask(ctx, "enable", name)
	return err
}

// Unload stops a service if it runs, and makes Shepherd forget it.
func (c *Client) Unload(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return &Error{"unload", name, err.Error(), nil}
	}
	_, err := c.act(ctx, "unload", "root", name)
	var e *Error
	if errors.As(err, &e) && e.Service == "root" {
		e.Service = name
	}
	return err
}

// files that Register takes: what Guix names shepherd-NAME.go (compiled, a system's) or shepherd-NAME.scm (a home's).
// Neither a quote nor a backslash can be in such a path.
var serviceFile = regexp.MustCompile(`^/gnu/store/[0-9a-z]{32}-[0-9A-Za-z+._?=-]+\.(go|scm)$`)

// Register makes Shepherd know the services that files of the store define, all of them or, if one can't be loaded,
// none. The definition of a service that runs takes over when that stops.
func (c *Client) Register(ctx context.Context, files ...string) error {
	if len(files) == 0 {
		return nil
	}
	var loads []string
	for _, file := range files {
		if !serviceFile.MatchString(file) {
			return &Error{"register", "root", fmt.Sprintf("%q is no service file of the store", file), nil}
		}
		load := "load-compiled"
		if strings.HasSuffix(file, ".scm") {
			load = "primitive-load"
		}
		loads = append(loads, fmt.Sprintf("(fresh %s %q)", load, file))
	}
	// As Guix's own shepherd.conf does it: each file in a module of its own.
	_, err := c.Eval(ctx, `(let ((fresh (lambda (load file)
  (save-module-excursion
    (lambda ()
      (let ((module (make-fresh-user-module)))
        (module-use! module (resolve-interface '(shepherd service)))
        (set-current-module module)
        (load file)))))))
  (register-services (list `+strings.Join(loads, " ")+")))")
	var e *Error
	if errors.As(err, &e) {
		e.Action = "register"
	}
	return err
}

// Eval evaluates an expression in Shepherd and returns how Scheme writes its value. An expression that doesn't end
// stops Shepherd for good.
func (c *Client) Eval(ctx context.Context, expr string) (string, error) {
	r, err := c.ask(ctx, "eval", "root", expr)
	if err != nil {
		return "", err
	}
	if result, ok := r.result.([]any); ok && len(result) == 1 {
		return write(result[0]), nil
	}
	return write(r.result), nil
}

// why says why a service isn't running, in the words of its status or, failing that, of the reply.
func (c *Client) why(ctx context.Context, name string, messages []string) string {
	if s, err := c.Service(ctx, name); err == nil {
		if trouble := s.Trouble(); trouble != "" {
			return strings.Join(append([]string{trouble}, messages...), "; ")
		}
	}
	if len(messages) == 0 {
		return "it is not running"
	}
	return strings.Join(messages, "; ")
}

type reply struct {
	result   any
	messages []string
}

// ask makes a request that Shepherd answers at once, and again if it doesn't: once, Shepherd 1.0.9 kept a connection open for ever.
func (c *Client) ask(ctx context.Context, action, service string, arguments ...string) (reply, error) {
	return c.request(ctx, answerTime, max(answerTime, c.Patience), action, service, arguments...)
}

// act makes a request whose answer comes when the action is over.
func (c *Client) act(ctx context.Context, action, service string, arguments ...string) (reply, error) {
	return c.request(ctx, actionTime, actionTime, action, service, arguments...)
}

// request makes a request, for once or again until the limit, and takes all of the reply. Arguments are sent as strings.
func (c *Client) request(ctx context.Context, once, limit time.Duration, action, service string, arguments ...string) (reply, error) {
	if err := checkName(service); err != nil {
		return reply{}, &Error{action, service, err.Error(), nil}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %v: %w", limit, ErrSilent))
	defer cancel()
	for i, a := range arguments {
		arguments[i] = quote(a)
	}
	request := fmt.Sprintf(`(shepherd-command (version 0) (action %s) (service %s) (arguments (%s)) (directory "/"))`,
		action, quoteSymbol(service), strings.Join(arguments, " "))
	answered := waits.For(ctx, "Shepherd, to "+action+" "+service)
	text, err := c.insist(ctx, once, request)
	answered()
	if err != nil {
		return reply{}, fmt.Errorf("shepherd: %s %s: %w", action, service, err)
	}
	return parse(text, action, service)
}

// insist makes a request again when one had no answer for so long, and gives each twice the time of the one before, as long as
// ctx lasts.
func (c *Client) insist(ctx context.Context, once time.Duration, request string) ([]byte, error) {
	for {
		try, cancel := context.WithTimeoutCause(ctx, once, fmt.Errorf("no answer within %v: %w", once, ErrSilent))
		text, err := c.exchange(try, request)
		late := err != nil && try.Err() != nil
		cancel()
		if last, is := ctx.Deadline(); !late || ctx.Err() != nil || is && !time.Now().Before(last) {
			return text, err
		}
		once = min(2*once, answerTime)
	}
}

// exchange writes a request to a new connection and reads until Shepherd closes it.
func (c *Client) exchange(ctx context.Context, request string) ([]byte, error) {
	conn, err := c.Dial(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		conn.Close() // wakes a read that waits
	})
	text, err := converse(conn, request)
	if !stop() {
		<-closed
		return nil, fmt.Errorf("no answer in time: %w", context.Cause(ctx))
	}
	conn.Close()
	return text, err
}

func converse(conn io.ReadWriter, request string) ([]byte, error) {
	if _, err := io.WriteString(conn, request); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(conn, maxReply+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > maxReply:
		return nil, fmt.Errorf("the answer is longer than %d bytes", maxReply)
	case len(text) == 0: // so it answers to what it takes for no request of its protocol
		return nil, errors.New("it closed the connection without an answer")
	}
	return text, nil
}

func parse(text []byte, action, service string) (reply, error) {
	datum, err := read(text)
	if err != nil {
		return reply{}, &Error{action, service, "the answer isn't readable: " + err.Error(), err}
	}
	items, ok := datum.([]any)
	if !ok || len(items) == 0 || items[0] != symbol("reply") {
		return reply{}, &Error{action, service, fmt.Sprintf("not a reply: %.80s", write(datum)), nil}
	}
	f := fieldsOf(items[1:])
	if _, ok := f["result"]; !ok {
		return reply{}, &Error{action, service, fmt.Sprintf("a reply without a result: %.80s", write(datum)), nil}
	}
	if fault, ok := f["error"]; ok && fault != false {
		return reply{}, refusal(fault, action, service)
	}
	return reply{f["result"], names(f["messages"])}, nil
}

// refusal turns (error (version 0) KIND …) into an error.
func refusal(fault any, action, service string) error {
	items, _ := fault.([]any)
	if len(items) < 3 {
		return &Error{action, service, write(fault), nil}
	}
	rest := items[3:]
	switch items[2] {
	case symbol("service-not-found"):
		return &Error{action, service, ErrNotFound.Error(), ErrNotFound}
	case symbol("action-not-found"):
		return &Error{action, service, "the service has no such action", nil}
	case symbol("action-exception"): // action service key (arguments …)
		if len(rest) == 4 { // a restart may have failed in the start of another service
			return &Error{name(rest[0]), name(rest[1]), exception(name(rest[2]), rest[3]), nil}
		}
	}
	return &Error{action, service, writeAll(items[2:]), nil}
}

// exception words what Guile threw, usually (procedure format (arguments …) rest).
func exception(key string, datum any) string {
	args, ok := datum.([]any)
	if !ok || len(args) < 3 {
		return key + ": " + write(datum)
	}
	format, ok := args[1].(string)
	if !ok {
		return key + ": " + writeAll(args)
	}
	values, _ := args[2].([]any)
	text := fill(format, values)
	if procedure := name(args[0]); procedure != "" {
		text = procedure + ": " + text
	}
	return key + ": " + text
}

// fill replaces ~A and ~S as Guile's simple-format does.
func fill(format string, values []any) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(format, "~")
		b.WriteString(before)
		if !found || after == "" {
			return b.String()
		}
		format = after[1:]
		switch c := after[0]; {
		case strings.IndexByte("AaSs", c) >= 0 && len(values) > 0:
			text, plain := values[0].(string)
			if !plain || c == 'S' || c == 's' {
				text = write(values[0])
			}
			b.WriteString(text)
			values = values[1:]
		case c == '%':
			b.WriteByte('\n')
		case c == '~':
			b.WriteByte('~')
		default:
			b.WriteByte('~')
			b.WriteByte(c)
		}
	}
}

// IsName reports whether a service may be called so: as a mount point may be, file-system-/mnt/My Größe.
func IsName(name string) bool {
	return name != "" && len(name) <= 255 && utf8.ValidString(name) && !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) })
}

func checkName(name string) error {
	if !IsName(name) {
		return fmt.Errorf("%q can't be a service's name here", name)
	}
	return nil
}
