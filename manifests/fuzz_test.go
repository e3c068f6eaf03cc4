package manifests

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/collie/agent/mistake"
)

// FuzzLoad: no file crashes it; a mistake has a place; Check finds the same; what passes can be handed on, and has no null in it.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/bad/*/*.yaml", "testdata/good/*/*.yaml"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			f.Fatalf("no files match %s (%v)", pattern, err)
		}
		for _, file := range found {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(data))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := Load(files("x.yaml", text), ".")
		sameFindings(t, files("x.yaml", text), m, err)
		if err != nil {
			var mistakes mistake.List
			if !errors.As(err, &mistakes) || len(mistakes) == 0 || m != nil {
				t.Fatalf("got %v, %v", m, err)
			}
			lines := strings.Count(text, "\n") + 1
			for _, e := range mistakes {
				if e.File != "x.yaml" || e.Line < 1 || e.Line > lines || e.Says == "" {
					t.Errorf("no place or no word: %#v in %d lines", *e, lines)
				}
			}
			return
		}
		for _, p := range m.Pods {
			data, err := json.Marshal(p.Doc)
			if err != nil || strings.Contains(string(data), ":null") || len(p.Hash) != 8 || p.Name == "" || p.Line < 1 || len(p.Images) == 0 {
				t.Errorf("%+v: %s, %v", p, data, err)
			}
		}
	})
}
