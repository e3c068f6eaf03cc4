package source

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
)

// web is a repository behind HTTP, over TLS unless it is on loopback. One client is kept, with its connection.
type web struct {
	Repository
	base    *url.URL
	client  *http.Client
	trusted string // the stamp of the file of authorities that client trusts
}

func (w *web) stamp() string     { return "" }
func (w *web) folders() []string { return nil }

func (w *web) dial(context.Context) (session, error) {
	s := &webSession{web: w}
	if w.TokenFile != "" {
		var err error
		if s.token, err = readToken(w.TokenFile); err != nil {
			return nil, err
		}
	}
	return s, w.connect()
}

// connect makes the client, once, and again when other authorities are to be trusted.
func (w *web) connect() error {
	trusted := ""
	if w.CAFile != "" {
		info, err := os.Stat(w.CAFile)
		if err != nil {
			return problem(fmt.Sprintf("CA file: %v", err))
		}
		st, _ := info.Sys().(*syscall.Stat_t)
		trusted = fmt.Sprint(st.Dev, st.Ino, st.Size, st.Mtim, st.Ctim)
	}
	if w.client != nil && w.trusted == trusted {
		return nil
	}
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: dialTime}).DialContext,
		TLSHandshakeTimeout: dialTime,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
		MaxIdleConns:        1,
		IdleConnTimeout:     10 * time.Minute, // servers hang up before
	}
	if w.base.Scheme == "http" {
		transport.Proxy, transport.DialContext = nil, (&net.Dialer{Timeout: dialTime, Control: onlyLoopback}).DialContext
	}
	if w.CAFile != "" {
		text, err := readTrusted("CA file", w.CAFile)
		if err != nil {
			return err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(text) {
			return problem(fmt.Sprintf("CA file %s has no certificate: it begins with -----BEGIN CERTIFICATE-----", w.CAFile))
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	if w.client != nil {
		w.client.CloseIdleConnections()
	}
	// A redirect could lead to a repository that nobody configured, and the token to a stranger.
	noRedirect := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	w.client, w.trusted = &http.Client{Transport: transport, CheckRedirect: noRedirect}, trusted
	return nil
}

// webSession is a conversation in requests.
type webSession struct {
	*web
	token secret
}

func (s *webSession) Close() error { return nil }

func (s *webSession) refs(ctx context.Context) (*packp.AdvRefs, error) {
	body, err := s.do(ctx, http.MethodGet, "/info/refs?service=git-upload-pack", nil)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	refs, err := readRefs(&bounded{body, maxRefs})
	if err == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(body, 1<<10)) // only a body that was read to its end leaves the connection
	}
	return refs, err
}

func (s *webSession) pack(ctx context.Context, want *packp.UploadPackRequest) (*packp.UploadPackResponse, error) {
	var ask bytes.Buffer
	if err := writeWants(&ask, want); err != nil {
		return nil, err
	}
	body, err := s.do(ctx, http.MethodPost, "/git-upload-pack", &ask)
	if err != nil {
		return nil, err
	}
	res := packp.NewUploadPackResponse(want)
	if err := res.Decode(&bounded{body, maxPack}); err != nil {
		body.Close()
		return nil, err
	}
	return res, nil
}

// do asks for something of the repository, and explains any answer but the one that is wanted.
func (s *webSession) do(ctx context.Context, method, path string, ask io.Reader) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(s.base.String(), "/")+path, ask)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "git/collie") // some servers speak with git only
	if ask != nil {
		req.Header.Set("Content-Type", "application/x-git-upload-pack-request")
		req.Header.Set("Accept", "application/x-git-upload-pack-result")
	}
	if s.TokenFile != "" {
		user := s.TokenUser
		if user == "" {
			user = defaultUser
		}
		req.SetBasicAuth(user, string(s.token.bytes))
	}
	res, err := s.client.Do(req)
	if err != nil {
		return nil, s.explain(err)
	}
	if res.StatusCode == http.StatusOK {
		return res.Body, nil
	}
	defer res.Body.Close()
	says, _ := io.ReadAll(io.LimitReader(res.Body, 4<<10))
	return nil, s.refusedBy(res, plain(string(says)))
}

// A lockedError says that a repository is for those with a token, and none was sent.
type lockedError struct{ problem }

func (e *lockedError) Unwrap() error { return e.problem }

// refusedBy says what an answer means for whoever configured the repository.
func (s *webSession) refusedBy(res *http.Response, says string) error {
	switch res.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		if s.base.Scheme == "http" {
			return problem(fmt.Sprintf("repository %s wants a password, and Collie sends none over http://", s.URL))
		}
		if s.TokenFile == "" {
			return &lockedError{problem(fmt.Sprintf("repository %s wants a token: write one that may read it to a file of root's, and set tokenFile", s.URL))}
		}
		return problem(fmt.Sprintf("repository %s isn't opened by the token in %s: make one that may read it, or set tokenUser to the user that it is for", s.URL, s.TokenFile))
	case http.StatusNotFound:
		hint := ""
		if s.base.Scheme == "https" && s.TokenFile == "" {
			hint = "; if it is private, set tokenFile"
		} else if s.TokenFile != "" {
			hint = "; or the token in " + s.TokenFile + " may not read it"
		}
		return problem(fmt.Sprintf("repository %s doesn't exist on its server: create it, or correct its URL%s", s.URL, hint))
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		to, _, _ := strings.Cut(res.Header.Get("Location"), "/info/refs")
		return problem(fmt.Sprintf("repository %s is a redirect to %s, and Collie follows none: if that is the right place, set the URL to it", s.URL, hidden(plain(to))))
	}
	if says != "" {
		says = ": " + says
	}
	return fmt.Errorf("the server answers %s%s", plain(res.Status), says)
}

// explain says in an admin's words why there is no connection that can be trusted.
func (s *webSession) explain(err error) error {
	if asked := new(url.Error); errors.As(err, &asked) {
		err = asked.Err // who asks names the repository
	}
	host := s.base.Host
	var (
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
		none    x509.SystemRootsError
	)
	switch {
	case errors.As(err, &unknown) && s.CAFile != "":
		return problem(fmt.Sprintf("the certificate of %s isn't signed by an authority in %s: add the certificate of the one that signed it", host, s.CAFile))
	case errors.As(err, &unknown), errors.As(err, &none):
		return problem(fmt.Sprintf("the certificate of %s isn't signed by an authority that this machine trusts: set caFile to the certificate of the one that signed it", host))
	case errors.As(err, &name):
		return problem(fmt.Sprintf("the server at %s has a certificate for other names: correct the URL, or give the server a certificate for this one (%v)", host, name))
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return problem(fmt.Sprintf("the certificate of %s isn't valid now: renew it, or set this machine's clock right (%s)", host, invalid.Detail))
	case errors.As(err, &invalid):
		return problem(fmt.Sprintf("the certificate of %s can't be used: %v", host, invalid))
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, new(tls.RecordHeaderError)):
		return problem(fmt.Sprintf("%s doesn't speak TLS at that port: correct the URL", host))
	}
	return err
}

func onlyLoopback(_, address string, _ syscall.RawConn) error {
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if !addr.Addr().Unmap().IsLoopback() {
		return fmt.Errorf("%s isn't on loopback", addr.Addr())
	}
	return nil
}
