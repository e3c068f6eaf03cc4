package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// silentAgent accepts connections, says so, and answers nothing.
func silentAgent(t *testing.T) (socket string, asked <-chan struct{}) {
	dir, err := os.MkdirTemp("", "") // the name of t.TempDir has the test's, and may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket = filepath.Join(dir, "collie.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	connected := make(chan struct{}, 100)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			connected <- struct{}{}
		}
	}()
	return socket, connected
}

// Whatever a person interrupts, or has no time for, says so in words of ours.
func TestInterruptedVerbs(t *testing.T) {
	for _, verb := range []string{"status", "sync", "sync --wait", "sync --accept " + strings.Repeat("a", 40), "suspend", "resume", "retry", "restart web",
		"plan", "plan try --wait", "history", "logs", "logs --follow", "key", "import web"} {
		t.Run(verb, func(t *testing.T) {
			socket, asked := silentAgent(t)
			t.Setenv("COLLIE_SOCKET", socket)
			ctx, interrupt := context.WithCancel(t.Context())
			go func() {
				<-asked
				interrupt()
			}()
			var out, errs bytes.Buffer
			code := run(ctx, strings.Fields(verb), &out, &errs)
			if code != exitFailed || strings.Contains(errs.String(), "context") || !strings.Contains(errs.String(), "interrupted") {
				t.Errorf("exit code %d: %q", code, errs.String())
			}
		})
	}
	for _, verb := range []string{"sync --timeout 50ms", "sync --wait --timeout 50ms", "plan try --wait --timeout 50ms"} {
		t.Run(verb, func(t *testing.T) {
			socket, _ := silentAgent(t)
			t.Setenv("COLLIE_SOCKET", socket)
			var out, errs bytes.Buffer
			code := run(t.Context(), strings.Fields(verb), &out, &errs)
			if code != exitFailed || strings.Contains(errs.String(), "context") || !strings.Contains(errs.String(), "within 50ms") {
				t.Errorf("exit code %d: %q", code, errs.String())
			}
		})
	}
}

// What needs no agent ends, too.
func TestInterruptedWithoutAnAgent(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	t.Setenv("COLLIE_SOCKET", filepath.Join(t.TempDir(), "none"))
	for _, verb := range []string{"status", "sync --wait", "doctor", "validate", "secret edit x", "logs"} {
		var out, errs bytes.Buffer
		start := time.Now()
		_ = run(ctx, strings.Fields(verb), &out, &errs)
		if all := out.String() + errs.String(); strings.Contains(all, "context canceled") || time.Since(start) > 10*time.Second {
			t.Errorf("%s, after %v: %q", verb, time.Since(start), all)
		}
	}
}
