package source

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh/knownhosts"
)

// A cable leads to a server, and can be cut.
type cable struct {
	addr   string
	left   atomic.Int64 // bytes that still come from the server; below zero: any number
	silent atomic.Bool  // cut, it stays silent; else it ends
}

func newCable(t *testing.T, to string) *cable {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	c := &cable{addr: l.Addr().String()}
	c.left.Store(-1)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			go func() { _, _ = io.Copy(far, near); far.Close() }()
			go c.forward(near, far)
		}
	}()
	return c
}

func (c *cable) forward(near, far net.Conn) {
	defer far.Close()
	defer near.Close()
	for b := make([]byte, 32<<10); ; {
		n, err := far.Read(b)
		left := c.left.Load()
		if left >= 0 {
			n = int(min(int64(n), left))
			c.left.Store(left - int64(n))
		}
		if _, err := near.Write(b[:n]); err != nil {
			return
		}
		if left >= 0 && left == int64(n) {
			if c.silent.Load() {
				_, _ = io.Copy(io.Discard, far) // until the client hangs up
			}
			return
		}
		if err != nil {
			return
		}
	}
}

// cables lead to the same repository over each transport that has one.
func cables(t *testing.T, test func(t *testing.T, o *ops, at Repository, c *cable)) {
	lead := func(at Repository, to string, t *testing.T) (Repository, *cable) {
		c := newCable(t, to)
		at.URL = strings.Replace(at.URL, to, c.addr, 1)
		return at, c
	}
	for name, serve := range map[string]func(*testing.T, *ops) (Repository, *cable){
		"http": func(t *testing.T, o *ops) (Repository, *cable) {
			url := o.serve()
			return lead(Repository{URL: url}, strings.Split(url, "/")[2], t)
		},
		"https": func(t *testing.T, o *ops) (Repository, *cable) {
			f := o.serveTLS()
			return lead(f.repository(), strings.TrimPrefix(f.URL, "https://"), t)
		},
		"ssh": func(t *testing.T, o *ops) (Repository, *cable) {
			d := o.serveSSH()
			at, c := lead(d.repository(), d.addr, t)
			d.file("known_hosts", knownhosts.Line([]string{c.addr}, d.host.PublicKey())+"\n", 0o644)
			return at, c
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOps(t)
			at, c := serve(t, o)
			test(t, o, at, c)
		})
	}
}

// large is what makes a pack of a hundred kilobytes.
func large() string {
	var b strings.Builder
	for range 15_000 {
		fmt.Fprintf(&b, "%x\n", rand.Uint64())
	}
	return b.String()
}

// Wherever a conversation is cut, the error comes in time, nothing is accepted or left over, and the next poll is whole.
func TestCutConversationsAreHealed(t *testing.T) {
	cables(t, func(t *testing.T, o *ops, at Repository, c *cable) {
		first := o.push("one", "f", "1", "large", large())
		for i, after := range []int64{0, 1, 700, 1500, 3000, 20_000, 90_000, 20_001, 1501} {
			for _, silent := range []bool{false, true} {
				s, want, text := openAt(t, at), first, "1"
				if i%2 == 1 { // not the first fetch
					poll(t, s, first)
					text = fmt.Sprint(silent, after)
					want = o.push("more", "f", text, "large", large())
				}
				accepted, _ := s.Accepted()
				s.answer, s.transfer = 300*time.Millisecond, 300*time.Millisecond
				c.silent.Store(silent)
				c.left.Store(after)
				rev, err := s.Poll(t.Context())
				c.left.Store(-1)
				switch now, _ := s.Accepted(); {
				case err == nil:
					t.Errorf("cut after %d bytes, a poll tells %s", after, rev.ID)
				case now != accepted:
					t.Errorf("cut after %d bytes, %s was accepted (%v)", after, now.ID, err)
				case silent && !strings.Contains(err.Error(), "no answer within 300ms"):
					t.Errorf("silent after %d bytes, a poll says %v", after, err)
				}
				if left, _ := filepath.Glob(filepath.Join(s.clone.dir, "objects/pack/tmp_*")); len(left) > 0 {
					t.Errorf("cut after %d bytes, %s was left", after, left)
				}
				s.answer, s.transfer = answerTime, transferTime
				poll(t, s, want)
				content(t, s, want, "f", text)
				o.git("reset", "-q", "--hard", first)
				o.git("push", "-q", "-f", o.bare, "HEAD:main")
			}
		}
	})
}

// A git on this machine that is killed, or that falls silent, in mid-pack.
func TestAHalfPackOfThisMachineIsHealed(t *testing.T) {
	o := newQuietOps(t)
	calls := gitCalls(t) // its wrapper is first on PATH
	id := o.push("one", "f", "1", "large", large())
	calls()
	dir, _, _ := strings.Cut(os.Getenv("PATH"), ":")
	real := filepath.Join(dir, "git")
	text, err := os.ReadFile(real)
	must(t, err)
	// Not head, which keeps what it has until it ends.
	for _, end := range []string{"", `; [ "$(dd bs=1 count=1 status=none | wc -c)" = 0 ] || exec sleep 1000`} {
		s := open(t, o.bare)
		must(t, os.WriteFile(filepath.Join(dir, "whole"), text, 0o755))
		must(t, os.WriteFile(real, []byte("#!/bin/sh\n[ \"$1\" = upload-pack ] || exec "+dir+"/whole \"$@\"\n"+dir+"/whole \"$@\" | { dd bs=1 count=20000 status=none"+end+"; }\n"), 0o755))
		s.transfer = time.Second
		rev, err := s.Poll(t.Context())
		if err == nil {
			t.Errorf("half a pack makes %s", rev.ID)
		} else if !strings.Contains(err.Error(), "fetching") {
			t.Errorf("it failed before it had half a pack: %v", err)
		}
		if left, _ := filepath.Glob(filepath.Join(s.clone.dir, "objects/pack/tmp_*")); len(left) > 0 {
			t.Errorf("%s was left", left)
		}
		must(t, os.WriteFile(real, text, 0o755))
		s.transfer = transferTime
		poll(t, s, id)
		content(t, s, id, "f", "1")
	}
}
