// probe [-serve ADDRESS] FILE NAME=URL...: ask each web server five times a second, each time on a connection of its own, and
// append a line to FILE when it begins, when a server stops answering, and when it answers again. For process:WORD,… it looks for
// the process whose command begins so instead: one that is replaced by another was away.
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
	"path/filepath"
	"slices"
	"strconv"
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
		who := func() (string, error) { return "", ask(client, url) }
		if words, is := strings.CutPrefix(url, "process:"); is {
			who = func() (string, error) { return process(strings.Split(words, ",")) }
		}
		all.Go(func() { watch(who, func(at time.Time, what string) { say(at, name, what) }) })
	}
	if *serve != "" {
		log.Fatal(http.ListenAndServe(*serve, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "well") })))
	}
	all.Wait()
}

// watch asks who answers, for ever, and says what changed.
func watch(ask func() (who string, err error), say func(time.Time, string)) {
	well, known := false, false
	last := ""
	var since time.Time // when a question got no answer first
	for range time.Tick(every) {
		begun := time.Now()
		who, err := ask()
		if silent := (net.Error)(nil); errors.As(err, &silent) && silent.Timeout() {
			if since.IsZero() {
				since = begun
				continue
			}
			begun = since
		} else {
			since = time.Time{}
		}
		if known && well && err == nil && who != last {
			say(begun, "away: it was "+last+", and is "+who)
			well = false
		}
		if err == nil {
			last = who
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

// process is the oldest process whose command begins with words, the first without its folder.
func process(words []string) (string, error) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	oldest := 0
	for _, file := range files {
		text, gone := os.ReadFile(file)
		args := strings.Split(string(text), "\x00")
		args[0] = filepath.Base(args[0])
		pid, _ := strconv.Atoi(strings.Split(file, "/")[2])
		if gone == nil && len(args) > len(words) && slices.Equal(args[:len(words)], words) && (oldest == 0 || pid < oldest) {
			oldest = pid
		}
	}
	if err == nil && oldest == 0 {
		err = fmt.Errorf("no process is %q", strings.Join(words, " "))
	}
	return fmt.Sprint("process ", oldest), err
}
