package source

import (
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
)

func packs(t *testing.T, s *Source) int {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(s.clone.dir, "objects/pack/*.pack"))
	must(t, err)
	return len(all)
}

func TestPacksDontPileUp(t *testing.T) {
	o := newOps(t)
	o.push("zero", "dir/same", "same")
	first := o.push("one", "f", "1")
	s := open(t, o.bare)
	s.clone.maxPacks, s.clone.kept = 8, 4
	poll(t, s, first)
	held, err := s.Tree(t.Context(), first) // as a preparation in flight would
	must(t, err)
	var id string
	most := 0
	for i := range 12 {
		id = o.push("more", "f", fmt.Sprint(i))
		poll(t, s, id)
		most = max(most, packs(t, s))
	}
	if n := packs(t, s); most != 8 || n != 5 {
		t.Errorf("there were at most %d packs, and are %d; want 8 and 5", most, n)
	}
	git(t, s.clone.dir, "fsck", "--no-dangling", "--full", acceptedRef)
	if n := git(t, s.clone.dir, "rev-list", "--count", acceptedRef); n != "8" {
		t.Errorf("history has %s commits", n)
	}
	content(t, s, id, "dir/same", "same")
	content(t, s, o.git("rev-parse", "HEAD~7"), "f", "4")
	if _, err := held.Open("f"); err == nil {
		t.Error("a file that was forgotten can be read")
	}
	poll(t, s, id) // and looks whether that was damage
	if _, err := held.Open("dir/same"); err != nil {
		t.Errorf("a file that is in another pack now can't be read: %v", err)
	}

	next := o.push("next", "f", "next")
	poll(t, s, next)
	o.git("reset", "-q", "--hard", "HEAD~10")
	o.git("push", "-q", "-f", o.bare, "HEAD:main")
	fails(t, s, "doesn't descend")
	poll(t, open(t, o.bare+"/../work", inDir(s.clone.dir)), resetTo(o, next))
}

// Of a large repository only what changed is written again.
func TestALargePackStays(t *testing.T) {
	o := newOps(t)
	noise := make([]byte, 1<<20)
	_, err := rand.Read(noise)
	must(t, err)
	first := o.push("one", "large", string(noise), "f", "1")
	s := open(t, o.bare)
	s.clone.maxPacks = 4
	poll(t, s, first)
	large, err := filepath.Glob(filepath.Join(s.clone.dir, "objects/pack/*.pack"))
	must(t, err)
	for i := range 4 {
		poll(t, s, o.push("more", "f", fmt.Sprint(i)))
	}
	if n := packs(t, s); n != 2 {
		t.Errorf("after compacting there are %d packs, want the large one and one of the rest", n)
	}
	if _, err := os.Stat(large[0]); err != nil {
		t.Errorf("the large pack was written again: %v", err)
	}
	git(t, s.clone.dir, "fsck", "--no-dangling", "--full", acceptedRef)
	content(t, s, o.head(), "f", "3")
	content(t, s, o.head(), "large", string(noise))

	// Refused commits leave nothing behind.
	for i := range 4 {
		o.git("checkout", "-q", "--orphan", fmt.Sprint("alien", i))
		o.commit("alien", "f", fmt.Sprint("alien", i))
		o.git("push", "-q", "-f", o.bare, "HEAD:main")
		fails(t, s, "doesn't descend")
	}
	if n := packs(t, s); n > 4 {
		t.Errorf("after four refused commits there are %d packs", n)
	}
	s.clone.maxPacks = 0
	s.compact(s.clone.accepted())
	git(t, s.clone.dir, "fsck", "--no-dangling", "--full", acceptedRef)
	content(t, open(t, o.bare, inDir(s.clone.dir)), s.clone.accepted().String(), "f", "3")
}

// A plan that moves again and again adds packs, too; and it stays in the clone when main moves on.
func TestPlansAreCompacted(t *testing.T) {
	o := newOps(t)
	first := o.push("one", "f", "1")
	s := open(t, o.bare)
	s.clone.maxPacks, s.clone.kept = 4, 3
	poll(t, s, first)
	var plan string
	for i := range 8 {
		o.git("reset", "-q", "--hard", first)
		plan = o.commit("plan", "plan", fmt.Sprint(i))
		o.propose("try")
		poll(t, s, first)
		if n := packs(t, s); n > 4 {
			t.Fatalf("after %d plans there are %d packs", i+1, n)
		}
		must(t, s.clone.complete(plumbing.NewHash(plan)))
	}
	poll(t, s, first)
	content(t, s, plan, "plan", "7")
	content(t, s, first, "f", "1")
}

// However many pushes there were, the packs are few, and what comes is still known to descend from what was accepted. `make bench`
// has three hundred.
func TestFortyPushes(t *testing.T) {
	o := newOps(t)
	o.push("zero", "f", "0", "same", "same")
	o.commits(41)
	o.git("push", "-q", o.bare, "HEAD:all")
	all := strings.Fields(o.git("rev-list", "--reverse", "HEAD"))
	main := filepath.Join(o.bare, "refs/heads/main")
	s := open(t, o.bare)
	most := 0
	for _, id := range all[1:] {
		must(t, os.WriteFile(main, []byte(id+"\n"), 0o644))
		poll(t, s, id)
		most = max(most, packs(t, s))
	}
	if len(all) < 40 || most > 9 {
		t.Errorf("after %d pushes there were up to %d packs, want at most 9", len(all)-1, most)
	}
	if n := git(t, s.clone.dir, "rev-list", "--count", acceptedRef); n < "32" || len(n) > 2 {
		t.Errorf("the clone has %s commits", n)
	}
	content(t, s, all[len(all)-1], "same", "same")
	must(t, os.WriteFile(main, []byte(all[3]+"\n"), 0o644)) // older than the clone's history
	fails(t, s, "doesn't descend", all[3])
	must(t, os.WriteFile(main, []byte(all[len(all)-1]+"\n"), 0o644))
	poll(t, s, all[len(all)-1])
}

func resetTo(o *ops, id string) string {
	o.git("reset", "-q", "--hard", id)
	return id
}

// The agent dies between fetching a commit and accepting it; its next life does both.
func TestAKillBetweenFetchedAndAccepted(t *testing.T) {
	if dir := os.Getenv("SOURCE_TEST_CLONE"); dir != "" { // the life that dies
		s := open(t, os.Getenv("SOURCE_TEST_URL"), inDir(dir))
		_, err := s.Poll(t.Context())
		t.Fatalf("the crash point wasn't reached: %v", err)
	}
	o := newOps(t)
	a := o.push("one", "f", "1")
	s := open(t, o.bare)
	poll(t, s, a)
	b := o.push("two", "f", "2")

	armed := filepath.Join(t.TempDir(), "armed")
	must(t, os.WriteFile(armed, []byte("fetching.fetched"), 0o600))
	cmd := exec.Command(os.Args[0], "-test.run=^TestAKillBetweenFetchedAndAccepted$")
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir(), "COLLIE_CRASH="+armed, "SOURCE_TEST_CLONE="+s.clone.dir, "SOURCE_TEST_URL="+o.bare)
	out, err := cmd.CombinedOutput()
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != -1 {
		t.Fatalf("the first life ended with %v, not by a kill:\n%s", err, out)
	}
	if _, err := os.Stat(armed); err == nil {
		t.Fatal("the crash point wasn't reached")
	}
	again := open(t, o.bare, inDir(s.clone.dir))
	if rev, _ := again.Accepted(); rev.ID != a {
		t.Errorf("accepted is %s, want %s as before the kill", rev.ID, a)
	}
	poll(t, again, b)
	content(t, again, b, "f", "2")
}
