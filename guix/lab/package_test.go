package lab

import (
	"debug/buildinfo"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// What `make build` made: the program that the guests run, and the libraries that it was made of.
const (
	program = "../../bin/collie"
	vendor  = "../../bin/gopath/src/example.org/collie/vendor"
)

// vendored DIR: put the libraries into the sources in DIR, as `make dist` does, and the Go that built bin/collie into the
// guest, in the place where the forged package of it leads.
func (l *lab) vendored(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: vendored DIR")
	}
	root, err := goroot()
	ts.Check(err)
	ts.Check(l.put(guestOf(ts), vendor, args[0]))
	ts.Check(l.run("in", guestOf(ts), "mkdir", "/usr/lib/go"))
	ts.Check(l.put(guestOf(ts), root+"/*", "/usr/lib/go"))
	ts.Check(l.run("in", guestOf(ts), "ln", "-s", "/usr/lib/go/bin/go", "/usr/bin/go"))
}

// goroot is where the Go is that built bin/collie.
func goroot() (string, error) {
	built, err := buildinfo.ReadFile(program)
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "env", "GOROOT")
	cmd.Dir, cmd.Env = "/", append(os.Environ(), "GOTOOLCHAIN="+built.GoVersion)
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
}

// built-alike PROGRAM: what Guix built in the guest behaves as bin/collie does, and as what `go build` makes of the module:
// the same Go, the same settings, and none of Go's former behaviours, which GOPATH mode falls back to.
func (l *lab) builtAlike(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: built-alike PROGRAM")
	}
	pid, _, _ := strings.Cut(ts.ReadFile(l.file(guestOf(ts), "pid")), " ")
	guix, err := buildinfo.ReadFile("/proc/" + pid + "/root" + args[0])
	ts.Check(err)
	lab, err := buildinfo.ReadFile(program)
	ts.Check(err)
	module := filepath.Join(ts.MkAbs("."), "collie")
	if out, err := exec.Command("go", "build", "-o", module, "../../cmd/collie").CombinedOutput(); err != nil {
		ts.Fatalf("go build: %v\n%s", err, out)
	}
	direct, err := buildinfo.ReadFile(module)
	ts.Check(err)
	if guix.GoVersion != lab.GoVersion || !slices.Equal(guix.Settings, lab.Settings) {
		ts.Fatalf("Guix built with %s and %v, but `make build` with %s and %v", guix.GoVersion, guix.Settings, lab.GoVersion, lab.Settings)
	}
	for _, build := range []*debug.BuildInfo{guix, lab, direct} {
		for _, setting := range build.Settings {
			if setting.Key == "DefaultGODEBUG" && (build != direct || strings.Contains(setting.Value, "httpmuxgo121=")) {
				ts.Fatalf("built with %s, it falls back to %s", build.GoVersion, setting.Value)
			}
		}
	}
}
