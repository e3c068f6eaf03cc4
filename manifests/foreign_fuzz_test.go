package manifests

import (
	"bufio"
	"context"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
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
		checkWords(t, reason(httpProbe(ctx, &HTTPProbe{Port: 80, Path: "/"}, dial)))
		checkWords(t, reason(grpcProbe(ctx, &GRPCProbe{Port: 80}, dial)))
		if ctx.Err() != nil {
			t.Error("it doesn't end though the container hung up")
		}
	})
}

// FuzzForwarderReport: the forwarder is the pod user's, and may report anything.
func FuzzForwarderReport(f *testing.F) {
	for _, line := range []string{
		`{"doors":[{"listen":":80","held":1,"taken":3}],"links":{"127.1.2.3:61000":2}}`, `{"error":"no \u001b[2J"}`, `{"doors":[{"listen":"\u202e","error":"in use"}]}`, "null", `{"links":{"":-9223372036854775808,"a":9223372036854775807}}`, "[]", "{",
	} {
		f.Add([]byte(line + "\n"))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, said []byte) {
		var r report
		if err := readLine(bufio.NewReader(strings.NewReader(string(said))), &r); err != nil {
			return // nothing is made of that
		}
		socket := filepath.Join(dir, "s")
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			if conn, err := l.Accept(); err == nil {
				answerOnce(conn, said)
			}
		}()
		says, err := AskForwarder(t.Context(), socket)
		checkWords(t, err)
		if len(says) > 100 {
			t.Errorf("it is said to do %q", says)
		}
		if err == nil && r.Error != "" {
			t.Error("a refusal is no error")
		}
	})
}
