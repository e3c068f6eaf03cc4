package podman

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"example.org/collie/manifests"
)

// BenchmarkFleet measures many pods over the real Podman of a guest, beside Podman's own commands doing the same. Each line
// that it prints for `make bench` has what, goal, figure and verdict. Only a missed count fails it.
func BenchmarkFleet(b *testing.B) {
	socket := os.Getenv("COLLIE_TEST_PODMAN")
	if socket == "" {
		b.Skip("COLLIE_TEST_PODMAN isn't set: over a fake there is nothing to measure")
	}
	ctx := b.Context()
	p := Connect(socket)
	p.steady = 0
	must := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	conn, err := p.connection(ctx)
	must(err)
	calls := &counted{next: conn.Client.Transport}
	conn.Client.Transport = calls
	must(p.Keep(ctx, nil))
	b.Cleanup(func() { _ = p.Keep(context.Background(), nil) })

	fleet := func(n int) Rendered {
		m := &manifests.Manifests{}
		for i := range n {
			m.Pods = append(m.Pods, newPod(fmt.Sprintf("p%03d", i)))
		}
		r, err := p.Prepare(ctx, m, "r", func(string) {})
		must(err)
		return r
	}
	for _, n := range []int{20, 100} {
		r := fleet(n)
		must(p.Switch(ctx, r))
		var wall, hand []time.Duration
		before, cpu := calls.n.Load(), used()
		const looks = 20
		for range looks {
			begun := time.Now()
			changes, err := p.Diff(ctx, r)
			must(err)
			if len(changes) > 0 {
				b.Fatalf("something is left to do: %v", changes)
			}
			wall = append(wall, time.Since(begun))
		}
		cpu = (used() - cpu) / looks
		asked := int(calls.n.Load()-before) / looks
		for range 5 {
			begun := time.Now()
			must(exec.Command("as-podman", "podman", "ps", "--all").Run())
			hand = append(hand, time.Since(begun))
		}
		what := fmt.Sprintf("nothing to do for %d pods", n)
		verdict := "met"
		if asked != 1 {
			verdict = "missed"
			b.Errorf("%s: %d calls", what, asked)
		}
		say(what+": calls of the API", "1", fmt.Sprint(asked), verdict)
		say(what+": time, CPU; `podman ps --all`", "-", fmt.Sprintf("%v, %v, %v", middle(wall), cpu.Round(10*time.Microsecond), middle(hand)), "-")
	}

	const n, rounds = 50, 3
	dir := b.TempDir()
	must(os.Chmod(dir, 0o755))
	must(os.Chmod(filepath.Dir(dir), 0o755))
	for i := range n {
		doc := newPod(fmt.Sprintf("h%03d", i)).Doc
		raw, err := json.Marshal(doc)
		must(err)
		must(os.WriteFile(filepath.Join(dir, fmt.Sprintf("%03d.yaml", i)), raw, 0o644))
	}
	times := map[string][]time.Duration{}
	for range rounds {
		must(p.Keep(ctx, nil))
		r := fleet(n)
		begun := time.Now()
		must(p.Switch(ctx, r))
		times["collie"] = append(times["collie"], time.Since(begun))
		must(p.Keep(ctx, nil))
		for _, at := range []string{"1", "2"} {
			begun := time.Now()
			must(exec.Command("sh", "-c", "ls "+dir+"/*.yaml | as-podman xargs -n 1 -P "+at+" podman kube play --start --quiet >/dev/null").Run())
			times[at] = append(times[at], time.Since(begun))
			must(exec.Command("as-podman", "podman", "pod", "rm", "--force", "--all", "--time", "0").Run())
		}
	}
	collie, serial, two := middle(times["collie"]), middle(times["1"]), middle(times["2"])
	ratio := func(what string, limit float64, of time.Duration) {
		verdict := "met"
		if collie.Seconds() > limit*of.Seconds() {
			verdict = "missed"
		}
		say("50 new pods, against `podman kube play` "+what, fmt.Sprintf("%.2fx", limit), fmt.Sprintf("%.2fx, %v against %v", collie.Seconds()/of.Seconds(), collie, of), verdict)
	}
	ratio("one after the other", 0.5, serial)
	ratio("two at a time", 1/0.9, two)
}

func say(what, goal, figure, verdict string) {
	fmt.Printf("fleet\t%s\t%s\t%s\t%s\n", what, goal, figure, verdict)
}

func middle(all []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2].Round(time.Millisecond / 10)
}

// used is the CPU time of this process.
func used() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // it can't fail
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// counted counts what goes over the connection.
type counted struct {
	next http.RoundTripper
	n    atomic.Int64
}

func (c *counted) RoundTrip(r *http.Request) (*http.Response, error) {
	c.n.Add(1)
	return c.next.RoundTrip(r)
}
