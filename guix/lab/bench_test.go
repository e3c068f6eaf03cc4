package lab

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkGuest measures what a user would feel, in one guest, and prints a line for each goal as soon as it is measured.
// What Collie does is compared with the same done by hand in the same run, a round of one after a round of the other: a busy
// machine slows down both. A count that isn't met fails it. A time, or an amount of memory, that misses its goal doesn't.
func BenchmarkGuest(b *testing.B) {
	if os.Getuid() != 0 {
		b.Fatal("guests need root")
	}
	l, err := open()
	if err != nil {
		b.Fatal(err)
	}
	g := &bench{B: b, lab: l, name: fmt.Sprint(prefix, os.Getpid(), "-bench")}
	g.line("what", "goal", "figure", "verdict")
	if err := l.start(b, g.name); err != nil {
		b.Fatal(err)
	}
	pid, _, _ := strings.Cut(string(g.read(l.file(g.name, "pid"))), " ")
	g.root = "/proc/" + pid + "/root"
	g.do("counted", "guix")
	g.commit(map[string]string{
		"system.scm":    system(g.next(), ""),
		"home.scm":      "(use-modules (lab))\n(home #:files '((\".motto\" . \"home\\n\")))\n",
		"pods/web.yaml": pod(1),
	})
	g.status(isGood)
	parts := []struct {
		name    string
		measure func()
	}{{"push", g.push}, {"evaluations", g.evaluations}, {"validate", g.validate}, {"return", g.goBack}, {"pods", g.pods}, {"gaps", g.gaps}, {"deaths", g.deaths}, {"errors", g.errors}, {"probes", g.probes}, {"fleet", g.fleet}, {"hostile", g.hostile}, {"polls", g.polls}, {"packs", g.packs}}
	for _, part := range parts {
		b.Run(part.name, func(b *testing.B) {
			g.B = b
			part.measure()
		})
	}
}

const rounds = 5 // of each comparison

// A bench is one run of the benchmark, in its guest.
type bench struct {
	*testing.B
	lab  *lab
	name string
	root string // of the guest's files
	last int    // number of the last version of the service
}

// line prints what was measured, at once. Columns are fixed, as the next line may be minutes away; figures vary in length, and
// so come last.
func (g *bench) line(what, goal, figure, verdict string) {
	fmt.Printf("%-66s  %-33s  %-7s  %s\n", what, goal, verdict, figure)
}

// atMost tells what became of a goal for a time or an amount.
func (g *bench) atMost(what, goal, figure string, met bool) {
	verdict := "met"
	if !met {
		verdict = "missed"
	}
	g.line(what, goal, figure, verdict)
}

// count tells what became of a goal that doesn't depend on the machine.
func (g *bench) count(what string, goal, got int) {
	g.atMost(what, fmt.Sprint(goal), fmt.Sprint(got), got <= goal)
	if got > goal {
		g.Errorf("%s: %d, not %d", what, got, goal)
	}
}

// against compares the medians of times: by Collie and by hand.
func (g *bench) against(what string, limit float64, slack time.Duration, by, hand []time.Duration) {
	collie, bare := median(by), median(hand)
	goal := fmt.Sprintf("%.2fx of %s by hand", limit, seconds(bare))
	if slack > 0 {
		goal += " + " + seconds(slack)
	}
	g.atMost(what, goal, fmt.Sprintf("%.2fx, %s (%s)", collie.Seconds()/bare.Seconds(), seconds(collie), list(by)+" against "+list(hand)),
		collie <= time.Duration(limit*float64(bare))+slack)
}

func median(all []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

func list(all []time.Duration) string {
	var texts []string
	for _, d := range all {
		texts = append(texts, fmt.Sprintf("%.2f", d.Seconds()))
	}
	return strings.Join(texts, " ")
}

// do runs a command in the guest.
func (g *bench) do(args ...string) {
	g.Helper()
	if err := g.lab.run(append([]string{"in", g.name}, args...)...); err != nil {
		g.Fatal(err)
	}
}

func (g *bench) read(path string) []byte {
	g.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		g.Fatal(err)
	}
	return data
}

func (g *bench) write(path, text string) {
	g.Helper()
	if err := cmp.Or(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		g.Fatal(err)
	}
}

// commit pushes files, and returns when the branch moved. That is where from push to live begins: git itself returns a
// little later, and how long it takes before isn't Collie's.
func (g *bench) commit(files map[string]string) time.Time {
	g.Helper()
	for path, text := range files {
		g.write(filepath.Join(g.root, "root/ops", path), text)
	}
	g.do("sh", "-c", "cd /root/ops && git add . && git commit -q --allow-empty -m 'A round' && git push -q origin main")
	info, err := os.Stat(filepath.Join(g.root, "srv/git/ops.git/refs/heads/main"))
	if err != nil {
		g.Fatal(err)
	}
	return info.ModTime()
}

// until polls for what holds.
func (g *bench) until(what string, holds func() bool) {
	g.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			g.Fatalf("waited %v for: %s", patience, what)
		}
	}
}

// status waits for what jq finds in Collie's status.
func (g *bench) status(expression string) {
	g.Helper()
	g.until(expression, func() bool {
		time.Sleep(200 * time.Millisecond)
		return g.lab.run("in", g.name, "status", expression) == nil
	})
}

const (
	isGood = `.phase == "idle" and .preparing == null and .revisions.good == $head`
	failed = `.phase == "idle" and .preparing == null and any(.failed[]; .revision == $head)`
)

// system is system.scm with a service that says when it began to run: each number is another version of it.
func system(number int, more string) string {
	return fmt.Sprintf(`(use-modules (lab) (collie services))
(machine #:daemons (list %s
                         (daemon 'clock "date +%%s%%N >/run/clock.%d; exec sleep 1d")))
`, more, number)
}

func (g *bench) next() int {
	g.last++
	return g.last
}

// runs is when version number of the service began to run.
func (g *bench) runs(number int) time.Time {
	g.Helper()
	var at int64
	g.until(fmt.Sprint("version ", number, " of the service"), func() bool {
		stamp, _ := os.ReadFile(g.clock(number))
		text, whole := strings.CutSuffix(string(stamp), "\n")
		at, _ = strconv.ParseInt(text, 10, 64)
		return whole
	})
	return time.Unix(0, at)
}

func (g *bench) clock(number int) string {
	return filepath.Join(g.root, "run", fmt.Sprint("clock.", number))
}

// byHand does by hand what a person would, and returns when it began.
func (g *bench) byHand(text string, commands string) time.Time {
	g.Helper()
	g.write(filepath.Join(g.root, "root/hand/system.scm"), text)
	began := time.Now()
	g.do("bash", "-ec", "cd /root/hand; "+commands)
	return began
}

const (
	reconfigure = "guix system reconfigure system.scm && herd restart clock"
	buildFirst  = "guix system build system.scm && " + reconfigure
)

// push compares the way from a push to the new version of a service with build, reconfigure and restart by hand.
func (g *bench) push() {
	var collie, hand []time.Duration
	for range rounds {
		n := g.next()
		began := g.byHand(system(n, ""), buildFirst)
		hand = append(hand, g.runs(n).Sub(began))

		n = g.next()
		began = g.commit(map[string]string{"system.scm": system(n, "")})
		collie = append(collie, g.runs(n).Sub(began))
		g.status(isGood)
	}
	g.against("a changed service, home unchanged: from push to live", 1, 0, collie, hand)
}

// goBack compares the roll-back of a commit with the reconfiguration of the old one by hand. It begins with the verdict.
func (g *bench) goBack() {
	const broken = `(daemon 'broken "exit 1")`
	good := g.last
	var collie, hand []time.Duration
	for range rounds {
		bad := g.next()
		g.byHand(system(bad, ""), reconfigure)
		g.forget(good)
		began := g.byHand(system(good, ""), reconfigure)
		hand = append(hand, g.runs(good).Sub(began))

		bad = g.next()
		g.forget(good)
		g.commit(map[string]string{"system.scm": system(bad, broken)})
		g.runs(bad)
		back := g.runs(good)
		g.status(failed)
		collie = append(collie, back.Sub(g.journal("rolling back")))
	}
	g.against("a commit that fails: from the verdict to the old service", 1, 0, collie, hand)
	g.commit(map[string]string{"system.scm": system(good, "")})
	g.status(isGood)
}

func (g *bench) forget(number int) {
	g.Helper()
	if err := os.Remove(g.clock(number)); err != nil {
		g.Fatal(err)
	}
}

// journal is when the last event of a kind was.
func (g *bench) journal(event string) time.Time {
	var at time.Time
	for text := range strings.Lines(string(g.read(filepath.Join(g.root, "var/lib/collie/journal")))) {
		var entry struct {
			At    time.Time
			Event string
		}
		if json.Unmarshal([]byte(text), &entry) == nil && entry.Event == event {
			at = entry.At
		}
	}
	return at
}

func pod(version int) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata:
  name: web
spec:
  containers:
    - name: web
      image: 127.0.0.1:5000/web:%d
      ports:
        - containerPort: 8080
          hostPort: 8080
`, version)
}

// pods counts what a commit that changes a pod alone asks of Guix.
func (g *bench) pods() {
	calls := filepath.Join(g.root, "var/log/calls")
	var collie []time.Duration
	for round := range rounds {
		version := 2 - round%2
		g.do("truncate", "--size", "0", "/var/log/calls")
		serves := exec.Command(g.lab.command, "in", g.name, "sh", "-c",
			fmt.Sprintf("until curl -s 127.0.0.1:8080 | grep -q %d; do sleep 0.01; done; date +%%s%%N", version))
		var stamp strings.Builder
		serves.Stdout = &stamp
		if err := serves.Start(); err != nil {
			g.Fatal(err)
		}
		began := g.commit(map[string]string{"pods/web.yaml": pod(version)})
		if err := serves.Wait(); err != nil {
			g.Fatal(err)
		}
		at, _ := strconv.ParseInt(strings.TrimSpace(stamp.String()), 10, 64)
		collie = append(collie, time.Unix(0, at).Sub(began))
		g.status(isGood)
		if guixes := strings.Count(string(g.read(calls)), "\n"); guixes > 0 || round == rounds-1 {
			g.count("a changed pod: guix processes", 0, guixes)
		}
	}
	g.line("a changed pod: from push to an answer", "-", fmt.Sprintf("%s (%s)", seconds(median(collie)), list(collie)), "-")
}
