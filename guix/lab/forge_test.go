package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// In a guest the program of these tests is a forge, too.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "forge" {
		log.Fatal(forge())
	}
	os.Exit(m.Run())
}

// putForge puts the forge into the guest, as /usr/bin/forge.
func (l *lab) putForge(ts *testscript.TestScript, _ bool, _ []string) {
	self, err := os.Executable()
	ts.Check(err)
	pid, _, _ := strings.Cut(ts.ReadFile(l.file(guestOf(ts), "pid")), " ")
	ts.Check(exec.Command("cp", self, "/proc/"+pid+"/root/usr/bin/forge").Run())
}

// forge serves the repositories in /srv/git over HTTPS to who has the token in /root/token. Its certificate is its own
// authority, in /root/ca.pem, and another one each time. While there is /root/silent it says nothing. It logs each
// request with where that came from.
func forge() error {
	certificate, err := selfSigned("/root/ca.pem")
	if err != nil {
		return err
	}
	git := &cgi.Handler{Path: "/usr/lib/git-core/git-http-backend", Env: []string{
		"GIT_PROJECT_ROOT=/srv/git", "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
	}}
	server := &http.Server{
		Addr:      "127.0.0.1:8443",
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Println(r.RemoteAddr, r.Method, r.URL)
			if _, err := os.Stat("/root/silent"); err == nil {
				<-r.Context().Done()
				return
			}
			token, err := os.ReadFile("/root/token")
			if _, sent, _ := r.BasicAuth(); err != nil || sent != strings.TrimSpace(string(token)) {
				w.Header().Set("WWW-Authenticate", `Basic realm="forge"`) // else git sends no token
				http.Error(w, "no", http.StatusUnauthorized)
				return
			}
			git.ServeHTTP(w, r)
		}),
	}
	return server.ListenAndServeTLS("", "")
}

func selfSigned(file string) (certificate tls.Certificate, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return certificate, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return certificate, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}, os.WriteFile(file, text, 0o644)
}
