// Package api is how people and programs speak with a running agent: HTTP with JSON over a Unix socket.
//
// It holds the words both sides share, the server and the client. It decides nothing: the server asks the functions
// it was given.
package api
