package api

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
)

// FuzzQuery: whatever who may use the control socket asks, the agent gets bounded words, and answers.
func FuzzQuery(f *testing.F) {
	paths := []string{"status", "sync", "accept", "plan", "history", "generations", "key", "import", "suspend", "resume", "now", "build", "evaluate", "retry", "restart", "logs"}
	for i := range paths {
		f.Add(uint8(i), i%2 == 0, "lines=5&follow=true&revision=abc&name=web", []byte("abc"))
	}
	f.Add(uint8(15), false, "lines=-1&lines=99999999999999999999", bytes.Repeat([]byte("x"), 5000))
	f.Add(uint8(3), false, "name=..%2f%00;a&name", []byte{0})
	f.Fuzz(func(t *testing.T, path uint8, post bool, query string, body []byte) {
		bounded := func(word string) {
			if len(word) > 1<<10 {
				t.Errorf("the agent gets %d bytes", len(word))
			}
		}
		word := func(_ context.Context, w string) error { bounded(w); return nil }
		none := func(context.Context) error { return nil }
		agent := Agent{
			Status: func(context.Context) (s Status, err error) { return },
			Sync:   func(context.Context) (s Synced, err error) { return },
			Accept: func(_ context.Context, commit string) (s Synced, err error) { bounded(commit); return },
			Plan:   func(context.Context, string) (p Plan, err error) { return }, History: func(context.Context) (d []Deployment, err error) { return },
			Generations: func(context.Context) (g []Generation, err error) { return },
			Suspend:     word, Resume: none, Now: none, Build: none, Retry: none, Evaluate: none,
			Logs: func(_ context.Context, q LogQuery, _ io.Writer) error {
				if q.Lines < 0 || q.Lines > mostLines {
					t.Errorf("%d lines are asked for", q.Lines)
				}
				return nil
			},
			Restart: func(_ context.Context, service string) (r Restarted, err error) { bounded(service); return },
			Key:     func(context.Context) (k Key, err error) { return }, Import: func(context.Context, string) (i Imported, err error) { return },
		}
		method := http.MethodGet
		if post {
			method = http.MethodPost
		}
		r := httptest.NewRequestWithContext(t.Context(), method, "/v1/"+paths[int(path)%len(paths)], bytes.NewReader(body))
		r.URL = &url.URL{Path: r.URL.Path, RawQuery: query}
		w := httptest.NewRecorder()
		handler(t.Context(), agent).ServeHTTP(w, r)
		if w.Code >= http.StatusInternalServerError {
			t.Errorf("%s %s?%q: status %d: %s", method, r.URL.Path, query, w.Code, w.Body)
		}
	})
}
