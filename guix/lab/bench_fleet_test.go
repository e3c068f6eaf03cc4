package lab

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// fleet has manifests/podman measure many pods, while no agent does anything.
func (g *bench) fleet() {
	program := filepath.Join(g.root, "root/podman.test")
	build := exec.Command("go", "test", "-c", "-o", program, "example.org/collie/manifests/podman")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		g.Fatalf("go test -c: %v\n%s", err, out)
	}
	g.do("herd", "stop", "collie")
	measure := exec.Command(g.lab.command, "in", g.name, "env", "COLLIE_TEST_PODMAN=/run/collie/podman/podman.sock", "TMPDIR=/tmp",
		"/root/podman.test", "-test.run", "^$", "-test.bench", "^BenchmarkFleet$", "-test.benchtime", "1x")
	out, err := measure.StdoutPipe()
	measure.Stderr = measure.Stdout
	if err == nil {
		err = measure.Start()
	}
	if err != nil {
		g.Fatal(err)
	}
	said := new(strings.Builder)
	for lines := bufio.NewScanner(io.TeeReader(out, said)); lines.Scan(); {
		if cells := strings.Split(lines.Text(), "\t"); len(cells) == 5 && cells[0] == "fleet" {
			g.line(cells[1], cells[2], cells[3], cells[4])
		}
	}
	if err := measure.Wait(); err != nil {
		g.Errorf("many pods: %v\n%s", err, said)
	}
	g.do("herd", "start", "collie")
	g.status(`.phase == "idle"`)
}

var askedOf = regexp.MustCompile(`asked (\d+), failed (\d+), gap ([0-9.]+[mµ]?s)`)

// asked ends a client that asked, and returns what became of its requests.
func (g *bench) asked(name string) (asked, failed int, gap time.Duration) {
	g.Helper()
	said := g.lab.out(g.name, "asked", name)
	m := askedOf.FindStringSubmatch(said)
	if m == nil {
		g.Fatalf("what was asked: %s", said)
	}
	asked, _ = strconv.Atoi(m[1])
	failed, _ = strconv.Atoi(m[2])
	gap, err := time.ParseDuration(m[3])
	if err != nil {
		g.Fatal(err)
	}
	return asked, failed, gap
}

// gaps compares for how long a port is closed while its pod is replaced, and counts what fails where it is forwarded.
func (g *bench) gaps() {
	if err := g.lab.bring(g.name, "ask"); err != nil {
		g.Fatal(err)
	}
	hand := func(version int, more string) {
		text := strings.NewReplacer("name: web\nspec", "name: hand\nspec", "hostPort: 8080", "hostPort: 8090").Replace(pod(version))
		g.write(filepath.Join(g.root, "tmp/hand.yaml"), text)
		g.do("sh", "-c", "as-podman podman kube play --quiet "+more+" /tmp/hand.yaml")
	}
	g.commit(map[string]string{"pods/web.yaml": pod(1)})
	g.status(isGood)
	hand(1, "")
	var collie, replace []time.Duration
	for round := range rounds {
		g.do("asking", "web", "http://127.0.0.1:8080")
		g.commit(map[string]string{"pods/web.yaml": pod(2 - round%2)})
		g.status(isGood)
		_, _, gap := g.asked("web")
		collie = append(collie, gap)

		g.do("asking", "hand", "http://127.0.0.1:8090")
		hand(2-round%2, "--replace")
		time.Sleep(time.Second)
		_, _, gap = g.asked("hand")
		replace = append(replace, gap)
	}
	g.do("as-podman", "podman", "pod", "rm", "--force", "--time", "0", "hand")
	g.against("a host port closed by a changed pod, against `kube play --replace`", 0.5, 0, collie, replace)

	forwarded := func(version int) map[string]string {
		return map[string]string{"pods/web.yaml": strings.Replace(pod(version), "  name: web\n", "  name: web\n  annotations: {collie.io/handover: forward}\n", 1)}
	}
	g.commit(forwarded(1))
	g.status(isGood)
	g.do("asking", "web", "http://127.0.0.1:8080")
	all, failed := 0, 0
	for version := 2; all < 2000; version = 3 - version {
		g.commit(forwarded(version))
		g.status(isGood)
		n, bad, _ := g.asked("web")
		all, failed = all+n, failed+bad
		g.do("asking", "web", "http://127.0.0.1:8080")
	}
	g.asked("web")
	g.count(fmt.Sprintf("a changed pod, forwarded: of %d requests failed", all), 0, failed)
	g.commit(map[string]string{"pods/web.yaml": pod(1)})
	g.status(isGood)
}

// deaths measures how long a killed container is away.
func (g *bench) deaths() {
	g.commit(map[string]string{"pods/web.yaml": pod(1)})
	g.status(isGood)
	var away []time.Duration
	for range 3 { // a fourth would be held
		out := g.lab.out(g.name, "sh", "-c", `pid=$(as-podman podman inspect -f '{{.State.Pid}}' $(as-podman podman ps -q --filter 'name=web-.*-web$'))
kill -9 $pid; s=$(date +%s%N); sleep 0.02; until curl -sf -o /dev/null --max-time 1 127.0.0.1:8080; do sleep 0.005; done; echo $(($(date +%s%N) - s))`)
		n, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
		if err != nil {
			g.Fatalf("%s", out)
		}
		away = append(away, time.Duration(n))
	}
	g.line("a container killed: until it serves again", "-", fmt.Sprintf("%s (%s)", seconds(median(away)), list(away)), "-")
}

// probes measures what a hundred pods cost that are asked each ten seconds, as nothing happens.
func (g *bench) probes() {
	files := map[string]string{}
	for i := range 100 {
		name := fmt.Sprintf("p%03d", i)
		files["pods/"+name+".yaml"] = fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata:
  name: %s
spec:
  containers:
    - name: c
      image: 127.0.0.1:5000/web:1
      readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 10}
`, name)
	}
	g.commit(files)
	g.status(isGood)
	time.Sleep(10 * time.Second)
	agent, _, _ := strings.Cut(strings.TrimSpace(g.lab.out(g.name, "agent")), " ")
	ticks := func() time.Duration {
		fields := strings.Fields(string(g.read(filepath.Join(g.root, "proc", agent, "stat"))))
		var sum time.Duration
		for _, field := range fields[13:15] { // of the process, and of the kernel for it
			n, _ := strconv.Atoi(field)
			sum += time.Duration(n) * 10 * time.Millisecond
		}
		return sum
	}
	const while = time.Minute
	before := ticks()
	time.Sleep(while)
	g.line("100 idle pods, each asked every 10 s: CPU of the agent", "-", fmt.Sprintf("%.2f %%", 100*(ticks()-before).Seconds()/while.Seconds()), "-")
	g.do("sh", "-c", "cd /root/ops && git rm -q 'pods/p*.yaml'")
	g.commit(nil)
	g.status(isGood)
}
