package source

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// propose pushes the worktree's newest commit as a plan.
func (o *ops) propose(name string) { o.git("push", "-q", "-f", o.bare, "HEAD:refs/heads/plan/"+name) }

// plansAre expects the plans, each as NAME, or as NAME: what its refusal says.
func plansAre(t *testing.T, s *Source, want ...string) {
	t.Helper()
	var got []string
	for _, p := range s.Plans() {
		line := p.Name
		if p.Refused != "" {
			line += ": " + p.Refused
		}
		got = append(got, line)
	}
	match := func(got, want string) bool {
		name, says, _ := strings.Cut(want, ": ")
		return got == want || says != "" && strings.HasPrefix(got, name+": ") && strings.Contains(got, says)
	}
	if !slices.EqualFunc(got, want, match) {
		t.Errorf("plans are %q, want %q", got, want)
	}
}

func TestPlansAreReadAndNotFollowed(t *testing.T) {
	transports(t, func(t *testing.T, o *ops, at Repository) {
		s := openAt(t, at)
		a := o.push("first", "system.scm", "s", "pods/web.yaml", "a")
		poll(t, s, a)
		plansAre(t, s)
		b := o.commit("try it", "pods/web.yaml", "b")
		o.propose("try")
		poll(t, s, a) // main hasn't moved
		plansAre(t, s, "try")
		if p := s.Plans()[0].Revision; p.ID != b || p.Subject != "try it" || p.Author != "Ada" {
			t.Errorf("the plan is %+v", p)
		}
		content(t, s, b, "pods/web.yaml", "b")
		content(t, s, b, "system.scm", "s")

		// It moves, also aside; another one comes; main moves on, and is still followed.
		o.git("reset", "-q", "--hard", a)
		c := o.commit("try otherwise", "pods/web.yaml", "c")
		o.propose("try")
		o.propose("too")
		poll(t, s, a)
		plansAre(t, s, "too", "try")
		content(t, s, c, "pods/web.yaml", "c")
		o.git("reset", "-q", "--hard", a)
		d := o.push("second", "system.scm", "t")
		poll(t, s, d)
		refusal := "doesn't descend from the accepted commit " + d[:12]
		plansAre(t, s, "too: "+refusal, "try: "+refusal)
		e := o.commit("try on top", "pods/web.yaml", "e")
		o.propose("try")
		poll(t, s, d)
		plansAre(t, s, "too: "+refusal, "try")
		content(t, s, e, "pods/web.yaml", "e")

		// What is merged, or whose branch is gone, is no plan any more.
		o.git("push", "-q", o.bare, "HEAD:main", ":refs/heads/plan/too")
		poll(t, s, e)
		plansAre(t, s)
		f := o.push("third", "system.scm", "u")
		poll(t, s, f)
		plansAre(t, s)
	})
}

func TestWhatIsNoPlan(t *testing.T) {
	o, a := pushedOps(t)
	s := open(t, "file://"+o.bare)
	o.git("checkout", "-q", "--orphan", "alien")
	o.commit("alien", "f", "alien")
	o.propose("alien")
	poll(t, s, a)
	plansAre(t, s, "alien: doesn't descend")
	o.git("checkout", "-q", "main")
	o.commit("on top", "f", "2")
	for _, name := range []string{"deep/er", "-o", strings.Repeat("x", 64)} {
		o.git("push", "-q", o.bare, "HEAD:refs/heads/plan/"+name)
	}
	o.git("push", "-q", o.bare, "HEAD:refs/heads/planned", "HEAD:refs/tags/plan/tag")
	poll(t, s, a)
	plansAre(t, s, "alien: doesn't descend")
	for _, name := range []string{"", "a/b", ".", "-x", "ü", "a b", "a\n", strings.Repeat("x", 64)} {
		if CheckPlanName(name) == nil {
			t.Errorf("%q is taken for a name", name)
		}
	}
	for _, name := range []string{"x", "try-nginx_1.2", strings.Repeat("x", 63)} {
		if err := CheckPlanName(name); err != nil {
			t.Error(err)
		}
	}
}

func TestPlansAreBounded(t *testing.T) {
	o, a := pushedOps(t)
	s := open(t, "file://"+o.bare)
	o.commit("on top", "f", "2")
	var all []string
	for i := range mostPlans {
		all = append(all, fmt.Sprint("p", i))
		o.propose(all[i])
	}
	poll(t, s, a)
	plansAre(t, s, all...)
	o.propose("a") // those that are there aren't displaced
	poll(t, s, a)
	plansAre(t, s, append([]string{"a: more than 8 plans"}, all...)...)
	o.git("push", "-q", o.bare, ":refs/heads/plan/p3")
	poll(t, s, a)
	plansAre(t, s, slices.Insert(slices.Delete(all, 3, 4), 0, "a")...)
}

func TestAPlanThatIsLostIsFetchedAgain(t *testing.T) {
	transports(t, func(t *testing.T, o *ops, at Repository) {
		a := o.push("first", "f", "1")
		s := openAt(t, at)
		b := o.commit("on top", "f", "2")
		o.propose("try")
		poll(t, s, a)
		must(t, os.RemoveAll(filepath.Join(s.clone.dir, "objects")))
		if _, err := s.Tree(t.Context(), b); err == nil {
			t.Fatal("what isn't there was read")
		}
		poll(t, s, a)
		plansAre(t, s, "try")
		content(t, s, b, "f", "2")

		again := openAt(t, at) // another life, with a clone of its own
		poll(t, again, a)
		plansAre(t, again, "try")
		content(t, again, b, "f", "2")
	})
}

// A branch that goes back takes the plans' reading with it: nothing is read of a repository that isn't followed.
func TestPlansStayAsTheyAreWhileTheBranchIsRefused(t *testing.T) {
	o := newOps(t)
	s := open(t, "file://"+o.bare)
	o.push("first", "f", "1")
	a := o.push("second", "f", "2")
	poll(t, s, a)
	o.commit("on top", "f", "3")
	o.propose("try")
	poll(t, s, a)
	o.git("push", "-q", "-f", o.bare, "HEAD~2:main")
	o.propose("more")
	fails(t, s, "doesn't descend")
	plansAre(t, s, "try")
}

// A push of a plan is seen by an idle poll of the repository on this machine, and told.
func TestPlansAreTold(t *testing.T) {
	o, a := pushedOps(t)
	told := make(chan string, 9)
	s := open(t, "file://"+o.bare, func(c *Config) {
		c.Interval = 3600e9
		c.Plans = func(all []Plan) {
			names := ""
			for _, p := range all {
				names += p.Name + " "
			}
			told <- names
		}
	})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx, func(Revision) {}) }()
	if got := <-told; got != "" {
		t.Errorf("told %q at first, want that there is none", got)
	}
	o.commit("on top", "f", "2")
	o.propose("one")
	if got := <-told; got != "one " {
		t.Errorf("told %q, want the one", got)
	}
	o.propose("two")
	if got := <-told; got != "one two " {
		t.Errorf("told %q, want two", got)
	}
	o.git("push", "-q", o.bare, ":refs/heads/plan/one")
	if got := <-told; got != "two " {
		t.Errorf("told %q, want what is left", got)
	}
	poll(t, s, a)
	stop()
	must(t, <-ended)
	if len(told) > 0 {
		t.Errorf("told %q, though nothing happened", <-told)
	}
}

// A mirror may have other plans, or none: it tells only of the branch that is followed.
func TestPlansAreThoseOfTheRepositoryItself(t *testing.T) {
	o, a := pushedOps(t)
	mirror := filepath.Join(t.TempDir(), "mirror.git")
	git(t, filepath.Dir(mirror), "clone", "-q", "--bare", o.bare, mirror)
	s := open(t, "file://"+o.bare, func(c *Config) { c.Mirrors = []Repository{{URL: "file://" + mirror}} })
	o.commit("on top", "f", "2")
	o.propose("try")
	poll(t, s, a)
	must(t, os.Rename(o.bare, o.bare+".away"))
	poll(t, s, a)
	plansAre(t, s, "try")
}
