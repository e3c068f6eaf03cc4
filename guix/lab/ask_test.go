package lab

import (
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// client puts the program ask into the guest's /usr/bin: asking and asked there run it.
func (l *lab) client(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Check(l.bring(guestOf(ts), "ask"))
}

// bring puts a program of testdata into the guest's /usr/bin.
func (l *lab) bring(guest, program string) error {
	pid, err := os.ReadFile(l.file(guest, "pid"))
	if err != nil {
		return err
	}
	first, _, _ := strings.Cut(string(pid), " ")
	build := exec.Command("go", "build", "-o", "/proc/"+first+"/root/usr/bin/"+program, "./testdata/"+program)
	build.Env = append(build.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}
