package source

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// stranger is an id without an account.
const stranger = 4242

// gitCalls puts a wrapper before git on PATH, and returns how often it was called since.
func gitCalls(t *testing.T) func() int {
	t.Helper()
	real, err := exec.LookPath("git")
	must(t, err)
	dir := openTempDir(t)
	log := filepath.Join(dir, "calls")
	script := "#!/bin/sh\n[ \"$1\" != upload-pack ] || echo \"$@\" >>" + log + "\nexec " + real + " \"$@\"\n"
	must(t, os.WriteFile(filepath.Join(dir, "git"), []byte(script), 0o755))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return func() int {
		data, _ := os.ReadFile(log)
		_ = os.Remove(log)
		return strings.Count(string(data), "upload-pack")
	}
}

func TestAnIdlePollStartsNoProcess(t *testing.T) {
	for _, branch := range []string{"main", "prod/eu"} {
		t.Run(branch, func(t *testing.T) {
			o := newQuietOps(t)
			calls := gitCalls(t)
			push := func() string {
				t.Helper()
				id := o.commit("more")
				o.git("push", "-q", o.bare, "HEAD:refs/heads/"+branch)
				return id
			}
			s := open(t, o.bare, func(c *Config) { c.Branch = branch })
			a := push()
			calls()
			poll(t, s, a)
			if calls() == 0 {
				t.Fatal("the wrapper around git counts nothing")
			}
			aged(s)
			poll(t, s, a) // the refs were too young the first time to rely on their times
			calls()
			for range 30 {
				poll(t, s, a)
			}
			if n := calls(); n != 0 {
				t.Errorf("30 idle polls ran git %d times", n)
			}
			for what, change := range map[string]func(){
				"pack-refs": func() { git(t, o.bare, "pack-refs", "--all") },
				"gc":        func() { git(t, o.bare, "gc", "-q") },
				"nothing":   func() {},
			} {
				change()
				poll(t, s, a)
				b := push()
				poll(t, s, b)
				aged(s)
				poll(t, s, b)
				a = b
				calls()
				if poll(t, s, a); calls() != 0 {
					t.Errorf("after %s an idle poll runs git", what)
				}
			}
		})
	}
}

func TestARefusedCommitIsAskedForOnce(t *testing.T) {
	o := newQuietOps(t)
	calls := gitCalls(t)
	o.push("zero")
	a := o.push("one")
	s := open(t, o.bare)
	poll(t, s, a)
	o.git("reset", "-q", "--hard", "HEAD~1")
	o.git("push", "-q", "-f", o.bare, "HEAD:main")
	aged(s)
	fails(t, s, "doesn't descend")
	calls()
	fails(t, s, "doesn't descend")
	if n := calls(); n != 0 {
		t.Errorf("a refused commit was asked for again, %d times", n)
	}
}

// Such a change is noticed at the next poll, also if the branch didn't move.
func TestAQuietRepositoryThatOthersCanWriteNow(t *testing.T) {
	for _, folder := range []string{"", "refs", "refs/heads", "refs/heads/prod"} {
		t.Run(folder, func(t *testing.T) {
			o := newQuietOps(t)
			id := o.commit("one")
			o.git("push", "-q", o.bare, "HEAD:refs/heads/prod/eu")
			s := open(t, o.bare, func(c *Config) { c.Branch = "prod/eu" })
			poll(t, s, id)
			aged(s)
			poll(t, s, id)
			must(t, os.Chmod(filepath.Join(o.bare, folder), 0o777))
			if _, err := s.Poll(t.Context()); err == nil || !strings.Contains(err.Error(), "is writable by everyone") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestWhoElseCanWriteARepository(t *testing.T) {
	chmod := func(name string, mode os.FileMode) func(*testing.T, *ops) {
		return func(t *testing.T, o *ops) { must(t, os.Chmod(filepath.Join(o.bare, name), mode)) }
	}
	chown := func(name string, uid int) func(*testing.T, *ops) {
		return func(t *testing.T, o *ops) {
			needRoot(t)
			must(t, os.Lchown(filepath.Join(o.bare, name), uid, uid))
		}
	}
	file := func(name string, mode os.FileMode) func(*testing.T, *ops) {
		return func(t *testing.T, o *ops) {
			path := filepath.Join(o.bare, name)
			must(t, os.MkdirAll(filepath.Dir(path), 0o755))
			must(t, os.WriteFile(path, []byte("#!/bin/sh\n"), mode))
			must(t, os.Chmod(path, mode))
		}
	}
	for _, c := range []struct {
		name   string
		change func(*testing.T, *ops)
		says   []string // none: it is trusted
	}{
		{"as git makes it", func(*testing.T, *ops) {}, nil},
		{"its group can write it", chmod("", 0o775), []string{"ops.git is writable by its group", "chmod -R go-w"}},
		{"everyone can write it", chmod("", 0o777), []string{"ops.git is writable by everyone"}},
		{"sticky is no excuse for itself", chmod("", 0o777|os.ModeSticky), []string{"ops.git is writable by everyone"}},
		{"the folder above", chmod("..", 0o775), []string{"/001 is writable by its group", "chmod go-w"}},
		{"a sticky folder above", chmod("..", 0o777|os.ModeSticky), stickyIsRoots()},
		{"refs", chmod("refs/heads", 0o775), []string{"refs/heads is writable by its group"}},
		{"a ref", chmod("refs/heads/main", 0o666), []string{"refs/heads/main is writable by everyone"}},
		{"HEAD", chmod("HEAD", 0o664), []string{"HEAD is writable by its group"}},
		{"config", chmod("config", 0o664), []string{"config is writable by its group"}},
		{"objects", chmod("objects", 0o775), []string{"objects is writable by its group"}},
		{"packs", chmod("objects/pack", 0o775), []string{"objects/pack is writable by its group"}},
		{"packed refs", func(t *testing.T, o *ops) {
			git(t, o.bare, "pack-refs", "--all")
			chmod("packed-refs", 0o666)(t, o)
		}, []string{"packed-refs is writable by everyone"}},
		{"a hook", file("hooks/post-receive", 0o777), []string{"hooks/post-receive is writable by everyone"}},
		{"a file that git doesn't know", file("notes", 0o666), []string{"notes is writable by everyone"}},
		{"a good hook", file("hooks/post-receive", 0o755), nil},
		{"a hook that is a link", func(t *testing.T, o *ops) {
			file("hooks/real", 0o755)(t, o)
			must(t, os.Symlink("real", filepath.Join(o.bare, "hooks/update")))
		}, nil},
		{"a hook that is a link to what others can write", func(t *testing.T, o *ops) {
			file("../hook", 0o777)(t, o)
			must(t, os.Symlink("../../hook", filepath.Join(o.bare, "hooks/update")))
		}, []string{"hook is writable by everyone"}},
		{"a link that leads in a circle", func(t *testing.T, o *ops) {
			must(t, os.Symlink("loop", filepath.Join(o.bare, "hooks/loop")))
		}, []string{"more than 40 symbolic links"}},
		{"a link to nowhere", func(t *testing.T, o *ops) {
			must(t, os.Symlink("/nowhere", filepath.Join(o.bare, "hooks/update")))
		}, nil},
		{"all shared", func(t *testing.T, o *ops) {
			git(t, filepath.Dir(o.bare), "init", "-q", "--bare", "--shared=group", o.bare)
		}, []string{"writable by its group", "git init --shared", "core.sharedRepository"}},
		{"it belongs to a stranger", chown("", stranger), []string{"ops.git belongs to uid 4242", "source.owner"}},
		{"the folder above belongs to a stranger", chown("..", stranger), []string{"/001 belongs to uid 4242"}},
		{"a ref belongs to a stranger", chown("refs/heads/main", stranger), []string{"refs/heads/main belongs to uid 4242", "chown -R root"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, id := pushedOps(t)
			must(t, os.Mkdir(filepath.Join(o.bare, "hooks"), 0o755))
			s := open(t, o.bare)
			c.change(t, o)
			if c.says == nil {
				poll(t, s, id)
				return
			}
			fails(t, s, append(c.says, "isn't trusted")...)

			must(t, exec.Command("chmod", "-R", "go-w", o.bare, filepath.Dir(o.bare)).Run())
			if os.Geteuid() == 0 {
				must(t, exec.Command("chown", "-hR", "0", filepath.Dir(o.bare)).Run())
			}
			_ = os.Remove(filepath.Join(o.bare, "hooks/loop"))
			poll(t, s, id)
		})
	}
}

// stickyIsRoots: what is in root's sticky folder, like /tmp, is safe; in another's, the folder's owner could move it.
func stickyIsRoots() []string {
	if os.Geteuid() == 0 {
		return nil
	}
	return []string{"is writable by everyone"}
}

func TestALinkToTheRepositoryIsFollowedIfNobodyElseCanMoveIt(t *testing.T) {
	o, id := pushedOps(t)
	dir := filepath.Dir(o.bare)
	link := filepath.Join(dir, "link.git")
	must(t, os.Symlink("ops.git", link))
	poll(t, open(t, link), id)

	needRoot(t)
	must(t, os.Lchown(link, stranger, stranger))
	fails(t, open(t, link), "link.git belongs to uid 4242")
}

func TestARepositoryWithAWorktree(t *testing.T) {
	o, id := pushedOps(t)
	s := open(t, o.work)
	poll(t, s, id)
	must(t, os.Chmod(filepath.Join(o.work, ".git/HEAD"), 0o666))
	fails(t, open(t, o.work), ".git/HEAD is writable by everyone")
}

// uploadPackAs wraps git so that it tells whom it runs as.
func TestGitRunsAsTheOwner(t *testing.T) {
	needRoot(t)
	o := newQuietOps(t)
	id := o.push("one")
	must(t, exec.Command("chown", "-R", "nobody", o.bare).Run())

	real, err := exec.LookPath("git")
	must(t, err)
	dir := openTempDir(t)
	must(t, os.Chmod(dir, 0o777))
	script := "#!/bin/sh\n[ \"$1\" != upload-pack ] || (id -u; id -G; env) >" + dir + "/ran\nexec " + real + " \"$@\"\n"
	must(t, os.WriteFile(filepath.Join(dir, "git"), []byte(script), 0o755))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("SECRET", "s3cret")

	fails(t, open(t, o.bare), "belongs to nobody", "source.owner")
	if _, err := os.Stat(filepath.Join(dir, "ran")); err == nil {
		t.Fatal("git looked into a repository that isn't trusted")
	}
	s := open(t, o.bare, func(c *Config) { c.Owner = "nobody" })
	poll(t, s, id)
	data, err := os.ReadFile(filepath.Join(dir, "ran"))
	must(t, err)
	ran := string(data)
	nobody, err := user.Lookup("nobody")
	must(t, err)
	if !strings.HasPrefix(ran, nobody.Uid+"\n"+nobody.Gid+"\n") {
		t.Errorf("git ran as\n%s", ran)
	}
	if strings.Contains(ran, "s3cret") || !strings.Contains(ran, "HOME="+nobody.HomeDir+"\n") {
		t.Errorf("git's environment is\n%s", ran)
	}

	t.Run("root's folder with the owner's files", func(t *testing.T) {
		must(t, os.Chown(o.bare, 0, 0))
		fails(t, open(t, o.bare, func(c *Config) { c.Owner = "nobody" }), "belongs to nobody", "chown -R")
	})
	t.Run("another owner", func(t *testing.T) {
		must(t, exec.Command("chown", "-R", fmt.Sprint(stranger), o.bare).Run())
		fails(t, open(t, o.bare, func(c *Config) { c.Owner = "nobody" }), "belongs to uid 4242", "chown")
	})
	t.Run("root's own", func(t *testing.T) {
		must(t, exec.Command("chown", "-R", "0", o.bare).Run())
		poll(t, open(t, o.bare, func(c *Config) { c.Owner = "nobody" }), id)
	})
	t.Run("nobody of that name", func(t *testing.T) {
		fails(t, open(t, o.bare, func(c *Config) { c.Owner = "no-such-user" }), "no user no-such-user")
	})
}

func TestThePodUserMayNeverWrite(t *testing.T) {
	needRoot(t)
	o := newOps(t)
	o.push("one")
	must(t, exec.Command("chown", "-R", "nobody", o.bare).Run())
	// An account of another name but the same id isn't caught by comparing names.
	s := open(t, o.bare, func(c *Config) { c.Owner, c.PodUser = "nobody", "pods" })
	s.places[0].remote.(*local).podUser = "nobody"
	fails(t, s, "nobody runs the pods")
}

func TestADeadGitIsExplained(t *testing.T) {
	o := newQuietOps(t)
	o.push("one")
	dir := t.TempDir()
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	fake := func(script string) {
		path := filepath.Join(dir, "git")
		must(t, os.WriteFile(path+".new", []byte("#!/bin/sh\n"+script), 0o755))
		must(t, os.Rename(path+".new", path))
	}
	s := open(t, o.bare)
	fake("echo 'fatal: the disk is on fire' >&2; exit 128")
	fails(t, s, "asking "+o.bare, "the disk is on fire")
	fake("exit 0")
	fails(t, s, "asking "+o.bare)
	fake("exec cat /dev/zero")
	fails(t, s, "asking "+o.bare)

	pid := filepath.Join(dir, "pid")
	fake("echo $$ >" + pid + "; sleep 1000 & wait")
	s.answer = 100_000_000
	fails(t, s, "no answer within 100ms")
	data, err := os.ReadFile(pid)
	must(t, err)
	group := strings.TrimSpace(string(data))
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) { // what is killed runs for a moment
		left := ofGroup(t, group)
		if len(left) == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("after the deadline this still runs: %s", left)
		}
	}
}

// ofGroup are the processes of a group, as /proc tells of them, but for those that ended.
func ofGroup(t *testing.T, group string) (all []string) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	must(t, err)
	for _, path := range stats {
		data, _ := os.ReadFile(path) // it may have ended since
		_, after, _ := strings.Cut(string(data), ") ")
		if f := strings.Fields(after); len(f) > 2 && f[2] == group && f[0] != "Z" {
			all = append(all, string(data))
		}
	}
	return all
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files to other users, and run git as them")
	}
}
