package source

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
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
	cmd.Env = append(os.Environ(), "COLLIE_CRASH="+armed, "SOURCE_TEST_CLONE="+s.clone.dir, "SOURCE_TEST_URL="+o.bare)
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
