// probe [-serve ADDRESS] FILE NAME=URL...: ask each web server five times a second, each time on a connection of its own, and
// append a line to FILE when it begins, when a server stops answering, and when it answers again:
//
//	UNIXMILLI NAME begin|well|away: REASON
//
// The time is that of the first question with that answer. A question that is never answered counts once the next one isn't
// either: a datagram may get lost on its way to the server of names. With -serve it answers, too.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	every  = 200 * time.Millisecond
	longer = 5 * time.Second // than any question may take
)

func main() {
	serve := flag.String("serve", "", "address to answer on")
	flag.Parse()
	file, err := os.OpenFile(flag.Arg(0), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		log.Fatal(err)
	}
	say := func(at time.Time, name, what string) {
		if _, err := fmt.Fprintf(file, "%d %s %s\n", at.UnixMilli(), name, what); err != nil {
			log.Fatal(err)
		}
	}
	client := &http.Client{Timeout: longer, Transport: &http.Transport{DisableKeepAlives: true}}
	var all sync.WaitGroup
	for _, target := range flag.Args()[1:] {
		name, url, _ := strings.Cut(target, "=")
		say(time.Now(), name, "begin")
		all.Go(func() { watch(client, url, func(at time.Time, what string) { say(at, name, what) }) })
	}
	if *serve != "" {
		log.Fatal(http.ListenAndServe(*serve, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "well") })))
	}
	all.Wait()
}

// watch asks for ever, and says what changed.
func watch(client *http.Client, url string, say func(time.Time, string)) {
	well, known := false, false
	var since time.Time // when a question got no answer first
	for range time.Tick(every) {
		begun := time.Now()
		err := ask(client, url)
		if silent := (net.Error)(nil); errors.As(err, &silent) && silent.Timeout() {
			if since.IsZero() {
				since = begun
				continue
			}
			begun = since
		} else {
			since = time.Time{}
		}
		if known && well == (err == nil) {
			continue
		}
		known, well = true, err == nil
		if well {
			say(begun, "well")
		} else {
			say(begun, "away: "+strings.Join(strings.Fields(err.Error()), " "))
		}
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
