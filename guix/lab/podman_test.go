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
	program := ts.MkAbs("podman.test")
	build := exec.Command("go", "test", "-c", "-o", program, "example.org/collie/manifests/podman")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		ts.Fatalf("go test -c: %v\n%s", err, out)
	}
	inGuest := "/root/" + filepath.Base(program)
	pid, _, _ := strings.Cut(ts.ReadFile(l.file(guestOf(ts), "pid")), " ")
	ts.Check(exec.Command("cp", program, "/proc/"+pid+"/root"+inGuest).Run())
	l.guest(ts, false, []string{"env", "COLLIE_TEST_PODMAN=/run/collie/podman/podman.sock", inGuest, "-test.v", "-test.run", args[0]})
}
