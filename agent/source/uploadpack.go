package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/transport"
)

// uploadPack is a conversation with a git upload-pack, here or at the other end of ssh.
type uploadPack struct {
	in     io.WriteCloser
	out    *bounded
	says   tail   // complete once it ended
	end    func() // waits for it, or ends it
	url    string // of the repository
	asked  bool   // for a pack
	closed bool
}

func (u *uploadPack) refs(context.Context) (*packp.AdvRefs, error) {
	refs, err := readRefs(u.out)
	if err != nil && !errors.Is(err, transport.ErrEmptyRemoteRepository) {
		return nil, u.explain(err)
	}
	return refs, err
}

func (u *uploadPack) pack(_ context.Context, want *packp.UploadPackRequest) (*packp.UploadPackResponse, error) {
	u.asked = true
	u.out.left = maxPack
	err := writeWants(u.in, want)
	if err == nil {
		err = u.in.Close()
	}
	if err != nil {
		return nil, u.explain(err)
	}
	res := packp.NewUploadPackResponse(want)
	if err := res.Decode(io.NopCloser(u.out)); err != nil {
		return nil, u.explain(err)
	}
	return res, nil
}

// readRefs reads a list of refs.
func readRefs(r io.Reader) (*packp.AdvRefs, error) {
	refs := packp.NewAdvRefs()
	err := refs.Decode(r)
	if errors.Is(err, packp.ErrEmptyAdvRefs) || err == nil && refs.IsEmpty() {
		return nil, transport.ErrEmptyRemoteRepository
	}
	if err != nil {
		return nil, err
	}
	transport.FilterUnsupportedCapabilities(refs.Capabilities)
	return refs, nil
}

// writeWants writes what is asked for in one go: no server is asked twice what it has.
func writeWants(w io.Writer, want *packp.UploadPackRequest) error {
	if err := want.UploadRequest.Encode(w); err != nil {
		return err
	}
	if err := want.UploadHaves.Encode(w, false); err != nil {
		return err
	}
	return pktline.NewEncoder(w).EncodeString("done\n")
}

// explain prefers git's own words to what their lack did to us.
func (u *uploadPack) explain(err error) error {
	if errors.Is(err, errTooLong) {
		return err
	}
	u.Close() // git has said all then
	says := u.says.String()
	if strings.Contains(says, "does not appear to be a git repository") {
		return problem(fmt.Sprintf("repository %s doesn't exist on its server: create it, or correct its URL", u.url))
	}
	if says != "" {
		return fmt.Errorf("git upload-pack: %s", says)
	}
	return err
}

// Close ends git. How it ended says nothing more: what was read was checked, what wasn't read wasn't needed.
func (u *uploadPack) Close() error {
	if u.closed {
		return nil
	}
	u.closed = true
	if !u.asked {
		_, _ = u.in.Write(pktline.FlushPkt) // goodbye
	}
	_ = u.in.Close()
	_ = u.out.Close()
	u.end()
	return nil
}

// tail keeps the last words of a process.
type tail struct{ buf bytes.Buffer }

func (t *tail) Write(p []byte) (int, error) {
	t.buf.Write(p)
	if over := t.buf.Len() - 4096; over > 0 {
		t.buf.Next(over)
	}
	return len(p), nil
}

func (t *tail) String() string { return plain(t.buf.String()) }
