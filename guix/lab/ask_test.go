package lab

import (
	"os/exec"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// client puts the program ask into the guest's /usr/bin: asking and asked there run it.
func (l *lab) client(ts *testscript.TestScript, _ bool, _ []string) {
	program := ts.MkAbs("ask")
	build := exec.Command("go", "build", "-o", program, "./testdata/ask")
	build.Env = append(build.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		ts.Fatalf("go build: %v\n%s", err, out)
	}
	pid, _, _ := strings.Cut(ts.ReadFile(l.file(guestOf(ts), "pid")), " ")
	ts.Check(exec.Command("cp", program, "/proc/"+pid+"/root/usr/bin/ask").Run())
}
