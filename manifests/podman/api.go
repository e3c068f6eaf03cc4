package podman

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"example.org/collie/agent/foreign"
	"example.org/collie/agent/waits"
)

// once sends a writing request a single time. DoRequest repeats every failed request twice; but a POST whose answer was lost
// has been carried out. A request that never reached the service may be repeated.
type once struct{ next http.RoundTripper }

type lostKey struct{} // in a request's context: a *error, the one that its first sending ended with

func (o once) RoundTrip(req *http.Request) (*http.Response, error) {
	lost, _ := req.Context().Value(lostKey{}).(*error)
	if lost != nil && *lost != nil {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, *lost
	}
	resp, err := o.next.RoundTrip(req)
	if err == nil || lost == nil || req.Method == http.MethodGet {
		return resp, err
	}
	var dial *net.OpError
	if !errors.As(err, &dial) || dial.Op != "dial" {
		*lost = err
	}
	return resp, err
}

// A request is one call of the API below /libpod.
type request struct {
	method, endpoint string   // the endpoint is a format: each %s takes one of names, escaped
	names            []string // never part of the endpoint itself
	query            url.Values
	header           http.Header
	body             any // marshalled as JSON, which is YAML too; nil: none
	timeout          time.Duration
	most             int64 // bytes of an answer that isn't JSON; 0: mostAnswered
}

// String says what is asked: POST /pods/web-1/stop.
func (r request) String() string {
	names := make([]any, len(r.names))
	for i, name := range r.names {
		names[i] = name
	}
	return r.method + " " + fmt.Sprintf(r.endpoint, names...)
}

// An apiError is a refusal: the API answered, with a status that isn't success.
type apiError struct {
	status int
	says   string
}

func (e *apiError) Error() string { return e.says }

// refused reports whether err is the API's refusal with this status.
func refused(err error, status int) bool {
	var e *apiError
	return errors.As(err, &e) && e.status == status
}

// conflict is what 409 carries: an error of its own, or one for each container.
type conflict struct {
	Message string
	Errs    []string
}

func (c *conflict) Error() string {
	if c.Message != "" {
		return c.Message
	}
	return strings.Join(slices.DeleteFunc(c.Errs, func(s string) bool { return s == "" }), "; ")
}

// ask makes the call and decodes its answer into out, unless that is nil, or a writer that takes it as it is. It reports
// whether the call did anything: 304 says that all was so already.
func (p *Podman) ask(ctx context.Context, r request, out any) (did bool, err error) {
	conn, err := p.connection(ctx)
	if err != nil {
		return false, err
	}
	if r.timeout == 0 {
		r.timeout = quick
	}
	if r.most == 0 {
		r.most = mostAnswered
	}
	ctx, cancel := withLimit(ctx, r.timeout)
	defer cancel()
	ctx = context.WithValue(ctx, lostKey{}, new(error))

	var body *bytes.Reader
	header := r.header.Clone()
	if header == nil {
		header = http.Header{}
	}
	if r.body != nil {
		raw, err := json.Marshal(r.body)
		if err != nil {
			return false, fmt.Errorf("writing a request to Podman: %w", err)
		}
		body = bytes.NewReader(yamlSafe(raw))
		header.Set("Content-Type", "application/x-yaml") // kube play reads it; the others accept anything but a form
	} else {
		body = bytes.NewReader(nil)
	}
	defer waits.For(ctx, "Podman, to "+r.String())()
	resp, err := conn.DoRequest(ctx, body, r.method, r.endpoint, r.query, header, r.names...)
	if err != nil {
		return false, p.silent(ctx, err)
	}
	defer resp.Body.Close()
	switch raw, isRaw := out.(io.Writer); {
	case resp.StatusCode == http.StatusNotModified:
		return false, nil
	case resp.IsSuccess() && isRaw:
		_, err = io.Copy(raw, http.MaxBytesReader(nil, resp.Body, r.most))
	case resp.IsSuccess() && out != nil:
		err = decode(resp.Body, out)
	case resp.IsSuccess():
		_, err = io.Copy(io.Discard, http.MaxBytesReader(nil, resp.Body, r.most))
	}
	if resp.IsSuccess() {
		if err != nil {
			err = fmt.Errorf("reading the answer of the Podman API at %s: %s", p.socket, clip(err.Error()))
		}
		return true, err
	}
	resp.Body = http.MaxBytesReader(nil, resp.Body, mostKept)
	err = resp.ProcessWithError(nil, &conflict{})
	return false, &apiError{status: resp.StatusCode, says: clip(err.Error())}
}

// yamlSafe escapes what JSON may hold and YAML may not. In JSON it can only stand in a string.
func yamlSafe(raw []byte) []byte {
	var safe bytes.Buffer
	for _, r := range string(raw) {
		if r >= 0x7f && r <= 0x9f || r == 0xfeff || r == 0xfffe || r == 0xffff {
			fmt.Fprintf(&safe, "\\u%04x", r)
			continue
		}
		safe.WriteRune(r)
	}
	return safe.Bytes()
}

// clip shortens a foreign text to what a person reads.
func clip(s string) string { return foreign.Cut(strings.TrimSpace(s), maxComplain) }
