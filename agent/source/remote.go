package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// The most that a server may send: its list of refs, and one pack.
const (
	maxRefs = 8 << 20
	maxPack = 512 << 20
)

// A remote is where commits come from.
type remote interface {
	// stamp is the same as long as no branch moved, and costs nearly nothing; "" if only a request can find out.
	stamp() string
	// folders are those in which a push changes something; none if pushes can't be watched.
	folders() []string
	// dial begins a conversation, which ends with ctx.
	dial(ctx context.Context) (session, error)
}

// A session is one conversation: the refs, then at most one pack.
type session interface {
	refs(context.Context) (*packp.AdvRefs, error) // transport.ErrEmptyRemoteRepository if there are none
	pack(context.Context, *packp.UploadPackRequest) (*packp.UploadPackResponse, error)
	Close() error
}

// newRemote makes the remote of a repository without mistakes.
func newRemote(r Repository, cfg Config) (remote, error) {
	at, wrong := locate(r.URL)
	if wrong != "" {
		return nil, errors.New(wrong)
	}
	switch at.scheme {
	case "file":
		return newLocal(r, cfg, at.path)
	case "ssh":
		return &sshRemote{Repository: r, user: at.user, addr: at.addr, path: at.path}, nil
	}
	return &web{Repository: r, base: at.url}, nil
}

// Branches are what a remote offers: the newest commit of each of its branches, by name.
type branches map[string]plumbing.Hash

// ask is one conversation about what there is.
func ask(ctx context.Context, r remote) (branches, error) {
	s, err := r.dial(ctx)
	if err != nil {
		return nil, err
	}
	all, _, err := offered(ctx, s)
	return all, errors.Join(err, s.Close())
}

func offered(ctx context.Context, s session) (branches, *packp.AdvRefs, error) {
	refs, err := s.refs(ctx)
	if errors.Is(err, transport.ErrEmptyRemoteRepository) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	all := branches{}
	for name, tip := range refs.References {
		if name, ok := strings.CutPrefix(name, "refs/heads/"); ok {
			all[name] = tip
		}
	}
	return all, refs, nil
}

// tip is the newest commit of a branch that must be there.
func (b branches) tip(repository, branch string) (plumbing.Hash, error) {
	if tip, ok := b[branch]; ok {
		return tip, nil
	}
	var others []string
	for _, name := range slices.Sorted(maps.Keys(b)) {
		if len(others) < 5 {
			others = append(others, plain(name))
		}
	}
	if len(others) == 0 {
		return plumbing.ZeroHash, problem(fmt.Sprintf("repository %s has no branch %s yet: push one", repository, branch))
	}
	return plumbing.ZeroHash, problem(fmt.Sprintf("repository %s has no branch %s, only %s: push it, or set source.branch",
		repository, branch, strings.Join(others, ", ")))
}

// fetch brings a branch's newest commit into a clone: depth commits of its history, all if 0, less what is in the
// history of have.
func fetch(ctx context.Context, p *place, branch string, into *clone, depth int, have plumbing.Hash) (tip plumbing.Hash, err error) {
	s, err := p.dial(ctx)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	all, refs, err := offered(ctx, s)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	if tip, err = all.tip(p.url, branch); err != nil {
		return plumbing.ZeroHash, err
	}
	want := packp.NewUploadPackRequestFromCapabilities(refs.Capabilities)
	want.Wants = []plumbing.Hash{tip}
	if !have.IsZero() {
		want.Haves = []plumbing.Hash{have}
	}
	if want.IsEmpty() {
		return tip, nil // nothing that we don't have
	}
	if depth > 0 {
		want.Depth = packp.DepthCommits(depth)
		if err := want.Capabilities.Set(capability.Shallow); err != nil {
			return plumbing.ZeroHash, err
		}
	}
	if refs.Capabilities.Supports(capability.NoProgress) {
		if err := want.Capabilities.Set(capability.NoProgress); err != nil {
			return plumbing.ZeroHash, err
		}
	}
	if err := want.Validate(); err != nil {
		return plumbing.ZeroHash, err
	}
	res, err := s.pack(ctx, want)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	defer res.Close()
	var pack io.Reader = res
	switch {
	case want.Capabilities.Supports(capability.Sideband64k):
		pack = sideband.NewDemuxer(sideband.Sideband64k, res)
	case want.Capabilities.Supports(capability.Sideband):
		pack = sideband.NewDemuxer(sideband.Sideband, res)
	}
	if err := into.unpack(ctx, pack); err != nil {
		return plumbing.ZeroHash, err
	}
	return tip, addShallow(into.storage(), res.Shallows)
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
