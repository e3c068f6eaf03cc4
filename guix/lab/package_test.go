package lab

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// oldestGo is the newest that Guix 1.5 has, with which its package is built.
const oldestGo = "go1.25.3"

// TestPackage builds Collie as Guix's go-build-system does for the package in guix/modules/collie/packages.scm: in GOPATH
// mode, from the vendored libraries that `make dist' makes, with Guix's Go.
func TestPackage(t *testing.T) {
	if os.Getenv("COLLIE_LAB") == "" {
		t.Skip("COLLIE_LAB isn't set: this builds everything from source")
	}
	t.Parallel()
	path := t.TempDir()
	tree := filepath.Join(path, "src", "example.org", "collie")
	in := func(dir string, env []string, command string) string {
		cmd := exec.CommandContext(t.Context(), "sh", "-ec", command, tree)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
		return string(out)
	}
	in("../..", nil, `mkdir -p "$0"; git ls-files -z --cached --others --exclude-standard | tar --null -T - -c | tar -C "$0" -x`)
	in(tree, nil, "make dist")
	// In GOPATH mode Go takes no other toolchain: ask for that one's own program.
	oldest := []string{"GOTOOLCHAIN=" + oldestGo}
	in(path, oldest, "go version") // says what it downloads
	root := strings.TrimSpace(in(path, oldest, "go env GOROOT"))
	gopath := []string{"GO111MODULE=off", "GOTOOLCHAIN=local", "GOPATH=" + path, "GOFLAGS=", "CGO_ENABLED=0"}
	in(tree, gopath, root+"/bin/go install -trimpath -ldflags '-s -w -X main.version=0.1.0' example.org/collie/cmd/collie")
	if said := in(path, nil, "bin/collie version; go version bin/collie"); said != "collie 0.1.0\nbin/collie: "+oldestGo+"\n" {
		t.Errorf("what was built says: %s", said)
	}
}
