package source

import (
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
)

// A forge offers a repository over HTTPS, to who has the token.
type forge struct {
	*httptest.Server
	t                     *testing.T
	dir                   string
	token                 atomic.Value // string; empty: none is needed
	user                  atomic.Value // string
	connections, requests atomic.Int32
}

func (o *ops) serveTLS() *forge {
	o.t.Helper()
	f := &forge{t: o.t, dir: o.t.TempDir()}
	f.token.Store("")
	backend := o.backend()
	f.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.requests.Add(1)
		user, token, _ := r.BasicAuth()
		f.user.Store(user)
		if want := f.token.Load().(string); want != "" && token != want {
			w.Header().Set("WWW-Authenticate", `Basic realm="forge"`)
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	f.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			f.connections.Add(1)
		}
	}
	f.StartTLS()
	o.t.Cleanup(f.Close)
	return f
}

// repository is how to ask the forge.
func (f *forge) repository() Repository {
	return Repository{URL: f.URL + "/ops.git", CAFile: f.file("ca.pem", f.ca(), 0o644)}
}

func (f *forge) ca() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.Certificate().Raw}))
}

func (f *forge) file(name, text string, mode os.FileMode) string {
	f.t.Helper()
	return writeMode(f.t, filepath.Join(f.dir, name), text, mode)
}

func writeMode(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	must(t, os.RemoveAll(path))
	must(t, os.WriteFile(path, []byte(text), mode))
	must(t, os.Chmod(path, mode))
	return path
}
