package source

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
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
	f.Config.ErrorLog = log.New(io.Discard, "", 0)
	f.StartTLS()
	o.t.Cleanup(f.Close)
	return f
}

// repository is how to ask the forge.
func (f *forge) repository() Repository {
	return Repository{URL: f.URL + "/ops.git", CAFile: f.file("ca.pem", f.ca(), 0o644)}
}

func (f *forge) ca() string {
	return pemOf(f.Certificate().Raw)
}

func pemOf(certificate []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}))
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

func TestOneConnectionAndOneRequestAPoll(t *testing.T) {
	o := newOps(t)
	id := o.push("one", "f", "1")
	f := o.serveTLS()
	s := openAt(t, f.repository())
	poll(t, s, id)
	f.requests.Store(0)
	for range 20 {
		poll(t, s, id)
	}
	if n := f.requests.Load(); n != 20 {
		t.Errorf("20 polls without news made %d requests", n)
	}
	poll(t, s, o.push("two", "f", "2"))
	if n := f.connections.Load(); n != 1 {
		t.Errorf("22 polls made %d connections", n)
	}
}

func TestATokenOpensARepository(t *testing.T) {
	o := newOps(t)
	id := o.push("one", "f", "1")
	f := o.serveTLS()
	f.token.Store("t0ken")
	at := f.repository()
	fails(t, openAt(t, at), "wants a token", "set tokenFile")
	locked := func(want bool) {
		t.Helper()
		if all, err := Check(t.Context(), Config{Repository: at, Branch: "main"}); err != nil || all[0].Locked != want {
			t.Errorf("%+v, %v; want it locked: %v", all, err, want)
		}
	}
	locked(true)
	at.TokenFile = f.file("token", "wrong\n", 0o600)
	s := openAt(t, at)
	fails(t, s, "isn't opened by the token in "+at.TokenFile)
	locked(false) // another token is needed, not one at all
	f.file("token", "t0ken\n", 0o600)
	locked(false)
	poll(t, s, id)
	if got := f.user.Load(); got != "x-access-token" {
		t.Errorf("the user beside the token is %q", got)
	}

	// A new token needs no restart.
	f.token.Store("n3w")
	fails(t, s, "isn't opened by the token")
	f.file("token", "n3w", 0o400)
	poll(t, s, id)
	if n := f.connections.Load(); n > 5 { // one of each Source, and of each Check
		t.Errorf("%d connections were made", n)
	}

	for _, c := range []struct {
		text string
		mode os.FileMode
		says string
	}{
		{"n3w", 0o640, "is readable by others than its owner; chmod 600 "},
		{"n3w", 0o604, "chmod 600"},
		{"", 0o600, "is empty"},
		{" \n", 0o600, "is empty"},
		{"n3w and more", 0o600, "more than one word"},
		{"n3w\nand more", 0o600, "more than one word"},
	} {
		f.file("token", c.text, c.mode)
		fails(t, s, "token file "+at.TokenFile, c.says)
	}
	must(t, os.Remove(at.TokenFile))
	fails(t, s, "token file", "no such file")
	must(t, os.Mkdir(at.TokenFile, 0o700))
	fails(t, s, "is no file")
	must(t, os.Remove(at.TokenFile))
	must(t, syscall.Mkfifo(at.TokenFile, 0o600))
	fails(t, s, "is no file")

	at.TokenUser = "ada"
	f.file("token", "n3w", 0o600)
	poll(t, openAt(t, at), id)
	if got := f.user.Load(); got != "ada" {
		t.Errorf("the user beside the token is %q", got)
	}
}

func TestASecretIsNeverPrinted(t *testing.T) {
	s := secret{[]byte("s3cret")}
	in := struct{ Token secret }{s}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "token", s, "in", in)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "token", s, "in", in)
	asJSON, err := json.Marshal(in)
	must(t, err)
	printed := log.String() + string(asJSON)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T %[1]v"} {
		printed += fmt.Sprintf(verb, s) + fmt.Sprintf(verb, &s) + fmt.Sprintf(verb, in) + fmt.Sprintf(verb, []secret{s})
	}
	for _, told := range []string{"s3cret", "733363726574", "115 51 99", fmt.Sprintf("%x", "s3cret"), "czNjcmV0"} {
		if strings.Contains(printed, told) {
			t.Errorf("%q is in %s", told, printed)
		}
	}
	if s.String() != "[redacted]" {
		t.Errorf("it is %s", s)
	}
}

func TestCertificatesThatAreNotTrusted(t *testing.T) {
	o := newOps(t)
	id := o.push("one", "f", "1")
	f := o.serveTLS()
	good := f.repository()
	host := strings.TrimPrefix(f.URL, "https://")
	_, port, _ := net.SplitHostPort(host)

	unset := good
	unset.CAFile = ""
	fails(t, openAt(t, unset), "the certificate of "+host+" isn't signed by an authority that this machine trusts: set caFile")

	ca, key := authority(t)
	other := good
	other.CAFile = f.file("other.pem", pemOf(ca.Raw), 0o644)
	fails(t, openAt(t, other), "isn't signed by an authority in "+other.CAFile)

	name := good
	name.URL = "https://localhost:" + port + "/ops.git"
	fails(t, openAt(t, name), "the server at localhost:"+port+" has a certificate for other names")

	plain := good
	plain.URL = strings.Replace(o.serve(), "http://", "https://", 1)
	fails(t, openAt(t, plain), "doesn't speak TLS at that port: correct the URL")

	broken := good
	broken.CAFile = f.file("broken.pem", "no certificate", 0o644)
	fails(t, openAt(t, broken), "has no certificate")
	broken.CAFile = f.file("loose.pem", f.ca(), 0o666)
	fails(t, openAt(t, broken), "is writable by others than its owner; chmod go-w")
	broken.CAFile = filepath.Join(f.dir, "none.pem")
	fails(t, openAt(t, broken), "none.pem: no such file")

	for _, c := range []struct {
		from, to time.Duration
		says     string
	}{
		{-48 * time.Hour, -24 * time.Hour, "isn't valid now: renew it, or set this machine's clock right"},
		{24 * time.Hour, 48 * time.Hour, "isn't valid now"},
	} {
		server := httptest.NewUnstartedServer(o.backend())
		server.TLS = &tls.Config{Certificates: []tls.Certificate{signed(t, ca, key, c.from, c.to)}}
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.StartTLS()
		defer server.Close()
		fails(t, openAt(t, Repository{URL: server.URL + "/ops.git", CAFile: other.CAFile}), c.says)
	}

	// Another authority in the file needs no restart.
	s := openAt(t, other)
	fails(t, s, "isn't signed by")
	f.file("other.pem", pemOf(ca.Raw)+f.ca(), 0o644)
	poll(t, s, id)
	f.file("other.pem", pemOf(ca.Raw), 0o644)
	fails(t, s, "isn't signed by")
}

// authority is one that signs certificates.
func authority(t *testing.T) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	raw, err := x509.CreateCertificate(rand.Reader, ca, ca, &key.PublicKey, key)
	must(t, err)
	ca, err = x509.ParseCertificate(raw)
	must(t, err)
	return ca, key
}

func signed(t *testing.T, ca *x509.Certificate, key *ecdsa.PrivateKey, from, to time.Duration) tls.Certificate {
	t.Helper()
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(to), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	raw, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, key)
	must(t, err)
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}
}

// No redirect is followed, so the token goes nowhere but to the server that is configured.
func TestATokenGoesToNobodyElse(t *testing.T) {
	o := newOps(t)
	o.push("one", "f", "1")
	f, stranger := o.serveTLS(), o.serveTLS()
	to := stranger.URL + "/ops.git"
	f.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, to+"/info/refs?service=git-upload-pack", http.StatusMovedPermanently)
	})
	at := f.repository()
	at.CAFile = f.file("both.pem", f.ca()+stranger.ca(), 0o644)
	at.TokenFile = f.file("token", "t0ken", 0o600)
	s := openAt(t, at)
	fails(t, s, "is a redirect to "+to+", and Collie follows none")
	to = f.URL + "/elsewhere.git" // nor one on the same server
	fails(t, s, "is a redirect to "+to)
	if n := stranger.connections.Load(); n != 0 {
		t.Errorf("the stranger saw %d connections", n)
	}
}
