package podman

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"example.org/collie/manifests"
)

// answerOnce is the other end of one connection: it takes what comes, and says answer.
func answerOnce(conn net.Conn, answer []byte) {
	defer conn.Close()
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	_, _ = conn.Write(answer)
}

// checkWords fails if an error can't be shown, or says as much as its sender likes.
func checkWords(t *testing.T, err error) {
	if err == nil {
		return
	}
	if says := err.Error(); says == "" || len(says) > 16<<10 {
		t.Errorf("an error of %d bytes", len(says))
	}
}

// FuzzProbeAnswer: whatever a container answers by HTTP or gRPC, a probe ends in its time, and says little.
func FuzzProbeAnswer(f *testing.F) {
	for _, answer := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 503 \x1b[2J\r\n\r\n", "HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", "HTTP/1.1 302 Found\r\nLocation: http://[::1\x00/\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\n\r\n", "\x00\x00\x00\x04\x00\x00\x00\x00\x00",
		"\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x06\x01\x04\x00\x00\x00\x01\x88\xff\xff\xff\xff\x0f", "\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		strings.Repeat("x", 20<<10),
	} {
		f.Add([]byte(answer))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		dial := func(context.Context, string, int) (net.Conn, error) {
			near, far := net.Pipe()
			go answerOnce(far, answer)
			return near, nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		checkWords(t, reason(httpProbe(ctx, &manifests.HTTPProbe{Port: 80, Path: "/"}, dial)))
		checkWords(t, reason(grpcProbe(ctx, &manifests.GRPCProbe{Port: 80}, dial)))
		if ctx.Err() != nil {
			t.Error("it doesn't end though the container hung up")
		}
	})
}
