package lab

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// calm is how long a guest may take from the last mischief to a verdict: an attempt that failed through nobody's fault is
// made again after 30 s, then after a minute.
const calm = 6 * time.Minute

// tidied is how long it may take from there until all is tidy, and what nobody asked for since is healed.
const tidied = time.Minute

// TestTorture pushes one commit after the other, some of them flawed, and meanwhile does at random what may happen to a
// machine. After each round the guest must be where the last good commit says, in all layers, and nothing else: a flawed
// commit is never good, another one always, and the pod that no commit changes is still the same. Nothing is there twice and
// nothing is left over (census_test.go), and what no commit changes was only away where the mischief explains it (outage_test.go).
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
	chosen, err := some(os.Getenv("MISCHIEF"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := open()
	if err != nil {
		t.Fatal(err)
	}
	o := &ordeal{T: t, lab: l, name: fmt.Sprint(prefix, os.Getpid(), "-torture"), begun: time.Now(), commits: map[string]pushed{}, done: map[string]int{}}
	o.say("SEED=%d does the same again, as far as a machine does the same twice", seed)
	if err := l.start(t, o.name); err != nil {
		t.Fatal(err)
	}
	o.must(l.bring(o.name, "probe"))
	o.in("", "install", "-d", "-m", "777", nearby)
	o.probe()
	all := tell(seed, chosen)
	o.push(all.draw(flaws[:1]))
	o.settle()
	o.check()
	for end := time.Now().Add(lasts); time.Now().Before(end); {
		o.round(all.round())
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

// A mischief is something that happens to the machine.
type mischief struct {
	name, script string
	explains     []string // of what is asked all the time: what it may take away for a while
}

// The mischiefs whose script is empty are in happen.
var mischiefs = []mischief{
	{"agent killed", "pkill -KILL -f 'collie run'", []string{"agent"}},
	{"guix killed", "pkill -KILL -f 'guix (system|home|build|repl)'", nil},
	{"guix-daemon restarted", "herd restart guix-daemon", nil},
	{"Podman killed", "pkill -KILL -f 'podman .*system service'", nil},
	{"agent restarted", "herd restart collie", []string{"agent"}},
	{"the user's Shepherd killed", "pkill -KILL -u podman -f 'shepherd-for-home.*/bin/shepherd '", []string{"home's service"}},
	{"aardvark-dns killed", "pkill -KILL -x aardvark-dns", []string{"steady by name"}},
	{"pasta killed", "pkill -KILL -f 'pasta .*rootless-netns'", []string{"steady by port", "steady by name", "near"}},
	{"rootlessport killed", "kill -KILL $(ss -Hltnp 'sport = :8085' | grep -o 'pid=[0-9]*' | cut -d= -f2)", []string{"steady by port", "steady by name"}},
	{"power cut", "", []string{"agent", "steady by port", "steady by name", "near", "system's service", "home's service"}},
	{"another commit", "", nil},
	{"a port moves", "", nil},
	{"commits in a row", "", nil},
	{"state disk full", "", []string{"agent"}}, // before and after; meanwhile it must stay
}

// some are the mischiefs whose names match a regular expression.
func some(pattern string) ([]mischief, error) {
	re, err := regexp.Compile(pattern)
	chosen := slices.DeleteFunc(slices.Clone(mischiefs), func(m mischief) bool { return err != nil || !re.MatchString(m.name) })
	if err == nil && len(chosen) == 0 {
		err = errors.New("it names none")
	}
	if err != nil {
		return nil, fmt.Errorf("MISCHIEF=%s: %w", pattern, err)
	}
	return chosen, nil
}

// A content is what is in a commit.
type content struct {
	flaw  flaw
	web   int    // version of the pod's image
	word  int    // in the pod's Secret
	mover string // what has port 8095: "pod", "service", or nothing
}

// A story is drawn by chance, and by nothing else: a seed always gives the same.
type story struct {
	chance *rand.Rand
	from   []mischief
	mover  string // of the commit before
}

func tell(seed uint64, from []mischief) *story {
	return &story{chance: rand.New(rand.NewPCG(seed, 0)), from: from}
}

func (s *story) draw(from []flaw) content {
	return content{from[s.chance.IntN(len(from))], 1 + s.chance.IntN(2), s.chance.IntN(1000), s.mover}
}

// An act is a mischief, some time after the one before, with what is pushed in it.
type act struct {
	after, lasts time.Duration
	phase        string // of the rollout in which it happens
	mischief
	pushes []content
}

// round draws a commit, what happens after its push, and whether only after its verdict: a rollout mends what it finds broken.
func (s *story) round() (first content, late bool, acts []act) {
	first = s.draw(flaws[:1])
	if s.chance.IntN(2) == 0 {
		first = s.draw(flaws[1:])
	}
	late = s.chance.IntN(2) == 0
	for range s.chance.IntN(4) {
		a := act{after: time.Duration(s.chance.IntN(7000)) * time.Millisecond, mischief: s.from[s.chance.IntN(len(s.from))]}
		switch a.name {
		case "another commit":
			a.pushes = []content{s.draw(flaws)}
		case "a port moves":
			others := slices.DeleteFunc([]string{"", "pod", "service"}, func(m string) bool { return m == s.mover })
			s.mover = others[s.chance.IntN(len(others))]
			a.pushes = []content{s.draw(flaws)}
		case "commits in a row":
			for range 6 + s.chance.IntN(7) {
				a.pushes = append(a.pushes, s.draw(flaws[:1]))
			}
		case "state disk full":
			a.lasts = time.Duration(3000+s.chance.IntN(9000)) * time.Millisecond
			a.phase = []string{"switching", "soaking"}[s.chance.IntN(2)]
			a.pushes = []content{s.draw(flaws)}
		}
		acts = append(acts, a)
	}
	return first, late, acts
}

func TestTheSameSeedDoesTheSame(t *testing.T) {
	told := func(seed uint64) string {
		var all strings.Builder
		s := tell(seed, mischiefs)
		for range 200 {
			first, late, acts := s.round()
			fmt.Fprintln(&all, first, late, acts)
		}
		return all.String()
	}
	first, again := told(1), told(1)
	if first != again {
		t.Error("the same seed does something else")
	}
	if first == told(2) {
		t.Error("another seed does the same")
	}
	for _, m := range mischiefs {
		if !strings.Contains(first, m.name) {
			t.Errorf("200 rounds have no %q", m.name)
		}
	}
}

// A pushed is a commit, and what should be seen if it is good.
type pushed struct {
	content
	number  int
	service int // the number that its services sleep with
}

type ordeal struct {
	*testing.T
	lab     *lab
	name    string
	begun   time.Time
	commits map[string]pushed // by id
	flawed  int
	done    map[string]int // mischiefs
	head    string
	steady  string // id of the pod that no commit changes

	happened []happening // since the last check
	checked  time.Time   // when that was
}

func (o *ordeal) say(format string, args ...any) {
	fmt.Printf("torture: %4.0f s: %s\n", time.Since(o.begun).Seconds(), fmt.Sprintf(format, args...))
}

func (o *ordeal) round(first content, late bool, acts []act) {
	o.push(first)
	if late {
		o.settle()
	}
	for _, a := range acts {
		time.Sleep(a.after)
		o.happen(a)
	}
	o.settle()
	o.check()
}

func (o *ordeal) happen(a act) {
	o.say("%s", a.name)
	o.done[a.name]++
	began := time.Now()
	switch a.name {
	case "power cut":
		o.must(o.lab.run("down", o.name))
		o.must(o.lab.run("up", o.name))
		o.probe()
	case "another commit", "a port moves":
		o.push(a.pushes[0])
	case "commits in a row":
		o.inARow(a.pushes)
	case "state disk full":
		o.full(a)
	default:
		_ = o.lab.run("in", o.name, "sh", "-c", a.script) // there may be none to kill
	}
	o.happened = append(o.happened, happening{a.mischief, began})
}

// inARow pushes commits that change a pod, its Secret and what has a port, each as soon as the one before is switched to: none
// soaks to its end, unless Collie lets it. Verdicts and tidying must not wait for the last.
func (o *ordeal) inARow(commits []content) {
	var good string
	since := 0
	for i, c := range commits {
		if i > 0 { // only the first changes services
			o.pushed(c, o.commits[o.head].service)
		} else {
			o.push(c)
		}
		var s status
		for end := time.Now().Add(calm); s.Revisions.Newest != o.head || s.Phase != "soaking" || s.Revisions.Current != o.head; {
			if time.Now().After(end) {
				o.Fatalf("waited %v until commit %d is switched to", calm, o.commits[o.head].number)
			}
			time.Sleep(100 * time.Millisecond)
			s = o.look()
			if s.Phase == "idle" && s.Revisions.Good == o.head { // it soaked between two looks
				break
			}
		}
		if since++; s.Revisions.Good != good {
			good, since = s.Revisions.Good, 0
		}
		if since > 4 {
			o.Errorf("%d commits came after %.12s, none of them is good yet, and nothing is wrong with any", since, good)
		}
		o.most("pods of the kind web", 4, "as-podman podman pod ps --format '{{.Name}}' | grep -c ^web-")
		o.most("Secrets", 4, "as-podman podman secret ls --format '{{.Name}}' | wc -l")
	}
}

// most counts what a commit brings along and a later one makes superfluous.
func (o *ordeal) most(what string, goal int, script string) {
	n, err := strconv.Atoi(o.in("", "sh", "-c", script))
	if err != nil || n > goal {
		o.Errorf("in the middle of many commits there are %d %s (%v)", n, what, err)
	}
}

// full pushes a commit, fills the disk that Collie's state is on once the rollout is in the phase, where most is written, and
// makes room again after a while. Meanwhile the agent must stay, and answer.
func (o *ordeal) full(a act) {
	o.in("", "bash", "-ec", `herd stop collie
mkdir -p /run/disk
mount -t tmpfs -o size=24m,mode=711 none /run/disk
cp -a /var/lib/collie/. /run/disk
mount --bind /run/disk /var/lib/collie
herd start collie`)
	before := o.in("", "agent")
	o.push(a.pushes[0])
	o.until(a.phase)
	o.in("", "sh", "-c", "cat /dev/zero >/var/lib/collie/.filler 2>/dev/null || :")
	for end := time.Now().Add(a.lasts); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		if s := o.look(); s.Phase == "" {
			o.Error("the agent doesn't answer while its disk is full")
			break
		}
	}
	if after := o.in("", "sh", "-c", "agent || :"); after != before {
		o.Errorf("the agent was %q, and is %q after a disk was full", before, after)
	}
	o.in("", "bash", "-ec", `rm /var/lib/collie/.filler
herd stop collie || :
umount /var/lib/collie
find /var/lib/collie -mindepth 1 -delete
cp -a /run/disk/. /var/lib/collie
umount /run/disk
herd start collie`)
}

// until waits until the newest commit is in a phase, or the verdict on it came before.
func (o *ordeal) until(phase string) {
	for end := time.Now().Add(calm); ; time.Sleep(100 * time.Millisecond) {
		s := o.look()
		if s.Revisions.Newest == o.head && (s.Phase == phase && s.Revisions.Current == o.head || s.Revisions.Good == o.head || o.reason(s) != "") {
			return
		}
		if time.Now().After(end) {
			o.Fatalf("waited %v until commit %d is %s: %+v", calm, o.commits[o.head].number, phase, s)
		}
	}
}

// push makes a commit of all layers.
func (o *ordeal) push(c content) { o.pushed(c, len(o.commits)+1) }

// pushed makes one whose services sleep with a number.
func (o *ordeal) pushed(with content, service int) {
	c := pushed{with, len(o.commits) + 1, service}
	f := c.flaw
	if f.name != "" {
		o.flawed++
	}
	daemons := f.daemons + ` (daemon 'lamp "exec busybox httpd -f -p 127.0.0.1:8090 -h /share")`
	if c.mover == "service" {
		daemons += ` (daemon 'mover "exec busybox httpd -f -p 8095 -h /share")`
	}
	files := map[string]string{
		"system.scm": fmt.Sprintf("(use-modules (lab))\n(machine #:daemons (list %s (daemon 'clock \"exec sleep %d\"))\n         #:etc '((\"motto\" . \"%d\\n\")))\n%s",
			daemons, 100_000+c.service, c.service, f.broken),
		"home.scm": fmt.Sprintf("(use-modules (lab))\n(home #:daemons (list (daemon 'door \"exec busybox httpd -f -p 127.0.0.1:8091 -h /share\") (daemon 'bell \"exec sleep %d\"))\n      #:files '((\".motto\" . \"%d\\n\")))\n",
			200_000+c.service, c.service),
		"pods/web.yaml":    pod(c.web) + fmt.Sprintf(withWord, c.word),
		"pods/steady.yaml": steadyPod,
		"pods/near.yaml":   nearPod,
	}
	if c.mover == "pod" {
		files["pods/mover.yaml"] = strings.NewReplacer("name: web", "name: mover", "hostPort: 8080", "hostPort: 8095").Replace(pod(1))
	}
	image := fmt.Sprintf("image: 127.0.0.1:5000/web:%d\n", c.web)
	if f.image != "" {
		files["pods/web.yaml"] = strings.Replace(files["pods/web.yaml"], image, "image: 127.0.0.1:5000/web:"+f.image+"\n", 1)
	}
	if f.command != "" {
		files["pods/web.yaml"] = strings.Replace(files["pods/web.yaml"], image, image+"      command: "+f.command+"\n", 1)
	}
	o.in("", "sh", "-c", "cd /root/ops && mkdir -p pods && rm -f pods/*")
	for path, text := range files {
		o.in(text, "sh", "-c", "cat >/root/ops/"+path)
	}
	o.in("", "sh", "-c", "cd /root/ops && git add . && git commit -q -m '"+fmt.Sprint(c.number)+"'")
	for i := 0; o.lab.run("in", o.name, "git", "-C", "/root/ops", "push", "-q", "origin", "main") != nil; i++ { // sshd may not be up yet
		if i == 50 {
			o.Fatal("git push failed 50 times")
		}
		time.Sleep(200 * time.Millisecond)
	}
	o.head = o.in("", "git", "-C", "/root/ops", "rev-parse", "HEAD")
	o.commits[o.head] = c
	o.say("commit %d, %s, port 8095 to %s: %s", c.number, o.head[:12], cmp.Or(c.mover, "nobody"), orNothing(f.name))
}

const withWord = `      envFrom: [{secretRef: {name: word}}]
---
apiVersion: v1
kind: Secret
metadata:
  name: word
stringData: {WORD: "%d"}
`

const steadyPod = `apiVersion: v1
kind: Pod
metadata:
  name: steady
spec:
  containers:
    - name: c
      image: 127.0.0.1:5000/web:1
      ports:
        - containerPort: 8080
          hostPort: 8085
`

// Nobody changes this one either. It asks steady by its name, on the pods' network, and answers on a forwarded port.
const nearPod = `apiVersion: v1
kind: Pod
metadata:
  name: near
  annotations: {collie.io/handover: forward}
spec:
  containers:
    - name: c
      image: 127.0.0.1:5000/sleeper:1
      command: [/probe, -serve, ":8080", ` + nearby + `/log, "steady by name=http://steady:8080"]
      ports:
        - containerPort: 8080
          hostPort: 8086
      volumeMounts:
        - {name: probe, mountPath: /probe, readOnly: true}
        - {name: log, mountPath: ` + nearby + `}
  volumes:
    - {name: probe, hostPath: {path: /usr/bin/probe, type: File}}
    - {name: log, hostPath: {path: ` + nearby + `, type: Directory}}
`

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
	Failed   []struct{ Revision, Reason string }
	Problems []struct{ Subject, Says string }
}

func (o *ordeal) look() (s status) {
	out, _ := exec.Command(o.lab.command, "in", o.name, "collie", "status", "--json").Output() // exits with 1 where not all is well
	_ = json.Unmarshal(out, &s)
	return s
}

// settle waits for the verdict on the newest commit, and until all is well.
func (o *ordeal) settle() {
	told := time.Now()
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
			o.Fatalf("waited %v for the verdict on commit %d, and until all is well: %+v\n%s", calm, o.commits[o.head].number, s,
				strings.Join(leftOver(o.in("", "census"), o.commits[s.Revisions.Good], s.Revisions.Good == o.head), "\n"))
		}
		if time.Since(told) > time.Minute {
			told = time.Now()
			o.say("still waiting: %+v", s)
		}
	}
}

// reason is why the newest commit failed.
func (o *ordeal) reason(s status) string {
	for _, b := range s.Failed {
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
	o.say("commit %d is %s", newest.number, map[bool]string{true: "good", false: "failed: " + why}[why == ""])
	if (newest.flaw.name != "") != (why != "") {
		o.Fatalf("commit %d: %s, and yet it is %q", newest.number, orNothing(newest.flaw.name), why)
	}
	good, known := o.commits[s.Revisions.Good]
	if !known || good.flaw.name != "" || s.Revisions.Current != s.Revisions.Good {
		o.Fatalf("good is %s, current %s, of which commit %d: %s", s.Revisions.Good, s.Revisions.Current, good.number, orNothing(good.flaw.name))
	}
	motto := fmt.Sprint(good.service)
	o.is("/etc/motto", motto, o.in("", "cat", "/etc/motto"))
	o.is("the home's .motto", motto, o.in("", "cat", "/home/podman/.motto"))
	o.is("the pod web", fmt.Sprint("web ", good.web), o.in("", "curl", "-sS", "--fail", "--max-time", "10", "http://127.0.0.1:8080"))
	if good.mover != "" {
		o.in("", "curl", "-sS", "--fail", "--max-time", "10", "http://127.0.0.1:8095/"+map[string]string{"service": "key.pub"}[good.mover])
	}
	id := o.in("", "as-podman", "podman", "pod", "ps", "--no-trunc", "--filter", "name=^steady-", "--format", "{{.Id}}")
	if o.steady == "" {
		o.steady = id
	}
	o.is("the pod steady", o.steady, id)
	o.clean(good)
}

// clean waits until nothing is away, nothing is there twice, and nothing is left over: a look tells of what was just killed,
// and tidying comes after the verdict.
func (o *ordeal) clean(good pushed) {
	var wrong []string
	for end := time.Now().Add(tidied); ; time.Sleep(time.Second) {
		if wrong = append(leftOver(o.in("", "census"), good, good.number == o.commits[o.head].number), o.away()...); len(wrong) == 0 {
			break
		}
		if time.Now().After(end) {
			o.Fatalf("%v after the verdict:\n%s", tidied, strings.Join(wrong, "\n"))
		}
	}
	for _, out := range o.outages() {
		if !o.checked.IsZero() && !out.explained(o.happened) { // the first commit brings what is asked
			o.Errorf("%v; what happened explains none of that", out)
		}
	}
	o.happened, o.checked = nil, time.Now()
	if o.Failed() {
		o.FailNow()
	}
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
