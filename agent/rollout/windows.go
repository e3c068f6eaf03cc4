package rollout

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// A Window is when new revisions may be switched to, each week, in the machine's time zone: "daily 03:00-05:00", "Sat,Sun
// 01:00-06:00" or "Mon-Fri 22:00-02:00", which ends on the next day. A return needs none.
type Window struct {
	days       [7]bool // on which it opens, from Sunday
	from, till int     // minutes of the day
	text       string
}

var (
	windowText = regexp.MustCompile(`^(\S+) ([01]\d|2[0-3]):([0-5]\d)-(?:([01]\d|2[0-3]):([0-5]\d)|(24):(00))$`)
	weekdays   = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}
)

// UnmarshalYAML reads one.
func (w *Window) UnmarshalYAML(node *yaml.Node) error {
	read, err := parseWindow(node.Value)
	if err != nil {
		return err
	}
	*w = read
	return nil
}

func parseWindow(text string) (Window, error) {
	w := Window{text: text}
	wrong := fmt.Errorf("%q is no window: write daily 03:00-05:00, Sat,Sun 01:00-06:00 or Mon-Fri 22:00-02:00", text)
	m := windowText.FindStringSubmatch(text)
	if m == nil {
		return Window{}, wrong
	}
	minutes := func(hour, minute string) int {
		h, _ := strconv.Atoi(hour)
		m, _ := strconv.Atoi(minute)
		return h*60 + m
	}
	w.from, w.till = minutes(m[2], m[3]), minutes(m[4]+m[6], m[5]+m[7])
	if w.from == w.till {
		return Window{}, wrong
	}
	if strings.EqualFold(m[1], "daily") {
		w.days = [7]bool{true, true, true, true, true, true, true}
		return w, nil
	}
	for some := range strings.SplitSeq(strings.ToLower(m[1]), ",") {
		first, last, is := strings.Cut(some, "-")
		if !is {
			last = first
		}
		day, end := slices.Index(weekdays, first), slices.Index(weekdays, last)
		if day < 0 || end < 0 {
			return Window{}, wrong
		}
		for ; day != end; day = (day + 1) % 7 {
			w.days[day] = true
		}
		w.days[end] = true
	}
	return w, nil
}

// on are the two ends of the window that opens on the day of t, if one does.
func (w Window) on(t time.Time) (opens, closes time.Time, does bool) {
	year, month, day := t.Date()
	at := func(minutes int) time.Time { return time.Date(year, month, day, 0, minutes, 0, 0, t.Location()) }
	till := w.till
	if till < w.from {
		till += 24 * 60
	}
	return at(w.from), at(till), w.days[t.Weekday()]
}

// opening is when the next of windows opens: now, if one is open, or if there are none at all.
func opening(windows []Window, now time.Time) time.Time {
	if len(windows) == 0 {
		return now
	}
	var next time.Time
	for _, w := range windows {
		for days := -1; days <= 7; days++ {
			opens, closes, does := w.on(now.AddDate(0, 0, days))
			switch {
			case !does || !closes.After(now):
				continue
			case !opens.After(now):
				return now
			case next.IsZero() || opens.Before(next):
				next = opens
			}
		}
	}
	return next
}

// outside says that nothing new is switched to now, and when it will be; nothing if a window is open.
func outside(windows []Window, now time.Time) (says string, opens time.Time) {
	opens = opening(windows, now)
	if !opens.After(now) {
		return "", now
	}
	return "outside its windows: the next opens " + opens.Format("Mon 2006-01-02 15:04 MST") + "; `collie sync --now` doesn't wait", opens
}

// Duration is written like 30s or 5m.
type Duration time.Duration

// UnmarshalYAML reads 30s, 5m, 1h30m.
func (d *Duration) UnmarshalYAML(node *yaml.Node) error {
	v, err := time.ParseDuration(node.Value)
	if err != nil {
		return fmt.Errorf("%q is no duration: write 30s, 5m or 1h", node.Value)
	}
	*d = Duration(v)
	return nil
}
