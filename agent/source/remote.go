package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// What a server may send at most: its list of refs, and one pack.
const (
	maxRefs = 8 << 20
	maxPack = 512 << 20
)

// A remote is where commits come from.
type remote interface {
	// stamp stays the same while no branch moved, and costs nearly nothing; "" if only asking can tell.
	stamp() string
	// folders are those in which a push changes something; none if pushes can't be watched.
	folders() []string
	// dial begins a conversation, which ends with ctx.
	dial(ctx context.Context) (session, error)
	// empty says that there is no commit yet, and what to do.
	empty(branch string, others []string) problem
}

// A session is one conversation: the refs, then at most one pack. go-git's clients speak so below git.Remote, which
// takes its transports from a global table and can't be told what we have.
type session interface {
	AdvertisedReferencesContext(context.Context) (*packp.AdvRefs, error)
	UploadPack(context.Context, *packp.UploadPackRequest) (*packp.UploadPackResponse, error)
	Close() error
}

// newRemote makes the remote for cfg's URL, and the URL as it may be shown.
func newRemote(cfg Config) (string, remote, error) {
	bad := func(says string) (string, remote, error) {
		return "", nil, fmt.Errorf("source.url %q: %s", cfg.URL, says)
	}
	if cfg.URL == "" {
		return "", nil, errors.New("source.url is empty: name a repository, like file:///srv/git/ops.git")
	}
	if filepath.IsAbs(cfg.URL) {
		r, err := newLocal(cfg, filepath.Clean(cfg.URL))
		return cfg.URL, r, err
	}
	if rest, ok := strings.CutPrefix(cfg.URL, "file://"); ok { // as git reads it: # and ? are part of the path
		path, err := url.PathUnescape(strings.TrimPrefix(rest, "localhost"))
		if err != nil || !filepath.IsAbs(path) {
			return bad("a file:// URL has three slashes before its path: file:///srv/git/ops.git")
		}
		r, err := newLocal(cfg, filepath.Clean(path))
		return cfg.URL, r, err
	}
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Scheme == "" {
		if strings.Contains(cfg.URL, ":") {
			return bad("repositories over ssh follow in a later version; use file:// or http:// on loopback")
		}
		return bad("no URL and no absolute path; write it like file:///srv/git/ops.git")
	}
	switch u.Scheme {
	case "http":
		if u.User != nil {
			return "", nil, fmt.Errorf("source.url %q: a password in the URL would be in logs and in the store; leave it out", u.Redacted())
		}
		if !loopback(u.Hostname()) {
			return bad("http:// without signatures is for loopback only: whoever can alter the answers would be root here")
		}
		r, err := newWeb(u)
		return cfg.URL, r, err
	case "https", "ssh":
		return "", nil, fmt.Errorf("source.url: %s:// follows in a later version; use file:// or http:// on loopback", u.Scheme)
	}
	return bad("unsupported scheme " + u.Scheme + "://; use file:// or http:// on loopback")
}

// newest asks for the branch's newest commit.
func newest(ctx context.Context, r remote, branch string) (plumbing.Hash, error) {
	s, err := r.dial(ctx)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	tip, _, err := advertised(ctx, r, s, branch)
	return tip, errors.Join(err, s.Close())
}

func advertised(ctx context.Context, r remote, s session, branch string) (plumbing.Hash, *packp.AdvRefs, error) {
	refs, err := s.AdvertisedReferencesContext(ctx)
	if errors.Is(err, transport.ErrEmptyRemoteRepository) {
		return plumbing.ZeroHash, nil, r.empty(branch, nil)
	}
	if err != nil {
		return plumbing.ZeroHash, nil, err
	}
	if tip, ok := refs.References["refs/heads/"+branch]; ok {
		return tip, refs, nil
	}
	var others []string
	for _, name := range slices.Sorted(maps.Keys(refs.References)) {
		if other, ok := strings.CutPrefix(name, "refs/heads/"); ok && len(others) < 5 {
			others = append(others, plain(other))
		}
	}
	return plumbing.ZeroHash, nil, r.empty(branch, others)
}

// fetch brings the branch's newest commit to sto: depth commits of its history, all if 0, less what is in the
// history of have.
func fetch(ctx context.Context, r remote, branch string, sto *filesystem.Storage, depth int, have plumbing.Hash) (tip plumbing.Hash, err error) {
	s, err := r.dial(ctx)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	tip, refs, err := advertised(ctx, r, s, branch)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	ask := packp.NewUploadPackRequestFromCapabilities(refs.Capabilities)
	ask.Wants = []plumbing.Hash{tip}
	if !have.IsZero() {
		ask.Haves = []plumbing.Hash{have}
	}
	if depth > 0 {
		ask.Depth = packp.DepthCommits(depth)
		if err := ask.Capabilities.Set(capability.Shallow); err != nil {
			return plumbing.ZeroHash, err
		}
	}
	if refs.Capabilities.Supports(capability.NoProgress) {
		if err := ask.Capabilities.Set(capability.NoProgress); err != nil {
			return plumbing.ZeroHash, err
		}
	}
	res, err := s.UploadPack(ctx, ask)
	if errors.Is(err, transport.ErrEmptyUploadPackRequest) {
		return tip, nil // nothing that we don't have
	}
	if err != nil {
		return plumbing.ZeroHash, err
	}
	defer res.Close()
	var pack io.Reader = res
	switch {
	case ask.Capabilities.Supports(capability.Sideband64k):
		pack = sideband.NewDemuxer(sideband.Sideband64k, res)
	case ask.Capabilities.Supports(capability.Sideband):
		pack = sideband.NewDemuxer(sideband.Sideband, res)
	}
	err = packfile.WritePackfileToObjectStorage(sto, pack)
	if err != nil && !errors.Is(err, packfile.ErrEmptyPackfile) {
		return plumbing.ZeroHash, err
	}
	return tip, addShallow(sto, res.Shallows)
}

// addShallow notes where history was cut, for git: people look into the clone with it.
func addShallow(sto *filesystem.Storage, cut []plumbing.Hash) error {
	if len(cut) == 0 {
		return nil
	}
	before, err := sto.Shallow()
	if err != nil {
		return err
	}
	all := append(before, cut...)
	plumbing.HashesSort(all)
	return sto.SetShallow(slices.Compact(all))
}

// web is a repository behind HTTP on loopback. One client is kept, with its connection.
type web struct {
	url    string
	client transport.Transport
	ep     *transport.Endpoint
}

func newWeb(u *url.URL) (*web, error) {
	ep, err := transport.NewEndpoint(u.String())
	if err != nil {
		return nil, fmt.Errorf("source.url %q: %w", u, err)
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second, Control: onlyLoopback}
	client := &http.Client{Timeout: transferTime, Transport: &http.Transport{
		Proxy:                 nil,
		DialContext:           dialer.DialContext,
		ResponseHeaderTimeout: transferTime,
		MaxIdleConns:          1,
		IdleConnTimeout:       2 * time.Minute,
	}}
	client.Transport = boundedBodies{client.Transport}
	// A redirect could lead away from loopback, or to a repository that nobody configured.
	opts := &githttp.ClientOptions{RedirectPolicy: githttp.NoFollowRedirects}
	return &web{url: u.String(), client: githttp.NewClientWithOptions(client, opts), ep: ep}, nil
}

func (w *web) stamp() string     { return "" }
func (w *web) folders() []string { return nil }

func (w *web) dial(context.Context) (session, error) {
	ep := *w.ep // a session may alter it
	s, err := w.client.NewUploadPackSession(&ep, nil)
	if err != nil {
		return nil, err
	}
	return webSession{s, w.url}, nil
}

func (w *web) empty(branch string, others []string) problem {
	return noBranch(w.url, branch, others)
}

func noBranch(repository, branch string, others []string) problem {
	if len(others) == 0 {
		return problem(fmt.Sprintf("repository %s has no branch %s yet: push one", repository, branch))
	}
	return problem(fmt.Sprintf("repository %s has no branch %s, only %s: push it, or set source.branch",
		repository, branch, strings.Join(others, ", ")))
}

// webSession words what go-git can't: it doesn't know the repository's name.
type webSession struct {
	transport.UploadPackSession
	url string
}

func (s webSession) AdvertisedReferencesContext(ctx context.Context) (*packp.AdvRefs, error) {
	refs, err := s.UploadPackSession.AdvertisedReferencesContext(ctx)
	switch {
	case errors.Is(err, transport.ErrRepositoryNotFound):
		return nil, problem(fmt.Sprintf("repository %s doesn't exist on its server: create it, or correct source.url", s.url))
	case errors.Is(err, transport.ErrAuthenticationRequired), errors.Is(err, transport.ErrAuthorizationFailed):
		return nil, problem(fmt.Sprintf("repository %s wants a password, and Collie sends none over http://", s.url))
	}
	return refs, err
}

// boundedBodies ends an answer that is larger than any that is meant well.
type boundedBodies struct{ http.RoundTripper }

func (b boundedBodies) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := b.RoundTripper.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	limit := int64(maxPack)
	if req.Method == http.MethodGet {
		limit = maxRefs
	}
	res.Body = &bounded{ReadCloser: res.Body, left: limit}
	return res, nil
}

// bounded fails where io.LimitReader would pretend that the answer was complete.
type bounded struct {
	io.ReadCloser
	left int64
}

var errTooLong = errors.New("the server sends more than Collie takes: is this the right repository?")

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLong
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

func loopback(host string) bool {
	if host == "localhost" {
		return true // and onlyLoopback sees what it resolves to
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
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
