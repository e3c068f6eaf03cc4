package layers

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"example.org/collie/agent/source"
)

// What Guix finds of links and of files that are no one's, on the host web.
func TestLayouts(t *testing.T) {
	for _, row := range []struct {
		name            string
		files           []string          // links after "->"
		want            map[string]string // of what Guix finds: where it is
		notes, mistakes []string
	}{
		{name: "modules by a link", files: []string{"system.scm", "lib/a.scm", "modules -> lib"},
			want: map[string]string{"system.scm": "system.scm", "lib/a.scm": "lib/a.scm", "modules/a.scm": "lib/a.scm"}},
		{name: "a host that has another's file", files: []string{"hosts/web/home.scm", "hosts/db/system.scm", "hosts/web/system.scm -> ../db/system.scm"},
			want: map[string]string{"system.scm": "hosts/db/system.scm", "home.scm": "hosts/web/home.scm"}},
		{name: "a host that is another", files: []string{"hosts/db/system.scm", "hosts/db/pods/x.yaml", "hosts/web -> db"},
			want: map[string]string{"system.scm": "hosts/db/system.scm"}},
		{name: "a host that has the common file", files: []string{"system.scm", "hosts/web/system.scm -> ../../system.scm"},
			want: map[string]string{"system.scm": "system.scm"}},
		{name: "a bad link of another host", files: []string{"system.scm", "hosts/web/x", "hosts/db/l -> /etc"},
			want: map[string]string{"system.scm": "system.scm", "x": "hosts/web/x"}},
		{name: "files of editors", files: []string{"system.scm", ".#system.scm -> ann@guest.7:1", "home.scm~", "modules/#a.scm#", "modules/a.scm", "modules/.a.scm.swp", "hosts/web/.#home.scm -> ann@guest.7:1", ".dir-locals.el"},
			want:  map[string]string{"system.scm": "system.scm", "modules/a.scm": "modules/a.scm", ".dir-locals.el": ".dir-locals.el"},
			notes: []string{".#system.scm: is left out", "home.scm~: is left out", "hosts/web/.#home.scm: is left out", "modules/#a.scm#: is left out", "modules/.a.scm.swp: is left out"}},
		{name: "a repository that is a channel", files: []string{"system.scm", ".guix-channel", ".guix-authorizations", ".gitignore"},
			want:  map[string]string{"system.scm": "system.scm", ".guix-channel": ".guix-channel", ".guix-authorizations": ".guix-authorizations", ".gitignore": ".gitignore"},
			notes: []string{".guix-authorizations: signatures aren't checked yet"}},
		{name: "links that aren't taken", files: []string{"system.scm", "a -> /etc/shadow", "b -> ../x", "c -> gone", "d/e -> ../d"},
			mistakes: []string{"a: is a symbolic link to \"/etc/shadow\"", "b: is a symbolic link to \"../x\", which leads out", "c: is a symbolic link to \"gone\"", "d/e: is a symbolic link to a folder that it is in"}},
		{name: "what mustn't become readable", files: []string{"system.scm", "secrets/files/key.age", "pods/db.yaml", "hosts/web/pods/x.yaml", "a -> secrets/files/key.age", "b -> pods", "c/d -> ../hosts/web", "pods/y.yaml -> ../lib/y.yaml", "lib/y.yaml"},
			mistakes: []string{"a: is secrets/files/key.age by a symbolic link, and everyone on the machine can read", "b/db.yaml: is pods/db.yaml by", "c/d/pods/x.yaml: is hosts/web/pods/x.yaml by"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			files := fstest.MapFS{}
			for _, name := range row.files {
				if link, to, is := strings.Cut(name, " -> "); is {
					files[link] = &fstest.MapFile{Data: []byte(to), Mode: fs.ModeSymlink}
				} else {
					files[name] = &fstest.MapFile{Data: []byte(name)}
				}
			}
			linked, err := source.Linked(files)
			if err != nil {
				t.Fatal(err)
			}
			v, err := viewOf(linked, "web")
			if err != nil {
				t.Fatal(err)
			}
			notes, wrongs := layout(v)
			var mistakes []string
			for _, err := range wrongs {
				mistakes = append(mistakes, err.Error())
			}
			if !slices.EqualFunc(notes, row.notes, strings.HasPrefix) || !slices.EqualFunc(mistakes, row.mistakes, strings.HasPrefix) {
				t.Errorf("notes %q\nmistakes %q", notes, mistakes)
			}
			if row.mistakes != nil {
				return
			}
			tree, err := source.Export(v.repository, v.forGuix, filepath.Join(t.TempDir(), "trees"))
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			err = fs.WalkDir(os.DirFS(tree), ".", func(at string, e fs.DirEntry, err error) error {
				if err != nil || e.IsDir() {
					return err
				}
				text, err := os.ReadFile(filepath.Join(tree, at))
				got[at] = string(text)
				return err
			})
			if err != nil || len(got) != len(row.want) {
				t.Errorf("Guix finds %q, %v", got, err)
			}
			for at, want := range row.want {
				if got[at] != want {
					t.Errorf("%s is %q, want %q", at, got[at], want)
				}
			}
		})
	}
}

// A pod may be where a link leads; one that leads out is named with the reason.
func TestPodsByLinks(t *testing.T) {
	files := fstest.MapFS{"lib/web.yaml": {Data: []byte(goodPod)}, "pods/web.yaml": {Data: []byte("../lib/web.yaml"), Mode: fs.ModeSymlink}}
	if notes, mistakes := Validate(files, ""); len(mistakes) > 0 {
		t.Errorf("%q, %q", notes, mistakes)
	}
	files["pods/out.yaml"] = &fstest.MapFile{Data: []byte("../../etc/passwd"), Mode: fs.ModeSymlink}
	want := `pods/out.yaml:1: is a symbolic link to "../../etc/passwd", which leads out of the repository: put the file itself in its place`
	if _, mistakes := Validate(files, ""); !slices.Equal(mistakes, []string{want}) {
		t.Errorf("%q", mistakes)
	}
}

// A placeholder is found in the system, and wherever a module is.
func TestPlaceholdersAreFound(t *testing.T) {
	key := func(module string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte("(define-module (" + module + "))\n(define key \"ssh-ed25519 " + Placeholder + "\")\n")}
	}
	_, mistakes := Validate(fstest.MapFS{"system.scm": key("system"), "modules/site.scm": key("site"), "mine/keys.scm": key("mine keys"), "notes.scm": key("other")}, "")
	for i, name := range []string{"mine/keys.scm", "modules/site.scm", "system.scm"} {
		if i >= len(mistakes) || !strings.HasPrefix(mistakes[i], name+":2: the key ") {
			t.Errorf("%s isn't found: %q", name, mistakes)
		}
	}
}
