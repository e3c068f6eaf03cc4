package lab

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// calm is how long a guest may take from the last mischief to a verdict: an attempt that failed through nobody's fault is
// made again after 30 s, then after a minute.
const calm = 6 * time.Minute

// TestTorture pushes one commit after the other, some of them flawed, and meanwhile does at random what may happen to a
// machine. After each round the guest must be where the last good commit says, in all layers, and nothing else: a flawed
// commit is never good, another one always, and the pod that no commit changes is still the same.
func TestTorture(t *testing.T) {
	lasts, err := time.ParseDuration(os.Getenv("COLLIE_TORTURE"))
	if err != nil {
		t.Skip("COLLIE_TORTURE isn't set to a duration: `make torture` does")
	}
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("SEED"); text != "" {
		if _, err := fmt.Sscan(text, &seed); err != nil {
			t.Fatalf("SEED=%s is no number", text)
		}
	}
	l, err := open()
	if err != nil {
		t.Fatal(err)
	}
	o := &ordeal{T: t, lab: l, name: fmt.Sprint(prefix, os.Getpid(), "-torture"), chance: rand.New(rand.NewPCG(seed, 0)), begun: time.Now()}
	o.say("SEED=%d does the same again, as far as a machine does the same twice", seed)
	if err := l.start(t, o.name); err != nil {
		t.Fatal(err)
	}
	o.push(flaws[0])
	o.settle()
	o.check()
	for end := time.Now().Add(lasts); time.Now().Before(end); {
		o.round()
	}
	o.say("ok: %d commits, %d of them flawed; %s", len(o.commits), o.flawed, strings.Join(o.counts(), ", "))
}

// A flaw is what is wrong with a commit, in one of its files.
type flaw struct {
	name                    string
	daemons, command, image string // more services, the pod's command, the tag of its image
	broken                  string // end of system.scm
}

var flaws = []flaw{
	{name: ""},
	{name: "its service dies", daemons: `(daemon 'mortal "sleep 2")`},
	{name: "its pod's command isn't there", command: "[/nope]"},
	{name: "its pod ends", command: `[/bin/false]`},
	{name: "its image isn't there", image: "none"},
	{name: "its system.scm ends too early", broken: "(machine"},
}

// mischiefs are what happens to the machine, by name.
var mischiefs = []struct{ name, script string }{
	{"agent killed", "pkill -KILL -f 'collie run'"},
	{"guix killed", "pkill -KILL -f 'guix (system|home|build|repl)'"},
	{"guix-daemon restarted", "herd restart guix-daemon"},
	{"Podman killed", "pkill -KILL -f 'podman .*system service'"},
	{"agent restarted", "herd restart collie"},
	{"power cut", ""},
	{"another commit", ""},
}

// A pushed is a commit, and what should be seen if it is good.
type pushed struct {
	number, web int
	flaw        flaw
}

type ordeal struct {
	*testing.T
	lab     *lab
	name    string
	chance  *rand.Rand
	begun   time.Time
	commits map[string]pushed // by id
	flawed  int
	done    map[string]int // mischiefs
	head    string
	steady  string // id of the pod that no commit changes
}

func (o *ordeal) say(format string, args ...any) {
	fmt.Printf("torture: %4.0f s: %s\n", time.Since(o.begun).Seconds(), fmt.Sprintf(format, args...))
}

func (o *ordeal) round() {
	f := flaws[0]
	if o.chance.IntN(2) == 0 {
		f = flaws[1+o.chance.IntN(len(flaws)-1)]
	}
	o.push(f)
	for range o.chance.IntN(4) {
		time.Sleep(time.Duration(o.chance.IntN(7000)) * time.Millisecond)
		o.happen(o.chance.IntN(len(mischiefs)))
	}
	o.settle()
	o.check()
}

func (o *ordeal) happen(which int) {
	m := mischiefs[which]
	o.say("%s", m.name)
	if o.done == nil {
		o.done = map[string]int{}
	}
	o.done[m.name]++
	switch m.name {
	case "power cut":
		o.must(o.lab.run("down", o.name))
		o.must(o.lab.run("up", o.name))
	case "another commit":
		o.push(flaws[o.chance.IntN(len(flaws))])
	default:
		_ = o.lab.run("in", o.name, "sh", "-c", m.script) // there may be none to kill
	}
}

// push makes a commit of all layers.
func (o *ordeal) push(f flaw) {
	c := pushed{number: len(o.commits) + 1, web: 1 + o.chance.IntN(2), flaw: f}
	if f.name != "" {
		o.flawed++
	}
	files := map[string]string{
		"system.scm": fmt.Sprintf("(use-modules (lab))\n(machine #:daemons (list %s (daemon 'clock \"exec sleep %d\"))\n         #:etc '((\"motto\" . \"%d\\n\")))\n%s",
			f.daemons, 100_000+c.number, c.number, f.broken),
		"home.scm":      fmt.Sprintf("(use-modules (lab))\n(home #:daemons (list (daemon 'bell \"exec sleep %d\"))\n      #:files '((\".motto\" . \"%d\\n\")))\n", 200_000+c.number, c.number),
		"pods/web.yaml": pod(c.web),
		"pods/steady.yaml": `apiVersion: v1
kind: Pod
metadata:
  name: steady
spec:
  containers:
    - name: c
      image: 127.0.0.1:5000/web:1
`,
	}
	image := fmt.Sprintf("image: 127.0.0.1:5000/web:%d\n", c.web)
	if f.image != "" {
		files["pods/web.yaml"] = strings.Replace(files["pods/web.yaml"], image, "image: 127.0.0.1:5000/web:"+f.image+"\n", 1)
	}
	if f.command != "" {
		files["pods/web.yaml"] = strings.Replace(files["pods/web.yaml"], image, image+"      command: "+f.command+"\n", 1)
	}
	for path, text := range files {
		o.in(text, "sh", "-c", "cd /root/ops && mkdir -p pods && cat >"+path)
	}
	o.in("", "sh", "-c", "cd /root/ops && git add . && git commit -q -m '"+fmt.Sprint(c.number)+"'")
	for i := 0; o.lab.run("in", o.name, "git", "-C", "/root/ops", "push", "-q", "origin", "main") != nil; i++ { // sshd may not be up yet
		if i == 50 {
			o.Fatal("git push failed 50 times")
		}
		time.Sleep(200 * time.Millisecond)
	}
	o.head = o.in("", "git", "-C", "/root/ops", "rev-parse", "HEAD")
	if o.commits == nil {
		o.commits = map[string]pushed{}
	}
	o.commits[o.head] = c
	o.say("commit %d, %s: %s", c.number, o.head[:12], orNothing(f.name))
}

func orNothing(flaw string) string {
	if flaw == "" {
		return "nothing is wrong with it"
	}
	return flaw
}

// status is what `collie status --json' says of what the test looks at.
type status struct {
	Phase     string
	Preparing json.RawMessage
	Revisions struct{ Newest, Current, Good string }
	Layers    []struct {
		Name   string
		InSync bool
	}
	Bad      []struct{ Revision, Reason string }
	Problems []json.RawMessage
}

func (o *ordeal) look() (s status) {
	out, _ := exec.Command(o.lab.command, "in", o.name, "collie", "status", "--json").Output() // exits with 1 where not all is well
	_ = json.Unmarshal(out, &s)
	return s
}

// settle waits for the verdict on the newest commit, and until all is well.
func (o *ordeal) settle() {
	for end := time.Now().Add(calm); ; time.Sleep(300 * time.Millisecond) {
		s := o.look()
		well := s.Phase == "idle" && string(s.Preparing) == "null" && s.Revisions.Newest == o.head && len(s.Problems) == 0
		for _, l := range s.Layers {
			well = well && l.InSync
		}
		if well && (s.Revisions.Good == o.head || o.reason(s) != "") {
			return
		}
		if time.Now().After(end) {
			o.Fatalf("waited %v for the verdict on commit %d, and until all is well", calm, o.commits[o.head].number)
		}
	}
}

// reason is why the newest commit is bad.
func (o *ordeal) reason(s status) string {
	for _, b := range s.Bad {
		if b.Revision == o.head {
			return b.Reason
		}
	}
	return ""
}

// check compares the verdict with the commit, and the machine with the last good one.
func (o *ordeal) check() {
	s, newest := o.look(), o.commits[o.head]
	why := o.reason(s)
	o.say("commit %d is %s", newest.number, map[bool]string{true: "good", false: "bad: " + why}[why == ""])
	if (newest.flaw.name != "") != (why != "") {
		o.Fatalf("commit %d: %s, and yet it is %q", newest.number, orNothing(newest.flaw.name), why)
	}
	good, known := o.commits[s.Revisions.Good]
	if !known || good.flaw.name != "" || s.Revisions.Current != s.Revisions.Good {
		o.Fatalf("good is %s, current %s, of which commit %d: %s", s.Revisions.Good, s.Revisions.Current, good.number, orNothing(good.flaw.name))
	}
	motto := fmt.Sprint(good.number)
	o.is("/etc/motto", motto, o.in("", "cat", "/etc/motto"))
	o.is("the home's .motto", motto, o.in("", "cat", "/home/podman/.motto"))
	o.is("the service clock", fmt.Sprint("sleep ", 100_000+good.number), o.in("", "pgrep", "-a", "-f", "^sleep 1[0-9]{5}$"))
	o.is("the home's service bell", fmt.Sprint("sleep ", 200_000+good.number), o.in("", "pgrep", "-u", "podman", "-a", "-f", "^sleep 2[0-9]{5}$"))
	o.is("the pod web", fmt.Sprint("web ", good.web), o.in("", "curl", "-sS", "--fail", "--max-time", "10", "http://127.0.0.1:8080"))
	pods := strings.Fields(o.in("", "as-podman", "podman", "pod", "ps", "--no-trunc", "--sort", "name", "--format", "{{.Name}} {{.Id}}"))
	if len(pods) != 4 || !strings.HasPrefix(pods[0], "steady-") || !strings.HasPrefix(pods[2], "web-") {
		o.Fatalf("pods are %q, not steady and web", pods)
	}
	if o.steady == "" {
		o.steady = pods[1]
	}
	o.is("the pod steady", o.steady, pods[1])
}

func (o *ordeal) is(what, want, got string) {
	o.Helper()
	if !strings.Contains(got, want) || got == "" {
		o.Fatalf("%s is %q, want %q", what, got, want)
	}
}

// in is what a command prints in the guest.
func (o *ordeal) in(input string, args ...string) string {
	o.Helper()
	cmd := exec.Command(o.lab.command, append([]string{"in", o.name}, args...)...)
	stderr := new(bytes.Buffer)
	cmd.Stdin, cmd.Stderr = strings.NewReader(input), stderr
	out, err := cmd.Output()
	if err != nil {
		o.Fatalf("%s: %v\n%s%s", strings.Join(args, " "), err, out, stderr)
	}
	return strings.TrimSpace(string(out))
}

func (o *ordeal) must(err error) {
	o.Helper()
	if err != nil {
		o.Fatal(err)
	}
}

func (o *ordeal) counts() (all []string) {
	for _, m := range mischiefs {
		all = append(all, fmt.Sprintf("%s %d times", m.name, o.done[m.name]))
	}
	return all
}
