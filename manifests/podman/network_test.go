package podman

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A helper is a process that looks like one of Podman's.
func helperProcess(t *testing.T, script string, files []*os.File, args ...string) (pid int, end func()) {
	t.Helper()
	cmd := exec.Command("/bin/sh")
	cmd.Args = append([]string{args[0], "-c", script}, args[1:]...)
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	said, quiet, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { said.Close(); quiet.Close() })
	cmd.Stdin = said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	end = func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); <-ended }
	t.Cleanup(end)
	for range 500 {
		if p, there := readProcess(cmd.Process.Pid, os.Getuid()); there && len(p.args) > 1 && p.args[0] == args[0] {
			return cmd.Process.Pid, end
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%q never has its arguments", args)
	return 0, nil
}

// endless waits for a line that never comes. It forks nothing, as a child would have these arguments, too, until it is another program.
const endless = "read line; :"

// network is a run-time directory whose API has one pod, with these networks.
func newNetwork(t *testing.T, networks ...string) (*runtimeDir, map[string]*livePod) {
	f := newFake(t)
	d := &runtimeDir{t, t.TempDir(), Connect(f.socket)}
	d.alive = func(int) bool { return true }
	infra := container{ID: strings.Repeat("a", 64), State: "running", IsInfra: true, PodName: "web-1", Networks: networks, Pid: 4242}
	app := container{ID: strings.Repeat("b", 64), State: "running", PodName: "web-1", Names: []string{"web-1-c"}, Pid: 4243,
		Labels: map[string]string{labelOwner: owner, labelObject: "Pod/web"}}
	f.answers["GET /containers/json"] = func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, []container{infra, app}) }
	d.Account = func() (Account, error) { return Account{UID: os.Getuid(), Runtime: d.dir}, nil }
	d.must(os.MkdirAll(d.at(netnsDir), 0o700))
	d.must(os.MkdirAll(d.at(aardvarkDir), 0o700))
	d.mkdirs()
	live, err := d.observe(t.Context())
	d.must(err)
	return d, live
}

func (d *runtimeDir) pasta(t *testing.T) (int, func()) {
	return helperProcess(t, endless, nil, "pasta", "--netns", d.at(netnsDir)+"/rootless-netns")
}

func (d *runtimeDir) aardvark(t *testing.T) (int, func()) {
	return helperProcess(t, endless, nil, "aardvark-dns", "--config", d.at(aardvarkDir))
}

func (d *runtimeDir) note(name string, pid int) {
	d.must(os.WriteFile(d.at(name), []byte(strconv.Itoa(pid)+"\n"), 0o600))
}

func TestWhatAilsTheNetworkOfPods(t *testing.T) {
	for _, c := range []struct {
		name     string
		networks []string
		arrange  func(t *testing.T, d *runtimeDir)
		want     []string
	}{
		{name: "no pod is in it", arrange: func(t *testing.T, d *runtimeDir) { d.must(os.WriteFile(d.at(aardvarkDir+"/net"), nil, 0o600)) }},
		{name: "all is gone", networks: []string{"net"}, want: []string{"aardvark-dns", "pasta"},
			arrange: func(t *testing.T, d *runtimeDir) { d.must(os.WriteFile(d.at(aardvarkDir+"/net"), nil, 0o600)) }},
		{name: "no network has names", networks: []string{"net"}, want: []string{"pasta"},
			arrange: func(t *testing.T, d *runtimeDir) { d.note(aardvarkDir+"/"+aardvarkPID, 1) }},
		{name: "both are there", networks: []string{"net"}, arrange: func(t *testing.T, d *runtimeDir) {
			d.must(os.WriteFile(d.at(aardvarkDir+"/net"), nil, 0o600))
			pid, _ := d.pasta(t)
			d.note(pastaPID, pid)
			pid, _ = d.aardvark(t)
			d.note(aardvarkDir+"/"+aardvarkPID, pid)
		}},
		{name: "a pid file names another process, which is no reason to repair", networks: []string{"net"}, arrange: func(t *testing.T, d *runtimeDir) {
			d.pasta(t)
			d.note(pastaPID, os.Getpid())
		}},
		{name: "the process is that of another directory", networks: []string{"net"}, want: []string{"pasta"}, arrange: func(t *testing.T, d *runtimeDir) {
			pid, _ := helperProcess(t, endless, nil, "pasta", "--netns", "/run/user/1/"+netnsDir+"/rootless-netns")
			d.note(pastaPID, pid)
		}},
		{name: "it has ended", networks: []string{"net"}, want: []string{"pasta"}, arrange: func(t *testing.T, d *runtimeDir) {
			pid, end := d.pasta(t)
			d.note(pastaPID, pid)
			end()
		}},
		{name: "the pid file is a link", networks: []string{"net"}, want: []string{"pasta"}, arrange: func(t *testing.T, d *runtimeDir) {
			d.must(os.Symlink("/etc/passwd", d.at(pastaPID)))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, live := newNetwork(t, c.networks...)
			c.arrange(t, d)
			var got []string
			for _, a := range d.ailing(live) {
				got = append(got, a.role)
			}
			if !slices.Equal(got, c.want) || (d.Broken() != "") != (len(c.want) > 0) {
				t.Errorf("got %q, want %q; broken: %s", got, c.want, d.Broken())
			}
		})
	}
}

func TestWhatTheNetworkLosesWakesAndIsRepaired(t *testing.T) {
	d, live := newNetwork(t, "net")
	pid, end := d.pasta(t)
	d.note(pastaPID, pid)
	d.follow()
	d.wakes("the watch is there")
	d.sees(true)
	if ailing := d.ailing(live); len(ailing) > 0 {
		t.Fatalf("it ails: %v", ailing)
	}
	end()
	d.wakes("pasta ended")
	first := d.ailing(live)
	if len(first) != 1 || !strings.HasPrefix(d.Broken(), "network of pods: nothing leads out of it, as pasta is gone: missed at ") {
		t.Fatalf("%v, broken: %s", first, d.Broken())
	}
	if again := d.ailing(live); !slices.Equal(again, first) {
		t.Errorf("missed since %v, and then since %v", first, again)
	}

	var asked []string
	refuse := errors.New("no, not now")
	account := Account{UID: os.Getuid(), Runtime: d.dir, As: func(_ context.Context, args ...string) error {
		asked = append(asked, strings.Join(args, " "))
		if refuse == nil {
			pid, _ := d.pasta(t)
			d.note(pastaPID, pid)
		}
		return refuse
	}}
	d.Account = func() (Account, error) { return account, nil }
	if err := d.Repair(t.Context()); !errors.Is(err, refuse) || !strings.HasPrefix(err.Error(), "network of pods: nothing leads out") {
		t.Errorf("repair: %v", err)
	}
	problems, err := d.Problems(t.Context(), Rendered{}, time.Time{})
	if err != nil || len(problems) != 1 || problems[0].Subject != networkName || !problems[0].Unrelated {
		t.Errorf("problems %+v, %v", problems, err)
	}
	refuse, asked = nil, nil
	if err := d.Repair(t.Context()); err != nil || d.Broken() != "" {
		t.Errorf("repair: %v, broken: %s", err, d.Broken())
	}
	if want := []string{"reload-network " + strings.Repeat("a", 64)}; !slices.Equal(asked, want) {
		t.Errorf("asked %q, want %q", asked, want)
	}
	if problems, err := d.Problems(t.Context(), Rendered{}, time.Time{}); err != nil || len(problems) > 0 {
		t.Errorf("problems %+v, %v", problems, err)
	}

	// Whatever takes it away each time doesn't have Podman called each time.
	refuse = errors.New("gone again")
	d.must(os.Remove(d.at(pastaPID)))
	d.ailing(live)
	d.must(syscall.Kill(-d.minds(t), syscall.SIGKILL))
	d.wakes("pasta ended again")
	d.ailing(live)
	for d.Broken() != "" {
		_ = d.Repair(t.Context())
		d.ailing(live)
	}
	problems, err = d.Problems(t.Context(), Rendered{}, time.Time{})
	if err != nil || len(problems) != 1 || !strings.Contains(problems[0].Says, "it can't be healed: nothing leads out of it, as pasta is gone: missed at ") {
		t.Errorf("problems %+v, %v", problems, err)
	}
}

// minds is the one process whose end wakes.
func (d *runtimeDir) minds(t *testing.T) int {
	d.Podman.mu.Lock()
	defer d.Podman.mu.Unlock()
	if len(d.minded) != 1 {
		t.Fatalf("minded are %v", d.minded)
	}
	for pid := range d.minded {
		return pid
	}
	return 0
}

// rootlessport listens, and its child connects to the pod.
func TestAPortThatLeadsNowhereIsSeen(t *testing.T) {
	d, _ := newNetwork(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	d.must(err)
	file, err := l.(*net.TCPListener).File()
	d.must(err)
	defer file.Close()
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	cmd := exec.Command("/bin/sh")
	cmd.Args = []string{"rootlessport"}
	script, write, err := os.Pipe() // as it has no arguments
	d.must(err)
	cmd.Stdin, cmd.ExtraFiles = script, []*os.File{file}
	d.must(cmd.Start())
	script.Close()
	_, err = write.WriteString("sleep 1000 3<&- &\necho $! >" + d.at("child") + "\nwait\nread forever\n")
	d.must(err)
	t.Cleanup(func() { write.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() })
	file.Close()
	child := 0
	for child == 0 {
		text, _ := os.ReadFile(d.at("child"))
		child, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		time.Sleep(10 * time.Millisecond)
	}
	t.Cleanup(func() { _ = syscall.Kill(child, syscall.SIGKILL) })
	infra := &container{ID: strings.Repeat("a", 64), State: "running", StartedAt: 1, Ports: []portMapping{{HostPort: port, Range: 1, Protocol: "tcp"}}}
	live := map[string]*livePod{"web-1": {name: "web-1", infra: infra}}
	d.follow()
	d.wakes("the watch is there")
	d.sees(true)
	d.mindPorts(live)
	if says := d.unpublished(live["web-1"]); says != "" {
		t.Fatalf("while all is well: %s", says)
	}
	d.must(syscall.Kill(child, syscall.SIGKILL))
	d.wakes("the child ended")
	for range 1000 { // a young one may be about to start a child
		d.mindPorts(live)
		if says := d.unpublished(live["web-1"]); says != "" {
			if says != "its host port "+strconv.Itoa(port)+" leads nowhere: what Podman forwards it with has lost a half" {
				t.Error(says)
			}
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("nobody sees that the port leads nowhere")
}

func TestReloadTakesContainersOnly(t *testing.T) {
	for _, id := range []string{"", "--all", "web", strings.Repeat("A", 64)} {
		if known, err := AsUser([]string{reloadVerb, id}); !known || err == nil || !strings.Contains(err.Error(), "is no container") {
			t.Errorf("%q: %t, %v", id, known, err)
		}
	}
}
