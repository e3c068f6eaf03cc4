package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/rogpeppe/go-internal/txtar"

	"example.org/collie/agent/secrets"
)

// prefix is of the names of all guests of tests. It is followed by the PID of the test, and the script's name.
const prefix = "lt-"

// patience is how long wait-for waits in a guest.
const patience = 4 * time.Minute

func TestGuest(t *testing.T) {
	if os.Getenv("COLLIE_LAB") == "" {
		t.Skip("COLLIE_LAB isn't set: these take ten minutes, in a guest that `make lab` makes")
	}
	if os.Getuid() != 0 {
		t.Skip("guests need root")
	}
	l, err := open()
	if err != nil {
		t.Fatal(err)
	}
	l.test(t, "testdata")
}

// TestVM does so with virtual machines, of the same guest, which have a kernel of their own.
func TestVM(t *testing.T) {
	if os.Getenv("COLLIE_VM") == "" {
		t.Skip("COLLIE_VM isn't set: `make vm-test` does, for virtual machines that `guix/lab/vm build` makes")
	}
	l, err := openVMs()
	if err != nil {
		t.Fatal(err)
	}
	l.test(t, "testdata/vm")
}

// TestFormer has today's agent take over what the agent of a former commit left.
func TestFormer(t *testing.T) {
	if os.Getenv("COLLIE_FORMER") == "" {
		t.Skip("COLLIE_FORMER isn't set: `make former` does, to the program of a former commit, which it builds from the repository's history")
	}
	l, err := open()
	if err != nil {
		t.Fatal(err)
	}
	l.test(t, "testdata/former")
}

// former: put the program of a former commit into the guest, as /former.
func (l *lab) former(ts *testscript.TestScript, _ bool, _ []string) {
	l.copyIn(ts, os.Getenv("COLLIE_FORMER"), "/former")
}

// test runs the scripts of a folder, each in a guest of its own.
func (l *lab) test(t *testing.T, scripts string) {
	files, err := longestFirst(scripts)
	if err != nil {
		t.Fatal(err)
	}
	failed := new(failures)
	t.Cleanup(func() { failed.tell(t) })
	testscript.RunT(scriptT{t, failed}, testscript.Params{
		Files:              files,
		Setup:              l.setup,
		RequireUniqueNames: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"push":        l.push,
			"revert":      l.revert,
			"propose":     l.propose,
			"guest":       l.guest,
			"collie":      l.inGuest("collie"),
			"status":      l.inGuest("status"),
			"history":     l.inGuest("history"),
			"fetch":       l.fetch,
			"exit-code":   exitCode,
			"wait-for":    l.waitFor,
			"pids":        l.saved("pids"),
			"pod-ids":     l.saved("pod-ids"),
			"generations": l.saved("generations"),
			"crash-at":    l.crashAt,
			"crashed":     l.crashed,
			"reboot":      l.reboot,
			"restart":     l.restart,
			"rebooted":    l.rebooted,
			"stories":     l.stories,
			"contract":    l.contract,
			"former":      l.former,
			"documented":  documented,
			"forge":       l.putForge,
			"seal":        seal,
			"client":      l.client,
			"checkout":    l.checkout,
			"pods":        pods,
			"tour":        l.tour,
			"vendored":    l.vendored,
			"built-alike": l.builtAlike,
		},
	})
}

// failures are the lines at which scripts failed. They are printed again at the end: the output of a long run is often cut.
type failures struct {
	mu    sync.Mutex
	lines []string
}

func (f *failures) tell(t *testing.T) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, line := range f.lines {
		t.Log(line)
	}
}

// A scriptT is the test of a script, or of all, which notes where it failed.
type scriptT struct {
	*testing.T
	failures *failures
}

func (t scriptT) Run(name string, f func(testscript.T)) {
	t.T.Run(name, func(sub *testing.T) { f(scriptT{sub, t.failures}) })
}

func (t scriptT) Verbose() bool { return testing.Verbose() }

func (t scriptT) Log(args ...any) {
	t.Helper()
	t.T.Log(args...)
	for line := range strings.Lines(fmt.Sprint(args...)) {
		if strings.HasPrefix(line, "FAIL: ") {
			t.failures.mu.Lock()
			t.failures.lines = append(t.failures.lines, strings.TrimSpace(line))
			t.failures.mu.Unlock()
		}
	}
}

// longestFirst are the scripts of a folder, by the number of their commands: what takes minutes mustn't begin when the others
// are done, and leave a processor idle. Two commands take as long as many: a build of the package, and hundreds of tests.
func longestFirst(folder string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.txt"))
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("there are no scripts in %s", folder)
	}
	commands := map[string]int{}
	for _, file := range files {
		script, readErr := txtar.ParseFile(file)
		if readErr != nil {
			return nil, readErr
		}
		for line := range strings.Lines(string(script.Comment)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				commands[file]++
			}
			if command, _, _ := strings.Cut(line, " "); command == "vendored" || command == "stories" {
				commands[file] += 100
			}
		}
	}
	slices.SortStableFunc(files, func(a, b string) int { return cmp.Compare(commands[b], commands[a]) })
	return files, err
}

// A lab is where the guests are, and the command to work with them.
type lab struct {
	dir, command string
	patience     time.Duration
}

// open finds the lab of guests that are namespaces.
func open() (*lab, error) { return find("lab", "guests", patience) }

// openVMs finds that of virtual machines, which where the processor is emulated are some twenty times slower.
func openVMs() (*lab, error) { return find("vm", "machines", 5*patience) }

// find finds a lab, and removes what a killed run left in it.
func find(command, folder string, patience time.Duration) (*lab, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	l := &lab{dir: filepath.Join(cmp.Or(os.Getenv("LAB"), filepath.Join(cache, "collie-lab")), folder), patience: patience}
	if l.command, err = filepath.Abs(command); err != nil {
		return nil, err
	}
	left, err := filepath.Glob(l.file(prefix + "*-*"))
	for _, dir := range left {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), prefix), "-")
		if _, gone := os.Stat("/proc/" + pid); gone != nil {
			err = errors.Join(err, l.run("wipe", filepath.Base(dir)))
		}
	}
	return l, err
}

// file is a file on the disk of a guest, as long as that is down.
func (l *lab) file(guest string, path ...string) string {
	return filepath.Join(append([]string{l.dir, guest}, path...)...)
}

func (l *lab) run(args ...string) error {
	out, err := exec.Command(l.command, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("lab %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// out is what a command prints in a guest, whether it succeeds or not.
func (l *lab) out(guest string, args ...string) string {
	out, _ := exec.Command(l.command, append([]string{"in", guest}, args...)...).CombinedOutput()
	return string(out)
}

type guestKey struct{}
type exitKey struct{}

func guestOf(ts *testscript.TestScript) string { return ts.Value(guestKey{}).(string) }

// setup gives a script a guest of its own, in which its commands run.
func (l *lab) setup(env *testscript.Env) error {
	name := fmt.Sprint(prefix, os.Getpid(), "-", strings.TrimPrefix(filepath.Base(env.WorkDir), "script-"))
	env.Setenv("LAB", filepath.Dir(l.dir))
	examples, err := filepath.Abs("../../docs/examples")
	if err != nil {
		return err
	}
	env.Setenv("EXAMPLES", examples)
	env.Values[guestKey{}] = name
	env.Values[exitKey{}] = new(int)
	return l.start(env.T().(testing.TB), name)
}

// start makes a guest, with the tools of the tests and a clone of its repository, until t is done.
func (l *lab) start(t testing.TB, name string) error {
	t.Cleanup(func() {
		if t.Failed() {
			l.report(t, name)
		}
		if err := l.run("wipe", name); err != nil {
			t.Error(err)
		}
	})
	if err := l.run("copy", "guest", name); err != nil {
		return err
	}
	if err := l.run("up", name); err != nil {
		return err
	}
	for from, to := range map[string]string{"testdata/bin/*": "/usr/bin", "testdata/lab.scm": "/usr/share/guile/site/3.0"} {
		if err := l.put(name, from, to); err != nil {
			return err
		}
	}
	return l.run("in", name, "sh", "-c", "git init -q /root/ops && git -C /root/ops remote add origin ssh://ops@127.0.0.1/srv/git/ops.git")
}

// put copies files, a pattern of them, into a folder of the guest.
func (l *lab) put(guest, files, folder string) error {
	all, err := filepath.Abs(files) // tar takes one -C for below the last
	if err != nil {
		return err
	}
	paths, err := filepath.Glob(all)
	if err != nil || len(paths) == 0 {
		return fmt.Errorf("there is no %s: %w", files, err)
	}
	args := []string{"-c"}
	for _, path := range paths {
		args = append(args, "-C", filepath.Dir(path), filepath.Base(path))
	}
	pack, unpack := exec.Command("tar", args...), exec.Command(l.command, "in", guest, "tar", "-C", folder, "--no-same-owner", "-x")
	said := new(strings.Builder)
	pack.Stderr, unpack.Stderr = said, said
	if unpack.Stdin, err = pack.StdoutPipe(); err != nil {
		return err
	}
	if err := errors.Join(pack.Start(), unpack.Run(), pack.Wait()); err != nil {
		return fmt.Errorf("copying %s into the guest: %w\n%s", files, err, said)
	}
	return nil
}

// report tells what the agent of a failed script thought and did.
func (l *lab) report(t testing.TB, guest string) {
	for _, command := range []string{
		"collie status",
		"collie history",
		"tail -n 40 /var/log/collie.log",
		"tail -n 40 $(ls -t /var/lib/collie/logs/* | head -n 1)",
		"tail -n 60 /home/podman/.local/state/shepherd/shepherd.log",
		"herd status",
	} {
		t.Logf("[%s] %s\n%s", guest, command, l.out(guest, "sh", "-c", command))
	}
}

// guest runs a command in the guest; its output and exit code are there for stdout, stderr and exit-code.
func (l *lab) guest(ts *testscript.TestScript, neg bool, args []string) {
	err := ts.Exec(l.command, append([]string{"in", guestOf(ts)}, args...)...)
	code := 0
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	*ts.Value(exitKey{}).(*int) = code
	if neg == (code == 0) {
		ts.Fatalf("%s: exit code %d%s", strings.Join(args, " "), code, why(ts.ReadFile("stderr")))
	}
}

// why is the last that a command said, so that the line of the failure says what there was.
func why(said string) string {
	lines := strings.Split(strings.TrimSpace(said), "\n")
	if last := lines[len(lines)-1]; last != "" {
		return ": " + last[:min(len(last), 600)]
	}
	return ""
}

func (l *lab) inGuest(command string) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		l.guest(ts, neg, append([]string{command}, args...))
	}
}

// exitCode N: the last command in the guest ended with N.
func exitCode(ts *testscript.TestScript, _ bool, args []string) {
	if code := fmt.Sprint(*ts.Value(exitKey{}).(*int)); len(args) != 1 || code != args[0] {
		ts.Fatalf("exit code %s, not %s", code, args)
	}
}

// saved is a command that writes what a tool in the guest prints to a file of the script.
func (l *lab) saved(tool string) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, _ bool, args []string) {
		if len(args) != 1 {
			ts.Fatalf("usage: %s FILE", tool)
		}
		out, err := exec.Command(l.command, "in", guestOf(ts), tool).Output()
		if err != nil || len(out) == 0 && tool != "pod-ids" {
			ts.Fatalf("%s: %v", tool, err)
		}
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), out, 0o644))
	}
}

// push DIR...: push a commit of these folders, one laid over the other; nothing else is in it.
func (l *lab) push(ts *testscript.TestScript, _ bool, args []string) {
	l.lay(ts, args)
	ts.Check(l.sh(ts, `git add . && git commit -q --allow-empty -m "$1" && git push -q origin main`, strings.Join(args, " ")))
}

// propose NAME DIR...: push such a commit, on top of main, as plan/NAME. It is then the branch NAME here, too.
func (l *lab) propose(ts *testscript.TestScript, neg bool, args []string) {
	l.lay(ts, args[1:])
	err := l.sh(ts, `git add . && git commit -q --allow-empty -m "try $1" && git branch -f "$1" && git reset -q --hard HEAD~ &&
		git push -f origin "$1:plan/$1"`, args[0])
	if neg == (err == nil) {
		ts.Fatalf("git push: %v", err)
	}
}

// lay makes the folders all that is in the guest's worktree.
func (l *lab) lay(ts *testscript.TestScript, dirs []string) {
	guest := guestOf(ts)
	ts.Check(l.run("in", guest, "sh", "-c", "cd /root/ops && git rm -rq --ignore-unmatch ."))
	for _, dir := range dirs {
		ts.Check(l.put(guest, ts.MkAbs(dir)+"/*", "/root/ops"))
	}
}

// sh runs a script in the guest's worktree, with one argument.
func (l *lab) sh(ts *testscript.TestScript, script, arg string) error {
	return ts.Exec(l.command, "in", guestOf(ts), "sh", "-c", "cd /root/ops && "+script, "sh", arg)
}

// revert [N]: push a commit that takes the last one back, or the last N.
func (l *lab) revert(ts *testscript.TestScript, _ bool, args []string) {
	commits := "HEAD~" + strings.Join(append(args, "1")[:1], "") + "..HEAD"
	ts.Check(ts.Exec(l.command, "in", guestOf(ts), "sh", "-c", `cd /root/ops && git revert --no-edit "$1" && git push -q origin main`, "revert", commits))
}

// seal FILE INTO: encrypt a file, whatever is in it, for the recipients beside INTO.
func seal(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: seal FILE INTO")
	}
	into := ts.MkAbs(args[1])
	dir := strings.TrimSuffix(filepath.Dir(into), "/files")
	r, err := secrets.ParseRecipients("recipients", []byte(ts.ReadFile(filepath.Join(dir, "recipients"))))
	ts.Check(err)
	encrypted, err := secrets.Encrypt([]byte(ts.ReadFile(args[0])), r)
	ts.Check(err)
	ts.Check(os.WriteFile(into, encrypted, 0o644))
}

// checkout DIR: put these sources into the guest, as they are.
func (l *lab) checkout(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: checkout DIR")
	}
	pid, _, _ := strings.Cut(ts.ReadFile(l.file(guestOf(ts), "pid")), " ")
	out, err := exec.Command("sh", "-c", `cd ../.. && mkdir "$0" && git ls-files -z --cached --others --exclude-standard |
		tar --null -T - -c | tar -C "$0" -x`, "/proc/"+pid+"/root"+args[0]).CombinedOutput()
	if err != nil {
		ts.Fatalf("copying the sources: %v\n%s", err, out)
	}
}

// fetch PORT: what a web server in the guest answers.
func (l *lab) fetch(ts *testscript.TestScript, neg bool, args []string) {
	l.guest(ts, neg, []string{"curl", "-sS", "--fail", "--max-time", "5", "http://127.0.0.1:" + args[0]})
}

// waitFor CMD...: wait until the command succeeds in the guest.
func (l *lab) waitFor(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), l.patience)
	defer cancel()
	for {
		out, err := exec.CommandContext(ctx, l.command, append([]string{"in", guestOf(ts)}, args...)...).CombinedOutput()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			ts.Fatalf("waited %v for: %s\n%s", l.patience, strings.Join(args, " "), out)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// reboot cuts the guest's power, and boots it again.
func (l *lab) reboot(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Check(l.run("down", guestOf(ts)))
	ts.Check(l.run("up", guestOf(ts)))
}

// rebooted: wait until the guest went down by itself, and boot it as a machine does then.
func (l *lab) rebooted(ts *testscript.TestScript, _ bool, _ []string) {
	var err error
	for end := time.Now().Add(l.patience); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if err = l.run("up", guestOf(ts)); err == nil || !strings.Contains(err.Error(), "that is down") {
			break
		}
	}
	ts.Check(err)
}

// restart reboots a virtual machine as a person would.
func (l *lab) restart(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Check(l.run("restart", guestOf(ts)))
}

const crashFile = "/run/collie-crash"

// crashAt POINT, or FILE with a point a line: the agent is killed as soon as it is there, and its next life at the next one.
func (l *lab) crashAt(ts *testscript.TestScript, _ bool, args []string) {
	points := args[0]
	if !strings.Contains(points, ".") {
		points = ts.ReadFile(points)
	}
	ts.Check(l.run("in", guestOf(ts), "sh", "-c", "printf '%s\\n' "+strings.Join(strings.Fields(points), " ")+" >"+crashFile))
}

// crashed: wait until the agent was killed wherever it was to be, from each point to the next.
func (l *lab) crashed(ts *testscript.TestScript, _ bool, _ []string) {
	for {
		out, err := exec.Command(l.command, "in", guestOf(ts), "cat", crashFile).Output()
		if err != nil {
			break
		}
		point, _, _ := strings.Cut(string(out), "\n")
		l.waitFor(ts, false, []string{"sh", "-c", "! grep -qx " + point + " " + crashFile})
	}
}
