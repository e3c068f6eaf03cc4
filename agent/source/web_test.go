package source

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
	"time"
)

// between puts a handler before the real server; it gets what would pass on to that.
func between(t *testing.T, real string, handle func(w http.ResponseWriter, r *http.Request, pass http.Handler)) string {
	t.Helper()
	u, err := url.Parse(real)
	must(t, err)
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: u.Scheme, Host: u.Host})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handle(w, r, proxy) }))
	t.Cleanup(server.Close)
	return server.URL + u.Path
}

func TestASilentServerEndsByDeadline(t *testing.T) {
	silent := func(r *http.Request) { <-r.Context().Done() } // until the client gives up
	t.Run("asked for its branches", func(t *testing.T) {
		o := newOps(t)
		s := open(t, between(t, o.serve(), func(_ http.ResponseWriter, r *http.Request, _ http.Handler) { silent(r) }))
		s.answer = 50 * time.Millisecond
		fails(t, s, "asking http://127.0.0.1", "no answer within 50ms")
	})
	t.Run("in the middle of its branches", func(t *testing.T) {
		o := newOps(t)
		s := open(t, between(t, o.serve(), func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			fmt.Fprint(w, "001e# service=git-upload-pack\n00000")
			w.(http.Flusher).Flush()
			silent(r)
		}))
		s.answer = 50 * time.Millisecond
		fails(t, s, "no answer within 50ms")
	})
	for _, after := range []int{0, 1} { // fetches that work before
		t.Run(fmt.Sprintf("asked for a pack after %d", after), func(t *testing.T) {
			o := newOps(t)
			var mute atomic.Bool // a request that was given up may look at it late
			mute.Store(after == 0)
			s := open(t, between(t, o.serve(), func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
				if mute.Load() && r.Method == http.MethodPost {
					w.WriteHeader(http.StatusOK)
					w.(http.Flusher).Flush()
					silent(r)
					return
				}
				pass.ServeHTTP(w, r)
			}))
			id := o.push("one")
			if after > 0 {
				poll(t, s, id)
				mute.Store(true)
				id = o.push("two")
			}
			s.transfer = 50 * time.Millisecond
			fails(t, s, "fetching from http://127.0.0.1", "no answer within 50ms")
			mute.Store(false)
			s.transfer = transferTime
			poll(t, s, id)
		})
	}
}

func TestServersThatMisbehave(t *testing.T) {
	o, _ := pushedOps(t)
	real := o.serve()
	for name, c := range map[string]struct {
		handle http.HandlerFunc
		says   string
	}{
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, real+"/info/refs?service=git-upload-pack", http.StatusFound)
		}, "redirect"},
		"a password":          {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusUnauthorized) }, "wants a password"},
		"nothing there":       {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNotFound) }, "doesn't exist on its server"},
		"an error":            {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, "500"},
		"no git":              {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<html>hello") }, "asking http://"},
		"nothing":             {func(http.ResponseWriter, *http.Request) {}, "asking http://"},
		"refs without an end": {endlessRefs, "more than Collie takes"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(c.handle)
			defer server.Close()
			fails(t, open(t, server.URL+"/ops.git"), c.says)
		})
	}
}

func endlessRefs(w http.ResponseWriter, r *http.Request) {
	line := func(s string) string { return fmt.Sprintf("%04x%s", len(s)+4, s) }
	const id = "1234567890123456789012345678901234567890"
	fmt.Fprint(w, line("# service=git-upload-pack\n"), "0000", line(id+" HEAD\x00side-band-64k\n"))
	for i := range 1_000_000 {
		if _, err := fmt.Fprint(w, line(fmt.Sprintf("%s refs/heads/%050d\n", id, i))); err != nil {
			return
		}
	}
}

func TestOneConnectionIsKept(t *testing.T) {
	o, id := pushedOps(t)
	seen := map[string]bool{}
	s := open(t, between(t, o.serve(), func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		seen[r.RemoteAddr] = true
		pass.ServeHTTP(w, r)
	}))
	for range 5 {
		poll(t, s, id)
	}
	if len(seen) != 1 {
		t.Errorf("five polls made %d connections", len(seen))
	}
}

func TestACallerWhoGivesUpIsNoError(t *testing.T) {
	o, id := pushedOps(t)
	s := open(t, o.serve())
	poll(t, s, id)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Poll(ctx); err == nil {
		t.Error("a cancelled poll went well")
	}
	if st := s.Status(); st.Error != "" {
		t.Errorf("status says %q of the repository, which is well", st.Error)
	}
}
