package source

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// transports are the ways to reach the same repository: what a test says holds for each.
func transports(t *testing.T, test func(t *testing.T, o *ops, at Repository)) {
	for name, serve := range map[string]func(*ops) Repository{
		"file":  func(o *ops) Repository { return Repository{URL: "file://" + o.bare} },
		"http":  func(o *ops) Repository { return Repository{URL: o.serve()} },
		"https": func(o *ops) Repository { return o.serveTLS().repository() },
		"ssh":   func(o *ops) Repository { return o.serveSSH().repository() },
	} {
		t.Run(name, func(t *testing.T) { o := newOps(t); test(t, o, serve(o)) })
	}
}

func TestFollowsPushes(t *testing.T) {
	transports(t, func(t *testing.T, o *ops, at Repository) {
		s := openAt(t, at)
		if rev, ok := s.Accepted(); ok {
			t.Fatalf("accepted %v before the first poll", rev)
		}
		a := o.push("first", "pods/web.yaml", "a", "system.scm", "s")
		poll(t, s, a)
		poll(t, s, a)
		b := o.push("second", "pods/web.yaml", "b")
		poll(t, s, b)
		o.git("revert", "--no-edit", "HEAD")
		c := o.push("third")
		poll(t, s, c)
		content(t, s, c, "pods/web.yaml", "a")
		content(t, s, b, "pods/web.yaml", "b")

		again := openAt(t, at, inDir(s.clone.dir))
		rev, ok := again.Accepted()
		if !ok || rev.ID != c || rev.Author != "Ada" || rev.Subject != "third" || rev.Time.IsZero() {
			t.Errorf("after a restart accepted is %+v", rev)
		}
		poll(t, again, c)
		git(t, s.clone.dir, "fsck", "--no-dangling")
	})
}

func TestAForcePushIsRefused(t *testing.T) {
	older := func(o *ops) string { o.git("reset", "-q", "--hard", "HEAD~1"); return o.head() }
	amended := func(o *ops) string {
		o.git("reset", "-q", "--hard", "HEAD~1")
		return o.commit("instead", "f", "other")
	}
	alien := func(o *ops) string {
		o.git("checkout", "-q", "--orphan", "alien")
		return o.commit("alien", "f", "alien")
	}
	web := func(o *ops) string { return o.serve() }
	file := func(o *ops) string { return "file://" + o.bare }
	for _, c := range []struct {
		name    string
		move    func(*ops) string
		shallow bool // the accepted commit is the clone's first
		url     func(*ops) string
	}{
		{"to an older commit", older, true, file},
		{"to an older commit", older, false, web},
		{"to an older commit", older, true, web},
		{"amended", amended, true, file},
		{"amended", amended, false, web},
		{"to an unrelated commit", alien, true, web},
		{"to an unrelated commit", alien, false, file},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := newOps(t)
			url := c.url(o)
			o.push("zero", "f", "0", "gone", "soon")
			s := open(t, url)
			if !c.shallow {
				poll(t, s, o.push("one", "f", "1"))
			}
			good := o.push("two", "f", "2", "gone", "")
			poll(t, s, good)
			bad := c.move(o)
			o.git("push", "-q", "-f", o.bare, "HEAD:main")
			for range 2 {
				fails(t, s, bad, good, "git revert")
			}
			if rev, _ := s.Accepted(); rev.ID != good {
				t.Errorf("accepted %s, want %s to stay", rev.ID, good)
			}
			again := open(t, url, inDir(s.clone.dir))
			fails(t, again, bad, good)
			content(t, again, good, "f", "2")

			o.git("reset", "-q", "--hard", good)
			next := o.commit("three", "f", "3")
			o.git("push", "-q", "-f", o.bare, "HEAD:main")
			poll(t, again, next)
			poll(t, s, next)
		})
	}
}

// A server with a bitmap leaves out what was in our history, although our clone doesn't have it.
func TestARevertOfTheFirstAcceptedCommitIsWhole(t *testing.T) {
	transports(t, func(t *testing.T, o *ops, at Repository) {
		o.push("zero", "f", "0", "dir/g", "there before the first accepted commit")
		a := o.push("one", "f", "1", "dir/g", "")
		s := openAt(t, at)
		poll(t, s, a)
		o.git("revert", "--no-edit", "HEAD")
		b := o.push("again")
		git(t, o.bare, "-c", "repack.writeBitmaps=true", "repack", "-q", "-a", "-d", "-b")
		poll(t, s, b)
		content(t, s, b, "dir/g", "there before the first accepted commit")
	})
}

func TestWhatHappensToTheCloneIsHealed(t *testing.T) {
	pack := func(t *testing.T, dir string) string {
		packs, _ := filepath.Glob(filepath.Join(dir, "objects/pack/*.pack"))
		if len(packs) == 0 {
			t.Fatal("the clone has no pack to damage")
		}
		must(t, os.Chmod(packs[0], 0o600))
		return packs[0]
	}
	for name, damage := range map[string]func(t *testing.T, dir string){
		"a truncated pack": func(t *testing.T, dir string) { must(t, os.Truncate(pack(t, dir), 40)) },
		"an empty pack":    func(t *testing.T, dir string) { must(t, os.Truncate(pack(t, dir), 0)) },
		"a flipped bit": func(t *testing.T, dir string) {
			data, err := os.ReadFile(pack(t, dir))
			must(t, err)
			data[len(data)/2] ^= 1
			must(t, os.WriteFile(pack(t, dir), data, 0o600))
		},
		"no pack":  func(t *testing.T, dir string) { must(t, os.Remove(pack(t, dir))) },
		"no index": func(t *testing.T, dir string) { must(t, os.Remove(strings.TrimSuffix(pack(t, dir), "pack")+"idx")) },
		"leftovers": func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, "objects/pack/tmp_pack_1"), []byte("PACK"), 0o600))
		},
		"no objects":           func(t *testing.T, dir string) { must(t, os.RemoveAll(filepath.Join(dir, "objects"))) },
		"an empty HEAD":        func(t *testing.T, dir string) { must(t, os.Truncate(filepath.Join(dir, "HEAD"), 0)) },
		"no config":            func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, "config"))) },
		"no clone":             func(t *testing.T, dir string) { must(t, os.RemoveAll(dir)) },
		"nothing but a folder": func(t *testing.T, dir string) { must(t, os.RemoveAll(dir)); must(t, os.Mkdir(dir, 0o700)) },
	} {
		moves := []string{"nothing new"}
		switch name {
		case "a truncated pack", "no pack", "no index", "leftovers":
			moves = append(moves, "a push")
		case "no clone", "no objects":
			moves = append(moves, "a push", "many pushes", "a force push")
		}
		for _, move := range moves {
			t.Run(name+" and "+move, func(t *testing.T) {
				o := newOps(t)
				o.push("zero", "f", "0")
				a := o.push("one", "f", "1", "g", "same")
				s := open(t, o.bare)
				poll(t, s, a)

				damage(t, s.clone.dir)
				want := a
				switch move {
				case "a push":
					want = o.push("two", "f", "2")
				case "many pushes":
					want = o.commits(105)
					o.git("push", "-q", o.bare, "HEAD:main")
				case "a force push":
					o.git("reset", "-q", "--hard", "HEAD~1")
					o.commit("instead")
					o.git("push", "-q", "-f", o.bare, "HEAD:main")
				}
				again := open(t, o.bare, inDir(s.clone.dir), func(c *Config) { c.Accepted = a })
				if rev, ok := again.Accepted(); !ok || rev.ID != a {
					t.Fatalf("accepted is %v %v after the damage, want %s", rev, ok, a)
				}
				if left, _ := filepath.Glob(filepath.Join(s.clone.dir, "objects/pack/tmp_*")); len(left) > 0 {
					t.Errorf("left over: %s", left)
				}
				if move == "a force push" {
					fails(t, again, "doesn't descend", a)
					if got := again.clone.accepted().String(); got != a {
						t.Errorf("the clone's accepted commit is %s, want %s", got, a)
					}
					return
				}
				poll(t, again, want)
				content(t, again, want, "g", "same")
				git(t, s.clone.dir, "fsck", "--no-dangling")
			})
		}
	}
}

// The damage comes while the agent runs: nobody opens the clone again.
func TestDamageWhileRunningIsHealed(t *testing.T) {
	for _, move := range []string{"nothing new", "a push"} {
		t.Run(move, func(t *testing.T) {
			o := newOps(t)
			a := o.push("one", "f", "1", "dir/g", "same")
			s := open(t, o.bare)
			poll(t, s, a)
			packs, _ := filepath.Glob(filepath.Join(s.clone.dir, "objects/pack/*.pack"))
			for _, p := range packs {
				must(t, os.Chmod(p, 0o600))
				must(t, os.Truncate(p, 40))
			}
			want := a
			if move == "a push" {
				want = o.push("two", "f", "2")
			} else if tree, err := s.Tree(t.Context(), a); err == nil {
				if _, err := fs.ReadFile(tree, "f"); err == nil {
					t.Fatal("a truncated pack could be read")
				}
			}
			poll(t, s, want)
			content(t, s, want, "dir/g", "same")
		})
	}
}

func TestProblemsAreNamedAndPassByThemselves(t *testing.T) {
	transports(t, func(t *testing.T, o *ops, at Repository) {
		s := openAt(t, at)
		must(t, os.Rename(o.bare, o.bare+".away"))
		fails(t, s, "ops.git", "doesn't exist", "create it")
		must(t, os.Rename(o.bare+".away", o.bare))
		fails(t, s, "ops.git has no branch main yet: push one")
		o.commit("one", "f", "1")
		o.git("push", "-q", o.bare, "HEAD:develop")
		fails(t, s, "no branch main", "develop", "source.branch")
		poll(t, s, o.push("two"))
	})
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	at := func(url string) Config { return Config{Repository: Repository{URL: url}} }
	with := func(cfg Config, change func(*Config)) Config { change(&cfg); return cfg }
	for _, c := range []struct {
		cfg  Config
		says string
	}{
		{with(at("/o.git"), func(c *Config) { c.Branch = "a..b" }), "source.branch"},
		{with(at("/o.git"), func(c *Config) { c.Branch = "/x" }), "source.branch"},
		{with(at("/o.git"), func(c *Config) { c.Interval = 1 }), "minimum of 1s"},
		{with(at("/o.git"), func(c *Config) { c.Interval = -1 }), "minimum of 1s"},
		{with(at("/o.git"), func(c *Config) { c.Accepted = "abc" }), "full commit id"},
		{with(at("/o.git"), func(c *Config) { c.Owner, c.PodUser = "podman", "podman" }), "runs the pods"},
		{at("git://localhost/ops.git"), "source.url: "},
		{with(at("/o.git"), func(c *Config) { c.Mirrors = []Repository{{URL: "/p.git"}, {URL: "p.git"}} }), "source.mirrors[1].url: "},
	} {
		c.cfg.Dir = filepath.Join(dir, "repo.git")
		if _, err := Open(c.cfg); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("Open(%+v) says %v, want %q", c.cfg, err, c.says)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "repo.git")); err == nil {
		t.Error("a refused configuration left a clone")
	}
}

func TestWhatIsShownIsPlain(t *testing.T) {
	o := newOps(t)
	o.git("config", "i18n.commitEncoding", "utf-8")
	id := o.push("red\x1b[31m \u202eevil\u200b\r" + strings.Repeat("x", 300) + "\n\nbody")
	s := open(t, o.bare)
	rev, err := s.Poll(t.Context())
	must(t, err)
	if rev.ID != id || !strings.HasPrefix(rev.Subject, "red[31m evilx") {
		t.Errorf("revision %+q", rev)
	}
	if n := len([]rune(rev.Subject)); n != 200 {
		t.Errorf("the subject has %d characters, want 200", n)
	}
}

func content(t *testing.T, s *Source, id, path, want string) {
	t.Helper()
	tree, err := s.Tree(t.Context(), id)
	must(t, err)
	got, err := fs.ReadFile(tree, path)
	must(t, err)
	if string(got) != want {
		t.Errorf("%s in %s has %q, want %q", path, id, got, want)
	}
}
