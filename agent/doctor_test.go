package agent

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"example.org/collie/agent/api"
	"example.org/collie/agent/secrets"
	"example.org/collie/agent/source"
	"example.org/collie/guix"
)

// A patient is a machine in a folder, on which all is well.
type patient struct {
	*testing.T
	machine
	uid     int      // of the pod user
	answers sync.Map // by socket: func(net.Conn)
}

func newPatient(t *testing.T) *patient {
	dir, err := os.MkdirTemp("", "m") // the paths of sockets are short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	p := &patient{T: t, uid: os.Getuid()}
	if p.uid == 0 {
		p.uid = 1234
	}
	p.machine = machine{
		runtime: "/run/collie", dir: dir, root: uint32(os.Getuid()), me: uint32(os.Getuid()), now: time.Now(),
		user: func() (guix.User, error) {
			return guix.User{Name: "ann", UID: uint32(p.uid), GID: uint32(os.Getgid()), Home: "/home/ann", Runtime: "/run/user/ann"}, nil
		},
		status: func(context.Context) (api.Status, error) { return api.Status{Version: "1.2.3", Phase: "idle"}, nil },
		space: func(string) (unix.Statfs_t, error) {
			return unix.Statfs_t{Bsize: 4096, Bavail: 100 << 20, Files: 1000, Ffree: 500}, nil
		},
	}
	p.cfg, err = parseConfig("collie.yaml", []byte("source: {url: "+dir+"/ops.git}\nuser: ann\n"))
	if err != nil {
		t.Fatal(err)
	}
	git := func(args ...string) string {
		cmd := exec.Command("git", append([]string{"-C", dir}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q", "--bare", "-b", "main", "ops.git")
	tree := git("-C", "ops.git", "hash-object", "-t", "tree", "-w", "--stdin")
	git("-C", "ops.git", "update-ref", "refs/heads/main", git("-C", "ops.git", "commit-tree", "-m", "one", tree))

	p.folder("/run/collie/podman", 0o700)
	p.folder("/var/lib/collie/logs", 0o700)
	p.folder("/var/lib/collie/trees", 0o755)
	p.folder("/var/lib/collie/build", 0o711)
	_, err = secrets.Open(p.at("/var/lib/collie/keys"))
	p.must(err)
	p.write("/var/lib/collie/state.json", `{"newest": {"time": "2020-01-01T00:00:00Z"}}`, 0o600)
	p.folder(guixProfiles, 0o755)
	p.link("/gnu/store/x-system", guixProfiles+"/system-3-link")
	p.link("system-3-link", guixProfiles+"/system")
	p.write("/etc/subuid", "bob:100000:65536\nann:165536:65536\n", 0o644)
	p.write("/etc/subgid", fmt.Sprintf("%d:165536:65536\n", p.uid), 0o644)
	p.setuid("/run/privileged/bin/newuidmap")
	p.setuid("/usr/bin/newgidmap")
	p.write("/sys/fs/cgroup/cgroup.controllers", "cpu memory pids", 0o444)
	p.write("/sys/fs/cgroup/cgroup.procs", "", 0o664)
	p.write("/sys/fs/cgroup/cgroup.subtree_control", "cpu memory pids\n", 0o664)
	p.must(os.Chmod(p.at("/sys/fs/cgroup"), 0o775))
	p.folder("/home/ann", 0o700)
	p.folder("/run/user/ann", 0o700)
	for _, dir := range []string{"/home/ann", "/run/user/ann"} {
		p.must(os.Chown(p.at(dir), p.uid, -1))
	}
	p.write("/var/lib/elogind/linger/ann", "", 0o644)

	p.listen("/run/collie/collie.sock", func(net.Conn) {})
	p.must(os.Chmod(p.at("/run/collie/collie.sock"), 0o660))
	p.listen(shepherdSocket, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		fmt.Fprintf(c, "(reply (version 0) (result (((service (version 0) (provides (web)) (requires ()) (enabled? #t) (running #f) (status running) (one-shot? #f) (transient? #f)))))"+
			" (error #f) (messages ()))")
	})
	p.listen(daemonSocket, func(c net.Conn) {
		var word [8]byte
		_, _ = io.ReadFull(c, word[:])
		if binary.LittleEndian.Uint64(word[:]) == 0x6e697863 {
			_ = binary.Write(c, binary.LittleEndian, uint64(0x6478696f))
		}
	})
	servers := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/nix-cache-info" {
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(servers.Close)
	p.daemonRuns("--substitute-urls=" + servers.URL + "/ " + servers.URL + "/none")
	podman := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Libpod-API-Version", "5.8.0")
		if !strings.HasSuffix(r.URL.Path, "/_ping") {
			_, _ = io.WriteString(w, "[]")
		}
	})}
	p.listen("/run/collie/podman/forward.sock", func(c net.Conn) {
		if line, err := bufio.NewReader(c).ReadString('\n'); err == nil && line == "{}\n" {
			_, _ = io.WriteString(c, `{"doors": [{"listen": ":80"}]}`+"\n")
		}
	})
	l, err := net.Listen("unix", p.at("/run/collie/podman/ann.sock"))
	p.must(err)
	go func() { _ = podman.Serve(l) }()
	t.Cleanup(func() { podman.Close() })
	return p
}

func (p *patient) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

func (p *patient) folder(path string, mode os.FileMode) {
	p.Helper()
	p.must(os.MkdirAll(p.at(path), 0o755))
	p.must(os.Chmod(p.at(path), mode))
}

func (p *patient) write(path, text string, mode os.FileMode) {
	p.Helper()
	p.must(os.MkdirAll(filepath.Dir(p.at(path)), 0o755))
	p.must(os.WriteFile(p.at(path), []byte(text), mode))
	p.must(os.Chmod(p.at(path), mode))
}

func (p *patient) setuid(path string) {
	p.Helper()
	p.write(path, "", 0o755)
	p.must(os.Chmod(p.at(path), 0o755|os.ModeSetuid))
}

func (p *patient) link(to, path string) {
	p.Helper()
	p.must(os.Symlink(to, p.at(path)))
}

func (p *patient) remove(path string) {
	p.Helper()
	p.must(os.RemoveAll(p.at(path)))
}

func (p *patient) mode(path string, mode os.FileMode) {
	p.Helper()
	p.must(os.Chmod(p.at(path), mode))
}

// listen has answer answer at a socket; what is said of that can be replaced.
func (p *patient) listen(path string, answer func(net.Conn)) {
	p.Helper()
	p.must(os.MkdirAll(filepath.Dir(p.at(path)), 0o755))
	l, err := net.Listen("unix", p.at(path))
	p.must(err)
	p.answers.Store(path, answer)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			answer, _ := p.answers.Load(path)
			answer.(func(net.Conn))(conn)
			conn.Close()
		}
	}()
	p.Cleanup(func() { l.Close() })
}

func (p *patient) daemonRuns(options string) {
	p.write("/proc/12/status", "Name:\tguix-daemon\nUid:\t0\t0\t0\t0\n", 0o444)
	p.write("/proc/12/cmdline", "/gnu/store/x-guix/bin/guix-daemon\x00--build-users-group\x00guixbuild\x00"+options+"\x00", 0o444)
}

func TestAHealthyMachinePassesAllChecks(t *testing.T) {
	p := newPatient(t)
	found := p.examine(t.Context(), checks)
	for _, f := range found {
		if f.Level != levelOK || f.Says == "" || f.Do != "" {
			t.Errorf("%+v", f)
		}
	}
	if len(found) != len(checks) || found.Ill() {
		t.Errorf("%d checks of %d: %+v", len(found), len(checks), found)
	}
}

// Each check sees what it is for, and says what to do.
func TestEachCheckSeesItsIllness(t *testing.T) {
	seen := map[string]bool{}
	asRoot := os.Getuid() == 0
	for _, row := range []struct {
		check string
		harm  func(p *patient)
		level string
		says  string
		do    string
	}{
		{"key", func(p *patient) { p.remove("/var/lib/collie/keys/identity") }, levelWarn, "there is no ", "collie key"},
		{"key", func(p *patient) { p.mode("/var/lib/collie/keys/identity", 0o644) }, levelFail, "has mode 644", "chmod 600 "},
		{"key", func(p *patient) { p.write("/var/lib/collie/keys/identity", "AGE-SECRET-KEY-x", 0o600) }, levelFail, "holds no identity of age", ""},
		{"agent", func(p *patient) {
			p.status = func(context.Context) (api.Status, error) { return api.Status{}, errors.New("no agent answers") }
		}, levelFail, "no agent answers", "herd start collie"},
		{"agent", func(p *patient) {
			p.status = func(context.Context) (api.Status, error) {
				return api.Status{Phase: "stuck", Wanted: api.Wanted{Because: "stuck: why"}}, nil
			}
		}, levelFail, "stuck: why", "collie retry"},
		{"agent", func(p *patient) {
			p.status = func(context.Context) (api.Status, error) {
				return api.Status{Problems: []api.Problem{{Subject: "pod web", Says: "exited\x1b[31m"}}}, nil
			}
		}, levelWarn, "1 problems, as pod web: exited[31m", "collie status"},
		{"agent", func(p *patient) {
			p.status = func(context.Context) (api.Status, error) {
				return api.Status{Suspended: &api.Suspended{Why: "disks"}}, nil
			}
		}, levelWarn, "suspended: disks", "collie resume"},
		{"control socket", func(p *patient) { p.remove("/run/collie/collie.sock") }, levelFail, "there is no ", "herd start collie"},
		{"control socket", func(p *patient) { p.mode("/run/collie/collie.sock", 0o666) }, levelFail, "has mode 666", "chmod 660 "},
		{"control socket", func(p *patient) { p.mode("/run/collie", 0o777) }, levelFail, "has mode 777", "chmod 755 "},
		{"state folder", func(p *patient) { p.remove("/var/lib/collie") }, levelFail, "there is no ", "start the agent"},
		{"state folder", func(p *patient) { p.mode("/var/lib/collie/state.json", 0o644) }, levelFail, "has mode 644", "chmod 600 "},
		{"state folder", func(p *patient) { p.mode("/var/lib/collie/trees", 0o777) }, levelFail, "has mode 777", "chmod 755 "},
		{"state folder", func(p *patient) { p.mode("/var/lib/collie/build", 0o731) }, levelFail, "has mode 731", "chmod 711 "},
		{"state folder", func(p *patient) { p.remove("/var/lib/collie/keys"); p.link("/etc", "/var/lib/collie/keys") }, levelFail, "keys is a link", "remove it"},
		{"repository", func(p *patient) { p.cfg.Source.URL += ".none" }, levelFail, "doesn't exist: create it with git init --bare ", ""},
		{"repository", func(p *patient) { p.mode("/ops.git/refs", 0o777) }, levelFail, "writable by everyone; chmod -R go-w ", ""},
		{"repository", func(p *patient) { p.remove("/ops.git/refs/heads/main") }, levelWarn, "has no branch main yet: push one", ""},
		{"repository", func(p *patient) { p.cfg.Source.Branch = "next" }, levelFail, "has no branch next, only main", ""},
		{"repository", func(p *patient) {
			p.cfg.Source.Mirrors = append(p.cfg.Source.Mirrors, p.cfg.Source.Repository)
			p.cfg.Source.Mirrors[0].URL += ".none"
		}, levelWarn, "ops.git.none doesn't exist", ""},
		{"repository", func(p *patient) {
			p.write("/token", "x\n", 0o644)
			p.cfg.Source.Repository = source.Repository{URL: "https://127.0.0.1:1/ops.git", TokenFile: p.at("/token")}
		}, levelFail, "token is readable by others than its owner; chmod 600 ", ""},
		{"repository", func(p *patient) {
			p.write("/key", "x\n", 0o640)
			p.write("/hosts", "127.0.0.1 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZvbw==\n", 0o644)
			p.cfg.Source.Repository = source.Repository{URL: "ssh://git@127.0.0.1:1/ops.git", KeyFile: p.at("/key"), KnownHosts: p.at("/hosts")}
		}, levelFail, "key is readable by others than its owner; chmod 600 ", ""},
		{"repository", func(p *patient) {
			_, key, err := ed25519.GenerateKey(nil)
			p.must(err)
			block, err := ssh.MarshalPrivateKey(key, "")
			p.must(err)
			p.write("/key", string(pem.EncodeToMemory(block)), 0o600)
			p.write("/hosts", "x\n", 0o666)
			p.cfg.Source.Repository = source.Repository{URL: "ssh://git@127.0.0.1:1/ops.git", KeyFile: p.at("/key"), KnownHosts: p.at("/hosts")}
		}, levelFail, "hosts is writable by others than its owner; chmod go-w ", ""},
		{"clock", func(p *patient) { p.now = p.now.Add(-24 * time.Hour) }, levelFail, "the running system was made later", "ntpd"},
		{"clock", func(p *patient) {
			p.write("/var/lib/collie/state.json", `{"newest": {"time": "2199-01-01T00:00:00Z"}}`, 0o600)
		}, levelWarn, "the newest commit was made later, at 2199-01-01", "ntpd"},
		{"disk", func(p *patient) {
			p.space = func(string) (unix.Statfs_t, error) { return unix.Statfs_t{Bsize: 4096, Bavail: 100 << 8}, nil }
		}, levelFail, "/var/lib/collie has 100 MiB left", "guix gc"},
		{"disk", func(p *patient) {
			p.space = func(string) (unix.Statfs_t, error) { return unix.Statfs_t{Bsize: 4096, Bavail: 1000 << 8}, nil }
		}, levelWarn, "/var/lib/collie has 1000 MiB left", "guix gc"},
		{"disk", func(p *patient) {
			p.space = func(string) (unix.Statfs_t, error) {
				return unix.Statfs_t{Bsize: 4096, Bavail: 100 << 20, Files: 1000, Ffree: 5}, nil
			}
		}, levelFail, "has 5 inodes left", "remove files"},
		{"shepherd", func(p *patient) { p.remove(shepherdSocket) }, levelFail, "no such file", "herd status"},
		{"shepherd", func(p *patient) {
			p.answers.Store(shepherdSocket, func(c net.Conn) {
				_, _ = c.Read(make([]byte, 4096))
				fmt.Fprintf(c, "(reply (version 0) (result (((service (version 0) (provides (web)) (requires ()) (enabled? #f) (running #f) (status stopped) (one-shot? #f) (transient? #f)))))"+
					" (error #f) (messages ()))")
			})
		}, levelWarn, "service web: disabled", "herd status web"},
		{"guix-daemon", func(p *patient) { p.remove(daemonSocket) }, levelFail, "no such file", "herd start guix-daemon"},
		{"guix-daemon", func(p *patient) { p.answers.Store(daemonSocket, func(net.Conn) {}) }, levelFail, "it doesn't answer", "herd restart guix-daemon"},
		{"guix-daemon", func(p *patient) {
			p.answers.Store(daemonSocket, func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-OpenSSH") })
		}, levelFail, "isn't guix-daemon's", "herd start guix-daemon"},
		{"substitutes", func(p *patient) { p.daemonRuns("--substitute-urls=http://127.0.0.1:1") }, levelWarn, "no answer from http://127.0.0.1:1", "is the network there?"},
		{"substitutes", func(p *patient) { p.daemonRuns("--no-substitutes") }, levelWarn, "--no-substitutes", ""},
		{"pod user", func(p *patient) {
			p.user = func() (guix.User, error) { return guix.User{}, &guix.MissingUserError{Name: "ann"} }
		}, levelFail, `no user "ann"`, ""},
		{"pod user", func(p *patient) { p.user = func() (guix.User, error) { return guix.User{Name: "root"}, nil } }, levelFail, "root is root", "no rights"},
		{"pod user", func(p *patient) { p.remove("/home/ann") }, levelFail, "has no home directory", "make it"},
		{"subordinate ids", func(p *patient) { p.remove("/etc/subgid") }, levelFail, "/etc/subgid gives ann 0, and containers want 65536", "subordinate-ids"},
		{"subordinate ids", func(p *patient) { p.write("/etc/subuid", "ann:1:1000\nann:x:70000\n", 0o644) }, levelFail, "/etc/subuid gives ann 1000", "subordinate-ids"},
		{"subordinate ids", func(p *patient) { p.write("/etc/subuid", "bob:100000:65537\nann:165536:65536\n", 0o644) }, levelFail, "the ranges of ann and bob overlap", "of their own"},
		{"newuidmap", func(p *patient) { p.mode("/usr/bin/newgidmap", 0o755) }, levelFail, "no newgidmap that is setuid root", "rootless-podman-service-type"},
		{"cgroups", func(p *patient) { p.remove("/sys/fs/cgroup") }, levelFail, "isn't cgroups v2", "cgroup2"},
		{"cgroups", func(p *patient) { p.write("/sys/fs/cgroup/cgroup.subtree_control", "cpu pids\n", 0o664) }, levelWarn, "the controller memory is off", "cgroups2-limits"},
		{"run-time directory", func(p *patient) { p.remove("/run/user/ann") }, levelFail, "no such file", "herd restart podman-runtime-directory"},
		{"run-time directory", func(p *patient) { p.mode("/run/user/ann", 0o755) }, levelFail, "/run/user/ann has mode 755", "chmod 700 /run/user/ann"},
		{"run-time directory", func(p *patient) { p.remove("/run/user/ann"); p.link("/tmp", "/run/user/ann") }, levelFail, "is no directory", "remove it"},
		{"linger", func(p *patient) { p.remove("/var/lib/elogind/linger/ann") }, levelFail, "there is no /var/lib/elogind/linger/ann", "touch /var/lib/elogind/linger/ann"},
		{"podman", func(p *patient) { p.remove("/run/collie/podman/ann.sock") }, levelFail, "doesn't answer", "herd restart podman-api"},
		{"podman", func(p *patient) { p.mode("/run/collie/podman", 0o755) }, levelFail, "has mode 755", "chmod 700 "},
		{"state", func(p *patient) { p.write("/var/lib/collie/state.json", "{", 0o600) }, levelFail, "makes no sense", "put back a copy"},
		{"state", func(p *patient) { p.write("/var/lib/collie/jobs.json", "{", 0o600) }, levelFail, "makes no sense", "put back a copy"},
		{"volumes", func(p *patient) { p.write("/var/lib/collie/inventory.json", "{", 0o600) }, levelFail, "makes no sense", "put back a copy"},
		{"forwarder", func(p *patient) { p.remove("/run/collie/podman/forward.sock") }, levelWarn, "doesn't answer", "herd start collie-forward"},
		{"forwarder", func(p *patient) {
			p.remove("/run/collie/podman/forward.sock")
			p.listen("/run/collie/podman/forward.sock", func(c net.Conn) {
				_, _ = c.Read(make([]byte, 4096)) // the question: whoever is gone before it is sent is no forwarder
				_, _ = io.WriteString(c, `{"doors": [{"listen": ":80", "error": "address already in use"}]}`+"\n")
			})
		}, levelWarn, "it can't listen on :80: address already in use", "collie-forward.log"},
	} {
		seen[row.check] = true
		t.Run(row.check+" "+row.says, func(t *testing.T) {
			p := newPatient(t)
			row.harm(p)
			for _, f := range p.examine(t.Context(), checks) {
				if f.Check != row.check {
					continue
				}
				if f.Level != row.level || !strings.Contains(f.Says, row.says) || !strings.Contains(f.Do, row.do) {
					t.Errorf("it found %+v,\nwant %s, %q, and to do %q", f, row.level, row.says, row.do)
				}
			}
		})
	}
	for _, c := range checks {
		if !seen[c.name] {
			t.Errorf("no row for %s", c.name)
		}
	}
	if asRoot { // others own what they make
		for path, check := range map[string]string{
			"/run/collie/collie.sock": "control socket", "/var/lib/collie/logs": "state folder", "/run/user/ann": "run-time directory",
			"/home/ann": "pod user", "/usr/bin/newgidmap": "newuidmap", "/sys/fs/cgroup/cgroup.procs": "cgroups",
		} {
			p := newPatient(t)
			p.must(os.Chown(p.at(path), 4321, 4321))
			p.machine.root = 0
			for _, f := range p.examine(t.Context(), checks) {
				if (f.Level == levelFail) != (f.Check == check) {
					t.Errorf("%s is someone else's: %+v", path, f)
				}
			}
		}
	}
}

// A machine without pods, or without Guix, isn't asked for what they need.
func TestChecksThatNobodyNeeds(t *testing.T) {
	p := newPatient(t)
	p.cfg.User, p.cfg.System = "", false
	for _, f := range p.examine(t.Context(), checks) {
		for _, unneeded := range []string{"podman", "forwarder", "linger", "cgroups", "shepherd", "guix-daemon", "substitutes"} {
			if f.Check == unneeded {
				t.Errorf("%s is looked at", unneeded)
			}
		}
	}
}

func TestDiagnosisIsTold(t *testing.T) {
	d := Diagnosis{
		{Check: "clock", Level: levelOK, Says: "noon"},
		{Check: "run-time directory", Level: levelFail, Says: "one\ntwo", Do: "mend it"},
	}
	const want = "ok    clock               noon\nfail  run-time directory  one\n                          two\n                          mend it\n"
	if got := d.Text(); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
	text, err := json.Marshal(d[:1])
	if err != nil || string(text) != `[{"check":"clock","level":"ok","says":"noon"}]` {
		t.Errorf("%s, %v", text, err)
	}
	if d[:1].Ill() || !d.Ill() {
		t.Error("what fails isn't told from what doesn't")
	}
	found := Examine(t.Context(), filepath.Join(t.TempDir(), "none.yaml"), "/run/none", nil)
	if len(found) != 1 || !found.Ill() || found[0].Check != "configuration" {
		t.Errorf("without a configuration: %+v", found)
	}
}

// Without root what can't be seen is no failure, and the first line says so.
func TestDoctorWithoutRights(t *testing.T) {
	denied := &os.PathError{Op: "connect", Path: "/run/x", Err: os.ErrPermission}
	looks := func(err error) check {
		return check{"x", nil, func(context.Context, *machine) (string, error) { return "fine", err }}
	}
	all := []check{
		looks(nil),
		looks(denied),
		looks(ill("start it", "asking: %s", fmt.Errorf("podman: %w", denied))),
		looks(risk("start it", "%s", denied)),
		looks(ill("start it", "it is dead: %s", errors.New("connection refused"))),
	}
	p := newPatient(t)
	p.me = p.root + 1
	got := p.examine(t.Context(), all).withRights()
	var levels []string
	for _, f := range got {
		levels = append(levels, f.Level)
	}
	if want := "warn ok warn warn warn fail"; strings.Join(levels, " ") != want {
		t.Errorf("levels %q, want %s", levels, want)
	}
	if first := got[0]; first.Check != "rights" || first.Says != "3 of 5 checks need root, and saw nothing" || first.Do != "run `collie doctor` as root" {
		t.Errorf("first: %+v", first)
	}
	for _, f := range got[2:5] {
		if !f.NeedsRoot || !strings.HasPrefix(f.Says, "needs root: ") || f.Do != "" {
			t.Errorf("%+v", f)
		}
	}
	p.me = p.root
	if got := p.examine(t.Context(), all).withRights(); got[0].Check == "rights" || got[1].Level != levelFail {
		t.Errorf("as root: %+v", got)
	}
}

// It changes nothing, however little sense a file makes.
func TestDoctorLeavesABrokenInventory(t *testing.T) {
	p := newPatient(t)
	p.write("/var/lib/collie/inventory.json", `{"pods": [{}]}`, 0o600)
	p.examine(t.Context(), checks)
	if all, _ := filepath.Glob(p.at("/var/lib/collie/*.broken")); len(all) > 0 {
		t.Errorf("set aside: %q", all)
	}
}
