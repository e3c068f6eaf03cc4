package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// A LogQuery says which of Guix's logs are wanted.
type LogQuery struct {
	Revision string // the beginning of its id; empty: the newest
	Lines    int    // the last ones; 0: all
	Follow   bool   // and what is said from now on
}

const mostLines = 10_000 // are kept to find the last

func (q LogQuery) values() url.Values {
	v := url.Values{}
	if q.Revision != "" {
		v.Set("revision", q.Revision)
	}
	if q.Lines != 0 {
		v.Set("lines", strconv.Itoa(q.Lines))
	}
	if q.Follow {
		v.Set("follow", "true")
	}
	return v
}

func logQuery(v url.Values) (LogQuery, error) {
	q := LogQuery{Revision: v.Get("revision"), Follow: v.Get("follow") == "true"}
	if n := v.Get("lines"); n != "" {
		lines, err := strconv.Atoi(n)
		if err != nil || lines < 1 || lines > mostLines {
			return q, fmt.Errorf("lines: %.20q is no number from 1 to %d", n, mostLines)
		}
		q.Lines = lines
	}
	return q, nil
}

// writeLimit is for a reader that takes nothing.
const writeLimit = 30 * time.Second

// stream answers with what the agent writes, as it comes, until it is done, the client hangs up, or the agent stops.
func stream(stopped context.Context, logs func(context.Context, LogQuery, io.Writer) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q, err := logQuery(r.URL.Query())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(stopped, cancel)()
		out := &streamWriter{w: w, control: http.NewResponseController(w)}
		switch err := logs(ctx, q, out); {
		case err != nil && !out.begun:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		case err != nil:
			panic(http.ErrAbortHandler) // a client must not take this for the end
		}
	}
}

type streamWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	begun   bool
}

func (s *streamWriter) Write(p []byte) (int, error) {
	if !s.begun {
		s.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		s.begun = true
	}
	if err := s.control.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
		return 0, err
	}
	n, err := s.w.Write(p)
	return n, errors.Join(err, s.control.Flush())
}

// Logs writes what guix said for a revision to w, as it comes.
func (c Client) Logs(ctx context.Context, q LogQuery, w io.Writer) error {
	answer, err := c.ask(ctx, "GET", "/v1/logs?"+q.values().Encode(), "")
	if err != nil {
		return err
	}
	defer answer.Close()
	_, err = io.Copy(w, answer)
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("the agent at %s: %w", c.Socket, err)
	}
	return nil
}
