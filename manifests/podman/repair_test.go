package podman

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Who is left behind, and who isn't: pods of a user's own may be running.
func TestOnlyWhatBelongsToNothingThatRunsIsLeftBehind(t *testing.T) {
	const runtime = "/run/user/1000"
	id := func(letter string) string { return strings.Repeat(letter, 64) }
	own := func(pid, parent int, line string) process {
		return process{pid: pid, parent: parent, own: true, args: strings.Fields(line)}
	}
	conmon := func(pid int, letter string) process {
		return own(pid, 1, "/usr/bin/conmon --api-version 1 -c "+id(letter)+" -u "+id(letter)+" --exit-dir /run/user/1000/libpod/tmp/exits")
	}
	pasta := own(1, 1, "/gnu/store/x-passt/bin/pasta --config-net --netns /run/user/1000/containers/networks/rootless-netns/rootless-netns")
	dns := own(2, 1, "/gnu/store/x/libexec/podman/.aardvark-dns-real --config /run/user/1000/containers/networks/aardvark-dns -p 53 run")
	port := own(3, 1, "rootlessport")
	running := func(letter string, network string, port int) container {
		c := container{ID: id(letter), State: "running", Ports: []portMapping{{HostPort: port, Range: 1, Protocol: "tcp"}}}
		if network != "" {
			c.Networks = []string{network}
		}
		return c
	}
	for _, c := range []struct {
		name       string
		all        []process
		containers []container
		want       []int
		network    bool
	}{
		{"nothing runs", []process{pasta, dns, port}, nil, []int{1, 2, 3}, true},
		{"one that ended is none", []process{pasta}, []container{{ID: id("a"), State: "exited", Networks: []string{"n"}}}, []int{1}, true},
		{"all of it is in use", []process{pasta, dns, port, conmon(4, "a")}, []container{running("a", "n", 8080)}, nil, false},
		{"somebody's own pod is in the network, another port is held", []process{pasta, dns, port}, []container{running("a", "n", 9090)}, []int{3}, false},
		{"a pod with the machine's network isn't in it", []process{pasta, dns, port}, []container{running("a", "", 8080)}, []int{1, 2}, true},
		{"a conmon of none, with what it minds first", []process{conmon(4, "b"), {pid: 5, parent: 4, inside: true}, {pid: 6, parent: 1}, conmon(7, "a")},
			[]container{running("a", "n", 9090), {ID: id("b"), State: "created"}}, []int{5, 4}, false},
		{"a program of the machine's that what calls itself a conmon started", []process{conmon(4, "b"), {pid: 5, parent: 4}}, nil, []int{4}, true},
		{"what a user's own conmon minds outside of a container", []process{conmon(4, "b"), own(5, 4, "sleep 1d")}, nil, []int{5, 4}, true},
		{"of another user", []process{{pid: 8, args: pasta.args}}, nil, nil, true},
		{"of another run-time directory", []process{own(9, 1, "pasta --netns /run/user/1001/containers/networks/rootless-netns/rootless-netns"),
			own(10, 1, "conmon -c "+id("a")+" --exit-dir /tmp/exits")}, nil, nil, true},
		{"a pasta of one container's own", []process{own(11, 1, "pasta --config-net --netns /run/user/1000/netns/netns-1")}, nil, nil, true},
		{"what only looks like it", []process{own(12, 1, "vi pasta"), own(13, 1, "rootlessport of mine"), own(14, 1, "conmon -c ../x --exit-dir /run/user/1000/libpod/tmp/exits")}, nil, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := findStrays(c.all, c.containers, runtime, func(int) []int { return []int{8080} })
			var pids []int
			for _, p := range got.processes {
				pids = append(pids, p.pid)
			}
			if !slices.Equal(pids, c.want) || got.network != c.network {
				t.Errorf("got %v, network %t; want %v, %t", pids, got.network, c.want, c.network)
			}
		})
	}
	if s := findStrays([]process{port}, nil, runtime, func(int) []int { return nil }); !s.none() {
		t.Error("a rootlessport that listens nowhere yet is left behind")
	}
}

func TestAProcessIsEndedOnce(t *testing.T) {
	child := exec.Command("sleep", "1000")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var p process
	there := false
	for range 100 { // until it has its arguments
		if p, there = readProcess(child.Process.Pid, os.Getuid()); len(p.args) == 2 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if !there || !p.own || p.parent != os.Getpid() || !slices.Equal(p.args, []string{"sleep", "1000"}) || p.age < 0 || p.age > time.Minute {
		t.Errorf("it is read as %+v", p)
	}
	older := p
	older.age += time.Hour
	if err := older.end(t.Context(), 0); err != nil { // the number was that of an older one
		t.Fatal(err)
	}
	if _, there := readProcess(p.pid, 0); !there || zombie(p.pid) {
		t.Fatal("another process was ended")
	}
	if err := p.end(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err == nil {
		t.Error("it ended well")
	}
	if err := p.end(t.Context(), 0); err != nil {
		t.Errorf("one that is gone: %v", err)
	}
}

func TestListeningKnowsWhoHoldsAPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	if held := listening()(os.Getpid()); !slices.Contains(held, port) {
		t.Errorf("port %d isn't among %v", port, held)
	}
}

func TestForgettingStaysBelow(t *testing.T) {
	dir := t.TempDir()
	id := strings.Repeat("a", 64)
	for _, name := range []string{netnsDir, aardvarkDir, crunDir + "/" + id, crunDir + "/other"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	left := func() string {
		found, _ := filepath.Glob(filepath.Join(dir, "*/*"))
		deeper, _ := filepath.Glob(filepath.Join(dir, "containers/networks/*"))
		for i, f := range append(found, deeper...) {
			found = append(found[:i], strings.TrimPrefix(f, dir+"/"))
		}
		return fmt.Sprint(found)
	}
	for _, c := range []struct {
		args []string
		ok   bool
		left string
	}{
		{[]string{forgetVerb, dir, "false", "../containers"}, false, "[containers/networks crun/" + id + " crun/other containers/networks/aardvark-dns containers/networks/rootless-netns]"},
		{[]string{forgetVerb, dir, "false", id}, true, "[containers/networks crun/other containers/networks/aardvark-dns containers/networks/rootless-netns]"},
		{[]string{forgetVerb, dir, "true"}, true, "[containers/networks crun/other]"},
	} {
		known, err := AsUser(c.args)
		if !known || (err == nil) != c.ok || left() != c.left {
			t.Errorf("%q: %t, %v, left %s, want %s", c.args[2:], known, err, left(), c.left)
		}
	}
	if known, _ := AsUser([]string{"look", "a", "b"}); known {
		t.Error("it takes what it doesn't know")
	}
}
