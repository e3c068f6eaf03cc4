package podman

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.org/collie/manifests"
	"example.org/collie/manifests/forward"
)

// forwarded has the forwarder listen on a port for the pod.
func forwarded(port int) change {
	return func(p *manifests.Pod, spec, container map[string]any) {
		hostPort(port)(p, spec, container)
		p.Options.Handover = "forward"
	}
}

// newForwardedWorld has the forwarder beside the fake Podman, if asked to.
func newForwardedWorld(t *testing.T) *world {
	w := newWorld(t)
	if w.fake == nil {
		t.Skip("who answers behind the ports is of this test: forward.txt is for the real Podman")
	}
	l, err := net.Listen("unix", filepath.Join(filepath.Dir(w.fake.socket), "forward.sock"))
	w.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- forward.NewServer(slog.New(slog.DiscardHandler)).Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		w.must(<-ended)
	})
	return w
}

// serve answers where the fake says that a pod's ports are published: with the pod's id, and for as long as whoever asks likes.
func (w *world) serve(pod *RenderedPod) {
	for _, d := range pod.Forwarding.Listeners {
		l, err := net.Listen("tcp4", d.Backend.Address)
		w.must(err)
		w.t.Cleanup(func() { l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer conn.Close()
					if _, err := bufio.NewReader(conn).ReadString('\n'); err == nil {
						fmt.Fprintln(conn, pod.id())
					}
				}()
			}
		}()
	}
}

// answered wants who asks at a port to come to a pod.
func (w *world) answered(what, address string, pod *RenderedPod) {
	w.t.Helper()
	conn, err := net.DialTimeout("tcp", address, 10*time.Second)
	w.must(err)
	defer conn.Close()
	w.must(conn.SetDeadline(time.Now().Add(10 * time.Second)))
	_, err = fmt.Fprintln(conn, "who?")
	w.must(err)
	got, err := io.ReadAll(conn)
	w.must(err)
	if strings.TrimSpace(string(got)) != pod.id() {
		w.t.Errorf("%s: %q answers, want %s", what, got, pod.id())
	}
}

// To look what another revision would change, which is done before each switch, leaves what is forwarded as it is.
func TestAskingWhatWouldChangeMovesNoConnection(t *testing.T) {
	w := newForwardedWorld(t)
	one := w.prepare("r1", newPod("web", forwarded(28080)))
	w.serve(of(one, "web"))
	w.switchTo(one)
	w.answered("the pod", "127.0.0.1:28080", of(one, "web"))
	w.diff(w.prepare("r2", newPod("web", hostPort(28080))))
	w.answered("after a look at a revision that doesn't forward", "127.0.0.1:28080", of(one, "web"))
	w.diff(w.prepare("r3"))
	w.answered("after a look at one without pods", "127.0.0.1:28080", of(one, "web"))
}

func TestAForwarderThatIsAwayBlamesNoCommit(t *testing.T) {
	w := newWorld(t)
	if w.fake == nil {
		t.Skip("the real one would be started")
	}
	silent := new(forward.Error)
	if err := w.Switch(t.Context(), w.prepare("r1", newPod("web", forwarded(28081)))); !errors.As(err, &silent) {
		t.Errorf("%v, want to hear of the forwarder", err)
	}
}

// A connection to a pod that is replaced goes on for the pod's grace, and isn't waited for any longer.
func TestAConnectionIsWaitedForAsLongAsTheGrace(t *testing.T) {
	w := newForwardedWorld(t)
	one := w.prepare("r1", newPod("web", forwarded(28082))) // with a grace of 1 s
	w.serve(of(one, "web"))
	w.switchTo(one)
	conn, err := net.Dial("tcp", "127.0.0.1:28082")
	w.must(err)
	defer conn.Close()
	old := of(one, "web").Forwarding
	for ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second); ; {
		defer cancel()
		r, err := w.ports.Ask(ctx)
		w.must(err)
		if old.linked(r) {
			break
		}
	}
	two := w.prepare("r2", newPod("web", forwarded(28082), image(imageTwo, "IfNotPresent")))
	w.serve(of(two, "web"))
	w.switchTo(two)
	r, err := w.ports.Ask(t.Context())
	w.must(err)
	if !old.linked(r) {
		t.Error("the connection ended by itself: nothing was waited for")
	}
	w.answered("who comes now", "127.0.0.1:28082", of(two, "web"))
	if state := w.fake.pods[of(one, "web").id()].containers[1].State; state == "running" {
		t.Error("the old pod runs on")
	}
}
