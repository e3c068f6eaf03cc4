package rollout

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestWhenAWindowOpens(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	// 2026-07-01 is a Wednesday. The clock goes forward in the night to Sunday, 2026-03-29, at two, and back on 2026-10-25.
	for _, row := range []struct{ windows, now, opens string }{
		{"", "2026-07-01 12:00", "2026-07-01 12:00"},
		{"daily 03:00-05:00", "2026-07-01 02:59", "2026-07-01 03:00"},
		{"daily 03:00-05:00", "2026-07-01 03:00", "2026-07-01 03:00"},
		{"daily 03:00-05:00", "2026-07-01 04:59", "2026-07-01 04:59"},
		{"daily 03:00-05:00", "2026-07-01 05:00", "2026-07-02 03:00"},
		{"Sat,Sun 01:00-06:00", "2026-07-01 12:00", "2026-07-04 01:00"},
		{"sat,sun 01:00-06:00", "2026-07-04 07:00", "2026-07-05 01:00"},
		{"Mon-Fri 22:00-02:00", "2026-07-01 01:00", "2026-07-01 01:00"},
		{"Mon-Fri 22:00-02:00", "2026-07-04 01:59", "2026-07-04 01:59"},
		{"Mon-Fri 22:00-02:00", "2026-07-04 23:00", "2026-07-06 22:00"},
		{"Fri-Mon 12:00-24:00", "2026-07-06 23:59", "2026-07-06 23:59"},
		{"Fri-Mon 12:00-24:00", "2026-07-07 00:00", "2026-07-10 12:00"},
		{"Wed 10:00-11:00", "2026-07-01 11:00", "2026-07-08 10:00"},
		{"Thu 10:00-11:00|Wed 20:00-21:00", "2026-07-01 12:00", "2026-07-01 20:00"},
		{"Sun 02:30-04:00", "2026-03-28 12:00", "2026-03-29 03:30"},
		{"Sun 01:30-04:00", "2026-10-25 03:30", "2026-10-25 03:30"},
	} {
		var windows []Window
		for text := range strings.SplitSeq(row.windows, "|") {
			if text == "" {
				continue
			}
			w, err := parseWindow(text)
			if err != nil {
				t.Fatal(err)
			}
			windows = append(windows, w)
		}
		now, err := time.ParseInLocation("2006-01-02 15:04", row.now, berlin)
		if err != nil {
			t.Fatal(err)
		}
		if got := opening(windows, now).Format("2006-01-02 15:04"); got != row.opens {
			t.Errorf("%s at %s: opens %s, want %s", row.windows, row.now, got, row.opens)
		}
	}
}

func TestWhatIsNoWindow(t *testing.T) {
	for _, text := range []string{"", "daily", "03:00-05:00", "daily 3:00-5:00", "daily 03:00-03:00", "daily 24:00-03:00", "Someday 03:00-05:00", "Mon- 03:00-05:00", "Mon,,Tue 03:00-05:00", "daily 03:00-25:00", "daily 03:00-05:00 "} {
		if w, err := parseWindow(text); err == nil {
			t.Errorf("%q is taken for %+v", text, w)
		}
	}
}

func TestPushOutsideItsWindowsWaitsAndAReturnDoesNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		in := func(d time.Duration) string { return time.Now().Add(d).Format("15:04") }
		window, err := parseWindow("daily " + in(3*time.Hour) + "-" + in(5*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		w.windows = []Window{window}
		w.start()
		defer w.stop()
		w.push("a", "system=1", "pods=1")
		pass(time.Hour)
		w.is("old", "old", "old")
		if s := w.state(); s.Prepared.Revision != "a" || !strings.HasPrefix(s.Outside, "outside its windows: the next opens ") {
			t.Errorf("prepared %q, outside %q, want a, until a window opens", s.Prepared.Revision, s.Outside)
		}
		pass(2*time.Hour + time.Minute)
		w.is("1", "old", "1")
		w.good("a")

		pass(3 * time.Hour) // it is closed again
		w.push("b", "system=2", "pods=2")
		pass(time.Minute)
		w.is("1", "old", "1")
		if err := w.c.ask(t.Context(), w.c.atOnce); err != nil {
			t.Fatal(err)
		}
		pass(testSoak / 2)
		w.is("2", "old", "2")
		w.layers[0].set(func(l *fakeLayer) { l.ill["2"] = 0 })
		pass(time.Minute)
		w.is("1", "old", "1")
		w.good("a")
	})
}
