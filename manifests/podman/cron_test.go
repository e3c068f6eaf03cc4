package podman

import (
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/collie/manifests"
)

func moment(t *testing.T, zone, text string) time.Time {
	t.Helper()
	loc, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	at, err := time.ParseInLocation(time.DateTime, text, loc)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// The runs of a day and more, by a machine that looks each 20 seconds.
func TestTimesOfASchedule(t *testing.T) {
	for _, c := range []struct{ name, zone, schedule, from, until, want string }{
		{"each day", "UTC", "30 4 * * *", "2026-11-25 00:00:00", "2026-11-27 00:00:00", "25 04:30|26 04:30"},
		{"of the week", "UTC", "0 6 * * mon-fri", "2026-11-27 00:00:00", "2026-12-01 00:00:00", "27 06:00|30 06:00"},
		{"a macro", "UTC", "@daily", "2026-11-25 12:00:00", "2026-11-27 12:00:00", "26 00:00|27 00:00"},
		{"day of month or of week", "UTC", "0 0 1 * 5", "2026-11-26 12:00:00", "2026-12-02 00:00:00", "27 00:00|01 00:00"},
		{"a leap day", "UTC", "0 0 29 2 *", "2028-02-28 00:00:00", "2028-03-02 00:00:00", "29 00:00"},
		// On 29 March 2026 02:00 is 03:00 in Berlin; on 25 October 03:00 is 02:00 again.
		{"what summer leaves out", "Europe/Berlin", "30 2 * * *", "2026-03-28 00:00:00", "2026-03-31 00:00:00", "28 02:30|30 02:30"},
		{"what winter has twice", "Europe/Berlin", "30 2 * * *", "2026-10-24 00:00:00", "2026-10-27 00:00:00", "24 02:30|25 02:30|25 02:30|26 02:30"},
		{"each hour in spring", "Europe/Berlin", "0 * * * *", "2026-03-29 00:30:00", "2026-03-29 04:30:00", "29 01:00|29 03:00|29 04:00"},
		{"each hour in autumn", "Europe/Berlin", "0 * * * *", "2026-10-25 00:30:00", "2026-10-25 04:30:00", "25 01:00|25 02:00|25 02:00|25 03:00|25 04:00"},
		{"half an hour off", "Australia/Lord_Howe", "15 * * * *", "2026-04-05 00:30:00", "2026-04-05 03:30:00", "05 01:15|05 02:15|05 03:15"},
	} {
		j := newJobHistory()
		from, until := moment(t, c.zone, c.from), moment(t, c.zone, c.until)
		j.state.Crons["x"] = &cronJob{Since: from, Pod: RenderedPod{Name: "x", Job: &manifests.Job{},
			Cron: &manifests.Cron{Schedule: c.schedule, TimeZone: c.zone, Concurrency: "Allow", Successes: 1000, Failures: 1000}}}
		for now := from; now.Before(until); now = now.Add(50 * time.Second) {
			if _, _, _, err := j.schedule(now); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for _, r := range slices.Backward(j.state.runsOf("x")) {
			got = append(got, r.Pod.when().In(from.Location()).Format("02 15:04"))
		}
		if strings.Join(got, "|") != c.want {
			t.Errorf("%s: got %s, want %s", c.name, strings.Join(got, "|"), c.want)
		}
	}
}

func TestDueRuns(t *testing.T) {
	at := func(text string) time.Time { return moment(t, "UTC", "2026-11-25 "+text) }
	minutes := func(n int) *int { n *= 60; return &n }
	for _, c := range []struct {
		name            string
		cron            manifests.Cron
		since, last     string
		now, want, next string
	}{
		{name: "not yet", since: "04:00:00", now: "04:59:59", next: "05:00:00"},
		{name: "on time", since: "04:00:00", now: "05:00:00", want: "05:00:00", next: "06:00:00"},
		{name: "a little late", since: "04:00:00", now: "05:00:40", want: "05:00:00", next: "06:00:00"},
		{name: "begun already", since: "04:00:00", last: "05:00:00", now: "05:00:40", next: "06:00:00"},
		{name: "scheduled at that very time", since: "05:00:00", now: "05:00:10", next: "06:00:00"},
		{name: "off for some hours: the latest is made up for", since: "00:30:00", last: "01:00:00", now: "05:20:00", want: "05:00:00", next: "06:00:00"},
		{name: "off for longer than allowed", cron: manifests.Cron{Starting: minutes(10)}, since: "00:30:00", last: "01:00:00", now: "05:20:00", next: "06:00:00"},
		{name: "off, but back in time", cron: manifests.Cron{Starting: minutes(30)}, since: "00:30:00", last: "01:00:00", now: "05:20:00", want: "05:00:00", next: "06:00:00"},
		{name: "suspended", cron: manifests.Cron{Suspend: true}, since: "00:30:00", now: "05:20:00", next: "06:00:00"},
		{name: "another schedule since", since: "05:10:00", last: "01:00:00", now: "05:20:00", next: "06:00:00"},
		{name: "the clock was put back a little", since: "00:30:00", last: "05:00:00", now: "04:59:50", next: "05:00:00"},
		{name: "the clock was put back far", since: "00:30:00", last: "23:00:00", now: "04:59:50", next: "05:00:00"},
	} {
		cron := c.cron
		cron.Schedule, cron.TimeZone = "0 * * * *", "UTC"
		job := cronJob{Pod: RenderedPod{Cron: &cron}, Since: at(c.since)}
		if c.last != "" {
			job.Last = at(c.last)
		}
		got, next, err := job.due(at(c.now))
		if err != nil {
			t.Fatal(err)
		}
		text := ""
		if !got.IsZero() {
			text = got.UTC().Format(time.TimeOnly)
		}
		if text != c.want || next.UTC().Format(time.TimeOnly) != c.next {
			t.Errorf("%s: got %q, next %v, want %q, %s", c.name, text, next, c.want, c.next)
		}
	}
}

// A clock that was put back far, as one without a battery is until the network tells the time, stops no schedule.
func TestAClockThatWasPutBackFar(t *testing.T) {
	hourly := manifests.Cron{Schedule: "0 * * * *", TimeZone: "UTC"}
	c := cronJob{Pod: RenderedPod{Cron: &hourly}, Since: moment(t, "UTC", "2026-11-25 00:30:00"), Last: moment(t, "UTC", "2026-11-25 05:00:00")}
	var got []string
	for now := moment(t, "UTC", "1970-01-01 00:30:00"); now.Year() == 1970 && now.Hour() < 3; now = now.Add(time.Minute) {
		if at, _, err := c.due(now); err != nil {
			t.Fatal(err)
		} else if !at.IsZero() {
			got = append(got, at.UTC().Format(time.TimeOnly))
			c.Last = at // as schedule does, but for the time that it began with
			c.Since = time.Time{}
		}
	}
	if strings.Join(got, " ") != "01:00:00 02:00:00" {
		t.Errorf("runs: %s", got)
	}
}

func TestConcurrentRunsAndTheHistory(t *testing.T) {
	now := moment(t, "UTC", "2026-11-25 05:00:10")
	for _, c := range []struct {
		policy string
		going  bool
		runs   int
		gives  int
	}{
		{"Allow", false, 1, 0}, {"Allow", true, 2, 0},
		{"Forbid", false, 1, 0}, {"Forbid", true, 1, 0},
		{"Replace", false, 1, 0}, {"Replace", true, 1, 1},
	} {
		j := newJobHistory()
		cron := &cronJob{Since: now.Add(-2 * time.Hour), Last: now.Add(-time.Hour).Truncate(time.Hour),
			Pod: RenderedPod{Name: "x", Hash: "01234567", Job: &manifests.Job{}, Cron: &manifests.Cron{Schedule: "@hourly", TimeZone: "UTC", Concurrency: c.policy}}}
		j.state.Crons["x"] = cron
		if c.going {
			pod := cron.runAt(cron.Last)
			j.state.Runs[pod.id()] = &run{Pod: pod, Began: cron.Last}
		}
		_, gives, _, err := j.schedule(now)
		if err != nil || len(j.state.Runs) != c.runs || len(gives) != c.gives {
			t.Errorf("%s, another going on %v: %d runs, %q give way, %v", c.policy, c.going, len(j.state.Runs), gives, err)
		}
		if _, _, _, err := j.schedule(now); err != nil || len(j.state.Runs) != c.runs {
			t.Errorf("%s: a second look begins another", c.policy)
		}
	}

	history := &manifests.Cron{Successes: 1, Failures: 0}
	var runs []*run
	for i, o := range []outcome{"", failed, completed, failed, completed} {
		runs = append(runs, &run{Outcome: o, Pod: RenderedPod{Name: "x", Run: string(rune('5' - i)), Hash: "h"}})
	}
	if got := strings.Join(surplus(history, runs), " "); got != "x-4-h x-2-h x-1-h" {
		t.Errorf("beyond the history: %s", got)
	}
}

// FuzzSchedule: what is taken for a schedule has times, one after the other, and no run of it is begun twice or early.
func FuzzSchedule(f *testing.F) {
	for _, text := range []string{"30 4 * * *", "*/7 1-5,9 1 */2 mon", "@daily", "0 0 31 2 *", "TZ=UTC * * * * *", "@every 1s", "? ? ? ? ?", "@", "1/0 * * * *"} {
		f.Add(text, int64(1774700000), int64(90_000))
	}
	f.Fuzz(func(t *testing.T, text string, since, passed int64) {
		s, err := (&manifests.Cron{Schedule: text, TimeZone: "Europe/Berlin"}).Times()
		if err != nil {
			return
		}
		from := time.Unix(min(max(since, 0), 1<<33), 0)
		until := from.Add(time.Duration(min(max(passed, 0), 400*86400)) * time.Second)
		c := cronJob{Since: from, Pod: RenderedPod{Cron: &manifests.Cron{Schedule: text, TimeZone: "Europe/Berlin"}}}
		at, next, err := c.due(until)
		if err != nil {
			t.Fatal(err)
		}
		if !next.IsZero() && !next.After(until) {
			t.Errorf("%q: after %v comes %v", text, until, next)
		}
		if at.IsZero() {
			if first := s.Next(from); !first.IsZero() && !first.After(until) {
				t.Errorf("%q: from %v until %v there is %v, but no run", text, from, until, first)
			}
			return
		}
		if !at.After(from) || at.After(until) || at.Unix()%60 != 0 {
			t.Errorf("%q: a run at %v, between %v and %v", text, at, from, until)
		}
		if then := s.Next(at); !then.IsZero() && !then.After(until) {
			t.Errorf("%q: %v isn't the latest: %v is", text, at, then)
		}
		c.Last = at
		if again, _, _ := c.due(until); !again.IsZero() {
			t.Errorf("%q: %v comes twice", text, again)
		}
	})
}

func cronJobOf(schedule, policy string) change {
	return func(p *manifests.Pod, spec, container map[string]any) {
		job(0)(p, spec, container)
		p.Kind, p.Cron = "CronJob", &manifests.Cron{Schedule: schedule, Concurrency: policy, Successes: 1, Failures: 1}
	}
}

// overdue makes it so that the latest time of a CronJob's has come while nobody looked, unless a run was begun for it.
func (w *world) overdue(name string) {
	w.t.Helper()
	w.must(w.jobs.edit(func(s *jobHistoryState) bool {
		s.Crons[name].Since = s.Crons[name].Since.AddDate(-1, 0, 0)
		return true
	}))
}

func (w *world) cron(r Rendered, name string) CronStatus {
	w.t.Helper()
	all := w.Crons(r)
	return all[slices.IndexFunc(all, func(c CronStatus) bool { return c.Name == name })]
}

func TestACronJobRuns(t *testing.T) {
	w := newJobWorld(t)
	backup := func(words ...string) *manifests.Pod {
		return newPod("backup", cronJobOf("0 0 1 1 *", "Allow"), command(words...))
	}
	one := w.prepare("r1", backup("/bin/sleep", "1000"), newPod("web"))
	w.same("diff", w.diff(one), []string{"schedule cronjob backup", "create pod web"})
	w.switchTo(one)
	w.same("running", w.running(), []string{of(one, "web").id()})
	if s := w.cron(one, "backup"); s.Next.Month() != time.January || s.Last != nil {
		t.Errorf("status: %+v", s)
	}

	// It runs when it is time, once, whoever looks; and a changed one lets it go on.
	w.overdue("backup")
	w.soon("it runs", func() bool {
		s := w.cron(one, "backup")
		return s.Running == 1 && s.Last.State == "running" && len(w.running()) == 2
	})
	run := w.containers("backup")
	w = w.again()
	two := w.prepare("r2", backup("/bin/true"), newPod("web"))
	w.same("diff", w.diff(two), []string{"schedule cronjob backup"})
	w.switchTo(two)
	w.must(w.Keep(t.Context(), []Rendered{two}))
	time.Sleep(300 * time.Millisecond)
	w.same("it goes on", w.containers("backup"), run)

	// One that leaves stops what runs of it.
	three := w.prepare("r3", newPod("web"))
	w.same("diff", w.diff(three), []string{"remove cronjob backup"})
	w.switchTo(three)
	w.must(w.Keep(t.Context(), []Rendered{three}))
	w.same("what is left", w.containers("backup"), nil)
	if len(w.jobs.runs())+len(w.jobs.crons()) > 0 {
		t.Errorf("the job history has %+v", w.jobs.state)
	}
}

func TestACronJobWhoseRunFails(t *testing.T) {
	w := newJobWorld(t)
	key := object("Secret", "key", map[string]any{"a": "c2VjcmV0"})
	text := object("ConfigMap", "text", map[string]any{"a": "b"})
	with := func(p *manifests.Pod, spec, container map[string]any) {
		p.Secrets, p.ConfigMaps = []*manifests.Object{key}, []*manifests.Object{text}
		spec["volumes"] = []any{
			map[string]any{"name": "key", "secret": map[string]any{"secretName": "key"}},
			map[string]any{"name": "text", "configMap": map[string]any{"name": "text"}},
			map[string]any{"name": "own", "emptyDir": map[string]any{}},
		}
		container["volumeMounts"] = []any{
			map[string]any{"name": "key", "mountPath": "/key"}, map[string]any{"name": "text", "mountPath": "/text"}, map[string]any{"name": "own", "mountPath": "/own"}}
	}
	r := w.deploy("r1", newPod("backup", cronJobOf("0 0 1 1 *", "Allow"), command("/bin/sh", "-c", "echo no disk; exit 4"), with))
	w.overdue("backup")
	w.soon("it fails", func() bool { s := w.cron(r, "backup"); return s.Last != nil && s.Last.State == "failed" })
	year := time.Now().Year()
	w.same("problems", w.problems(r, time.Time{}), []string{"run of cronjob backup: that of " + time.Date(year, 1, 1, 0, 0, 0, 0, time.Local).Format("2006-01-02 15:04") +
		" failed: exit code 4: it wrote: no disk (pods/backup.yaml:1)"})
	w.same("drift", w.diff(r), nil)
	w.must(w.Keep(t.Context(), []Rendered{r}))
	if len(w.containers("backup")) != 1 {
		t.Error("a run within the history is gone")
	}
	volumes, err := w.listVolumes(t.Context())
	w.must(err)
	var names []string
	for _, v := range volumes {
		names = append(names, strings.Replace(strings.Replace(v.Name, w.jobs.runs()[0].Pod.id(), "RUN", 1), of(r, "backup").id(), "ALL", 1))
	}
	slices.Sort(names)
	w.same("volumes", names, []string{"ALL-key", "RUN-own", "RUN-text"})

	// Beyond the history it goes, with its volumes; the status still tells of it.
	w.must(w.jobs.edit(func(s *jobHistoryState) bool { s.Crons["backup"].Pod.Cron.Failures = 0; return true }))
	w.soon("it goes", func() bool { return len(w.jobs.runs()) == 0 })
	w.same("what is left", w.containers("backup"), nil)
	if s := w.cron(r, "backup"); s.Last == nil || s.Last.Exit != 4 {
		t.Errorf("status: %+v", s)
	}
	volumes, err = w.listVolumes(t.Context())
	w.must(err)
	if len(volumes) != 1 {
		t.Errorf("volumes: %+v", volumes)
	}
}

func TestACronJobWhoseLedgerIsLostRunsNotTwice(t *testing.T) {
	w := newJobWorld(t)
	r := w.deploy("r1", newPod("backup", cronJobOf("0 0 1 1 *", "Allow")))
	w.overdue("backup")
	w.soon("it runs", func() bool { return len(w.running()) == 1 })
	run := w.containers("backup")
	w = &world{Podman: Connect(w.socket), t: t, fake: w.fake}
	w.tended()
	w.same("diff", w.diff(r), []string{"schedule cronjob backup"})
	w.switchTo(r)
	w.must(w.Keep(t.Context(), []Rendered{r}))
	w.overdue("backup")
	time.Sleep(300 * time.Millisecond)
	w.same("runs", w.containers("backup"), run)
}

func TestASwitchThatFailsKeepsTheScheduleOfCronJobs(t *testing.T) {
	w := newJobWorld(t)
	one := w.deploy("r1", newPod("backup", cronJobOf("0 0 1 1 *", "Allow")), newPod("web"))
	two := w.prepare("r2", newPod("backup", cronJobOf("0 0 2 1 *", "Allow")), newPod("another", cronJobOf("0 0 1 1 *", "Allow")), newPod("zz", command("/nope")))
	if err := w.Switch(t.Context(), two); err == nil {
		t.Fatal("a pod that can't start was taken")
	}
	w.same("diff", w.diff(one), nil)
	w.same("diff", w.diff(two), []string{"schedule cronjob another", "schedule cronjob backup", "create pod zz", "remove pod web"})
}
