package lab

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// stories PATTERN: run the tests of manifests/podman that PATTERN names over the guest's own Podman, not over the fake: only a fake
// that behaves as Podman does may stand in for it.
func (l *lab) stories(ts *testscript.TestScript, _ bool, args []string) {
	program := l.testsOf(ts, "manifests/podman")
	l.guest(ts, false, []string{"env", "COLLIE_TEST_PODMAN=/run/collie/podman/podman.sock", program, "-test.v", "-test.run", args[0]})
}

// contract: hold the layers of the guest, whose agent is stopped, to what each layer has to keep.
func (l *lab) contract(ts *testscript.TestScript, _ bool, _ []string) {
	program := l.testsOf(ts, "agent")
	l.guest(ts, false, []string{"env", "COLLIE_TEST_MACHINE=/etc/collie.yaml", program, "-test.v", "-test.run", "TestMachineKeepsTheContract"})
}

// testsOf puts the tests of a package into the guest, where each user can run them.
func (l *lab) testsOf(ts *testscript.TestScript, pkg string) string {
	program := ts.MkAbs(filepath.Base(pkg) + ".test")
	build := exec.Command("go", "test", "-c", "-o", program, "example.org/collie/"+pkg)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		ts.Fatalf("go test -c: %v\n%s", err, out)
	}
	inGuest := "/" + filepath.Base(program)
	l.copyIn(ts, program, inGuest)
	return inGuest
}

// copyIn puts a program into the guest.
func (l *lab) copyIn(ts *testscript.TestScript, program, inGuest string) {
	pid, _, _ := strings.Cut(ts.ReadFile(l.file(guestOf(ts), "pid")), " ")
	ts.Check(exec.Command("cp", program, "/proc/"+pid+"/root"+inGuest).Run())
}
