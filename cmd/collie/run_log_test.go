package main

import (
	"os"
	"path/filepath"
	"testing"
)

// What is logged once nobody reads the pipe any more is in the file.
func TestALogOutlivesItsReader(t *testing.T) {
	reader, pipe, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	w := &logWriter{pipe, filepath.Join(t.TempDir(), "collie.log")}
	if _, err := w.Write([]byte("read\n")); err != nil {
		t.Fatal(err)
	}
	reader.Close()
	for _, line := range []string{"one\n", "two\n"} {
		if n, err := w.Write([]byte(line)); n != len(line) || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	if text, err := os.ReadFile(w.file); string(text) != "one\ntwo\n" {
		t.Errorf("%q, %v", text, err)
	}
}
