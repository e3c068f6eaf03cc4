package api

import (
	"fmt"
	"strings"
	"time"
)

// Step is what the agent is at, as far as that is worth a line of its own; Going has the details.
func (s Status) Step() string {
	switch p := s.Preparing; {
	case p != nil && p.Error != "":
		return "waiting " + p.Revision + p.Error
	case p != nil:
		return "preparing " + p.Revision + p.Progress.Layer
	case s.waits():
		return "waiting " + s.Others[0].Runs
	}
	return s.Phase + " " + s.Wanted.Revision
}

// Going says in a line what is going on.
func (s Status) Going() string {
	says := fmt.Sprintf("%s: %s", s.Phase, Short(s.Wanted.Revision))
	switch p := s.Preparing; {
	case p != nil && p.Error != "":
		says = fmt.Sprintf("preparing %s %s", Short(p.Revision), p.Waits())
	case p != nil:
		says = fmt.Sprintf("preparing %s: %s", Short(p.Revision), p.Progress)
	case s.waits():
		o := s.Others[0]
		says = fmt.Sprintf("waiting for `%s` of %s, process %d, since %s", o.Runs, o.User, o.PID, o.Since.Local().Format(time.TimeOnly))
	case len(s.Waits) > 0:
		says += fmt.Sprintf("; %s waits for %s", s.Waits[0].Layer, s.Waits[0].For)
	}
	return plain(says)
}

// waits reports whether someone else's guix may hold up the newest revision.
func (s Status) waits() bool { return len(s.Others) > 0 && s.Revisions.Good != s.Revisions.Newest }

// GoingIn is Going in so many letters, with a bar if there is something to count.
func (s Status) GoingIn(width int) string {
	const bar = 20
	line := s.Going()
	if p := s.Preparing; p != nil && p.Error == "" && p.Progress.Counts() != "" {
		full := int(p.Progress.Share() * bar)
		line = plain(fmt.Sprintf("preparing %s: %s [%s%s] %s: %s", Short(p.Revision), p.Progress.Layer,
			strings.Repeat("#", full), strings.Repeat(" ", bar-full), p.Progress.Counts(), p.Progress.Item))
	}
	line, _, _ = strings.Cut(line, "\n")
	if letters := []rune(line); len(letters) > width {
		return string(letters[:max(0, width-1)]) + "…"
	}
	return line
}

// again says what is done once it is time.
func (p Preparing) again() string {
	if len(p.WaitsFor) > 0 {
		return "waits for substitutes, asked for again"
	}
	return "is tried again"
}

// Waits says until when it waits, and for what.
func (p Preparing) Waits() string {
	return fmt.Sprintf("%s at %s: %s", p.again(), p.Retry.Local().Format(time.TimeOnly), p.why())
}

// why says what it waits for, and what to do.
func (p Preparing) why() string {
	if len(p.WaitsFor) > 0 {
		return p.Error + "; `collie sync --build` builds them here"
	}
	return p.Error
}

// Plus is what both are together.
func (c Count) Plus(other Count) Count { return Count{c.Done + other.Done, c.Total + other.Total} }

// String is what it is at, and how much of it is done.
func (p Progress) String() string {
	says := p.Item
	if p.Layer != "" {
		says = p.Layer + ": " + says
	}
	if counts := p.Counts(); counts != "" {
		says += " (" + counts + ")"
	}
	return says
}

// Counts is how much is done; nothing where there is nothing to count.
func (p Progress) Counts() string {
	var all []string
	if p.Builds.Total > 0 {
		all = append(all, fmt.Sprintf("built %d of %d", p.Builds.Done, p.Builds.Total))
	}
	if p.Downloads.Total > 0 {
		all = append(all, fmt.Sprintf("downloaded %d of %d", p.Downloads.Done, p.Downloads.Total))
	}
	if p.Bytes.Total > 0 {
		all = append(all, fmt.Sprintf("%.1f of %.1f MB", float64(p.Bytes.Done)/1e6, float64(p.Bytes.Total)/1e6))
	}
	return strings.Join(all, ", ")
}

// String says what was done: in a plan, that is all past.
func (w Work) String() string {
	var all []string
	if w.Builds > 0 {
		all = append(all, fmt.Sprintf("built %d", w.Builds))
	}
	if w.Downloads > 0 {
		all = append(all, fmt.Sprintf("downloaded %d", w.Downloads))
	}
	if w.Bytes > 0 {
		all = append(all, fmt.Sprintf("%.1f MB", float64(w.Bytes)/1e6))
	}
	return strings.Join(all, ", ")
}

// Share is how much of all is done, from 0 to 1: a build counts as much as a download, and of downloads their bytes count
// where those are known.
func (p Progress) Share() float64 {
	all := float64(p.Builds.Total + p.Downloads.Total)
	done := float64(p.Builds.Done)
	if p.Bytes.Total > 0 {
		all = float64(p.Builds.Total + max(p.Downloads.Total, 1))
		done += float64(max(p.Downloads.Total, 1)) * float64(p.Bytes.Done) / float64(p.Bytes.Total)
	} else {
		done += float64(p.Downloads.Done)
	}
	if all == 0 {
		return 0
	}
	return min(max(done/all, 0), 1)
}
