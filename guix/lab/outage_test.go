package lab

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	nearby    = "/var/lib/near" // what the pod near writes to
	nearLog   = nearby + "/log"
	guestLog  = "/var/log/probe"
	isStarted = "near" // its pod, as it is told by each line of its log that says so
)

// How long after a mischief what it takes away may be away.
const (
	bootTakes = 3 * time.Minute
	healTakes = time.Minute
)

// A happening is a mischief at a time.
type happening struct {
	mischief
	began time.Time
}

// An outage is a time for which something gave no answer. It isn't over yet if to is zero.
type outage struct {
	name     string
	from, to time.Time
	why      string
}

func (o outage) String() string {
	if o.to.IsZero() {
		return fmt.Sprintf("%s is away since %s: %s", o.name, o.from.Format(time.TimeOnly), o.why)
	}
	return fmt.Sprintf("%s was away for %v from %s on: %s", o.name, o.to.Sub(o.from), o.from.Format(time.TimeOnly), o.why)
}

// outages reads the lines of a prober. That the one in a pod began again means that its pod was away.
func outages(log string) (all []outage) {
	open := map[string]int{} // place in all
	begun := map[string]bool{}
	for line := range strings.Lines(log) {
		fields := strings.SplitN(strings.TrimSpace(line), " ", 2)
		ms, err := strconv.ParseInt(fields[0], 10, 64)
		if err != nil || len(fields) < 2 {
			continue // a power cut may leave half a line
		}
		at := time.UnixMilli(ms)
		name, why, away := strings.Cut(fields[1], " away: ")
		_, is := open[name]
		switch {
		case away && !is:
			open[name] = len(all)
			all = append(all, outage{name: name, from: at, why: why})
		case away:
		case strings.HasSuffix(name, " well"):
			name = strings.TrimSuffix(name, " well")
			if i, is := open[name]; is {
				all[i].to = at
				delete(open, name)
			}
		case name == "steady by name begin":
			if begun[name] {
				all = append(all, outage{isStarted, at, at, "it was started again"})
			}
			begun[name] = true
		}
	}
	return all
}

// explained reports whether what happened may have caused an outage.
func (o outage) explained(happened []happening) bool {
	return slices.ContainsFunc(happened, func(h happening) bool {
		takes := healTakes
		if h.name == "power cut" {
			takes = bootTakes
		}
		return slices.Contains(h.explains, o.name) && !o.from.Before(h.began.Add(-time.Second)) && o.to.Before(h.began.Add(takes))
	})
}

func TestOutages(t *testing.T) {
	const log = `1000 steady by name begin
1200 steady by name well
5000 door begin
5000 door well
9000 door away: Get "http://127.0.0.1:8091": connection refused
9000 steady by name away: lookup steady: i/o timeout
12000 door well
20000 steady by name begin
20100 steady by name away: once more
21000 steady by name well
30000 door away: for ever
310`
	var says []string
	for _, o := range outages(log) {
		says = append(says, fmt.Sprint(o.name, " ", o.from.UnixMilli(), " ", max(o.to.UnixMilli(), 0), " ", o.why))
	}
	want := []string{
		`door 9000 12000 Get "http://127.0.0.1:8091": connection refused`,
		`steady by name 9000 21000 lookup steady: i/o timeout`,
		`near 20000 20000 it was started again`,
		`door 30000 0 for ever`,
	}
	if !slices.Equal(says, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(says, "\n"), strings.Join(want, "\n"))
	}
}

func TestExplainedOutages(t *testing.T) {
	began := time.Unix(1000, 0)
	at := func(name string) []happening {
		i := slices.IndexFunc(mischiefs, func(m mischief) bool { return m.name == name })
		return []happening{{mischiefs[i], began}}
	}
	for _, c := range []struct {
		happened []happening
		name     string
		from, to time.Duration
		want     bool
	}{
		{at("power cut"), "steady by port", time.Second, 20 * time.Second, true},
		{at("power cut"), "steady by port", time.Second, 10 * time.Minute, false},
		{at("agent killed"), "steady by port", time.Second, 2 * time.Second, false},
		{at("agent killed"), "agent", 0, time.Second, true},
		{at("Podman killed"), "agent", time.Second, time.Second, false},
		{at("the user's Shepherd killed"), "home's service", time.Second, 5 * time.Second, true},
		{at("the user's Shepherd killed"), "system's service", time.Second, 5 * time.Second, false},
		{at("aardvark-dns killed"), "steady by name", -5 * time.Second, 5 * time.Second, false},
		{nil, "steady by name", 0, time.Second, false},
	} {
		o := outage{name: c.name, from: began.Add(c.from), to: began.Add(c.to)}
		if got := o.explained(c.happened); got != c.want {
			t.Errorf("after %v: %v: explained %v", c.happened, o, got)
		}
	}
}

// probe asks all the time, from now on, what no commit changes.
func (o *ordeal) probe() {
	o.in("", "sh", "-c", `setsid probe `+guestLog+` "steady by port=http://127.0.0.1:8085" "near by port=http://127.0.0.1:8086" \
"system's service=http://127.0.0.1:8090/key.pub" "home's service=http://127.0.0.1:8091/key.pub" \
"agent=process:collie,run" >/dev/null 2>&1 </dev/null &`)
}

// away is what gives no answer now.
func (o *ordeal) away() (says []string) {
	for _, out := range o.outages() {
		if out.to.IsZero() {
			says = append(says, out.String())
		}
	}
	return says
}

// outages are those since the first verdict.
func (o *ordeal) outages() (all []outage) {
	for _, file := range []string{guestLog, nearLog} {
		for _, out := range outages(o.in("", "cat", file)) {
			if out.to.IsZero() || out.to.After(o.checked) {
				all = append(all, out)
			}
		}
	}
	return all
}
