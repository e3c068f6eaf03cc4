package layers

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"example.org/collie/agent/rollout"
	"example.org/collie/agent/waits"
	"example.org/collie/guix"
	"example.org/collie/manifests/podman"
	"example.org/collie/shepherd"
)

// silentSocket is one at which somebody listens, and never answers.
func silentSocket(t *testing.T) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	server, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return socket
}

// Whatever a switch asks outside of the agent is shown as what it waits for.
func TestASwitchTellsWhomItWaitsFor(t *testing.T) {
	if testing.Short() {
		t.Skip("each waits for five seconds")
	}
	pods, err := rollout.Encode("pods", "pods-1", "a", podman.Rendered{})
	if err != nil {
		t.Fatal(err)
	}
	slow := filepath.Join(t.TempDir(), "guix")
	if err := errors.Join(os.WriteFile(slow, []byte("#!/bin/sh\nexec sleep 60\n"), 0o755), os.Chmod(slow, 0o755)); err != nil {
		t.Fatal(err) // an agent of another test may just have set the umask, to make its socket
	}
	runner := &guix.Runner{Command: slow, Logs: t.TempDir()}
	home, err := json.Marshal(guixItem{Item: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name  string
		layer rollout.Layer
		t     rollout.Target
		want  string
	}{
		{"Podman", podsLayer{Podman: podman.Connect(silentSocket(t))}, pods, `^Podman, to connect to /.*/s$`},
		{"Shepherd", askingLayer{do: func(ctx context.Context) error {
			_, err := shepherd.At(silentSocket(t)).Services(ctx)
			return err
		}}, pods, `^Shepherd, to status root$`},
		{"guix", askingLayer{do: func(ctx context.Context) error {
			_, err := (&guix.System{Runner: runner, Roots: guix.Roots(filepath.Join(filepath.Dir(slow), "roots"))}).Build(ctx, t.TempDir(), "root", guix.Watch{})
			return err
		}}, rollout.Target{Layer: "system", ID: "system-1", Data: home}, `^guix, for system-build \(see /.*\)$`},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var at waits.Board
			ctx, cancel := context.WithTimeout(at.On(t.Context()), waits.Long+2*time.Second)
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- row.layer.Switch(ctx, row.t) }()
			var whom string
			for whom == "" && len(ended) == 0 {
				time.Sleep(50 * time.Millisecond)
				whom, _ = at.Whom()
			}
			err := <-ended
			if !regexp.MustCompile(row.want).MatchString(whom) {
				t.Errorf("it waits for %q, want %s; it ended with: %v", whom, row.want, err)
			}
		})
	}
}

// An askingLayer asks somebody in a switch.
type askingLayer struct {
	rollout.Layer
	do func(ctx context.Context) error
}

func (l askingLayer) Switch(ctx context.Context, _ rollout.Target) error { return l.do(ctx) }
