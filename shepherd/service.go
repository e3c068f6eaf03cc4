package shepherd

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A Service is what a Shepherd says of one.
type Service struct {
	Name     string   // the first of Provides
	Provides []string // all its names
	Requires []string

	Status    string // "running", "stopped", "starting", "stopping"; "unknown" if Shepherd's word can't be read
	Enabled   bool   // false: start refuses. Shepherd disables what dies too often
	OneShot   bool   // is "stopped" once it ran
	Transient bool   // vanishes when it stops
	Respawn   bool

	PID   int       // of its process; 0 if it has none, as one-shots, targets and sockets
	Since time.Time // of the last change of Status; zero if it was never started
	// Pending is true if a newer definition waits for this one to stop: it was registered after the service started.
	Pending bool

	Changes         []StatusChange // newest first, up to 30
	Respawns        []time.Time    // newest first
	StartupFailures []time.Time    // newest first; a stop by herd forgets them
	Exits           []Exit         // newest first, up to 10
	Messages        []string       // what it wrote last, oldest first, with all that it may do to a terminal; Shepherd forgets them when it stops
	LogFiles        []string       // known only while it runs
}

// A StatusChange tells when a service became "running", "stopped", …
type StatusChange struct {
	Status string
	At     time.Time
}

// An Exit tells how a process of a service ended.
type Exit struct {
	Status syscall.WaitStatus
	At     time.Time
}

func (e Exit) String() string {
	if e.Status.Signaled() {
		return fmt.Sprintf("killed by signal %d", e.Status.Signal())
	}
	return fmt.Sprintf("exited with %d", e.Status.ExitStatus())
}

// Trouble says why a service doesn't run, as far as Shepherd knows; it is empty if nothing is known to be wrong.
func (s Service) Trouble() string {
	var why []string
	if !s.Enabled {
		why = append(why, "disabled")
	}
	if len(s.StartupFailures) > 0 {
		why = append(why, "did not start")
	}
	if n := len(s.Respawns); n > 0 && !s.Enabled {
		why = append(why, fmt.Sprintf("died %d times", n+1))
	}
	if len(s.Exits) > 0 && (s.Died() || s.diedInStart()) {
		why = append(why, s.Exits[0].String())
	}
	return strings.Join(why, ", ")
}

// diedInStart reports whether the last start failed, and its process ended by then.
func (s Service) diedInStart() bool {
	i := slices.IndexFunc(s.Changes, func(c StatusChange) bool { return c.Status == "starting" })
	return s.Status == "stopped" && len(s.StartupFailures) > 0 && i >= 0 && !s.Exits[0].At.Before(s.Changes[i].At)
}

// Died reports whether a service doesn't run because it ended by itself. If it isn't disabled, it is about to be respawned.
func (s Service) Died() bool {
	return s.Status == "stopped" && len(s.Changes) > 1 && s.Changes[1].Status == "running"
}

const (
	maxServices = 2000 // a desktop has about 100
	maxNames    = 500  // of those that one service provides or requires; of messages
)

// services takes what a status reply holds: a service, or a list of them. One that can't be read hides none of the others,
// and is left out.
func services(datum any) ([]Service, error) {
	items, ok := datum.([]any)
	if !ok || len(items) == 0 {
		return nil, fmt.Errorf("not a service: %.80s", write(datum))
	}
	if items[0] == symbol("service") {
		items = []any{datum}
	}
	if len(items) > maxServices {
		return nil, fmt.Errorf("%d services are more than %d", len(items), maxServices)
	}
	all, fault := make([]Service, 0, len(items)), error(nil)
	for _, item := range items {
		s, err := service(item)
		if err != nil {
			fault = err
			continue
		}
		all = append(all, s)
	}
	if len(all) == 0 {
		return nil, fault
	}
	return all, nil
}

// service reads field by field: one that Shepherd writes otherwise is as if it weren't there.
func service(datum any) (Service, error) {
	items, ok := datum.([]any)
	if !ok || len(items) == 0 || items[0] != symbol("service") {
		return Service{}, fmt.Errorf("not a service: %.80s", write(datum))
	}
	f := fieldsOf(items[1:])
	s := Service{
		Provides:        names(f["provides"]),
		Requires:        names(f["requires"]),
		Status:          status(f["status"]),
		Enabled:         f["enabled?"] != false,
		OneShot:         f["one-shot?"] == true,
		Transient:       f["transient?"] == true,
		Respawn:         f["respawn?"] == true,
		Pending:         f["pending-replacement?"] == true,
		PID:             pid(f["running"]),
		Respawns:        times(f["last-respawns"]),
		StartupFailures: times(f["startup-failures"]),
		LogFiles:        names(f["log-files"]),
	}
	if len(s.Provides) == 0 || s.Provides[0] == "" {
		return Service{}, fmt.Errorf("a service without a name: %.80s", write(datum))
	}
	s.Name = s.Provides[0]
	for _, p := range pairs(f["status-changes"]) {
		s.Changes = append(s.Changes, StatusChange{name(p.items[0]), at(p.tail)})
	}
	if len(s.Changes) > 0 {
		s.Since = s.Changes[0].At
	}
	for _, p := range pairs(f["exit-statuses"]) {
		if status, ok := p.items[0].(int64); ok {
			s.Exits = append(s.Exits, Exit{syscall.WaitStatus(status), at(p.tail)})
		}
	}
	for _, p := range pairs(f["recent-messages"]) {
		if text, ok := p.tail.(string); ok {
			s.Messages = append(s.Messages, text)
		}
	}
	slices.Reverse(s.Messages)
	return s, nil
}

// fieldsOf takes ((name value) …); what looks different is passed over.
func fieldsOf(items []any) map[string]any {
	fields := make(map[string]any, len(items))
	for _, item := range items {
		if field, ok := item.([]any); ok && len(field) >= 2 {
			fields[name(field[0])] = field[1]
		}
	}
	return fields
}

func name(datum any) string {
	switch d := datum.(type) {
	case symbol:
		return string(d)
	case string:
		return d
	}
	return ""
}

func status(datum any) string {
	if word := name(datum); slices.Contains([]string{"running", "stopped", "starting", "stopping"}, word) {
		return word
	}
	return "unknown"
}

// names are the first of those in a list.
func names(datum any) []string {
	items, _ := datum.([]any)
	var all []string
	for _, item := range items[:min(len(items), maxNames)] {
		all = append(all, name(item))
	}
	return all
}

func pairs(datum any) []dotted {
	items, _ := datum.([]any)
	var all []dotted
	for _, item := range items {
		if p, ok := item.(dotted); ok && len(p.items) == 1 {
			all = append(all, p)
		}
	}
	return all
}

func times(datum any) []time.Time {
	items, _ := datum.([]any)
	var all []time.Time
	for _, item := range items {
		all = append(all, at(item))
	}
	return all
}

func at(datum any) time.Time {
	if seconds, ok := datum.(int64); ok {
		return time.Unix(seconds, 0)
	}
	return time.Time{}
}

// pid takes the value that a running service has: (process (version 0) (id 42) …) since Shepherd 1.0, a number before,
// anything else for a service without a process.
func pid(datum any) int {
	switch d := datum.(type) {
	case int64:
		return int(d)
	case []any:
		if len(d) == 0 || d[0] != symbol("process") {
			return 0
		}
		id, _ := fieldsOf(d[1:])["id"].(int64)
		return int(id)
	}
	return 0
}
