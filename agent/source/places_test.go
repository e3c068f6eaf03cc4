package source

import (
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// mirrored follows ops by one URL and a mirror of it by another.
func mirrored(t *testing.T) (o, mirror *ops, s *Source) {
	t.Helper()
	o = newOps(t)
	mirror = newQuietOps(t)
	return o, mirror, open(t, o.bare, func(c *Config) { c.Mirrors = []Repository{{URL: mirror.bare}} })
}

// send pushes what is in o's worktree to another repository.
func (o *ops) send(to *ops) { o.t.Helper(); o.git("push", "-q", "-f", to.bare, "HEAD:main") }

func (o *ops) away(t *testing.T, gone bool) {
	t.Helper()
	if gone {
		must(t, os.Rename(o.bare, o.bare+".away"))
	} else {
		must(t, os.Rename(o.bare+".away", o.bare))
	}
}

// answered expects who answered last, and what is wrong with the others.
func answered(t *testing.T, s *Source, by string, wrong ...string) {
	t.Helper()
	st := s.Status()
	if st.Answered != by {
		t.Errorf("answered by %q, want %q", st.Answered, by)
	}
	for i, w := range wrong {
		if i >= len(st.Wrong) || !strings.Contains(st.Wrong[i].URL+": "+st.Wrong[i].Says, w) {
			t.Errorf("wrong is %+v, want %q", st.Wrong, w)
		}
	}
	if len(st.Wrong) != len(wrong) {
		t.Errorf("wrong is %+v, want %q", st.Wrong, wrong)
	}
}

func TestAMirrorAnswersInstead(t *testing.T) {
	o, mirror, s := mirrored(t)
	a := o.push("one", "f", "1")
	poll(t, s, a)
	answered(t, s, o.bare) // the mirror is empty, and nobody asked it

	o.send(mirror)
	o.away(t, true)
	poll(t, s, a)
	answered(t, s, mirror.bare, o.bare+": repository "+o.bare+" doesn't exist")
	b := o.commit("two", "f", "2")
	o.send(mirror)
	poll(t, s, b)
	content(t, s, b, "f", "2")
	answered(t, s, mirror.bare, o.bare+": ")

	// The first is back, behind: it holds nothing new, and never leads back.
	o.away(t, false)
	poll(t, s, b)
	answered(t, s, mirror.bare, o.bare+": its main is at commit "+a[:12]+", behind the accepted "+b[:12]+": nothing new there")
	mirror.away(t, true)
	poll(t, s, b)
	answered(t, s, o.bare, o.bare+": its main is at commit "+a[:12], mirror.bare+": ")
	mirror.away(t, false)
	o.send(o)
	poll(t, s, b)
	answered(t, s, o.bare)

	// Nobody answers.
	o.away(t, true)
	mirror.away(t, true)
	fails(t, s, o.bare, mirror.bare)
	answered(t, s, "")
	o.away(t, false)
	poll(t, s, b)
}

func TestAMirrorBehindIsNoRefusal(t *testing.T) {
	o, mirror, s := mirrored(t)
	o.push("zero")
	o.push("one", "f", "1")
	o.send(mirror)
	for range 3 {
		o.push("more")
	}
	b := o.head()
	poll(t, s, b) // a clone without history: nothing tells that the mirror is behind
	o.away(t, true)
	poll(t, s, b)
	answered(t, s, mirror.bare, o.bare, mirror.bare+": its main is at commit ")

	// A mirror that was force-pushed isn't believed, nor is it a reason for alarm.
	o.git("checkout", "-q", "--orphan", "alien")
	alien := o.commit("alien", "f", "alien")
	o.send(mirror)
	poll(t, s, b)
	answered(t, s, mirror.bare, o.bare, mirror.bare+": its main is at commit "+alien[:12]+", which doesn't descend from the accepted "+b[:12])
	if rev, _ := s.Accepted(); rev.ID != b {
		t.Errorf("accepted %s, want %s to stay", rev.ID, b)
	}

	// The first one's word counts, whatever the mirror has.
	o.away(t, false)
	o.git("checkout", "-q", "-B", "line", b)
	o.send(mirror)
	o.git("checkout", "-q", "alien")
	o.send(o)
	fails(t, s, "moved to commit "+alien, "collie sync --accept "+alien)
	o.git("checkout", "-q", "-B", "line", b)
	next := o.commit("next", "f", "next")
	o.send(mirror)
	fails(t, s, "moved to commit "+alien)
	o.send(o)
	poll(t, s, next)
}

func TestWhatWasTakenBackEverywhereIsRefused(t *testing.T) {
	o, mirror, s := mirrored(t)
	a := o.push("one")
	b := o.push("two")
	o.send(mirror)
	poll(t, s, b)
	o.git("reset", "-q", "--hard", a)
	o.send(o)
	poll(t, s, b) // the mirror still has it
	answered(t, s, mirror.bare, o.bare+": its main is at commit "+a[:12]+", behind")
	o.send(mirror)
	fails(t, s, "moved to commit "+a, "--accept "+a)
}

// One that failed is asked last for a while, then first again.
func TestTheFirstIsAskedAgainLater(t *testing.T) {
	o, mirror, s := mirrored(t)
	order := func() string {
		var all []string
		for _, p := range s.patient() {
			all = append(all, map[string]string{o.bare: "first", mirror.bare: "mirror"}[p.url])
		}
		return strings.Join(all, " ")
	}
	synctest.Test(t, func(t *testing.T) {
		at := func(passed time.Duration, want string) {
			t.Helper()
			time.Sleep(passed)
			if got := order(); got != want {
				t.Errorf("the order is %s, want %s", got, want)
			}
		}
		at(0, "first mirror")
		s.judge(s.places[0], errors.New("no route to host"))
		at(0, "mirror first")
		at(29*time.Second, "mirror first")
		at(2*time.Second, "first mirror")
		for range 9 {
			s.judge(s.places[0], errors.New("no route to host"))
		}
		at(299*time.Second, "mirror first")
		at(2*time.Second, "first mirror")
		s.judge(s.places[0], errors.New("no route to host"))
		s.judge(s.places[0], nil)
		at(0, "first mirror")
	})
}

func TestAcceptTakesWhatIsOffered(t *testing.T) {
	transports(t, func(t *testing.T, o *ops, at Repository) {
		o.push("zero", "f", "0")
		good := o.push("one", "f", "1")
		s := openAt(t, at)
		poll(t, s, good)
		o.git("checkout", "-q", "--orphan", "other")
		bad := o.commit("other", "f", "other", "g", "g")
		o.send(o)
		var told []string
		note := func(rev, instead Revision, step func() error) error {
			told = append(told, rev.ID+" "+rev.Subject+" in place of "+instead.ID)
			return step()
		}
		for id, says := range map[string]string{
			"":                              "no full commit id",
			bad[:12]:                        "no full commit id",
			good:                            "isn't the newest of main, and only that can be accepted: " + at.URL + " offers " + bad,
			strings.Repeat("0123456789", 4): "isn't the newest of main",
		} {
			if _, err := s.Accept(t.Context(), id, note); err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("accepting %q says %v, want %q", id, err, says)
			}
		}
		fails(t, s, "doesn't descend")
		if _, err := s.Accept(t.Context(), bad, func(_, _ Revision, _ func() error) error { return errors.New("no space left") }); err == nil || err.Error() != "no space left" {
			t.Errorf("what can't be written down: %v", err)
		}
		if rev, _ := s.Accepted(); rev.ID != good || len(told) > 0 {
			t.Fatalf("%s was accepted, %q was told", rev.ID, told)
		}
		rev, err := s.Accept(t.Context(), bad, note)
		must(t, err)
		if rev.ID != bad || strings.Join(told, "\n") != bad+" other in place of "+good {
			t.Errorf("accepted %s, told %q", rev.ID, told)
		}
		poll(t, s, bad)
		content(t, s, bad, "f", "other")
		poll(t, openAt(t, at, inDir(s.clone.dir)), bad)
		next := o.commit("next", "f", "next")
		o.send(o)
		poll(t, s, next)

		// What descends needs no word, and what is accepted none either.
		for range 2 {
			_, err = s.Accept(t.Context(), next, note)
			must(t, err)
		}
		later := o.commit("later", "f", "later")
		o.send(o)
		_, err = s.Accept(t.Context(), later, note)
		must(t, err)
		poll(t, s, later)
		if len(told) != 1 {
			t.Errorf("told %q", told)
		}
	})
}

func TestAcceptAsksMirrorsToo(t *testing.T) {
	o, mirror, s := mirrored(t)
	poll(t, s, o.push("one", "f", "1"))
	o.away(t, true)
	o.git("checkout", "-q", "--orphan", "other")
	bad := o.commit("other", "f", "other")
	o.send(mirror)
	_, err := s.Accept(t.Context(), bad, func(_, _ Revision, step func() error) error { return step() })
	must(t, err)
	poll(t, s, bad)
}
