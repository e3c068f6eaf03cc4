package manifests

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata"

	"github.com/robfig/cron/v3"
	"gopkg.in/yaml.v3"

	"example.org/collie/manifests/internal/tree"
)

// A Cron is the schedule of a CronJob. Collie keeps it: each run is a Job, with a pod NAME-MINUTE-HASH, where MINUTE is that
// of the run since 1970.
//
//	what happens                               what becomes of the runs
//	the agent or the machine was off           the latest that was missed is made up for, within startingDeadlineSeconds
//	the CronJob is changed                     one underway goes on as it is; missed ones of another schedule don't count
//	it leaves, or its revision is returned     one underway is stopped, with its grace
//	a run is due while another goes on         concurrencyPolicy; with Forbid it begins when that has ended
//	the clock is put back                      none twice; after more than an hour the schedule starts again
//	a run ended                                its pod is kept, within the limits of the history
//
// As in a cluster, a time that summer time leaves out has no run on that day, and one that winter time has twice has two.
type Cron struct {
	Schedule    string `json:"schedule"`
	TimeZone    string `json:"timeZone,omitempty"` // none: the machine's
	Concurrency string `json:"concurrency"`        // Allow, Forbid or Replace
	Starting    *int   `json:"starting,omitempty"` // seconds after its time in which a run may still begin; nil: any
	Suspend     bool   `json:"suspend,omitempty"`
	Successes   int    `json:"successes"` // runs that are kept
	Failures    int    `json:"failures"`
}

var schedule = &form{is: "a schedule", scalar: func(n *yaml.Node) (any, string, string) {
	if _, err := parseSchedule(n.Value, time.UTC); err != nil {
		return nil, fmt.Sprintf("%q %s", shorten(n.Value), err), `such as "30 4 * * *": minute, hour, day of the month, month, day of the week; or @daily`
	}
	return n.Value, "", ""
}}

var timeZone = &form{is: "a time zone", scalar: func(n *yaml.Node) (any, string, string) {
	if _, err := time.LoadLocation(n.Value); err != nil || n.Value == "" || n.Value == "Local" {
		return nil, fmt.Sprintf("%q is not a time zone", shorten(n.Value)), "such as Europe/Berlin or Etc/UTC; leave it out for the machine's own"
	}
	return n.Value, "", ""
}}

var cronJobKind = objectOf(
	must("apiVersion", anyText),
	must("kind", anyText),
	must("metadata", metadata(dnsLabel(45))), // with minute and hash it may have 63 characters
	must("spec", objectOf(
		must("schedule", schedule),
		may("timeZone", timeZone),
		may("concurrencyPolicy", enum("Allow", "Forbid", "Replace")),
		may("startingDeadlineSeconds", whole(0, 1<<31-1)),
		may("suspend", boolean),
		may("successfulJobsHistoryLimit", whole(0, 1000)),
		may("failedJobsHistoryLimit", whole(0, 1000)),
		must("jobTemplate", objectOf(
			pass("metadata", "ignored: the runs are called like the CronJob"),
			must("spec", withRows(jobSpecForm, refuse("suspend", "is not supported for a single run", "set suspend in the spec of the CronJob"))),
		)),
	)),
	pass("status", byCluster),
)

// cron reads the fields of a CronJob that its pod and its Job don't have.
func (p *podDocument) cron() *Cron {
	if p.kind != "CronJob" {
		return nil
	}
	spec := tree.Section(p.body, "spec")
	number := func(key string, otherwise int) int {
		if n, ok := spec[key].(int64); ok {
			return int(n)
		}
		return otherwise
	}
	c := &Cron{Schedule: tree.Str(spec, "schedule"), TimeZone: tree.Str(spec, "timeZone"), Concurrency: cmp.Or(tree.Str(spec, "concurrencyPolicy"), "Allow"),
		Successes: number("successfulJobsHistoryLimit", 3), Failures: number("failedJobsHistoryLimit", 1)}
	if n := number("startingDeadlineSeconds", -1); n >= 0 {
		c.Starting = &n
	}
	c.Suspend, _ = spec["suspend"].(bool)
	return c
}

// parseSchedule reads a schedule as Kubernetes does, which uses the same parser, but for what it warns of itself.
func parseSchedule(text string, zone *time.Location) (cron.Schedule, error) {
	switch {
	case strings.Contains(text, "TZ="):
		return nil, errors.New("names a time zone: write it as timeZone")
	case strings.HasPrefix(strings.TrimSpace(text), "@every"):
		return nil, errors.New("has no times of the day: write */10 * * * *, or the like")
	}
	parsed, err := cron.ParseStandard(text)
	if err != nil {
		return nil, fmt.Errorf("is not a schedule: %w", err)
	}
	spec, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return nil, errors.New("is not a schedule")
	}
	spec.Location = zone
	if spec.Next(time.Date(2026, 1, 1, 0, 0, 0, 0, zone)).IsZero() {
		return nil, errors.New("never comes")
	}
	return spec, nil
}

// Times are those of its schedule, in its zone.
func (c *Cron) Times() (cron.Schedule, error) {
	zone := time.Local
	if c.TimeZone != "" {
		var err error
		if zone, err = time.LoadLocation(c.TimeZone); err != nil {
			return nil, err
		}
	}
	return parseSchedule(c.Schedule, zone)
}

// Equal reports whether both begin the same runs.
func (c *Cron) Equal(other *Cron) bool {
	a, b := *c, *other
	a.Starting, b.Starting = nil, nil
	return a == b && equalTo(c.Starting, other.Starting)
}

func equalTo(a, b *int) bool { return (a == nil) == (b == nil) && (a == nil || *a == *b) }
