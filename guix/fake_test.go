package guix

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"example.org/collie/shepherd"
)

// ownDir has what the tests build.
var ownDir string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if ownDir, err = os.MkdirTemp("", "guix-tests-"); err != nil {
			panic(err)
		}
		defer os.RemoveAll(ownDir)
		return m.Run()
	}())
}

// helper is the helper of a home. It is built without the race detector: the tests start it a thousand times, and a process of
// the detector's takes four times as long to start.
var helper = sync.OnceValue(func() []string {
	program := filepath.Join(ownDir, "asuser")
	if out, err := exec.Command("go", "build", "-o", program, "./testdata/asuser").CombinedOutput(); err != nil {
		panic(fmt.Sprintf("building testdata/asuser: %v\n%s", err, out))
	}
	return []string{program}
})

// fakeGuix does with links what guix 1.5.0 does. A tree's file holds the item it describes; what is in the fake's own
// folder changes its ways: `says` is printed, `code` is its exit code, `early` is run before anything, `late` before
// it ends.
const fakeGuix = `#!/bin/bash
me=$(dirname "$0"); root=$(cat "$me/root"); echo "$*" >>"$me/calls"; echo "$GUIX_NEW_SYSTEM" >>"$me/env"
[ -e "$me/early" ] && . "$me/early"
scm() { cat "${@: -1}"; }
next() { echo $(($(basename "$(readlink "$1")" | sed "s/.*-\([0-9]*\)-link/\1/") + 1)); }
case "$1 $2" in
"system build"|"home build")
    for arg; do case $arg in --root=*) ln -s "$(scm "$@")" "${arg#--root=}";; esac; done
    echo "building /gnu/store/yvz9w413hhl9l4aypgr6z9ij9h03z1zq-thing.drv..."; scm "$@";;
"time-machine -C")
    [ -e "$me/profile" ] && echo "building /gnu/store/yvz9w413hhl9l4aypgr6z9ij9h03z1zq-guix.drv..." && cat "$me/profile";;
"system reconfigure")
    [ "$3" = --dry-run ] && { cat "$me/relations" 2>/dev/null; exit 0; }
    p=$root/var/guix/profiles/system n=$(next $p); item=$(scm "$@")
    ln -sfn "$item" $p-$n-link; ln -sfn $p-$n-link $p; live=$p-$n-link;;
"system switch-generation")
    p=$root/var/guix/profiles/system; [ -e $p-$3-link ] || { echo "guix system: error: cannot switch to system generation '$3'"; exit 1; }
    ln -sfn system-$3-link $p; live=${GUIX_NEW_SYSTEM:-$(readlink "$root/run/booted-system")};;
"home reconfigure"|"home switch-generation")
    p=$root/var/guix/profiles/per-user/me/guix-home
    if [ $2 = reconfigure ]; then n=1; [ -e $p ] && n=$(next $p); ln -sfn "$(scm "$@")" $p-$n-link; else n=$3; fi
    [ -L $p-$n-link ] || { echo "guix home: error: cannot switch to home environment generation '$n'"; exit 1; }
    ln -sfn guix-home-$n-link $p; ln -sfn "$(readlink $p-$n-link)" "$root/home/me/.guix-home";;
esac
if [ -n "$live" ]; then
    ln -sfn "$live" "$root/run/current-system"
    [ -e "$me/no-etc" ] || for f in "$live"/etc/*; do ln -sfn "$(readlink -f "$f")" "$root/etc/$(basename "$f")"; done
fi
[ -e "$me/late" ] && . "$me/late"
[ -e "$me/says" ] && cat "$me/says"
[ -e "$me/code" ] && exit $(cat "$me/code")
exit 0
`

// A machine is a folder that looks like the root of a Guix System, with a fake guix.
type machine struct {
	t    *testing.T
	root string
	bin  string // the fake's folder
}

func newMachine(t *testing.T) *machine {
	root := t.TempDir()
	m := &machine{t, root, filepath.Join(root, "fake")}
	for _, dir := range []string{"fake", "run", "etc", "home/me", "runtime/shepherd", "gnu/store", "var/guix/profiles/per-user/me", "var/lib/collie"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m.write("fake/root", root)
	m.write("fake/guix", fakeGuix)
	if err := os.Chmod(filepath.Join(m.bin, "guix"), 0o755); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *machine) path(name string) string { return filepath.Join(m.root, name) }

func (m *machine) write(name, text string) string {
	m.t.Helper()
	if err := os.MkdirAll(filepath.Dir(m.path(name)), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(m.path(name), []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
	return m.path(name)
}

func (m *machine) link(target, name string) {
	m.t.Helper()
	_ = os.Remove(m.path(name))
	if err := os.Symlink(target, m.path(name)); err != nil {
		m.t.Fatal(err)
	}
}

// now sets how the fake behaves from now on.
func (m *machine) now(name, text string) { m.write("fake/"+name, text) }

func (m *machine) calls() []string {
	text, _ := os.ReadFile(filepath.Join(m.bin, "calls"))
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// item makes a store item; letter makes its hash.
func (m *machine) item(letter, kind string) string {
	dir := "gnu/store/" + strings.Repeat(letter, 32) + "-" + kind
	conf := "gnu/store/" + strings.Repeat(letter, 32) + "-shepherd.conf"
	m.write(conf, "(let ((services-to-start (quote ()))) #t)")
	if err := os.MkdirAll(m.path(dir+"/etc"), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if kind == "system" {
		m.write(dir+"/boot", `"shepherd" "--config" "/`+conf+`"`)
		m.write(dir+"/activate", `(quote ("/gnu/store/`+strings.Repeat("0", 32)+`-activate-service.scm"))`)
		m.write("gnu/store/"+strings.Repeat(letter, 32)+"-motd", letter)
		m.link(m.path("gnu/store/"+strings.Repeat(letter, 32)+"-motd"), dir+"/etc/motd")
	}
	return m.path(dir)
}

// tree makes a tree whose files describe the item.
func (m *machine) tree(item string) string {
	name := "var/lib/collie/trees/" + filepath.Base(item)
	m.write(name+"/system.scm", item+"\n")
	m.write(name+"/home.scm", item+"\n")
	if text, err := os.ReadFile(filepath.Join(item, "channels.scm")); err == nil {
		m.write(name+"/channels.scm", string(text))
	}
	return m.path(name)
}

func (m *machine) runner() *Runner {
	return &Runner{Command: filepath.Join(m.bin, "guix"), Logs: m.path("var/lib/collie/logs"), dir: m.root,
		valid: func(_ context.Context, item string) error { return Store(m.root).there(item) }}
}

// system is one that was booted into item, its generation 1.
func (m *machine) system(item string) *System {
	m.link(item, "var/guix/profiles/system-1-link")
	m.link(m.path("var/guix/profiles/system-1-link"), "var/guix/profiles/system")
	m.link(m.path("var/guix/profiles/system-1-link"), "run/current-system")
	m.link(item, "run/booted-system")
	motd, err := filepath.EvalSymlinks(filepath.Join(item, "etc/motd"))
	if err != nil {
		m.t.Fatal(err)
	}
	m.link(motd, "etc/motd")
	return &System{Runner: m.runner(), Shepherd: quietShepherd(), Profiles: m.path("var/guix/profiles"), Roots: Roots(m.path("var/guix/gcroots/collie")),
		Channels: m.path("var/lib/collie/channels.json"), Downgrades: true,
		Started: m.path("var/lib/collie/started.json"), Begun: m.path("var/lib/collie/begun.json"), Self: "collie", dir: m.root}
}

// home is one that was never made; its user's Shepherd runs only if started by a test.
func (m *machine) home() *Home {
	return &Home{Runner: m.runner(), User: "me", File: "home.scm", Helper: helper(), Profiles: m.path("var/guix/profiles"),
		Roots: Roots(m.path("var/guix/gcroots/collie")), Started: m.path("var/lib/collie/started-me.json"), Begun: m.path("var/lib/collie/begun-me.json"),
		dir: m.root,
		find: func(name string) (User, error) {
			return User{Name: name, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()), Home: m.path("home/me"), Runtime: m.path("runtime")}, nil
		}}
}

const quietAnswer = `(reply (version 0) (result (((service (version 0) (provides (root shepherd)) (requires ()) (enabled? #t)
	(running (process (version 0) (id 1) (command ("shepherd")))) (status-changes ((running . 1) (starting . 1))) (status running)))))
	(error #f) (messages ()))`

// quietShepherd runs nothing but itself.
func quietShepherd() *shepherd.Client {
	return &shepherd.Client{Dial: func(context.Context) (io.ReadWriteCloser, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			_, _ = theirs.Read(make([]byte, 4096))
			_, _ = io.WriteString(theirs, quietAnswer)
		}()
		return ours, nil
	}}
}

// quietListener is quietShepherd behind a socket.
func quietListener(t *testing.T, socket string) net.Listener {
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = io.WriteString(conn, quietAnswer)
			conn.Close()
		}
	}()
	return l
}
