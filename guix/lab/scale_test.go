package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"
)

// pods DIR COUNT IMAGE: write so many pods into DIR/pods.
func pods(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: pods DIR COUNT IMAGE")
	}
	count, err := strconv.Atoi(args[1])
	ts.Check(err)
	dir := filepath.Join(ts.MkAbs(args[0]), "pods")
	ts.Check(os.MkdirAll(dir, 0o755))
	for i := range count {
		name := fmt.Sprintf("p%03d", i)
		ts.Check(os.WriteFile(filepath.Join(dir, name+".yaml"), fmt.Appendf(nil, `apiVersion: v1
kind: Pod
metadata:
  name: %s
spec:
  containers:
    - name: c
      image: 127.0.0.1:5000/%s
`, name, args[2]), 0o644))
	}
}
