// ask URL FILE [EVERY]: ask a web server every 5 ms, or as often as EVERY says, or as fast as it answers, each time on a connection of its own,
// until SIGTERM; then write to FILE how often, how many of these requests failed, for how long at most in a row, and what the first failure said.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

const (
	longer = 5 * time.Second // than any request may take
	most   = 16              // at a time: a machine that can't answer so fast isn't asked so fast
)

// A tally is what became of all requests.
type tally struct {
	mu            sync.Mutex
	asked, failed int
	broken        time.Time // since when none was answered
	gap           time.Duration
	first         error
}

func (t *tally) note(begun time.Time, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked++
	if err == nil {
		if !t.broken.IsZero() && begun.After(t.broken) {
			t.gap, t.broken = max(t.gap, begun.Sub(t.broken)), time.Time{}
		}
		return
	}
	t.failed++
	if t.first == nil {
		t.first = err
	}
	if t.broken.IsZero() {
		t.broken = begun
	}
}

func ask(client *http.Client, url string) error {
	answer, err := client.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", answer.Status)
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}

func main() {
	url, file, every := os.Args[1], os.Args[2], 5*time.Millisecond
	if len(os.Args) > 3 {
		var err error
		if every, err = time.ParseDuration(os.Args[3]); err != nil || every <= 0 {
			fmt.Fprintf(os.Stderr, "%s is no duration: %v\n", os.Args[3], err)
			os.Exit(2)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	client := &http.Client{Timeout: longer, Transport: &http.Transport{DisableKeepAlives: true}}
	var (
		t       tally
		pending sync.WaitGroup
		seats   = make(chan struct{}, most)
	)
	for tick := time.NewTicker(every); ctx.Err() == nil; <-tick.C {
		seats <- struct{}{}
		pending.Go(func() {
			defer func() { <-seats }()
			begun := time.Now()
			t.note(begun, ask(client, url))
		})
	}
	pending.Wait()
	says := fmt.Sprintf("asked %d, failed %d, gap %v, first %v\n", t.asked, t.failed, t.gap.Round(time.Millisecond), t.first)
	if err := os.WriteFile(file+".new", []byte(says), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := os.Rename(file+".new", file); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
