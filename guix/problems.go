package guix

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"example.org/collie/shepherd"
)

// problems says which services of item should run and don't, and which died since then and were started again.
func (s *services) problems(ctx context.Context, item string, since time.Time) ([]Problem, error) {
	files, all, kept, err := s.survey(ctx, item)
	if err != nil {
		return nil, err
	}
	var found []Problem
	for _, f := range files {
		live, known := find(all, f)
		e, _ := kept.of(live.Name)
		says := ""
		switch {
		case f.Name == s.self: // it asks, so it runs; and it ends by itself for a new definition
		case !known && f.Starts:
			says = "Shepherd doesn't know it: its definition couldn't be loaded"
		case !known:
		case live.OneShot:
			if f.Starts && failed(live) {
				says = "didn't succeed"
			}
		case f.Starts && live.Status != "running":
			says = live.Status
		case since.IsZero():
		default:
			if n := count(live.Respawns, since); n > 0 {
				says = fmt.Sprintf("died since %s and was started again, %d×", since.Format(time.TimeOnly), n)
				if len(live.Exits) > 0 {
					says += ", " + live.Exits[0].String()
				}
			}
		}
		if says == "" {
			continue
		}
		for _, more := range []string{reason(live, e), s.lastWords(live, e, all)} {
			if known && more != "" {
				says += ": " + more
			}
		}
		found = append(found, Problem{"service " + f.Name, says})
	}
	return found, nil
}

// respawned waits a moment for services that died and that Shepherd is about to start again.
func (s *services) respawned(ctx context.Context) error {
	const moment, look = 2 * time.Second, 100 * time.Millisecond
	for range moment / look {
		all, err := s.shepherd.Services(ctx)
		if errors.Is(err, shepherd.ErrUnreachable) {
			return nil // the problems tell
		}
		if err != nil {
			return err
		}
		due := func(live shepherd.Service) bool {
			return live.Status == "stopped" && live.Enabled && live.Respawn && !live.OneShot && live.Died()
		}
		if !slices.ContainsFunc(all, due) {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(look):
		}
	}
	return nil
}

// reason is why a service doesn't run: what Shepherd answered when it was to start, or else what its status tells.
func reason(live shepherd.Service, e startedService) string {
	switch {
	case live.Status == "running":
		return ""
	case e.Why != "":
		return oneLine(e.Why)
	}
	return live.Trouble()
}

// lastWords is the last that is known of what a service wrote.
func (s *services) lastWords(live shepherd.Service, e startedService, all []shepherd.Service) string {
	if len(live.Messages) > 0 {
		return oneLine(live.Messages[len(live.Messages)-1])
	}
	if s.whole && e.Log != "" { // root's own log: a user's could lead anywhere
		if line := lastLine(e.Log); line != "" {
			return oneLine(line) + " (" + e.Log + ")"
		}
	}
	// Without a log of its own it wrote to Shepherd's, after its process: sh[309] text.
	if i := slices.IndexFunc(all, func(s shepherd.Service) bool { return s.Name == "root" }); i >= 0 {
		return oneLine(ownLine(all[i].Messages, live.Name))
	}
	return ""
}

// oneLine makes text from elsewhere fit for a line on a terminal.
func oneLine(text string) string {
	return shorten(strings.Join(strings.Fields(clean(text)), " "))
}

var processEnd = regexp.MustCompile(`^Service (\S+) \(PID (\d+)\) `)

// ownLine is the last line that the last process of a service wrote into Shepherd's own log.
func ownLine(lines []string, name string) string {
	process := ""
	for _, line := range slices.Backward(lines) {
		if end := processEnd.FindStringSubmatch(line); end != nil && end[1] == name && process == "" {
			process = "[" + end[2] + "]"
		}
		program, text, _ := strings.Cut(line, " ")
		if process != "" && strings.HasSuffix(program, process) {
			return text
		}
	}
	return ""
}

// lastLine is the last line of a log.
func lastLine(file string) string {
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	tail := make([]byte, min(info.Size(), 4096))
	n, _ := f.ReadAt(tail, info.Size()-int64(len(tail)))
	text := strings.TrimSpace(strings.ToValidUTF8(string(tail[:n]), ""))
	return strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
}

func count(times []time.Time, since time.Time) int {
	n := 0
	for _, t := range times {
		if !t.Before(since.Truncate(time.Second)) { // Shepherd counts in seconds
			n++
		}
	}
	return n
}
