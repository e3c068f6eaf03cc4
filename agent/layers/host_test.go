package layers

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"example.org/collie/agent/mistake"
	"example.org/collie/agent/rollout"
	"example.org/collie/agent/source"
	"example.org/collie/guix"
	"example.org/collie/manifests/podman"
)

// repository has a file of each name, which says where it is.
func repository(names ...string) fstest.MapFS {
	files := fstest.MapFS{}
	for _, name := range names {
		files[name] = &fstest.MapFile{Data: []byte(name)}
	}
	return files
}

// What Guix finds under which name, on the host web.
func TestWhatIsLaidOver(t *testing.T) {
	for _, row := range []struct {
		name  string
		files []string
		want  map[string]string
	}{
		{"no hosts", []string{"system.scm", "modules/a.scm"}, map[string]string{"system.scm": "system.scm", "modules/a.scm": "modules/a.scm"}},
		{"a file instead of the common one", []string{"system.scm", "home.scm", "hosts/web/system.scm"},
			map[string]string{"system.scm": "hosts/web/system.scm", "home.scm": "home.scm"}},
		{"a file that no other host has", []string{"home.scm", "hosts/web/system.scm", "hosts/db/home.scm"},
			map[string]string{"system.scm": "hosts/web/system.scm", "home.scm": "home.scm"}},
		{"folders are joined", []string{"modules/a.scm", "modules/b.scm", "hosts/web/modules/b.scm", "hosts/web/modules/c/d.scm"},
			map[string]string{"modules/a.scm": "modules/a.scm", "modules/b.scm": "hosts/web/modules/b.scm", "modules/c/d.scm": "hosts/web/modules/c/d.scm"}},
		{"a host whose name begins like ours", []string{"system.scm", "hosts/web/.keep", "hosts/web2/system.scm"},
			map[string]string{"system.scm": "system.scm", ".keep": "hosts/web/.keep"}},
		{"what isn't for Guix", []string{"system.scm", "pods/a.yaml", "secrets/x.age", "collie.yaml", "hosts/web/pods/b.yaml", "hosts/web/secrets/y.age", "hosts/web/collie.yaml"},
			map[string]string{"system.scm": "system.scm"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			v, err := viewOf(repository(row.files...), "web")
			if err != nil {
				t.Fatal(err)
			}
			tree, err := source.Export(v.repository, v.forGuix, filepath.Join(t.TempDir(), "trees"))
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			err = fs.WalkDir(os.DirFS(tree), ".", func(name string, e fs.DirEntry, err error) error {
				if err != nil || e.IsDir() {
					return err
				}
				text, err := os.ReadFile(filepath.Join(tree, name))
				got[name] = string(text)
				return err
			})
			if err != nil || !maps.Equal(got, row.want) {
				t.Errorf("Guix sees %v (%v), want %v", got, err, row.want)
			}
			for name, at := range row.want { // and so does whoever asks
				if text, err := v.read(name); err != nil || string(text) != at || v.at(name) != at || !v.has(name) {
					t.Errorf("%s: read %q (%v), at %s; want %s", name, text, err, v.at(name), at)
				}
				if names := v.names(); filepath.Ext(name) == ".scm" && at != name && names[name] != at || names[name] == name {
					t.Errorf("%s is renamed to %q, want %s", name, names[name], at)
				}
			}
		})
	}
}

func TestAnotherHostsFilesAreNotLookedAt(t *testing.T) {
	files := repository("system.scm", "hosts/web/home.scm", "hosts/db/system.scm")
	into := filepath.Join(t.TempDir(), "trees")
	export := func() string {
		t.Helper()
		v, err := viewOf(files, "web")
		if err != nil {
			t.Fatal(err)
		}
		tree, err := source.Export(v.repository, v.forGuix, into)
		if err != nil {
			t.Fatal(err)
		}
		return tree
	}
	before := export()
	files["hosts/db/system.scm"] = &fstest.MapFile{Data: []byte("another")}
	files["hosts/db/link"] = &fstest.MapFile{Data: []byte("/etc"), Mode: fs.ModeSymlink}
	if after := export(); after != before {
		t.Error("a change of another host made another tree")
	}
	files["hosts/web/home.scm"] = &fstest.MapFile{Data: []byte("another")}
	if after := export(); after == before {
		t.Error("a change of this host made the same tree")
	}
}

func TestHostsThatAreMistakes(t *testing.T) {
	for _, row := range []struct {
		name  string
		files []string
		says  []string
	}{
		{"none of ours", []string{"system.scm", "hosts/db/system.scm", "hosts/mail/x"},
			[]string{"hosts/: there is no folder of this host, web, only of db, mail\n  hint: make hosts/web, with at least one file"}},
		{"many others", []string{"hosts/h01/x", "hosts/h02/x", "hosts/h03/x", "hosts/h04/x", "hosts/h05/x", "hosts/h06/x", "hosts/h07/x", "hosts/h08/x", "hosts/h09/x", "hosts/h10/x", "hosts/h11/x", "hosts/h12/x"},
			[]string{"only of h01, h02, h03, h04, h05, h06, h07, h08, h09, h10 and 2 more\n"}},
		{"a file of that name", []string{"hosts/web", "hosts/db/x"}, []string{"no folder of this host, web, only of db"}},
		{"no folders", []string{"system.scm", "hosts/README"}, []string{"hosts/: there is no folder in it"}},
		{"no folder itself", []string{"system.scm", "hosts"}, []string{"hosts: is for a folder of each host, and no folder itself"}},
		{"files and folders in each other's place", []string{"modules/a.scm", "home.scm", "hosts/web/modules", "hosts/web/home.scm/x"},
			[]string{"hosts/web/home.scm: either it or home.scm is a folder", "hosts/web/modules: either it or modules is a folder"}},
		{"hosts of a host", []string{"hosts/web/hosts/db/system.scm"}, []string{"hosts/web/hosts: a host has no hosts of its own"}},
	} {
		v, err := viewOf(repository(row.files...), "web")
		if err != nil {
			t.Fatal(err)
		}
		_, err = v.Check()
		if mistake.Of(err) == nil {
			t.Errorf("%s: %v, want the commit blamed", row.name, err)
			continue
		}
		for _, says := range row.says {
			if !strings.Contains(err.Error(), says) {
				t.Errorf("%s: %q, want %q", row.name, err, says)
			}
		}
	}
}

func TestPodsOfAHostAreJoined(t *testing.T) {
	pod := func(name string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte(strings.Replace(goodPod, "name: web", "name: "+name, 1))}
	}
	l := podsLayer{Podman: podman.Connect(filepath.Join(t.TempDir(), "none.sock"))}
	prepare := func(files fstest.MapFS) error {
		v, err := viewOf(files, "web")
		if err != nil {
			t.Fatal(err)
		}
		_, err = l.Prepare(t.Context(), rollout.Revision{Revision: source.Revision{ID: "abc"}, Files: v}, quiet)
		return err
	}
	blamed := new(rollout.BadError)
	// The same name of a file says nothing: both are read.
	if err := prepare(fstest.MapFS{"pods/web.yaml": pod("web"), "hosts/web/pods/web.yaml": pod("api"), "hosts/db/pods/web.yaml": pod("web")}); err == nil || errors.As(err, &blamed) {
		t.Errorf("two pods of two names: %v, want to hear of Podman alone", err)
	}
	err := prepare(fstest.MapFS{"pods/web.yaml": pod("web"), "hosts/web/pods/own.yaml": pod("web")})
	if !errors.As(err, &blamed) || !strings.Contains(err.Error(), `hosts/web/pods/own.yaml:4: metadata.name: there is a Pod "web" already (pods/web.yaml:4)`) {
		t.Errorf("two pods of one name: %v, want both named, as they are in the repository", err)
	}
	if err := prepare(fstest.MapFS{"hosts/web/pods/own.yaml": {Data: []byte("kind: Podd\n")}}); !errors.As(err, &blamed) || !strings.Contains(err.Error(), "hosts/web/pods/own.yaml:1: ") {
		t.Errorf("pods in the host's folder alone: %v, want its mistake", err)
	}
	if err := prepare(fstest.MapFS{"hosts/web/x": {}, "hosts/db/pods/a.yaml": {}}); !errors.Is(err, rollout.ErrAbsent) {
		t.Errorf("another host's pods: %v, want ours left alone", err)
	}
}

// What a guix says, wherever it says it, names the file that the user edits.
func TestGuixsMistakesNameTheHostsFile(t *testing.T) {
	w := newWorkshop(t)
	tree := w.folder("trees/t1")
	for host, want := range map[string]string{"web": "hosts/web/system.scm:7:2: error: foo", "db": "system.scm:7:2: error: foo"} {
		v, err := viewOf(repository("system.scm", "hosts/web/system.scm", "hosts/db/home.scm"), host)
		if err != nil {
			t.Fatal(err)
		}
		l := systemLayer{&guix.System{Runner: w.runner, Roots: w.roots}, w.builder(), "podman"}
		_, err = l.Prepare(t.Context(), rollout.Revision{Revision: source.Revision{ID: "abc"}, Files: v, Tree: tree}, quiet)
		err = inRepository(err, v.names())
		if blamed := new(rollout.BadError); !errors.As(err, &blamed) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("on %s: %v, want %s", host, err, want)
		}
	}
}
