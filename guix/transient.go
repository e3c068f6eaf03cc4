package guix

import "regexp"

// A TransientError is the fault of the machine or the network, not of the commit: worth another try.
type TransientError struct{ Err error }

func (e *TransientError) Error() string { return e.Err.Error() }
func (e *TransientError) Unwrap() error { return e.Err }

// passing makes an error that isn't nil a transient one.
func passing(err error) error {
	if err == nil {
		return nil
	}
	return &TransientError{err}
}

// What Guix says when the machine or the network is at fault, not the commit: worth a retry. Its exit code is always 1.
// Seen with guix 1.5.0 (testdata), where no other source is given.
var transient = []struct {
	text *regexp.Regexp
	says string // empty: which disk is full
}{
	{regexp.MustCompile("failed to connect to [`'].*daemon-socket|failed to connect to [`']/"), "guix-daemon can't be reached: start it with `herd start guix-daemon`"},
	{regexp.MustCompile(`No space left on device|database or disk is full`), ""},
	{regexp.MustCompile(`Disk quota exceeded`), "the disk quota is used up"},
	{regexp.MustCompile(`Cannot allocate memory|Too many heap sections|Out of memory|virtual memory exhausted|failed due to signal 9`), "the memory is used up"}, // libgc's words; the kernel's KILL
	{regexp.MustCompile(`Resource temporarily unavailable|Too many open files`), "a limit of the machine is reached"},
	{regexp.MustCompile(`(?i)database is (busy|locked)`), "the store's database is busy"},
	{regexp.MustCompile(`corrupt input while restoring archive|unexpected EOF reading a line|protocol mismatch|nix-daemon|Broken pipe`), "guix-daemon went away"},
	{regexp.MustCompile(`Git error: (failed to (resolve address|connect|send)|.*(timed out|early EOF|SSL error|curl error|status code: 5))`), "the repository of a channel can't be reached"},
	{regexp.MustCompile(`Temporary failure in name resolution|Name or service not known|In procedure getaddrinfo`), "a name can't be resolved: is the network there?"},
	{regexp.MustCompile(`In procedure connect\*?: |Network is unreachable|No route to host|Connection (reset|refused|timed out)|TLS (error|handshake)|gnutls-error`), "the network can't be reached"},
	{regexp.MustCompile(`usually happens due to networking issues|guix substitute: error`), "a substitute can't be had"}, // nix/libstore/build.cc
	{regexp.MustCompile(`some outputs of .* are not valid, so checking is not possible|path .* is locked`), "another guix is in the way"},
}
