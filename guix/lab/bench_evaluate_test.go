package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// evaluations counts what Guix evaluates for each kind of change. A system that changed is evaluated once more when it is
// switched to.
func (g *bench) evaluations() {
	const (
		home   = "(use-modules (lab))\n(home #:files '((\".motto\" . \"home %d\\n\")))\n"
		module = ";; %d\n(define-module (site) #:export (name))\n(define name 'site)\n"
		loads  = "(use-modules (site) (guix gexp))\n"
	)
	system := func(n int) string { return loads + system(n, "") }
	g.commit(map[string]string{"system.scm": system(g.next()), "modules/site.scm": fmt.Sprintf(module, 0), "modules/idle.scm": "(define-module (idle))\n",
		"home.scm": fmt.Sprintf(home, 0)})
	g.status(isGood)
	for _, kind := range []struct {
		change       string
		path, text   string
		system, home int
	}{
		{"home.scm alone", "home.scm", fmt.Sprintf(home, 1), 0, 1},
		{"system.scm alone", "system.scm", system(g.next()), 2, 0},
		{"a comment in a module of the system", "modules/site.scm", fmt.Sprintf(module, 1), 1, 0},
		{"a module that nobody loads", "modules/idle.scm", ";; idle\n(define-module (idle))\n", 0, 0},
		{"a pod", "pods/web.yaml", pod(2), 0, 0},
		{"a new module", "modules/new.scm", "(define-module (new))\n", 1, 1},
	} {
		g.do("evaluated")
		g.commit(map[string]string{kind.path: kind.text})
		g.status(isGood)
		said := strings.Fields(g.lab.out(g.name, "evaluated"))
		g.count("evaluations of the system: "+kind.change, kind.system, occurrences(said, "system"))
		g.count("evaluations of the home: "+kind.change, kind.home, occurrences(said, "home"))
	}
	g.commit(map[string]string{"pods/web.yaml": pod(1)})
	g.status(isGood)
}

func occurrences(words []string, word string) (n int) {
	for _, w := range words {
		if w == word {
			n++
		}
	}
	return n
}

const (
	validateGoal   = time.Second
	validateMemory = 64 // MiB
)

// validate checks as many manifests as a revision may have, of one host.
func (g *bench) validate() {
	dir := filepath.Join(g.TempDir(), "repository")
	const most = 9999 // with the folder, 10,000
	for n := range most {
		text := strings.Replace(pod(1), "  name: web\n", fmt.Sprintf("  name: pod-%d\n  annotations:\n    note: %s\n", n, strings.Repeat("x", 700)), 1)
		g.write(filepath.Join(dir, "pods", fmt.Sprint(n, ".yaml")), strings.Replace(text, "hostPort: 8080", fmt.Sprint("hostPort: ", 10_000+n), 1))
	}
	binary, err := filepath.Abs("../../bin/collie")
	if err != nil {
		g.Fatal(err)
	}
	var times []time.Duration
	var used time.Duration
	peak := 0.0
	for range rounds {
		cmd := exec.Command(binary, "validate", dir)
		began := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			g.Fatalf("collie validate: %v\n%s", err, out)
		}
		times = append(times, time.Since(began))
		usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
		peak = max(peak, float64(usage.Maxrss)/1024)
		used += (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()) / rounds
	}
	g.atMost("collie validate of 10,000 manifests", seconds(validateGoal), fmt.Sprintf("%s (%s), %s of CPU", seconds(median(times)), list(times), seconds(used)), median(times) <= validateGoal)
	g.atMost("collie validate of 10,000 manifests: memory", fmt.Sprintf("%d MiB", validateMemory), fmt.Sprintf("%.1f MiB", peak), peak <= validateMemory)
	if err := os.RemoveAll(dir); err != nil {
		g.Fatal(err)
	}
}
