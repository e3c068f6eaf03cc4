package manifests

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKeptFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kept.json")
	var v struct{ A int }
	if there, err := readKept(file, &v); there || err != nil {
		t.Errorf("none: %t, %v", there, err)
	}
	if err := writeKept(file, []byte(`{"A": 1}`)); err != nil {
		t.Fatal(err)
	}
	if there, err := readKept(file, &v); !there || err != nil || v.A != 1 {
		t.Errorf("%+v, %t, %v", v, there, err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(file), ".new-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if err := os.WriteFile(file, []byte(`{"A": `), fs.FileMode(0o600)); err != nil {
		t.Fatal(err)
	}
	if there, err := readKept(file, &v); !there || err == nil {
		t.Errorf("half a file: %t, %v", there, err)
	}
	if err := os.Truncate(file, mostKept+1); err != nil {
		t.Fatal(err)
	}
	if there, err := readKept(file, &v); !there || err == nil || !strings.Contains(err.Error(), "larger than 64 MiB") {
		t.Errorf("a large file: %t, %v", there, err)
	}
}
