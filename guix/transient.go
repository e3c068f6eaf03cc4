package guix

import (
	"regexp"
	"strings"
)

// A TransientError is the fault of the machine or the network, not of the commit: worth another try.
type TransientError struct{ Err error }

func (e *TransientError) Error() string { return e.Err.Error() }
func (e *TransientError) Unwrap() error { return e.Err }

// asTransient makes an error that isn't nil a transient one.
func asTransient(err error) error {
	if err == nil {
		return nil
	}
	return &TransientError{err}
}

// A transient is what Guix says when the machine or the network is at fault. Its exit code is always 1.
type transient struct {
	text    *regexp.Regexp
	says    string // empty: which disk is full
	machine bool   // it is one, too, where only a builder says so of itself
}

// Seen with guix 1.5.0 (testdata), where no other source is given.
var transients = []transient{
	{regexp.MustCompile("failed to connect to [`'].*': Permission denied"), "the account that evaluates may not reach guix-daemon: widen socket-directory-permissions of its guix-configuration", false},
	{regexp.MustCompile("failed to connect to [`'].*daemon-socket|failed to connect to [`']/"), "guix-daemon can't be reached: start it with `herd start guix-daemon`", false},
	{regexp.MustCompile(`No space left on device|database or disk is full`), "", true},
	{regexp.MustCompile(`Disk quota exceeded`), "the disk quota is used up", true},
	{regexp.MustCompile(`Cannot allocate memory|Too many heap sections|Out of memory|virtual memory exhausted|failed due to signal 9`), "the memory is used up", true}, // libgc's words; the kernel's KILL
	{regexp.MustCompile(`Resource temporarily unavailable|Too many open files`), "a limit of the machine is reached", true},
	{regexp.MustCompile(`newly created file is older than distributed files|Check your system clock`), "the clock is wrong: set it, for example with `ntpd -q -g`", true}, // configure's words
	{regexp.MustCompile(`SSL certificate is invalid|certificate of .* could not be verified`), "a server's certificate isn't valid: is the clock right?", false},          // libgit2's; guix/build/download.scm
	{regexp.MustCompile(`(?i)database is (busy|locked)`), "the store's database is busy", false},
	{regexp.MustCompile(`error: [a-z-]+: Permission denied: "/(var/guix|gnu/store|run)/|Read-only file system`), "Guix's own folders can't be written: does the agent run as root, and is the disk well?", false},
	{regexp.MustCompile(`corrupt input while restoring archive|unexpected EOF reading a line|protocol mismatch|nix-daemon|Broken pipe`), "guix-daemon went away", false},
	{regexp.MustCompile(`Git error: (failed to (resolve address|connect|send)|.*(timed out|early EOF|SSL error|curl error|status code: 5))`), "the repository of a channel can't be reached", false},
	{regexp.MustCompile(`Temporary failure in name resolution|Name or service not known|In procedure getaddrinfo`), "a name can't be resolved: is the network there?", false},
	{regexp.MustCompile(`In procedure connect\*?: |Network is unreachable|No route to host|Connection (reset|refused|timed out)|TLS (error|handshake)|gnutls-error`), "the network can't be reached", false},
	{regexp.MustCompile(`usually happens due to networking issues|guix substitute: error|substitution of /gnu/store/\S+ failed`), "a substitute can't be had", false}, // nix/libstore/build.cc
	{regexp.MustCompile(`some outputs of .* are not valid, so checking is not possible|(path|profile) .* is locked`), "another guix is in the way", false},            // guix/ui.scm
}

var (
	aside    = regexp.MustCompile(`(?m)^(.*\bwarning: .*| *\d+:\d+ +\d+ \(.*)$`) // warnings, and frames of a backtrace: not why it failed
	unmade   = regexp.MustCompile("(?m)^builder for .* failed to produce output path [`'](/gnu/store/[^`']+)'$")
	mismatch = regexp.MustCompile(`(?m)^hash mismatch for store item`)
	served   = regexp.MustCompile(`(?m)^guix substitute: warning: (download from .* failed: .*)$`)
)

// excuse finds the text that shows that the commit isn't at fault, and the most informative line. A builder's own words excuse
// nothing (a test that fails may mention connections), unless the machine is to blame, or the builder was to download.
func excuse(text string) (says, line string, found bool) {
	if mismatch.MatchString(text) { // the commit names another file than the server has
		return "", "", false
	}
	built := builderRE.MatchString(text)
	if m := unmade.FindStringSubmatch(text); m != nil && strings.Contains(text, "Starting download of "+m[1]+"\n") {
		built = false
	}
	heard := text
	if !built {
		heard = aside.ReplaceAllString(text, "")
	}
	for _, t := range transients {
		said := t.text.FindString(heard)
		if said == "" || built && !t.machine {
			continue
		}
		line = guileAt.ReplaceAllString(strings.TrimSpace(lineWith(heard, said)), "")
		if m := served.FindStringSubmatch(text); m != nil && strings.Contains(t.says, "substitute") {
			line = m[1]
		}
		return t.says, line, true
	}
	return "", "", false
}
