package bootstrap

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"example.org/collie/agent/api"
	"example.org/collie/agent/source"
)

const (
	plainSystem = "(use-modules (gnu))\n(operating-system\n  (host-name \"a\")\n  (services %base-services))\n"
	pinned      = "(list (channel (name 'guix) (url \"https://git.example.org/guix.git\") (branch \"master\")\n  (commit \"0123456789012345678901234567890123456789\")))\n"
)

// A world is a machine of a test: folders, a guix that only notes what it was asked, the real git, an agent and a Podman.
type world struct {
	*Machine
	t    *testing.T
	out  bytes.Buffer
	up   bool // the agent runs
	pods map[string]string
	lone []string
}

func newWorld(t *testing.T, system string) *world {
	t.Helper()
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	w := &world{t: t, Machine: &Machine{Branch: "main", Dir: filepath.Join(dir, "ops"), root: filepath.Join(dir, "root")}}
	w.Repository.URL = filepath.Join(dir, "srv/ops.git")
	w.write(filepath.Join(w.root, runningSystem), system)
	w.write(filepath.Join(bin, "guix"), "#!/bin/sh\necho \"$@\" >>"+dir+"/asked\ncase \"$1 $2\" in\ndescribe*) cat "+dir+"/channels;;\nesac\n")
	w.write(filepath.Join(dir, "channels"), pinned)
	if err := os.Chmod(filepath.Join(bin, "guix"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("GIT_CONFIG_GLOBAL", filepath.Join(dir, "gitconfig"))
	w.Agent, w.Out = w, &w.out
	w.Wait = func(context.Context) error { return nil }
	w.Check = func(string) (notes, mistakes []string) { return nil, nil }
	w.Pods = func() (Podman, error) { return w, nil }
	if os.Geteuid() != 0 { // a repository of root's is wanted
		w.probe = func(context.Context) (source.Checked, error) { return source.Checked{}, nil }
	}
	return w
}

func (w *world) write(file, text string) {
	w.t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
		w.t.Fatal(err)
	}
}

// asked is what guix was asked, and forgets it.
func (w *world) asked() string {
	file := filepath.Join(filepath.Dir(w.Dir), "asked")
	text, _ := os.ReadFile(file)
	_ = os.Remove(file)
	return string(text)
}

func (w *world) Status(ctx context.Context) (s api.Status, err error) {
	if asked, _ := os.ReadFile(filepath.Join(filepath.Dir(w.Dir), "asked")); strings.Contains(string(asked), "system reconfigure") {
		w.up = true
	}
	if !w.up {
		return api.Client{Socket: filepath.Join(w.root, "none")}.Status(ctx)
	}
	s.Phase, s.Source.URL = "idle", w.Repository.URL
	tip, _ := exec.Command("git", "-C", w.Repository.URL, "rev-parse", "main").Output()
	s.Revisions.Newest = strings.TrimSpace(string(tip))
	s.Revisions.Good = s.Revisions.Newest
	return s, nil
}

func (w *world) SyncPatiently(context.Context) (api.Synced, error) { return api.Synced{}, nil }

func (w *world) ByHand(context.Context) (pods, containers []string, err error) {
	tree, _ := exec.Command("git", "-C", w.Repository.URL, "ls-tree", "-r", "--name-only", "main").Output()
	for _, name := range slices.Sorted(maps.Keys(w.pods)) {
		if !strings.Contains(string(tree), "pods/"+name+".yaml") { // else it is adopted
			pods = append(pods, name)
		}
	}
	return pods, w.lone, nil
}

func (w *world) Import(_ context.Context, name string) (string, error) {
	if text, is := w.pods[name]; is {
		return text, nil
	}
	return "# Collie adopts pods, not single containers: before you push this, …\n", nil
}

// files are all files of a folder, with what is in them.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		all[strings.TrimPrefix(path, dir+"/")] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// pushed is a file of the repository.
func (w *world) pushed(file string) string {
	out, _ := exec.Command("git", "-C", w.Repository.URL, "show", "main:"+file).Output()
	return string(out)
}

func (w *world) commits() string {
	out, _ := exec.Command("git", "-C", w.Repository.URL, "rev-list", "--count", "main").Output()
	return strings.TrimSpace(string(out))
}

func (w *world) run(dry bool) string {
	w.t.Helper()
	w.out.Reset()
	if err := w.Run(w.t.Context(), dry); err != nil {
		w.t.Fatalf("%v\n%s", err, w.out.String())
	}
	return w.out.String()
}

func (w *world) fails(want ...string) {
	w.t.Helper()
	w.out.Reset()
	err := w.Run(w.t.Context(), false)
	for _, part := range want {
		if err == nil || !strings.Contains(err.Error(), part) {
			w.t.Fatalf("got %v, want an error with %q\n%s", err, part, w.out.String())
		}
	}
}

func has(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("want %q in:\n%s", part, text)
		}
	}
}

// A dry run changes nothing, a run does all, and a second one finds nothing to do and changes nothing.
func TestRunTwice(t *testing.T) {
	w := newWorld(t, plainSystem)
	w.pods = map[string]string{"web": "kind: Pod\n"}
	before := files(t, filepath.Dir(w.Dir))
	dry := w.run(true)
	has(t, dry, "would  repository", "would  system.scm", "would  reconfigure", "11 steps to take: nothing was changed")
	w.asked()
	if after := files(t, filepath.Dir(w.Dir)); !maps.Equal(before, after) {
		t.Errorf("the dry run changed something: %q, then %q", slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)))
	}
	has(t, w.run(false), "done   system.scm    system.scm, with the service", "done   pods", "this machine follows")
	has(t, w.asked(), "system build --dry-run "+w.Dir+"/system.scm\n", "system reconfigure "+w.Dir+"/system.scm\n")
	has(t, w.pushed("system.scm"), "(collie services))", "(cons (service collie-service-type", `(source "`+w.Repository.URL+`")))`, "%base-services)))")
	if w.pushed("channels.scm") != pinned || w.pushed("pods/web.yaml") != "kind: Pod\n" || w.commits() != "2" {
		t.Errorf("pushed %q, %q, %s commits", w.pushed("channels.scm"), w.pushed("pods/web.yaml"), w.commits())
	}

	before = files(t, w.Dir)
	again := w.run(false)
	has(t, again, "nothing to do")
	if strings.Contains(again, "now ") || w.commits() != "2" || strings.Contains(w.asked(), "system") {
		t.Errorf("the second run did something:\n%s", again)
	}
	after := files(t, w.Dir)
	delete(before, ".git/index") // git status notes times in it
	delete(after, ".git/index")
	if !maps.Equal(before, after) {
		t.Error("the second run changed the clone")
	}
}

// A machine that follows another repository is left alone.
func TestRunWhereAnotherIsFollowed(t *testing.T) {
	w := newWorld(t, plainSystem)
	w.run(false)
	other := *w.Machine
	other.Repository.URL, other.Dir = other.Repository.URL+"2", other.Dir+"2"
	if err := other.Run(t.Context(), false); err == nil || !strings.Contains(err.Error(), "this machine's Collie follows "+w.Repository.URL) {
		t.Errorf("got %v", err)
	}
	if exists(other.Repository.URL) || exists(other.Dir) {
		t.Error("something was made")
	}
}

// Cut off after any of its steps, it goes on to the same end.
func TestRunGoesOn(t *testing.T) {
	for n := range newWorld(t, plainSystem).steps() {
		w := newWorld(t, plainSystem)
		w.pods = map[string]string{"web": "kind: Pod\n"}
		for _, s := range w.steps()[:n+1] {
			if _, is, err := s.done(t.Context()); err != nil {
				t.Fatal(err)
			} else if is {
				continue
			}
			if _, err := s.do(t.Context()); err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
		}
		w.run(false)
		has(t, w.run(false), "nothing to do")
		if w.commits() != "2" || w.pushed("pods/web.yaml") == "" || strings.Count(w.pushed("system.scm"), "collie-service-type") != 1 {
			t.Errorf("cut off after %d steps: %s commits\n%s", n+1, w.commits(), w.pushed("system.scm"))
		}
	}
}

// Where the place of the service isn't certain, the line is shown; a person adds it, and it goes on.
func TestRunIsUnsure(t *testing.T) {
	w := newWorld(t, "(use-modules (lab))\n(machine)\n")
	w.fails("service: ", "no (operating-system …) of its own", "Add this", "(service collie-service-type")
	w.fails("Add this")
	if w.commits() != "" || strings.Contains(w.asked(), "reconfigure") {
		t.Error("it went on all the same")
	}
	w.write(filepath.Join(w.Dir, "system.scm"), "(use-modules (lab) (collie services))\n(machine (list (service collie-service-type)))\n")
	w.run(false)
	has(t, w.pushed("system.scm"), "(machine (list (service collie-service-type)))")
}

// What is in the repository already stays as it is: another machine's system isn't given a service.
func TestRunOverwritesNothing(t *testing.T) {
	w := newWorld(t, plainSystem)
	if _, err := w.makeRepository(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.makeClone(t.Context()); err != nil {
		t.Fatal(err)
	}
	theirs := strings.Replace(plainSystem, `"a"`, `"b"`, 1)
	w.write(filepath.Join(w.Dir, "system.scm"), theirs)
	for _, args := range [][]string{{"add", "."}, {"-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", "theirs"}, {"push", "-q", "origin", "main"}} {
		if _, err := w.git(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(w.Dir); err != nil {
		t.Fatal(err)
	}
	w.fails("may be another machine's", "Add this")
	if w.pushed("system.scm") != theirs || w.commits() != "1" {
		t.Error("it was overwritten")
	}

	for name, make := range map[string]func(){
		"isn't empty, and no clone": func() { w.write(filepath.Join(w.Dir, "mine"), "mine") },
		"is a clone of": func() {
			if out, err := exec.Command("git", "clone", "-q", w.Repository.URL, w.Dir).CombinedOutput(); err != nil {
				t.Fatalf("%s", out)
			}
			if _, err := w.git(t.Context(), "remote", "set-url", "origin", "/elsewhere"); err != nil {
				t.Fatal(err)
			}
		},
	} {
		if err := os.RemoveAll(w.Dir); err != nil {
			t.Fatal(err)
		}
		make()
		w.fails(name, "--dir")
	}

	other := newWorld(t, plainSystem)
	other.write(filepath.Join(other.Repository.URL, "mine"), "mine")
	other.fails("is there, and is no repository")
}

// Where there are folders of hosts, this machine's files go into its own.
func TestRunBesideOtherHosts(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, plainSystem)
	if _, err := w.makeRepository(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.makeClone(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.write(filepath.Join(w.Dir, "hosts/other/system.scm"), "theirs")
	w.write(filepath.Join(w.Dir, "mine/net.scm"), "(define-module (mine net))") // at the top, where the agent finds it as well
	w.run(false)
	has(t, w.asked(), "/collie-modules-")
	has(t, w.pushed("hosts/"+host+"/system.scm"), "collie-service-type")
	if w.pushed("system.scm") != "" || w.pushed("hosts/other/system.scm") != "" {
		t.Error("files of others were committed")
	}
}

// What the system loads comes along; what can't be found is an error with its line.
func TestRunTakesWhatIsLoaded(t *testing.T) {
	const loads = "(use-modules (gnu) (mine net))\n(define keys (local-file \"keys/me.pub\"))\n(load \"more.scm\")\n" +
		"(operating-system\n  (services %base-services))\n"
	w := newWorld(t, loads)
	w.fails(`system.scm:2: "keys/me.pub"`, "--system")
	elsewhere := filepath.Join(filepath.Dir(w.Dir), "elsewhere")
	for name, text := range map[string]string{"config.scm": loads, "keys/me.pub": "key", "more.scm": "(load \"deep/er.scm\")", "deep/er.scm": "1", "unused": "",
		"m/mine/net.scm": "(define-module (mine net) #:use-module (mine disk))", "m/mine/disk.scm": "(define-module (mine disk))", "m/mine/unused.scm": ""} {
		w.write(filepath.Join(elsewhere, name), text)
	}
	w.System, w.LoadPath = filepath.Join(elsewhere, "config.scm"), []string{filepath.Join(elsewhere, "m")}
	w.run(false)
	tree, _ := exec.Command("git", "-C", w.Repository.URL, "ls-tree", "-r", "--name-only", "main").Output()
	if got, want := string(tree), "channels.scm\ndeep/er.scm\nkeys/me.pub\nmodules/mine/disk.scm\nmodules/mine/net.scm\nmore.scm\nsystem.scm\n"; got != want {
		t.Errorf("pushed %q, want %q", got, want)
	}
	has(t, w.asked(), "-L "+w.Dir+"/modules")

	out := newWorld(t, "(load \"../../etc/shadow\")\n(operating-system)")
	out.fails("system.scm:1:", "leads out of the folder")
	usual := newWorld(t, loads)
	usual.write(filepath.Join(usual.root, usualSystem), loads)
	usual.write(filepath.Join(usual.root, "etc/keys/me.pub"), "key")
	usual.write(filepath.Join(usual.root, "etc/more.scm"), "1")
	usual.run(false)
	has(t, usual.pushed("keys/me.pub"), "key")
}

const configurationItem = "yvz9w413hhl9l4aypgr6z9ij9h03z1zq-configuration.scm"

// The home of the pod user comes along, unless its profile leads elsewhere than to the store: it is the user's own.
func TestRunTakesTheHome(t *testing.T) {
	w := newWorld(t, plainSystem)
	w.write(filepath.Join(w.root, store, configurationItem), "(home-environment)")
	profile := filepath.Join(w.root, runningHome)
	link := func(to string) {
		_ = os.Remove(profile)
		if err := errors.Join(os.MkdirAll(filepath.Dir(profile), 0o755), os.Symlink(to, profile)); err != nil {
			t.Fatal(err)
		}
	}
	w.write(filepath.Join(w.root, "etc/shadow"), "secret")
	link(filepath.Join(w.root, "etc/shadow"))
	has(t, w.run(true), "home.scm      left out: ", "leads out of the store")
	link(filepath.Join(w.root, store, configurationItem))
	w.run(false)
	if w.pushed("home.scm") != "(home-environment)" {
		t.Errorf("home.scm is %q", w.pushed("home.scm"))
	}
	beside := newWorld(t, plainSystem)
	beside.write(filepath.Join(beside.root, store, configurationItem), `(home-environment (local-file "bashrc"))`)
	profile = filepath.Join(beside.root, runningHome)
	link(filepath.Join(beside.root, store, configurationItem))
	has(t, beside.run(false), `left out: that of podman names the file "bashrc"`)
}

// A guix of no channels is no pin.
func TestRunWithoutChannels(t *testing.T) {
	w := newWorld(t, plainSystem)
	w.write(filepath.Join(filepath.Dir(w.Dir), "channels"), "(list (channel (name 'guix) (url #f) (branch #f)))\n")
	has(t, w.run(false), "channels.scm  left out")
	if w.pushed("channels.scm") != "" {
		t.Error("channels.scm was pushed")
	}
}

// With other channels than those of this guix, it is theirs that evaluates.
func TestRunByTheChannelsOfTheRepository(t *testing.T) {
	w := newWorld(t, plainSystem)
	for _, do := range []func(context.Context) (string, error){w.makeRepository, w.makeClone} {
		if _, err := do(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.write(filepath.Join(w.Dir, "channels.scm"), strings.Replace(pinned, "0", "1", 1))
	w.run(false)
	has(t, w.asked(), "time-machine -C "+w.Dir+"/channels.scm -- system build", "time-machine -C "+w.Dir+"/channels.scm -- system reconfigure")
}

// Pods with environment variables, and containers in none, are for a person to read first: they are written, for root alone.
func TestRunLeavesPodsToRead(t *testing.T) {
	w := newWorld(t, plainSystem)
	w.pods = map[string]string{"db": "kind: Pod\nspec:\n  containers:\n  - env:\n    - name: PASSWORD\n      value: hunter2\n", "web": "kind: Pod\n"}
	w.lone = []string{"lone", "../evil"}
	has(t, w.run(false), "read these", "pods/db.yaml, pods/lone.yaml")
	if w.pushed("pods/db.yaml")+w.pushed("pods/lone.yaml") != "" || w.pushed("pods/web.yaml") == "" {
		t.Error("what has to be read was pushed, or what needn't wasn't")
	}
	if info, err := os.Stat(filepath.Join(w.Dir, "pods/db.yaml")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("pods/db.yaml: %v, %v", info, err)
	}
	has(t, w.run(false), "read these", "nothing to do")

	wrong := newWorld(t, plainSystem)
	wrong.pods = map[string]string{"web": "kind: Pod\n"}
	wrong.Check = func(string) (notes, mistakes []string) { return nil, []string{"pods/web.yaml:1: no"} }
	wrong.fails("pods: ", "pods/web.yaml:1: no")
}

// A server that wants a token has it asked for, once; it is in a file for root alone, and in no other.
func TestAccessByToken(t *testing.T) {
	w := newWorld(t, plainSystem)
	file := filepath.Join(w.root, "keys/token")
	w.Repository = source.Repository{URL: "https://git.example.org/ops.git", TokenFile: file}
	asks, typed := 0, "wrong\n"
	w.probe = func(context.Context) (c source.Checked, err error) {
		switch text, err := os.ReadFile(file); {
		case err != nil:
			c.Err, c.Locked = errors.New("wants a token"), true
		case string(text) != "t0ken\n":
			c.Err = errors.New("isn't opened by the token")
		}
		return c, nil
	}
	w.fails("access: ", "write it to "+file, "mode 600")
	w.Ask = func(string) (string, error) { asks++; return typed, nil }
	for range 2 { // a mistake in it isn't kept
		w.fails("access: ", "isn't opened by the token", "isn't kept: run this again")
	}
	if asks != 2 || exists(file) {
		t.Fatalf("asked %d times; the wrong one is kept: %v", asks, exists(file))
	}
	asks, typed = 0, "t0ken\n"
	if _, is, err := w.hasAccess(t.Context()); is || err != nil {
		t.Fatal(is, err)
	}
	if _, err := w.makeAccess(t.Context()); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 || asks != 1 {
		t.Errorf("%v %v, asked %d times", info, err, asks)
	}
	if _, is, err := w.hasAccess(t.Context()); !is || err != nil {
		t.Errorf("it isn't done: %v", err)
	}
	line, err := w.line()
	has(t, line, `(token-file "`+file+`")`)
	config, err2 := w.cloneConfig()
	if err != nil || err2 != nil || strings.Contains(line, "t0ken") || strings.Contains(w.out.String(), "t0ken") {
		t.Errorf("%v, %v; the token is in %q, or in %q", err, err2, line, w.out.String())
	}
	for _, c := range config {
		if strings.Contains(c[1], "t0ken") {
			t.Errorf("the token is in git's configuration: %q", c)
		}
	}

	w.write(file, "a person's, which ran out\n")
	w.fails("access: ", "isn't opened by the token")
	if text, _ := os.ReadFile(file); string(text) != "a person's, which ran out\n" || asks != 1 {
		t.Errorf("%q, asked %d times", text, asks)
	}
}

// For ssh a key is made without OpenSSH, once, and the host's keys are those that root trusts; what is missing is said.
func TestAccessByKey(t *testing.T) {
	w := newWorld(t, plainSystem)
	w.Repository = source.Repository{URL: "ssh://git@git.example.org:2222/ops.git", KeyFile: filepath.Join(w.root, "keys/ssh"), KnownHosts: filepath.Join(w.root, "keys/known_hosts")}
	w.probe = func(context.Context) (source.Checked, error) {
		return source.Checked{Err: errors.New("doesn't take the key")}, nil
	}
	w.Ask = func(what string) (string, error) { t.Error("asked for the", what); return "", nil }
	w.fails("access: doesn't take the key")
	key, err := os.ReadFile(w.Repository.KeyFile)
	has(t, w.out.String(), "give its public half", "ssh-ed25519 ")
	w.fails("access: doesn't take the key")
	if again, err2 := os.ReadFile(w.Repository.KeyFile); err != nil || err2 != nil || !bytes.Equal(again, key) {
		t.Errorf("the key was made again: %v %v", err, err2)
	}
	public, err := os.ReadFile(w.Repository.KeyFile + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.ParsePrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	given, comment, _, rest, err := ssh.ParseAuthorizedKey(public)
	if err != nil || !bytes.Equal(given.Marshal(), signer.PublicKey().Marshal()) || !strings.HasPrefix(comment, "collie@") || len(rest) > 0 {
		t.Errorf("the public half is %q, %v", public, err)
	}
	if info, err := os.Stat(w.Repository.KeyFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	line, err := w.line()
	has(t, line, `(key-file "`, `(known-hosts "`)
	if err != nil || strings.Contains(line, "token") {
		t.Errorf("%v: %s", err, line)
	}
}

func TestNames(t *testing.T) {
	for url, want := range map[string][2]string{
		"/srv/git/ops.git":                {"ops", "file"},
		"file:///srv/git/web/":            {"web", "file"},
		"https://git.example.org/a/b.git": {"b", "https"},
		"git@git.example.org:ops.git":     {"ops", "ssh"},
		"git@git.example.org:a/machines":  {"machines", "ssh"},
	} {
		m := Machine{Repository: source.Repository{URL: url}}
		if got := [2]string{Folder(url), m.scheme()}; got != want {
			t.Errorf("%s: %v, want %v", url, got, want)
		}
	}
	for url, want := range map[string]string{"git@h:ops.git": "h", "ssh://git@h/ops.git": "h", "ssh://h:22/o": "h", "ssh://git@h:2222/o": "[h]:2222"} {
		if m := (Machine{Repository: source.Repository{URL: url}}); m.sshHost() != want {
			t.Errorf("%s: %s, want %s", url, m.sshHost(), want)
		}
	}
	for _, url := range []string{"ops.git", "http://git.example.org/ops.git", "https://a:b@git.example.org/ops.git"} {
		if m := (Machine{Repository: source.Repository{URL: url}}); m.Mistakes() == nil {
			t.Errorf("%s is taken", url)
		}
	}
}

// The line is as short as the repository allows.
func TestLine(t *testing.T) {
	w := newWorld(t, plainSystem)
	line, err := w.line()
	if want := "(service collie-service-type\n         (collie-configuration\n          (source \"" + w.Repository.URL + "\")))"; err != nil || line != want {
		t.Errorf("got %v\n%s\nwant\n%s", err, line, want)
	}
	w.write(filepath.Join(w.root, "etc/passwd"), "root:x:0:0::/root:/bin/sh\npodman:x:1000:1000::/home/podman:/bin/sh\n")
	w.Repository = source.Repository{URL: "https://git.example.org/ops.git", CAFile: `/root/"ca".pem`}
	w.Branch = "live"
	line, err = w.line()
	if want := `(service collie-service-type
         (collie-configuration
          (source (collie-source
                   (url "https://git.example.org/ops.git")
                   (branch "live")
                   (ca-file "/root/\"ca\".pem")))
          (create-user? #f)))`; err != nil || line != want {
		t.Errorf("got %v\n%s\nwant\n%s", err, line, want)
	}
}
