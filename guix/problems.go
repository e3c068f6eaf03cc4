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
	add := func(subject, says string, live shepherd.Service) {
		e, _ := kept.of(live.Name)
		lines, log := s.lastLines(ctx, live, e, all)
		if why := reason(live, e); why != "" {
			says += ": " + why
		}
		if line := last(lines); line != "" { // it may have nothing to do with that
			says += "; last line: " + line
		}
		if log != "" {
			says += " (" + log + ")"
		}
		found = append(found, Problem{"service " + subject, says, lines})
	}
	for _, f := range files {
		if f.Name == s.self {
			continue // it asks, so it runs; and it ends by itself for a new definition
		}
		live, known := find(all, f)
		switch {
		case !known && f.Starts:
			found = append(found, Problem{Subject: "service " + f.Name, Says: "Shepherd doesn't know it: its definition couldn't be loaded"})
		case !known:
		case live.OneShot && live.Status == "stopped":
			if f.Starts && failed(live) {
				add(f.Name, "didn't succeed", live)
			}
		case f.Starts && live.Status != "running" && !live.OneShot, s.hangs(live):
			add(f.Name, s.how(live), live)
		case !live.Enabled && live.Died(): // nobody asked for it, but somebody had started it
			add(f.Name, live.Status, live)
		case since.IsZero():
		default:
			if n := count(s.deaths(live), since); n > 0 {
				says := fmt.Sprintf("died since %s and was started again, %d×", since.Format(time.TimeOnly), n)
				if len(live.Exits) > 0 {
					says += ", " + live.Exits[0].String()
				}
				add(f.Name, says, live)
			}
		}
	}
	for _, st := range s.leaving(files, all, kept) {
		if live := all[slices.IndexFunc(all, func(live shepherd.Service) bool { return live.Name == st.name })]; s.hangs(live) {
			add(live.Name, "it left the configuration, and is "+s.how(live), live)
		}
	}
	return found, nil
}

// deaths are the times at which a service was started again, as it had died.
func (s *services) deaths(live shepherd.Service) []time.Time {
	if !slices.Contains(s.idle, live.Name) {
		return live.Respawns
	}
	var at []time.Time
	for _, e := range live.Exits {
		if e.Status != 0 {
			at = append(at, e.At)
		}
	}
	return at
}

// how a service is that doesn't run.
func (s *services) how(live shepherd.Service) string {
	if !s.hangs(live) {
		return live.Status
	}
	says := fmt.Sprintf("%s since %s", live.Status, live.Since.Local().Format(time.TimeOnly))
	if live.PID > 0 {
		says += fmt.Sprintf(", as process %d doesn't end", live.PID)
	}
	return says
}

// respawned waits a moment for services that died and that Shepherd is about to start again.
func (s *services) respawned(ctx context.Context) error {
	_, err := s.settled(ctx, func(live shepherd.Service) bool {
		return live.Status != "stopped" || !live.Enabled || !live.Respawn || live.OneShot || !live.Died()
	})
	if errors.Is(err, shepherd.ErrUnreachable) {
		return nil // the problems tell
	}
	return err
}

// listening lists all services. Of those that end when nobody asks one may have ended just now: a moment later Shepherd
// listens for it again. (If a newer definition waited for its end, nothing tells that it ever ran.)
func (s *services) listening(ctx context.Context) ([]shepherd.Service, error) {
	return s.settled(ctx, func(live shepherd.Service) bool {
		return live.Status == "running" || !live.Enabled || !slices.Contains(s.idle, live.Name)
	})
}

// settled lists all services once each of them is settled, or a moment is over.
func (s *services) settled(ctx context.Context, settled func(shepherd.Service) bool) ([]shepherd.Service, error) {
	const moment, look = 2 * time.Second, 100 * time.Millisecond
	for waited := time.Duration(0); ; waited += look {
		all, err := s.shepherd.Services(ctx)
		if err != nil {
			return nil, err
		}
		if waited == moment || !slices.ContainsFunc(all, func(live shepherd.Service) bool { return !settled(live) }) {
			return all, nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(look):
		}
	}
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

const mostLines = 10 // of what a service wrote

// lastLines is the last that is known of what a service wrote, the newest at the end, and the log it is in, if it has one.
func (s *services) lastLines(ctx context.Context, live shepherd.Service, e startedService, all []shepherd.Service) (lines []string, log string) {
	written := live.Messages
	if len(written) == 0 && e.Log != "" && s.tail != nil {
		if written = s.tail(ctx, e.Log); len(written) > 0 {
			log = e.Log
		}
	}
	// Without a log of its own it wrote to Shepherd's, after its process: sh[309] text.
	if i := slices.IndexFunc(all, func(s shepherd.Service) bool { return s.Name == "root" }); len(written) == 0 && i >= 0 {
		written = ownLines(all[i].Messages, live.Name)
	}
	for _, line := range written[max(0, len(written)-mostLines):] {
		if line = oneLine(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines, log
}

func last(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return lines[len(lines)-1]
}

// oneLine makes text from elsewhere fit for a line on a terminal.
func oneLine(text string) string {
	return shorten(strings.Join(strings.Fields(clean(text)), " "))
}

var processEnd = regexp.MustCompile(`^Service (\S+) \(PID (\d+)\) `)

// ownLines are those that the last process of a service wrote into Shepherd's own log.
func ownLines(lines []string, name string) []string {
	process, own := "", []string{}
	for _, line := range slices.Backward(lines) {
		if end := processEnd.FindStringSubmatch(line); end != nil && end[1] == name && process == "" {
			process = "[" + end[2] + "]"
		}
		program, text, _ := strings.Cut(line, " ")
		if process != "" && strings.HasSuffix(program, process) {
			own = append(own, text)
		}
	}
	slices.Reverse(own)
	return own
}

// tail is the end of a log.
func tail(file string) []string {
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil
	}
	const enough = 4096
	end := make([]byte, min(info.Size(), enough))
	n, _ := f.ReadAt(end, info.Size()-int64(len(end)))
	text := strings.ToValidUTF8(string(end[:n]), "")
	if info.Size() > enough {
		_, text, _ = strings.Cut(text, "\n") // which begins in mid-line
	}
	if text = strings.TrimSpace(text); text == "" {
		return nil
	}
	lines := strings.Split(text, "\n")
	return lines[max(0, len(lines)-mostLines):]
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
