package lab

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A point at which no script kills the agent would prove nothing.
func TestEveryCrashPointIsInAScript(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	var told strings.Builder
	for _, script := range scripts {
		text, err := os.ReadFile(script)
		if err != nil {
			t.Fatal(err)
		}
		told.Write(text)
	}
	point := regexp.MustCompile(`crash\.At\("([^"]+)"`) // or its beginning: "switching." + name
	found := 0
	err = filepath.WalkDir("../..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") || filepath.Base(path) == "crash.go" {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range point.FindAllStringSubmatch(string(text), -1) {
			found++
			if !strings.Contains(told.String(), "\ncrash-at "+m[1]) && !strings.Contains(told.String(), "\n"+m[1]) { // in a file of points
				t.Errorf("%s: no script has `crash-at %s'", path, m[1])
			}
		}
		return err
	})
	if err != nil || found == 0 {
		t.Fatalf("%d crash points, %v", found, err)
	}
}
