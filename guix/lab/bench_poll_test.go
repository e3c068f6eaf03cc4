package lab

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	looks     = 200
	settles   = 10 * time.Second // as a machine does between two commits
	idleGoal  = 18               // MiB
	firstGoal = 48
	pollGoal  = time.Millisecond
	pollShare = 0.08
	address   = "127.0.0.1:8418"
)

// looks measures the whole agent as it follows a repository in which nothing happens, beside git doing the same: one of 10
// manifests and a commit, and one of 10,000 and 10,000; on the machine, and over HTTP on loopback.
func (g *bench) polls() {
	sizes := []struct {
		name string
		dir  string
	}{
		{"10 x 1", g.repository(10, 1)},
		{"10,000 x 10,000", g.repository(10_000, 10_000)},
	}
	const local = "/srv/git/ops.git"
	for _, size := range sizes {
		g.do("rm", "-r", local)
		g.host("cp", "-r", size.dir, filepath.Join(g.root, local))
		g.do("chown", "-R", "ops:users", local)
		g.follow(size.name+" on the machine", size.dir, "file://"+local, nil)
	}

	// The same over HTTP: Collie learns of it by a last commit, and each repository says it as well.
	const overHTTP = `(use-modules (lab) (collie services))
(machine #:collie (lambda (config)
                    (collie-configuration
                     (inherit config)
                     (source (collie-source (url "http://` + address + `/followed.git"))))))
`
	followed := filepath.Join(g.TempDir(), "followed.git")
	requests := g.serve(filepath.Dir(followed))
	for _, size := range sizes {
		g.add(size.dir, "system.scm", overHTTP)
	}
	g.host("cp", "-r", sizes[1].dir+"/.", filepath.Join(g.root, local))
	g.do("chown", "-R", "ops:users", local)
	g.status(`.source.url == "http://` + address + `/followed.git"`)
	for _, size := range sizes {
		g.host("ln", "-sfn", size.dir, followed)
		g.follow(size.name+" over HTTP", size.dir, "http://"+address+"/followed.git", requests)
	}
}

// follow has the agent forget all it knows, and measures its first sync and its polls.
func (g *bench) follow(what, dir, url string, requests *tally) {
	head := strings.TrimSpace(g.host("git", "-C", dir, "rev-parse", "main"))
	g.do("sh", "-c", "herd stop collie; find /var/lib/collie -mindepth 1 -delete; herd start collie")
	g.status(`.phase == "idle" and .preparing == null and .revisions.good == "` + head + `"`)
	pid := strings.TrimSpace(g.lab.out(g.name, "pgrep", "-xo", "collie"))
	peak := g.memory(pid, "VmHWM")
	clone, _ := g.git("clone", "-q", "--bare", "--depth", "1", url, "/root/"+strconv.Itoa(g.next()))
	g.atMost(what+": first sync, peak", fmt.Sprintf("%d MiB", firstGoal), fmt.Sprintf("%.1f MiB (git %.1f)", peak, clone), peak <= firstGoal)

	time.Sleep(settles)
	before := g.cpu(pid)
	var asked, failed int64
	if requests != nil {
		asked, failed = requests.asked.Load(), requests.failed.Load()
	}
	g.do("sh", "-c", fmt.Sprintf("for i in $(seq %d); do collie sync >/dev/null || exit; done", looks))
	spent := (g.cpu(pid) - before) / looks
	if requests != nil {
		g.count(what+fmt.Sprintf(": requests of %d polls", looks), looks, int(requests.asked.Load()-asked))
		g.count(what+": of these failed", 0, int(requests.failed.Load()-failed))
	}
	rss, own, ask := g.memory(pid, "VmRSS"), g.memory(pid, "RssAnon"), time.Duration(0)
	const asks = 10
	for range asks {
		_, once := g.git("ls-remote", url, "main")
		ask += once / asks
	}
	figure := fmt.Sprintf("%.2f ms, %.3fx (git %.2f ms)", ms(spent), spent.Seconds()/ask.Seconds(), ms(ask))
	if requests == nil {
		g.line(what+": CPU of a poll", "-", figure, "-")
	} else {
		g.atMost(what+": CPU of a poll", fmt.Sprintf("%.1f ms, %.2fx of git ls-remote", ms(pollGoal), pollShare), figure,
			spent <= pollGoal && spent.Seconds() <= pollShare*ask.Seconds())
	}
	g.atMost(what+": memory, idle", fmt.Sprintf("%d MiB", idleGoal), fmt.Sprintf("%.1f MiB, without the program's own file %.1f", rss, own), rss <= idleGoal)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// memory is what a process in the guest has of a kind, in MiB.
func (g *bench) memory(pid, kind string) float64 {
	for line := range strings.Lines(string(g.read(filepath.Join(g.root, "proc", pid, "status")))) {
		if f := strings.Fields(line); f[0] == kind+":" {
			kib, _ := strconv.ParseFloat(f[1], 64)
			return kib / 1024
		}
	}
	g.Fatalf("process %s has no %s", pid, kind)
	return 0
}

// cpu is what the threads of a process in the guest have used.
func (g *bench) cpu(pid string) (sum time.Duration) {
	threads, _ := filepath.Glob(filepath.Join(g.root, "proc", pid, "task/*/schedstat"))
	for _, file := range threads {
		used, _, _ := strings.Cut(string(g.read(file)), " ")
		ns, _ := strconv.ParseInt(used, 10, 64)
		sum += time.Duration(ns)
	}
	return sum
}

// git runs git in the guest, and tells the most memory that one of its processes had, and the CPU of all.
func (g *bench) git(args ...string) (mib float64, used time.Duration) {
	pid := strings.Split(g.root, "/")[2]
	cmd := exec.Command("nsenter", append([]string{"-t", pid, "-m", "-n", "-p", "-r", "env", "-i", "PATH=/usr/bin", "HOME=/root",
		"git", "-c", "safe.directory=*"}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		g.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return float64(usage.Maxrss) / 1024, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// host runs a command beside the guest.
func (g *bench) host(args ...string) string {
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		g.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// A tally counts the requests that a server got, and those that failed.
type tally struct{ asked, failed atomic.Int64 }

// A seen is an answer whose status is looked at.
type seen struct {
	http.ResponseWriter
	*tally
}

func (s seen) WriteHeader(status int) {
	if status >= http.StatusBadRequest {
		s.failed.Add(1)
	}
	s.ResponseWriter.WriteHeader(status)
}

// serve offers the repositories in dir over HTTP in the guest.
func (g *bench) serve(dir string) *tally {
	count := new(tally)
	git, err := exec.LookPath("git")
	if err != nil {
		g.Fatal(err)
	}
	backend := &cgi.Handler{Path: git, Args: []string{"-c", "safe.directory=*", "http-backend"}, Stderr: io.Discard,
		Env: []string{"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1"}}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		count.asked.Add(1)
		backend.ServeHTTP(seen{w, count}, r)
	})}
	listener, err := g.listen()
	if err != nil {
		g.Fatal(err)
	}
	go server.Serve(listener)
	g.Cleanup(func() { server.Close() })
	return count
}

// listen makes a socket in the guest's network, of which the rest of this process knows nothing.
func (g *bench) listen() (listener net.Listener, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		network, openErr := os.Open("/proc/" + strings.Split(g.root, "/")[2] + "/ns/net")
		if err = openErr; err != nil {
			return
		}
		defer network.Close()
		if err = unix.Setns(int(network.Fd()), unix.CLONE_NEWNET); err == nil {
			listener, err = net.Listen("tcp", address)
		}
	}()
	<-done
	return listener, err
}

// repository makes a bare one that describes this guest, on which one pod runs, and other hosts with a hundred pods each. The
// first commit has all manifests; each of the others changes one.
func (g *bench) repository(manifests, commits int) string {
	dir := filepath.Join(g.TempDir(), "repository")
	g.host("git", "init", "-q", "--bare", "-b", "main", dir)
	g.fastImport(dir, func(to io.Writer) {
		for i := range commits {
			commit(to, i)
			if i > 0 {
				manifest(to, i%manifests, i)
				continue
			}
			file(to, "system.scm", "(use-modules (lab))\n(machine)\n")
			file(to, "hosts/guest/pods/web.yaml", pod(1))
			for n := range manifests {
				manifest(to, n, 0)
			}
		}
	})
	return dir
}

// add makes one more commit, which changes a file.
func (g *bench) add(dir, path, text string) {
	g.fastImport(dir, func(to io.Writer) {
		commit(to, 0)
		fmt.Fprintln(to, "from refs/heads/main^0")
		file(to, path, text)
	})
}

func (g *bench) fastImport(dir string, write func(io.Writer)) {
	cmd := exec.Command("git", "-C", dir, "fast-import", "--quiet")
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		g.Fatal(err)
	}
	to := bufio.NewWriter(in)
	write(to)
	if err := to.Flush(); err != nil {
		g.Fatal(err)
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		g.Fatal(err)
	}
}

func commit(to io.Writer, n int) {
	fmt.Fprintf(to, "commit refs/heads/main\ncommitter Lab <lab@example.org> %d +0000\ndata 7\nA round\n", 1_700_000_000+n)
}

func file(to io.Writer, path, text string) {
	fmt.Fprintf(to, "M 100644 inline %s\ndata %d\n%s\n", path, len(text), text)
}

// manifest is a version of the n-th pod, of the size that they often have.
func manifest(to io.Writer, n, version int) {
	text := fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata:\n  name: pod-%d\n  annotations:\n    version: \"%d\"\n    note: %s\n", n, version, strings.Repeat("x", 900))
	file(to, fmt.Sprintf("hosts/host-%d/pods/%d.yaml", n/100, n), text)
}

// packs has agent/source measure its clone after many pushes.
func (g *bench) packs() {
	out := g.host("go", "test", "-run", "^$", "-bench", "^BenchmarkManyPushes$", "-benchtime", "1x", "example.org/collie/agent/source")
	const what = "300 pushes: "
	g.count(what+"packs", 50, int(metric(out, "packs")))
	for kind, goal := range map[string]float64{"poll": 1.2, "read": 1.5} {
		times := metric(out, kind+"/fresh")
		g.atMost(what+kind, fmt.Sprintf("%.2fx of a fresh clone", goal), fmt.Sprintf("%.2fx", times), times <= goal)
	}
}

// metric is the number before a unit in what a benchmark printed.
func metric(out, unit string) float64 {
	before, _, found := strings.Cut(out, " "+unit)
	fields := strings.Fields(before)
	if !found || len(fields) == 0 {
		return math.Inf(1)
	}
	value, err := strconv.ParseFloat(fields[len(fields)-1], 64)
	if err != nil {
		return math.Inf(1)
	}
	return value
}
