package source

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
)

// A Repository is one place where commits come from, and how to ask it. Which fields there may be depends on the URL.
type Repository struct {
	URL        string `yaml:"url"`        // file:///srv/git/ops.git, /srv/git/ops.git; https://, ssh://, user@host:path; http:// on loopback
	Owner      string `yaml:"owner"`      // of a repository on this machine: it and root alone may write it; empty: root alone
	TokenFile  string `yaml:"tokenFile"`  // https: the password; empty: none is sent
	TokenUser  string `yaml:"tokenUser"`  // https: the user name for it; default: what forges want with a token
	CAFile     string `yaml:"caFile"`     // https: whose certificates to trust; empty: those of the system
	KeyFile    string `yaml:"keyFile"`    // ssh: the private key
	KnownHosts string `yaml:"knownHosts"` // ssh: the host keys to trust
}

// defaultUser is what GitHub wants with a token. Most other forges accept any name.
const defaultUser = "x-access-token"

// A Mistake is a field of a Repository, under its name in the configuration, that makes no sense.
type Mistake struct{ Key, Says string }

// Mistakes are all that is wrong with r, as far as r alone tells.
func (r Repository) Mistakes() []Mistake {
	at, wrong := locate(r.URL)
	if wrong != "" {
		return []Mistake{{"url", wrong}}
	}
	var all []Mistake
	for _, f := range []struct {
		key, value, scheme string
		must, path         bool
	}{
		{"owner", r.Owner, "file", false, false},
		{"tokenFile", r.TokenFile, "https", false, true},
		{"tokenUser", r.TokenUser, "https", false, false},
		{"caFile", r.CAFile, "https", false, true},
		{"keyFile", r.KeyFile, "ssh", true, true},
		{"knownHosts", r.KnownHosts, "ssh", true, true},
	} {
		switch {
		case f.value == "" && f.must && at.scheme == f.scheme:
			all = append(all, Mistake{f.key, "is missing: " + missing[f.key]})
		case f.value == "":
		case at.scheme != f.scheme:
			all = append(all, Mistake{f.key, fmt.Sprintf("has a meaning only for %s:// repositories: leave it out", f.scheme)})
		case f.path && !filepath.IsAbs(f.value):
			all = append(all, Mistake{f.key, fmt.Sprintf("%q is no absolute path", f.value)})
		}
	}
	if r.TokenUser != "" && r.TokenFile == "" && at.scheme == "https" {
		all = append(all, Mistake{"tokenUser", "says nothing without a tokenFile"})
	}
	if strings.ContainsFunc(r.TokenUser, func(c rune) bool { return c <= ' ' || c == ':' || c == 0x7f }) {
		all = append(all, Mistake{"tokenUser", fmt.Sprintf("%q is no name", r.TokenUser)})
	}
	return all
}

var missing = map[string]string{
	"keyFile":    "name the file of the private key, which only root can read (ssh-keygen -t ed25519 -N '' -f /var/lib/collie/keys/ssh makes one)",
	"knownHosts": "name a file with the server's host key, as ssh-keyscan prints it, once you know that it is the right one",
}

// A location is a URL, taken apart.
type location struct {
	scheme string // file, http, https, ssh
	path   string // file, ssh: of the repository
	user   string // ssh
	addr   string // ssh: host and port
	url    *url.URL
}

// LocalPath is where the repository of a URL is, if that is on this machine.
func LocalPath(raw string) (path string, local bool) {
	at, wrong := locate(raw)
	return at.path, wrong == "" && at.scheme == "file"
}

// scpLike is what git also takes for a repository over ssh.
var scpLike = regexp.MustCompile(`^([^@/:]+)@(\[[^]/]+\]|[^:/@]+):(.+)$`)

// locate reads a URL, or says what is wrong with it.
func locate(raw string) (at location, wrong string) {
	if raw == "" {
		return at, "is missing: name the repository to follow, as file:///srv/git/ops.git"
	}
	if strings.ContainsFunc(raw, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return at, fmt.Sprintf("%q has control characters", hidden(raw))
	}
	if filepath.IsAbs(raw) {
		return location{scheme: "file", path: filepath.Clean(raw)}, ""
	}
	if rest, ok := strings.CutPrefix(raw, "file://"); ok { // as git reads it: # and ? are part of the path
		path, err := url.PathUnescape(strings.TrimPrefix(rest, "localhost"))
		if err != nil || !filepath.IsAbs(path) || strings.ContainsFunc(path, func(r rune) bool { return r < ' ' }) {
			return at, fmt.Sprintf("%q: a file:// URL has three slashes before its path: file:///srv/git/ops.git", raw)
		}
		return location{scheme: "file", path: filepath.Clean(path)}, ""
	}
	if m := scpLike.FindStringSubmatch(raw); m != nil && !strings.Contains(raw, "://") {
		return location{scheme: "ssh", user: m[1], addr: net.JoinHostPort(strings.Trim(m[2], "[]"), "22"), path: m[3]}, ""
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme == "" || u.Hostname() == "" && (u.Scheme == "https" || u.Scheme == "ssh") {
		return at, fmt.Sprintf("%q is no URL and no absolute path; write it like file:///srv/git/ops.git, https://host/ops.git or ssh://git@host/ops.git", hidden(raw))
	}
	if _, has := u.User.Password(); has {
		return at, fmt.Sprintf("%q: a password in the URL would be in logs and in the store; leave it out", u.Redacted())
	}
	switch u.Scheme {
	case "http", "https":
		return locateWeb(u)
	case "ssh":
		return locateSSH(u)
	}
	return at, fmt.Sprintf("%q: unsupported scheme %s://; use file://, https:// or ssh://", hidden(raw), u.Scheme)
}

func locateWeb(u *url.URL) (at location, wrong string) {
	switch {
	case u.User != nil:
		return at, fmt.Sprintf("%q: leave %s@ out, and write it as tokenUser, with a tokenFile", u, u.User)
	case u.RawQuery != "" || u.Fragment != "":
		return at, fmt.Sprintf("%q goes on after the path: leave out ? or #, and what follows", u.Scheme+"://"+u.Host+u.Path)
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return at, fmt.Sprintf("%q: http:// is for loopback only, as whoever can alter the answers would be root here; use https://", u)
	}
	return location{scheme: u.Scheme, url: u}, ""
}

func locateSSH(u *url.URL) (at location, wrong string) {
	port := u.Port()
	if port == "" {
		port = "22"
	}
	at = location{scheme: "ssh", user: u.User.Username(), addr: net.JoinHostPort(u.Hostname(), port), path: u.Path, url: u}
	if strings.HasPrefix(at.path, "/~") { // of a user's home, as git reads it
		at.path = at.path[1:]
	}
	switch {
	case at.user == "":
		return at, fmt.Sprintf("%q names no user to log in as: write it like ssh://git@%s%s", u, u.Host, u.Path)
	case at.path == "" || at.path == "/" || strings.ContainsFunc(at.path, func(r rune) bool { return r < ' ' }):
		return at, fmt.Sprintf("%q has no path of a repository", u)
	}
	return at, ""
}

var credentials = regexp.MustCompile(`//[^/?#]*@`)

// hidden is a URL without what may be a password.
func hidden(raw string) string { return credentials.ReplaceAllString(raw, "//…@") }

func loopback(host string) bool {
	if host == "localhost" {
		return true // and onlyLoopback sees what it resolves to
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
