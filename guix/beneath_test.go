package guix

import (
	"bytes"
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// soon fails if do takes as long as a read of a FIFO that nobody writes to.
func soon(t *testing.T, what string, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s doesn't end", what)
	}
}

func (m *machine) fifo(name string) string {
	m.t.Helper()
	if err := os.MkdirAll(filepath.Dir(m.path(name)), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := syscall.Mkfifo(m.path(name), 0o666); err != nil {
		m.t.Fatal(err)
	}
	return m.path(name)
}

func inItem(letter, name string) string {
	return "gnu/store/" + strings.Repeat(letter, 32) + "-" + name
}

func TestStoreReadsWhatIsBeneathAnItem(t *testing.T) {
	m := newMachine(t)
	a, b := inItem("a", "one"), inItem("b", "two")
	m.write(a+"/file", "text")
	m.write(b+"/deep/file", "other")
	m.write(b+"/top", "top")
	m.write(a+"/a\nname", "text")
	m.write(inItem("c", "alone"), "alone")
	m.write("home/me/readable", "theirs")
	m.write("gnu/store/.links/x", "x")
	m.write("home/me/evil/"+a+"/file", "fake")
	m.write(a+"/evil/"+b+"/top", "fake")
	m.link(m.path("home/me"), a+"/way-out")
	secret := m.write("home/root/secret", "export TOKEN=top-secret")
	private := m.write(b+"/private", "top-secret")
	closed := filepath.Dir(m.write(inItem("d", "x.drv.chroot")+"/file", "top-secret"))
	for path, mode := range map[string]os.FileMode{secret: 0o600, private: 0o440, closed: 0o700} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	m.fifo(a + "/fifo")
	fifo := m.fifo("home/me/evil/gnu/store/fifo")
	for name, to := range map[string]string{
		"absolute": m.path(b + "/top"), "guix": "/" + b + "/top", "beside": "../" + filepath.Base(b) + "/top", "folder": "/" + b + "/deep",
		"here": "./file", "up": "folder/../top", "slash": "/" + b + "//deep/./file", "to-alone": "/" + inItem("c", "alone"),
		"to-fifo": fifo, "to-own-fifo": "fifo", "device": "/dev/zero", "to-secret": secret, "to-private": "/" + b + "/private", "to-closed": "/" + inItem("d", "x.drv.chroot") + "/file",
		"loop": "loop", "loop-a": "loop-b", "loop-b": "loop-a", "up-and-out": "../../../home/me/readable", "above": "/" + a + "/../../../home/me/readable",
		"store": "/gnu/store", "links": "/gnu/store/.links/x", "proc": "/proc/self/environ", "prefix": "/gnu/store" + m.path("home/me/readable"),
		"beside-the-store": "/gnu/store-of-mine/file", "gone": "/" + inItem("z", "gone"), "through-file": "file/x", "home": m.path("home/me/readable"),
		"no-hash": "/gnu/store/short-name/file", "upper": "/gnu/store/" + strings.Repeat("A", 32) + "-x", "no-base32": "/gnu/store/" + strings.Repeat("e", 32) + "-x",
	} {
		m.link(to, a+"/"+name)
	}
	for i := range 50 {
		m.link(fmt.Sprintf("chain-%d", i+1), fmt.Sprintf("%s/chain-%d", a, i))
	}
	m.link("file", a+"/chain-50")
	m.link(strings.Repeat("./", 1500)+"file", a+"/many-steps")
	huge := m.write(a+"/huge", "")
	if err := os.Truncate(huge, 1<<30); err != nil {
		t.Fatal(err)
	}

	const outside, irregular, hidden = "leads out of the store", "no regular file", "not for all to read"
	for path, want := range map[string]string{ // a text, or ! and a part of the error
		a + "/file": "text", a + "/absolute": "top", a + "/guix": "top", a + "/beside": "top", a + "/folder/file": "other", a + "/here": "text",
		a + "/up": "top", a + "/slash": "other", a + "/to-alone": "alone", inItem("c", "alone"): "alone", a + "/a\nname": "text", a + "/chain-20": "text",
		a + "/fifo": "!" + irregular, a + "/to-own-fifo": "!" + irregular, a + "/to-fifo": "!" + outside, a + "/device": "!" + outside, a + "/folder": "!" + irregular, a: "!" + irregular,
		a + "/to-secret": "!" + outside, a + "/to-private": "!" + hidden, a + "/to-closed": "!" + hidden, a + "/home": "!" + outside, a + "/proc": "!" + outside,
		a + "/way-out/readable": "!" + outside, a + "/up-and-out": "!" + outside, a + "/above": "!" + outside, a + "/store": "!" + outside, a + "/links": "!" + outside,
		a + "/prefix": "!" + outside, a + "/beside-the-store": "!" + outside, a + "/no-hash": "!" + outside, a + "/upper": "!" + outside, a + "/no-base32": "!" + outside,
		a + "/loop": "!too many levels", a + "/loop-a": "!too many levels", a + "/chain-0": "!too many levels", a + "/many-steps": "!name too long", a + "/gone": "!no such file",
		a + "/through-file": "!not a directory", a + "/file/x": "!not a directory", a + "/huge": "!more than 4194304 bytes", "home/me/readable": "!" + outside,
		"home/me/evil/" + a + "/file": "!" + outside, "gnu/store": "!" + outside, "gnu/store/../../home/me/readable": "!" + outside,
	} {
		t.Run(path, func(t *testing.T) {
			soon(t, "reading", func() {
				text, err := Store(m.root).read(m.root + "/" + path)
				if part, fails := strings.CutPrefix(want, "!"); fails {
					if err == nil || !strings.Contains(err.Error(), part) || len(text) > 0 {
						t.Errorf("%q, %v; want %q", text, err, part)
					}
				} else if err != nil || string(text) != want {
					t.Errorf("%q, %v; want %q", text, err, want)
				}
			})
		})
	}
	if fds, err := os.ReadDir("/proc/self/fd"); err == nil && len(fds) > 100 {
		t.Errorf("%d descriptors are open", len(fds))
	}

	holds := map[string]bool{a: true, "gnu/store/" + strings.Repeat("e", 32) + "-one": false, a + "/file": false, a + "/": false, a + "\n": false, "home/me/evil/" + a: false,
		a + "/evil/" + b: false, "gnu/store/../" + a: false, "gnu/store/.links": false, inItem("a", ""): false, inItem("a", strings.Repeat("x", 212)): false, inItem("a", "é"): false}
	for path, want := range holds {
		if got := Store(m.root).holds(m.root + "/" + path); got != want {
			t.Errorf("%q is an item: %v", path, got)
		}
	}
	if Store("").holds(m.path(a)) || !Store("").holds("/"+a) {
		t.Error("the store is at /gnu/store")
	}
}

// Root's readers of a home stay in the store, whatever the home that the user made live leads to.
func TestAHostileHomeHoldsNobody(t *testing.T) {
	const init = "/files/.config/shepherd/init.scm"
	secret := func(m *machine) string {
		path := m.write("home/root/secret", "export TOKEN=\"top-secret\"\ntop-secret\n")
		if err := os.Chmod(path, 0o600); err != nil {
			m.t.Fatal(err)
		}
		return path
	}
	conf := inItem("y", "shepherd.conf")
	for name, row := range map[string]struct {
		make  func(m *machine, item string)
		names string // by the problem
	}{
		"a FIFO below a fake store": {func(m *machine, item string) {
			m.fifo("home/me/evil/" + conf)
			m.link(m.path("home/me/evil/"+conf), item+init)
		}, "init.scm leads out of the store"},
		"a FIFO behind a link in an item": {func(m *machine, item string) {
			m.fifo("home/me/evil/" + conf)
			m.link(m.path("home/me/evil/gnu"), inItem("x", "way")+"/gnu")
			m.link(m.path(inItem("x", "way")+"/"+conf), item+init)
		}, "init.scm leads out of the store"},
		"a secret for setup-environment": {func(m *machine, item string) { m.link(secret(m), item+"/setup-environment") }, "setup-environment leads out of the store"},
		"a FIFO for setup-environment":   {func(m *machine, item string) { m.link(m.fifo("home/me/fifo"), item+"/setup-environment") }, "setup-environment leads out of the store"},
		"a secret for a file":            {func(m *machine, item string) { m.link(secret(m), item+"/files/.bashrc") }, ""},
		"a FIFO for a file":              {func(m *machine, item string) { m.link(m.fifo("home/me/fifo"), item+"/files/.bashrc") }, ""},
		"a folder of secrets for files":  {func(m *machine, item string) { m.link(filepath.Dir(secret(m)), item+"/files") }, "init.scm leads out of the store"},
		"a FIFO for the manifest": {func(m *machine, item string) {
			m.fifo("home/me/profile/manifest")
			m.link(m.path("home/me/profile"), item+"/profile")
		}, "manifest leads out of the store"},
		"a link to itself":   {func(m *machine, item string) { m.link("init.scm", item+init) }, "too many levels"},
		"a sparse file":      {func(m *machine, item string) { huge(m, item+"/setup-environment") }, ""},
		"a name of one line": {func(m *machine, item string) { m.write(item+"/files/a\nsystem.scm is good", "x") }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			good, h := m.item("a", "home"), m.home()
			m.write(inItem("a", "home")+"/setup-environment", "export EDITOR=\"ed\"\n")
			hostile := inItem("b", "home")
			for _, dir := range []string{hostile + "/files/.config/shepherd", inItem("x", "way")} {
				if err := os.MkdirAll(m.path(dir), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if strings.Contains(name, "for files") {
				if err := os.RemoveAll(m.path(hostile + "/files")); err != nil {
					t.Fatal(err)
				}
			}
			row.make(m, hostile)
			m.link(good, "var/guix/profiles/per-user/me/guix-home-1-link")
			m.link(m.path(hostile), "var/guix/profiles/per-user/me/guix-home-2-link")
			m.link("guix-home-2-link", "var/guix/profiles/per-user/me/guix-home")
			quietListener(t, m.path("runtime/shepherd/socket"))
			soon(t, "the plan", func() {
				details, err := h.Plan(t.Context(), good)
				if says := fmt.Sprintf("%+v", details); err != nil || strings.Contains(says, "top-secret") || strings.Contains(says, "\nsystem") {
					t.Errorf("the plan: %s, %v", says, err)
				}
			})
			soon(t, "the look", func() {
				if changes, err := h.Diff(t.Context(), good); err != nil || !pending(changes) {
					t.Errorf("the look: %v, %v", changes, err)
				}
				problems, err := h.Problems(t.Context(), good, time.Time{})
				if says := fmt.Sprint(problems); err != nil || (len(problems) > 0) != (row.names != "") && name != "a sparse file" || !strings.Contains(says, row.names) {
					t.Errorf("problems: %s, %v", says, err)
				}
			})
			soon(t, "the switch", func() {
				if err := h.Switch(t.Context(), good, ""); err != nil {
					t.Error(err)
				}
				if live, err := h.Live(t.Context()); live != good || err != nil {
					t.Errorf("live is %s, %v", live, err)
				}
			})
		})
	}
}

func huge(m *machine, name string) {
	m.write(name, "")
	if err := os.Truncate(m.path(name), 1<<30); err != nil {
		m.t.Fatal(err)
	}
}

// The functions that open or look up files by themselves, grouped by who owns those files. Only Store, or a child with the
// user's rights, reads what a user may have chosen.
var readers = map[string]string{
	"Store itself":            "beneath.enter beneath.open beneath.walk",
	"as the user, in a child": "backups.listBackups backups.inBackup backups.putBack made.dropGenerationsAs user.look",
	"links of a user's profile, which are read and not followed, and its folder, opened as a folder without following a link": "generation.live generation.read generation.numbers generation.madeAt",
	"looked up and watched, never opened: names in a home's configuration that begin at the home":                             "reads.outsider",
	"an exact item, looked up": "progress.whole root.Keep started.keepFiles",
	"the home of the account that evaluates, looked up, and emptied without following a link out of it": "evaluator.clear evaluator.discard evaluator.makeHome",
	"the kernel's": "evaluator.processes orphans.readStatus orphans.statuses orphans.unheard others.Others others.bootTime others.namespace runner.identify silence.processDoes started.life",
	"root's: the state, logs, trees, GC roots, caches": "channels.readChannels channels.travel clues.closed clues.lacks clues.readTree definitions.readBounded evaluator.mayEnter failure.inRepository log.Logs log.Open modules.LinkModules modules.putLink others.sessions progress.measure progress.smallest " +
		"reads.circumstances reads.reads reads.sumFile reads.sumPaths reads.watch root.List root.RemoveTree runner.Await runner.follow runner.newLog runner.readClean space.settleStore started.saveIfNew switch.remember switch.isDir transcript.startRelay weather.readSome",
	"the system's: items, the profile, /etc, /run, the boot menu, logs of its services": "made.DropGenerations menu.KeepMenu menu.install menu.leads menu.readMenu plan.files problems.tail reboot.atBoot reboot.bootOf " +
		"system.Build system.Live system.differs system.etc system.failedActivation system.services system.stale",
}

func TestReadersAreKnown(t *testing.T) {
	reads := map[string]bool{}
	for _, name := range strings.Fields("os.ReadFile os.Open os.OpenFile os.OpenRoot os.DirFS os.Readlink os.ReadDir os.Stat os.Lstat filepath.EvalSymlinks filepath.Glob filepath.WalkDir filepath.Walk unix.Open unix.Openat syscall.Open") {
		reads[name] = true
	}
	known := map[string]bool{}
	for _, names := range readers {
		for _, name := range strings.Fields(names) {
			known[name] = false
		}
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			where := strings.TrimSuffix(file, ".go")
			if f, is := d.(*ast.FuncDecl); is {
				where += "." + f.Name.Name
			}
			ast.Inspect(d, func(n ast.Node) bool {
				s, is := n.(*ast.SelectorExpr)
				if !is {
					return true
				}
				if of, is := s.X.(*ast.Ident); is && reads[of.Name+"."+s.Sel.Name] {
					if _, is := known[where]; !is {
						t.Errorf("%s calls %s.%s, and isn't named in readers: what a user may have chosen is read by Store, or in a child as the user", where, of.Name, s.Sel.Name)
					}
					known[where] = true
				}
				return true
			})
		}
	}
	for name, used := range known {
		if !used {
			t.Errorf("%s is named in readers, and reads nothing", name)
		}
	}
}

// What a user's guix prints is an item that guix-daemon has, or it is nothing.
func TestABuiltHomeIsAnItemOfTheStore(t *testing.T) {
	m := newMachine(t)
	a := m.item("a", "home")
	for _, path := range []string{"home/me/evil/" + inItem("a", "home"), inItem("x", "way") + "/" + inItem("a", "home")} {
		if err := os.MkdirAll(m.path(path), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, row := range map[string]struct{ prints, err string }{
		"the item":           {a, ""},
		"a fake store":       {m.path("home/me/evil/" + inItem("a", "home")), "named no home"},
		"within an item":     {m.path(inItem("x", "way") + "/" + inItem("a", "home")), "named no home"},
		"by a way around":    {m.root + "/home/../" + inItem("a", "home"), "named no home"},
		"a system":           {m.path(inItem("a", "system")), "named no home"},
		"an item that isn't": {m.path(inItem("c", "home")), "no such file"},
	} {
		tree := m.tree(a)
		m.write("var/lib/collie/trees/"+filepath.Base(a)+"/home.scm", row.prints+"\n")
		item, err := m.home().Build(t.Context(), tree, "home-a", Watch{})
		if row.err == "" && (err != nil || item != a) || row.err != "" && (err == nil || !strings.Contains(err.Error(), row.err)) {
			t.Errorf("%s: %q, %v", name, item, err)
		}
	}

	whole := "/" + inItem("a", "home")
	speaks(t, daemonMagic, map[string]stored{whole: {1, nil}})
	r := &Runner{}
	if err := r.known(context.Background(), whole); err != nil {
		t.Error(err)
	}
	if err := r.known(context.Background(), "/"+inItem("b", "home")); err == nil || !strings.Contains(err.Error(), "guix-daemon has no such item: path isn't valid") {
		t.Errorf("an item that guix-daemon doesn't know: %v", err)
	}
}

// A user's guix says that it will build what isn't in the store.
func TestALogNamesNothingOutsideOfTheStore(t *testing.T) {
	m := newMachine(t)
	if err := os.MkdirAll(m.path(inItem("a", "x")), 0o755); err != nil {
		t.Fatal(err)
	}
	m.fifo("home/me/fifo.drv")
	m.link(m.path("home/me/fifo.drv"), inItem("a", "x.drv"))
	f := follower{dir: m.root}
	soon(t, "following", func() {
		f.read(bytes.NewReader([]byte("The following derivations will be built:\n   /" + inItem("a", "x.drv") + "\n   /" + inItem("a", "x") + "/../../../home/me/fifo.drv\n")))
		if got := f.look().Builds.Total; got != 1 {
			t.Errorf("%d builds are followed", got)
		}
	})
}

// A user's folder of generations may hold any number of names, or be none.
func TestAProfileIsReadToABound(t *testing.T) {
	m := newMachine(t)
	a := m.item("a", "home")
	dir := "var/guix/profiles/per-user/me"
	for i := range mostGenerations + 1 {
		m.link(a, fmt.Sprintf("%s/guix-home-%d-link", dir, i+1))
	}
	if _, err := m.home().All(); err == nil || !strings.Contains(err.Error(), "has more than 10000 entries") {
		t.Errorf("without a bound: %v", err)
	}
	if err := os.RemoveAll(m.path(dir)); err != nil {
		t.Fatal(err)
	}
	m.fifo(dir)
	soon(t, "listing a FIFO", func() {
		if _, err := m.home().Generations(); err == nil {
			t.Error("a FIFO has generations")
		}
	})
}

// A user's profile may lead anywhere, or nowhere. The home is then a problem of its own, and is switched back; it is no error, which
// would hold all layers.
func TestAProfileThatLeadsAstrayHoldsNobody(t *testing.T) {
	const dir = "var/guix/profiles/per-user/me/"
	for name, row := range map[string]struct {
		make func(m *machine)
		says string
	}{
		"to a file of root's":             {func(m *machine) { m.link("/etc/shadow", dir+"guix-home") }, `is a link to "/etc/shadow", not to a generation`},
		"to another user's generation":    {func(m *machine) { m.link("../root/guix-home-of-mine", dir+"guix-home") }, "not to a generation"},
		"to a generation that isn't":      {func(m *machine) { m.link("guix-home-7-link", dir+"guix-home") }, "generation 7"},
		"to a number without an end":      {func(m *machine) { m.link("guix-home-"+strings.Repeat("9", 100)+"-link", dir+"guix-home") }, "not to a generation"},
		"a file":                          {func(m *machine) { m.write(dir+"guix-home", "x") }, "no link"},
		"a generation that is a file":     {func(m *machine) { m.write(dir+"guix-home-7-link", "x"); m.link("guix-home-7-link", dir+"guix-home") }, "generation 7"},
		"a generation out of the store":   {func(m *machine) { m.link("/etc", dir+"guix-home-7-link"); m.link("guix-home-7-link", dir+"guix-home") }, `a link to "/etc", which isn't Guix's`},
		"a generation that is a FIFO":     {func(m *machine) { m.fifo(dir + "guix-home-7-link"); m.link("guix-home-7-link", dir+"guix-home") }, "generation 7"},
		"a name of two lines, and colour": {func(m *machine) { m.link("x\nsystem is good\x1b[31m", dir+"guix-home") }, `not to a generation`},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			good, h := m.item("a", "home"), m.home()
			m.link(good, dir+"guix-home-1-link")
			row.make(m)
			quietListener(t, m.path("runtime/shepherd/socket"))
			soon(t, "looking", func() {
				if live, err := h.Live(t.Context()); live != "" || err != nil {
					t.Errorf("live is %q, %v", live, err)
				}
				if changes, err := h.Diff(t.Context(), good); err != nil || !pending(changes) {
					t.Errorf("the look: %v, %v", changes, err)
				}
				if _, err := h.Plan(t.Context(), good); err != nil {
					t.Errorf("the plan: %v", err)
				}
				problems, err := h.Problems(t.Context(), good, time.Time{})
				says := fmt.Sprint(problems)
				if err != nil || len(problems) != 1 || problems[0].Subject != "home of me" || !strings.Contains(says, row.says) || strings.ContainsAny(says, "\n\x1b") {
					t.Errorf("problems: %q, %v; want %q", says, err, row.says)
				}
				if _, moved := h.Moved(good); !moved {
					t.Error("nobody moved it")
				}
				if all, err := h.All(); err != nil || len(all) == 0 {
					t.Errorf("generations: %v, %v", all, err)
				}
				if err := h.Switch(t.Context(), good, ""); err != nil {
					t.Errorf("the switch: %v", err)
				}
				if live, err := h.Live(t.Context()); live != good || err != nil {
					t.Errorf("after the switch, live is %q, %v", live, err)
				}
				if problems, err := h.Problems(t.Context(), good, time.Time{}); err != nil || len(problems) > 0 {
					t.Errorf("after the switch: %v, %v", problems, err)
				}
			})
		})
	}
}
