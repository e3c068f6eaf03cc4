package podman

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A pod that fails is removed, and its logs with it: what its containers wrote last is said with the reason.

// lastWords says how containers of a pod ended that which picks, and what they wrote last; nothing if there are none.
func (p *Podman) lastWords(ctx context.Context, l *livePod, which func(container) bool) string {
	if l == nil {
		return ""
	}
	const most = 3 // containers
	var says string
	for _, c := range l.containers {
		if !which(c) || strings.Count(says, "; container ") >= most {
			continue
		}
		if e := p.endOf(ctx, c).String(); e != "" {
			says += "; container " + c.name(l.name) + " " + e
		}
	}
	return says
}

// endedBadly picks containers that ended as they shouldn't: they don't run, or were started again since.
func endedBadly(c container) bool {
	return !c.cutOff() && (c.Restarts > 0 || !c.runs() && c.ExitCode != 0)
}

// started picks those that may have something to say.
func started(c container) bool { return c.StartedAt > 0 }

// An end is the last one of a container.
type end struct {
	said bool // the exit code is in what is said of it anyway
	runs bool // since then, or it never ended
	exit int
	oom  bool
	log  []string
}

func (e end) String() string {
	wrote := "wrote: " + strings.Join(e.log, " / ")
	if len(e.log) == 0 {
		wrote = ""
	}
	switch {
	case e.said && wrote == "", e.runs && wrote == "":
		return ""
	case e.said, e.runs:
		return wrote
	case wrote == "":
		return "ended with " + exitCode(e.exit, e.oom) + ", and wrote nothing"
	}
	return "ended with " + exitCode(e.exit, e.oom) + ", and " + wrote
}

// exitCode names an exit code, with what ended the process if that was a signal.
func exitCode(code int, oom bool) string {
	says := "exit code " + strconv.Itoa(code)
	switch name := unix.SignalName(syscall.Signal(code - 128)); {
	case oom && code == 128+int(unix.SIGKILL):
		return says + " (out of memory)"
	case code > 128 && name != "":
		return says + " (" + name + ")"
	}
	return says
}

// ends remembers what was found out about ends, because an ill pod is checked again and again.
type ends struct {
	mu sync.Mutex
	of map[string]knownEnd // by the container's id
}

type knownEnd struct {
	of string // which of its ends
	end
}

// endOf finds out how a container last ended. It leaves out what Podman doesn't report.
func (p *Podman) endOf(ctx context.Context, c container) end {
	which := fmt.Sprint(c.State, c.Restarts, c.StartedAt, c.ExitedAt)
	p.ends.mu.Lock()
	known, is := p.ends.of[c.ID]
	p.ends.mu.Unlock()
	quiet := !c.runs() || c.Restarts > 0 // else it may have more to say by now
	if is && known.of == which && quiet {
		return known.end
	}
	e := end{runs: c.runs() && c.Restarts == 0, said: !c.runs(), exit: c.ExitCode}
	if log, err := p.containerLog(ctx, c.ID, lastLines); err == nil {
		e.log = log
	}
	if state, err := p.inspectContainer(ctx, c.ID); err == nil {
		e.oom = state.OOMKilled
	}
	if e.oom { // the list doesn't say it
		e.said = false
	}
	held := p.crashLoops.holds(c.ID, time.Now()) != ""
	if held || c.runs() && c.Restarts > 0 { // the list has how its new life is, or that it was held
		code, err := p.lastExit(ctx, c, held)
		e.exit, e.said, e.runs = code, false, err != nil
	}
	p.ends.mu.Lock()
	defer p.ends.mu.Unlock()
	if p.ends.of == nil || len(p.ends.of) > 1000 {
		p.ends.of = map[string]knownEnd{}
	}
	p.ends.of[c.ID] = knownEnd{which, e}
	return e
}

// lastExit is the exit code of the last end of a container that was by itself. If it is held, that was its last but one,
// unless it was between two lives.
func (p *Podman) lastExit(ctx context.Context, c container, held bool) (int, error) {
	filters, err := json.Marshal(map[string][]string{"container": {c.ID}, "event": {"died"}})
	if err != nil {
		return 0, err
	}
	var events bytes.Buffer
	_, err = p.ask(ctx, request{method: http.MethodGet, endpoint: "/events", query: url.Values{
		"stream": {"false"}, "filters": {string(filters)}, "since": {strconv.FormatInt(max(0, c.ExitedAt-60), 10)}}}, &events)
	if err != nil {
		return 0, fmt.Errorf("asking how container %.12s ended: %w", c.ID, err)
	}
	codes, err := readDeaths(&events)
	if n := len(codes); held && n > 1 && codes[n-1] == 128+int(unix.SIGKILL) {
		codes = codes[:n-1]
	}
	if err != nil || len(codes) == 0 {
		return 0, errors.Join(err, errors.New("Podman doesn't know how it ended"))
	}
	return codes[len(codes)-1], nil
}

// readDeaths reads the exit codes in Podman's events, the oldest first.
func readDeaths(events io.Reader) (codes []int, err error) {
	for decoder := json.NewDecoder(events); ; {
		var event struct {
			Action string
			Actor  struct{ Attributes map[string]string }
		}
		err := decoder.Decode(&event)
		if errors.Is(err, io.EOF) {
			return codes, nil
		}
		if err != nil {
			return codes, fmt.Errorf("reading Podman's events: %w", err)
		}
		if n, err := strconv.Atoi(event.Actor.Attributes["containerExitCode"]); err == nil && event.Action == "died" {
			codes = append(codes, n)
		}
	}
}

// initFailed says of a pod that didn't start which of its init containers failed, and what that wrote, if that is why.
func (p *Podman) initFailed(ctx context.Context, id string, err error) error {
	if !strings.Contains(err.Error(), "init container ") {
		return err
	}
	live, unseen := p.observe(ctx)
	if unseen != nil || live[id] == nil {
		return err
	}
	l := live[id]
	i := slices.IndexFunc(l.containers, func(c container) bool { return c.ID != "" && strings.Contains(err.Error(), c.ID) })
	if i < 0 {
		return err
	}
	c := l.containers[i]
	e := p.endOf(ctx, c)
	e.said = false
	return fmt.Errorf("init container %s %s", c.name(l.name), e)
}
