// Package shepherd speaks to a GNU Shepherd as `herd` does.
//
// It knows the protocol: a Unix socket, one request and one reply for each connection, UTF-8 s-expressions without
// framing (Shepherd 1.0; fields are matched by name, unknown ones ignored). It knows neither Guix nor what
// should run: it queries, starts and stops what its caller names. It never retries.
//
// The answers of a Shepherd are bounded in size and depth, and each call has a deadline of its own in addition to the context's.
// A reply comes when the action is over, so that stopping a service takes as long as its grace period.
package shepherd
