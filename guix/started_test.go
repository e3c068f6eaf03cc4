package guix

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// A service whose new definition is deferred runs from a file of an item that may be long collected: Shepherd needs what
// it names when the service dies.
func TestFilesOfDeferredServicesAreKept(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	old, web, off := file("1-shepherd-db.go"), file("2-shepherd-web.go"), file("3-shepherd-off.go")
	defined := []ServiceFile{{File: filepath.Join(dir, "4-shepherd-db.go")}, {File: web}}
	s := &services{
		started: filepath.Join(dir, "started.json"), roots: Roots(filepath.Join(dir, "roots")),
		live:        func() (string, error) { return "next", nil },
		definitions: func(string) ([]ServiceFile, error) { return defined, nil },
	}
	for _, other := range []string{"system:x", "service:started.ann.json:5-shepherd-db.go"} {
		if err := s.roots.Keep(other, off); err != nil {
			t.Fatal(err)
		}
	}
	running := func(name, file string) startedService { return startedService{Name: name, File: file, Running: true} }
	for _, row := range []struct {
		name     string
		services []startedService
		want     map[string]string // beside what others keep
	}{
		{"only what runs, and isn't the live item's", []startedService{running("db", old), running("web", web), {Name: "off", File: off}}, map[string]string{"service:started.json:1-shepherd-db.go": old}},
		{"what isn't known, or is gone", []startedService{running("db", unknown), running("web", filepath.Join(dir, "gone.go")), running("x", "")}, map[string]string{}},
		{"again", []startedService{running("db", old)}, map[string]string{"service:started.json:1-shepherd-db.go": old}},
		{"restarted", []startedService{running("db", defined[0].File)}, map[string]string{}},
	} {
		if err := s.save(started{Services: row.services}); err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		got, err := s.roots.List()
		if err != nil {
			t.Fatal(err)
		}
		maps.DeleteFunc(got, func(_, kept string) bool { return kept == off })
		if !maps.Equal(got, row.want) {
			t.Errorf("%s: kept are %v, want %v", row.name, got, row.want)
		}
		if all, _ := s.roots.List(); len(all) != len(row.want)+2 {
			t.Errorf("%s: there are %v", row.name, slices.Sorted(maps.Keys(all)))
		}
	}
}
