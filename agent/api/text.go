package api

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"example.org/collie/agent/foreign"
)

// Text is the status as a person reads it: first the verdict, in a line of its own.
func (s Status) Text() string {
	var b strings.Builder
	verdict, why := s.Verdict()
	fmt.Fprintf(&b, "%s%s\n", verdict, colon(plain(why)))
	rows := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		text := strings.ReplaceAll(plain(fmt.Sprintf(format, args...)), "\n", "\n\t") // the next lines keep to their column
		fmt.Fprintf(rows, "%s\t%s\n", plain(name), text)
	}
	row("host", "%s", s.Host)
	row("phase", "%s", s.Phase)
	row("wanted", "%s, %s", Short(s.Wanted.Revision), s.Wanted.Because)
	row("current", "%s", Short(s.Revisions.Current))
	row("good", "%s", Short(s.Revisions.Good))
	row("newest", "%s", Short(s.Revisions.Newest))
	row("source", "%s, branch %s, polled %s", s.Source.URL, s.Source.Branch, ago(s.Source.LastPoll))
	if s.Source.Answered != "" && s.Source.Answered != s.Source.URL {
		row("", "answered by %s", s.Source.Answered)
	}
	if s.Source.Error != "" {
		row("", "%s", s.Source.Error)
	}
	for _, w := range s.Source.Wrong {
		row("", "%s: %s", w.URL, w.Says)
	}
	if s.Suspended != nil {
		row("suspended", "%s%s", ago(s.Suspended.Since), colon(s.Suspended.Why))
	}
	switch p := s.Preparing; {
	case p == nil:
	case p.Error == "":
		row("preparing", "%s for %s: %s", Short(p.Revision), time.Since(p.Since).Round(time.Second), p.Progress)
	default:
		row("preparing", "%s %s in %s: %s", Short(p.Revision), p.again(), time.Until(p.Retry).Round(time.Second), p.why())
	}
	if p := s.Preparing; p != nil {
		for _, name := range p.WaitsFor {
			row("", "%s", name)
		}
	}
	s.layerRows(row)
	s.podRows(row)
	for _, w := range s.Waits {
		row("waits", "%s", w)
	}
	for _, o := range s.Others {
		whose := "no switch"
		if o.Layer != "" {
			whose = "no switch of " + o.Layer
		}
		row("other guix", "%s of %s, process %d, for %s: %s begins before it has ended", o.Runs, o.User, o.PID, time.Since(o.Since).Round(time.Second), whose)
	}
	for _, p := range s.Problems {
		row("problem", "%s%s", p, lines(p.Details))
	}
	for _, f := range s.Failed {
		row(f.Outcome, "%s, %s: %s", Short(f.Revision), ago(f.At), f.Reason)
	}
	for _, n := range s.Notes {
		row("note", "%s", n)
	}
	rows.Flush() // into memory: it doesn't fail
	return b.String()
}

// A row writes one line of a table, under a name; what goes on stays in its column.
type row = func(name, format string, args ...any)

func (s Status) layerRows(row row) {
	for _, l := range s.Layers {
		switch {
		case l.Error != "":
			row(l.Name, "unknown: %s", l.Error)
		case l.InSync:
			row(l.Name, "in sync")
		default:
			row(l.Name, "differs from its target")
		}
		if l.Drift != nil {
			row("", "%s; it is left so until the next commit, or `collie retry`", *l.Drift)
		}
		for _, c := range l.Changes {
			row("", "%s", c)
		}
	}
}

func (s Status) podRows(row row) {
	for _, p := range s.Pods {
		ready := "ready"
		if !p.Ready {
			ready = "not ready"
		}
		row("pod "+p.Name, "%s, %d restarts, of revision %s", ready, p.Restarts, Short(p.Revision))
		if p.Note != "" {
			row("", "%s", p.Note)
		}
	}
	for _, j := range s.Jobs {
		row("job "+j.Name, "%s", j.Text())
	}
	for _, c := range s.CronJobs {
		row("cron "+c.Name, "%s", c.Text())
	}
}

// lines shows what something wrote below what is said of it; a single line is said with it already.
func lines(details []string) string {
	if len(details) < 2 {
		return ""
	}
	return "\n| " + strings.Join(details, "\n| ")
}

// Text is the answer for a person who asked for a restart.
func (r Restarted) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "restarted %s", plain(r.Service))
	if len(r.With) > 0 {
		fmt.Fprintf(&b, ", and what requires it: %s", plain(strings.Join(r.With, ", ")))
	}
	b.WriteString("\n")
	for _, p := range r.Problems {
		fmt.Fprintf(&b, "%s\n", strings.ReplaceAll(plain(p.String()+lines(p.Details)), "\n", "\n  "))
	}
	return b.String()
}

// plain is what a person is shown of what commits, services and pods say.
func plain(text string) string { return foreign.Text(strings.TrimSpace(text)) }

func colon(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

// HistoryText is the history as a person reads it, newest first.
func HistoryText(all []Deployment) string {
	if len(all) == 0 {
		return "No deployment yet.\n"
	}
	var b strings.Builder
	rows := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(rows, "STARTED\tREVISION\tOUTCOME\tTOOK\tLAYERS\tGENERATIONS\tAUTHOR\tSUBJECT")
	for _, d := range all {
		fmt.Fprintf(rows, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", d.Started.Local().Format(time.DateTime), Short(d.Revision), d.Outcome,
			d.Duration.Round(100*time.Millisecond), strings.Join(d.Layers, ","), generationsText(d.Generations), plain(d.Author), plain(d.Subject))
	}
	rows.Flush()
	for _, d := range slices.Backward(all) {
		if d.Reason != "" {
			fmt.Fprintf(&b, "%s %s: %s\n", Short(d.Revision), d.Outcome, strings.ReplaceAll(plain(d.Reason), "\n", "\n  "))
		}
		for _, layer := range slices.Sorted(maps.Keys(d.Without)) {
			fmt.Fprintf(&b, "%s %s without %s: %s\n", Short(d.Revision), d.Outcome, plain(layer), strings.ReplaceAll(plain(d.Without[layer]), "\n", "\n  "))
		}
		for _, says := range d.Moved {
			fmt.Fprintf(&b, "%s %s: %s\n", Short(d.Revision), d.Outcome, strings.ReplaceAll(plain(says), "\n", " "))
		}
	}
	return b.String()
}

// GenerationsText is Guix's generations as a person reads them, layer by layer, the newest first.
func GenerationsText(all []Generation) string {
	if len(all) == 0 {
		return "Guix has no generation of what Collie keeps.\n"
	}
	var b strings.Builder
	rows := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(rows, "LAYER\tGENERATION\tSINCE\tIS\tCOMMIT\tVERDICT\tAUTHOR\tSUBJECT")
	for _, g := range all {
		commit, verdict := "-", g.Verdict
		if g.Revision != "" {
			commit = Short(g.Revision)
		}
		if verdict == "" {
			verdict = "not Collie's"
		}
		fmt.Fprintf(rows, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n", g.Layer, g.Number, g.Since.Local().Format(time.DateTime), g.is(), commit, verdict, plain(g.Author), plain(g.Subject))
	}
	rows.Flush()
	for _, g := range all {
		if g.Reason != "" {
			fmt.Fprintf(&b, "%s %d, %s: %s\n", g.Layer, g.Number, g.Verdict, strings.ReplaceAll(plain(g.Reason), "\n", "\n  "))
		}
	}
	return b.String()
}

// is says where a generation counts now.
func (g Generation) is() string {
	var all []string
	for _, at := range []struct {
		here bool
		name string
	}{{g.Running, "running"}, {g.Profile, "profile"}, {g.NextBoot, "next boot"}} {
		if at.here {
			all = append(all, at.name)
		}
	}
	if len(all) == 0 {
		return "-"
	}
	return strings.Join(all, ",")
}

// generationsText is system=5,home:podman=3.
func generationsText(numbers map[string]int) string {
	var all []string
	for _, layer := range slices.Backward(slices.Sorted(maps.Keys(numbers))) { // the system comes first
		all = append(all, fmt.Sprintf("%s=%d", layer, numbers[layer]))
	}
	return strings.Join(all, ",")
}

// Short abbreviates a commit id for people.
func Short(revision string) string {
	revision = plain(revision)
	commit, images, moved := strings.Cut(revision, "+")
	switch {
	case revision == "":
		return "none"
	case len(commit) == 40 && moved: // another one only by its images
		return fmt.Sprintf("%.12s+%.4s", commit, images)
	case len(commit) == 40:
		return fmt.Sprintf("%.12s", commit)
	}
	return revision
}

func ago(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return time.Since(t).Round(time.Second).String() + " ago"
}
