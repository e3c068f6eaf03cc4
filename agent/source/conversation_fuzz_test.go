package source

import (
	"bytes"
	"io"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/storage/memory"
)

// FuzzConversation: a server may say anything as its refs, its list of where history is cut, and what wraps its pack.
func FuzzConversation(f *testing.F) {
	const tip = "6ecf0ef2c2dffb796033e5a02219af86ec6584e5"
	refs := "006d" + tip + " refs/heads/main\x00shallow side-band-64k symref=HEAD:refs/heads/main\n"
	f.Add([]byte(refs+"003f"+tip+" refs/heads/other\n0000"), []byte("0034shallow "+tip+"0000"+"0008NAK\n"+"0009\x01PACK0000"))
	f.Add([]byte("0000"), []byte("0008NAK\n"))
	f.Add([]byte("0032"+tip+" refs/heads/\x1b\n0000"), []byte("0035shallow "+tip+"\n0000"+"0031ACK "+tip+"\n"+"000a\x03nope\n"))
	f.Add([]byte("ffff"), []byte("0036unshallow "+tip+"0000"))
	f.Fuzz(func(t *testing.T, listed, answered []byte) {
		adv, err := readRefs(bytes.NewReader(listed))
		if err == nil {
			want := packp.NewUploadPackRequestFromCapabilities(adv.Capabilities)
			_ = want.Validate()
			b := branches{}
			for name, id := range adv.References {
				b[name] = id
			}
			if _, err := b.tip("file:///srv/git/ops.git", "\x00"); err != nil && len(err.Error()) > 8<<10 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		}
		want := packp.NewUploadPackRequest()
		want.Wants = []plumbing.Hash{plumbing.NewHash(tip)}
		want.Depth = packp.DepthCommits(1)
		_ = want.Capabilities.Set(capability.Shallow)
		res := packp.NewUploadPackResponse(want)
		if res.Decode(io.NopCloser(bytes.NewReader(answered))) != nil {
			return
		}
		defer res.Close()
		pack, _ := io.ReadAll(io.LimitReader(sideband.NewDemuxer(sideband.Sideband64k, res), maxPack))
		if len(pack) > len(answered) {
			t.Errorf("%d bytes make a pack of %d", len(answered), len(pack))
		}
	})
}

// FuzzTree: git's own parser takes what index-pack let through; no name in a folder leads elsewhere.
func FuzzTree(f *testing.F) {
	id := bytes.Repeat([]byte{7}, 20)
	for _, entry := range []string{"100644 a\x00", "40000 ..\x00", "120000 a/b\x00", "160000 \x1b\x00", "100644 .git\x00", "999999 a\x00", "100644 a"} {
		f.Add(append([]byte(entry), id...))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		o := memory.NewStorage().NewEncodedObject()
		o.SetType(plumbing.TreeObject)
		if _, err := o.(io.Writer).Write(raw); err != nil {
			t.Fatal(err)
		}
		listed := new(object.Tree)
		if listed.Decode(o) != nil {
			return
		}
		read := &tree{nodes: map[string]*node{".": {name: "."}}}
		for _, e := range listed.Entries {
			if read.add(e.Name, e) == nil && (e.Name == "" || e.Name == ".." || bytes.ContainsAny([]byte(e.Name), "/\x00\x1b\n")) {
				t.Errorf("a file is named %q", e.Name)
			}
		}
	})
}
