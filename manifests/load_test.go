package manifests

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"example.org/collie/agent/mistake"
	"example.org/collie/manifests/internal/golden"
)

func folders(t *testing.T, under string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join("testdata", under, "*"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no folders in testdata/%s (%v)", under, err)
	}
	return found
}

// Each folder of testdata/bad is a revision with mistakes; want.txt has all of them, with their hints.
func TestMistakes(t *testing.T) {
	for _, dir := range folders(t, "bad") {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			m, err := Load(os.DirFS(dir), ".")
			var mistakes mistake.List
			if !errors.As(err, &mistakes) || m != nil {
				t.Fatalf("got %v, %v; want mistakes", m, err)
			}
			got := told(mistakes)
			sameFindings(t, os.DirFS(dir), m, err)
			if strings.Contains(got, "hunter") {
				t.Error("a secret is told")
			}
			golden.Check(t, filepath.Join(dir, "want.txt"), got)
		})
	}
}

func told(mistakes mistake.List) string {
	var out strings.Builder
	for _, e := range mistakes {
		fmt.Fprintln(&out, e)
		if e.Hint != "" {
			fmt.Fprintln(&out, "    "+e.Hint)
		}
	}
	return out.String()
}

// Each folder of testdata/good is a revision; want.txt has what Load makes of it.
func TestGoodFiles(t *testing.T) {
	for _, dir := range folders(t, "good") {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			m := load(t, os.DirFS(dir))
			sameFindings(t, os.DirFS(dir), m, nil)
			golden.Check(t, filepath.Join(dir, "want.txt"), shown(t, m))
		})
	}
}

// sameFindings wants Check to find what Load found, and to keep no pods.
func sameFindings(t *testing.T, fsys fs.FS, loaded *Manifests, loadErr error) {
	t.Helper()
	m, err := Check(Private{}, fsys, ".")
	var want, got mistake.List
	if errors.As(loadErr, &want) != errors.As(err, &got) || told(want) != told(got) {
		t.Fatalf("Check finds\n%v\nand Load\n%v", err, loadErr)
	}
	if err != nil {
		return
	}
	if !slices.Equal(m.Notes, loaded.Notes) || len(m.Plain) != len(loaded.Plain) {
		t.Errorf("Check says\n%v, and %d plain Secrets; Load\n%v, and %d", m.Notes, len(m.Plain), loaded.Notes, len(loaded.Plain))
	}
	if len(m.Pods)+len(m.Stopped) > 0 {
		t.Errorf("Check keeps %d pods", len(m.Pods)+len(m.Stopped))
	}
}

// A field's line is the last that was given, before and after lines were asked for.
func TestFieldLines(t *testing.T) {
	lines := fieldLines{names: map[string]string{}}
	for i, name := range []string{"spec", "kind", "spec", "metadata", "kind"} {
		lines.add(name, i)
		if got, ok := lines.of(name); got != i || !ok {
			t.Errorf("%s: %d, %v after it was added; want %d", name, got, ok, i)
		}
	}
	for name, want := range map[string]int{"metadata": 3, "kind": 4, "spec": 2} {
		if got, ok := lines.of(name); got != want || !ok {
			t.Errorf("%s: %d, %v; want %d", name, got, ok, want)
		}
	}
	if line, ok := lines.of("none"); ok {
		t.Errorf("a field that isn't there has line %d", line)
	}
}

func load(t *testing.T, fsys fs.FS) *Manifests {
	t.Helper()
	m, err := Load(fsys, ".")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// shown is everything in m, with secrets in clear: they are the tests' own.
func shown(t *testing.T, m *Manifests) string {
	t.Helper()
	var out strings.Builder
	write := func(doc map[string]any) {
		data, err := json.MarshalIndent(doc, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		out.Write(append(data, '\n'))
	}
	for _, p := range m.Pods {
		fmt.Fprintf(&out, "%s:%d: %s %s %s\n", p.File, p.Line, p.Kind, p.Name, p.Hash)
		for _, o := range append(p.ConfigMaps, p.Secrets...) {
			fmt.Fprintf(&out, "uses %s %s %s (%s:%d)\n", o.Kind, o.Name, o.Hash, o.File, o.Line)
		}
		for _, c := range p.Claims {
			fmt.Fprintln(&out, "uses claim", c)
		}
		for _, i := range p.Images {
			fmt.Fprintf(&out, "line %d: %s: image %s %s\n", i.Line, i.Field, i.Name, i.Policy)
		}
		for _, h := range p.HostPorts {
			fmt.Fprintf(&out, "line %d: %s: port %s:%d/%s\n", h.Line, h.Field, h.IP, h.Port, h.Protocol)
		}
		write(p.Doc)
		for _, probes := range p.Probes {
			data, err := json.Marshal(probes)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&out, "probes %s\n", data)
		}
		for _, o := range append(p.ConfigMaps, p.Secrets...) {
			write(o.Doc.Reveal())
		}
	}
	for _, c := range m.Claims {
		fmt.Fprintf(&out, "%s:%d: claim %s\n", c.File, c.Line, c.Name)
		write(c.Doc)
	}
	for _, n := range m.Notes {
		fmt.Fprintln(&out, "note:", n)
	}
	return out.String()
}

// What docs/examples has is what the loader takes, but for what a Secret that isn't there yet leaves open.
func TestExamples(t *testing.T) {
	const folder = "../docs/examples"
	all, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, example := range all {
		if !example.IsDir() {
			continue
		}
		tree := os.DirFS(filepath.Join(folder, example.Name()))
		dirs := []string{"pods"}
		if hosts, _ := fs.Glob(tree, "hosts/*/pods"); len(hosts) > 0 {
			dirs = append(dirs, hosts[0])
		}
		m, err := Load(tree, dirs...)
		missing := map[string]string{"secrets": "door", "wireguard": "wireguard"}[example.Name()]
		if missing != "" && err != nil && strings.Contains(err.Error(), fmt.Sprintf("there is no Secret %q\n", missing)) && len(mistake.Of(err)) == 1 {
			continue
		}
		if err != nil || len(m.Pods) == 0 {
			t.Errorf("%s: %v", example.Name(), err)
		}
	}
}

// What an editor leaves beside a manifest is none: a lock is a link that leads nowhere, a copy has pods of the same names.
func TestFilesOfEditorsAreLeftOut(t *testing.T) {
	pod := []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: c, image: \"i:1\"}]}\n")
	files := fstest.MapFS{"pods/web.yaml": {Data: pod}}
	for _, name := range []string{".#web.yaml", ".web.yaml.swp", ".web.yaml", "web.yaml~", "#web.yaml#", "web.swo", "sub/.#web.yaml"} {
		files["pods/"+name] = &fstest.MapFile{Data: pod}
		if strings.Contains(name, ".#") {
			files["pods/"+name] = &fstest.MapFile{Mode: fs.ModeSymlink, Data: []byte("ann@guest.7:1")}
		}
	}
	m := load(t, files)
	if len(m.Pods) != 1 || len(m.Notes) != 7 {
		t.Errorf("%d pods, notes %v", len(m.Pods), m.Notes)
	}
	for _, name := range []string{"web.yaml", "a.b.yaml", "#.yaml", "~web.yaml", "web#.yaml", "#"} {
		if OfEditor(name) {
			t.Errorf("%s is left out", name)
		}
	}
}
