package source

import (
	"strings"
	"testing"
)

func TestRepositoriesWithoutMistakes(t *testing.T) {
	ssh := Repository{KeyFile: "/k", KnownHosts: "/h"}
	for url, want := range map[string]string{
		"/srv/git/ops.git":                "file /srv/git/ops.git",
		"file:///srv/git/ops.git":         "file /srv/git/ops.git",
		"file://localhost/a%20b#?.git":    "file /a b#?.git",
		"http://localhost:1/o.git":        "http",
		"http://127.0.0.1/o.git":          "http",
		"http://[::1]:80/o.git":           "http",
		"https://example.org/ops.git":     "https",
		"https://example.org:8443/o/p":    "https",
		"ssh://git@example.org/o.git":     "ssh /o.git git example.org:22",
		"ssh://git@example.org:2222/~g/o": "ssh ~g/o git example.org:2222",
		"ssh://git@[2001:db8::1]/a%20b":   "ssh /a b git [2001:db8::1]:22",
		"git@example.org:o/p.git":         "ssh o/p.git git example.org:22",
		"git@[2001:db8::1]:/o.git":        "ssh /o.git git [2001:db8::1]:22",
	} {
		at, wrong := locate(url)
		got := at.scheme
		for _, part := range []string{at.path, at.user, at.addr} {
			if part != "" {
				got += " " + part
			}
		}
		if wrong != "" || got != want {
			t.Errorf("%s is %q (%s), want %q", url, got, wrong, want)
		}
		r := Repository{}
		if at.scheme == "ssh" {
			r = ssh
		}
		r.URL = url
		if all := r.Mistakes(); len(all) > 0 {
			t.Errorf("%s has mistakes: %v", url, all)
		}
	}
}

func TestMistakesOfRepositories(t *testing.T) {
	const web, ssh = "https://example.org/ops.git", "ssh://git@example.org/ops.git"
	for _, c := range []struct {
		r    Repository
		says []string // key: words
	}{
		{Repository{}, []string{"url: is missing: name the repository"}},
		{Repository{URL: "srv/git/ops.git"}, []string{"url: file:///srv/git/ops.git"}},
		{Repository{URL: "/o\n.git"}, []string{"url: control characters"}},
		{Repository{URL: "file://srv/ops.git"}, []string{"url: three slashes"}},
		{Repository{URL: "http://example.org/ops.git"}, []string{"url: for loopback only"}},
		{Repository{URL: "http://127.0.0.1.example.org/ops.git"}, []string{"url: for loopback only"}},
		{Repository{URL: "http://[2001:db8::1]/ops.git"}, []string{"url: for loopback only"}},
		{Repository{URL: "http://u:s3cret@localhost/ops.git"}, []string{"url: password"}},
		{Repository{URL: "https://u:s3cret@example.org/ops.git"}, []string{"url: password"}},
		{Repository{URL: "https://u:s3cret@example.org:port/ops.git"}, []string{"url: no URL"}},
		{Repository{URL: "ftp://s3cret@example.org/ops.git"}, []string{"url: unsupported scheme ftp://"}},
		{Repository{URL: "https://u@example.org/ops.git"}, []string{"url: leave u@ out"}},
		{Repository{URL: "https://example.org/ops.git?token=s3cret"}, []string{"url: leave out ?"}},
		{Repository{URL: "https:///ops.git"}, []string{"url: no URL"}},
		{Repository{URL: "git://localhost/ops.git"}, []string{"url: unsupported scheme git://"}},
		{Repository{URL: "ssh://example.org/ops.git"}, []string{"url: write it like ssh://git@example.org/ops.git"}},
		{Repository{URL: "ssh://git@example.org"}, []string{"url: no path"}},
		{Repository{URL: "ssh://git:s3cret@example.org/o"}, []string{"url: password"}},
		{Repository{URL: "example.org:ops.git"}, []string{"url: unsupported scheme"}},
		{Repository{URL: ssh}, []string{"keyFile: is missing: ", "knownHosts: is missing: "}},
		{Repository{URL: ssh, KeyFile: "k", KnownHosts: "/h"}, []string{`keyFile: "k" is no absolute path`}},
		{Repository{URL: ssh, KeyFile: "/k", KnownHosts: "/h", TokenFile: "/t"}, []string{"tokenFile: only for https://"}},
		{Repository{URL: web, KeyFile: "/k", Owner: "ops"}, []string{"owner: only for file://", "keyFile: only for ssh://"}},
		{Repository{URL: web, TokenFile: "t", CAFile: "c"}, []string{"tokenFile: no absolute path", "caFile: no absolute path"}},
		{Repository{URL: web, TokenUser: "u"}, []string{"tokenUser: without a tokenFile"}},
		{Repository{URL: web, TokenUser: "u:v", TokenFile: "/t"}, []string{"tokenUser: no name"}},
		{Repository{URL: "http://localhost/o.git", TokenFile: "/t"}, []string{"tokenFile: only for https://"}},
		{Repository{URL: "/o.git", CAFile: "/c"}, []string{"caFile: only for https://"}},
	} {
		all := c.r.Mistakes()
		for i, want := range c.says {
			key, words, _ := strings.Cut(want, ": ")
			if i >= len(all) || all[i].Key != key || !strings.Contains(all[i].Says, words) {
				t.Errorf("%+v: mistake %d of %q, want %q", c.r, i, all, want)
			}
		}
		if len(all) != len(c.says) {
			t.Errorf("%+v: %d mistakes, want %d: %q", c.r, len(all), len(c.says), all)
		}
		for _, m := range all {
			if strings.Contains(m.Says, "s3cret") {
				t.Errorf("%q tells a password", m.Says)
			}
		}
	}
}

func FuzzLocate(f *testing.F) {
	for _, seed := range []string{"/o", "file:///o", "https://u:s3cret@h/o", "ssh://git@h:22/~u/o", "git@h:o", "git@[::1]:o", "http://localhost", "://", "a@b:c@d:e"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		at, wrong := locate(raw)
		switch {
		case wrong != "":
		case at.scheme == "file" && !strings.HasPrefix(at.path, "/"),
			at.scheme == "ssh" && (at.user == "" || at.path == "" || at.addr == ""),
			at.scheme == "http" && !loopback(at.url.Hostname()),
			at.scheme == "https" && (at.url.Host == "" || at.url.User != nil):
			t.Errorf("%q is taken as %+v", raw, at)
		}
		if strings.ContainsAny(at.path+at.user, "\n\x00") {
			t.Errorf("%q is taken as %+v, with control characters", raw, at)
		}
	})
}
