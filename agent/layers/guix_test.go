package layers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"example.org/collie/agent/rollout"
	"example.org/collie/agent/source"
	"example.org/collie/guix"
	"example.org/collie/manifests/forward"
	"example.org/collie/manifests/podman"
	"example.org/collie/shepherd"
)

// A workshop is a folder with a guix that refuses whatever it is asked, and roots of what was made before.
type workshop struct {
	t      *testing.T
	dir    string
	roots  guix.Roots
	runner *guix.Runner
}

func newWorkshop(t *testing.T) *workshop {
	t.Helper()
	w := &workshop{t: t, dir: t.TempDir()}
	w.roots = guix.Roots(filepath.Join(w.dir, "roots"))
	w.runner = &guix.Runner{Command: "guix", Logs: w.folder("logs")}
	w.guix("old")
	return w
}

func (w *workshop) folder(name string) string {
	w.t.Helper()
	dir := filepath.Join(w.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
	return dir
}

// guix puts another guix on PATH.
func (w *workshop) guix(name string) {
	w.t.Helper()
	dir := w.folder("guix-" + name)
	script := "#!/bin/sh\necho \"$@\" >>" + w.asked() + "\necho 'system.scm:7:2: error: foo: unbound variable' >&2\nexit 1\n"
	file := filepath.Join(dir, "guix")
	if err := errors.Join(os.WriteFile(file, []byte(script), 0o755), os.Chmod(file, 0o755)); err != nil { // whatever the umask is just now
		w.t.Fatal(err)
	}
	w.t.Setenv("PATH", dir+":/bin:/usr/bin")
}

func (w *workshop) asked() string { return filepath.Join(w.dir, "asked") }

func (w *workshop) builder() *Builder {
	return NewBuilder(w.runner, w.roots, 20, w.dir)
}

// made keeps an item that was made of tree for layer.
func (w *workshop) made(layer, tree, item string) string {
	w.t.Helper()
	path := w.folder(item)
	if err := w.roots.Keep(rootName(layer, tree, ""), path); err != nil {
		w.t.Fatal(err)
	}
	return path
}

func (w *workshop) kept() []string {
	w.t.Helper()
	all, err := w.roots.List()
	if err != nil {
		w.t.Fatal(err)
	}
	var items []string
	for _, item := range all {
		items = append(items, filepath.Base(item))
	}
	slices.Sort(items)
	return items
}

const systemItem = "gnu/store/yvz9w413hhl9l4aypgr6z9ij9h03z1zq-system"

// services makes those of a system item.
func (w *workshop) services(item string, names ...string) {
	w.t.Helper()
	conf := "/gnu/store/" + strings.Repeat("a", 32) + "-shepherd.conf"
	var files []string
	for _, name := range names {
		files = append(files, fmt.Sprintf("%q", "/gnu/store/"+strings.Repeat("b", 32)+"-shepherd-"+name+".go"))
	}
	text := "(quote (" + strings.Join(files, " ") + ")) (services-to-start (quote (" + strings.Join(names, " ") + ")))"
	err := errors.Join(os.WriteFile(filepath.Join(item, "boot"), []byte(conf), 0o644), os.WriteFile(filepath.Join(w.dir, conf), []byte(text), 0o644))
	if err != nil {
		w.t.Fatal(err)
	}
}

// system is one whose Shepherd doesn't run.
func (w *workshop) system() *guix.System {
	return &guix.System{Runner: w.runner, Roots: w.roots, Store: guix.Store(w.dir), Self: "collie", Shepherd: shepherd.At(filepath.Join(w.t.TempDir(), "none"))}
}

func revisionOf(tree string, files ...string) rollout.Revision {
	all := fstest.MapFS{}
	for _, f := range files {
		all[f] = &fstest.MapFile{}
	}
	return rollout.Revision{Revision: source.Revision{ID: "abc"}, Files: view{repository: all}, Tree: tree}
}

func quiet(rollout.Progress) {}

func TestSystemOfTheSameFilesNeedsNoGuix(t *testing.T) {
	w := newWorkshop(t)
	tree := w.folder("trees/t1")
	item := w.made("system", tree, systemItem)
	w.services(item, "collie")
	l := systemLayer{w.system(), w.builder(), "podman"}
	if _, err := l.Prepare(t.Context(), revisionOf(tree, "home.scm"), quiet); !errors.Is(err, rollout.ErrAbsent) {
		t.Errorf("without system.scm: %v, want it left alone", err)
	}
	got, err := l.Prepare(t.Context(), revisionOf(tree, "system.scm"), quiet)
	if err != nil {
		t.Fatal(err)
	}
	var data guixItem
	if err := got.Decode(&data); err != nil || got.ID != "system-yvz9w413hhl9l4aypgr6z9ij9h03z1zq" || got.Layer != "system" || got.Revision != "abc" || !reflect.DeepEqual(data, guixItem{Item: item, Tree: tree}) {
		t.Errorf("target %+v with %+v (%v)", got, data, err)
	}
	if _, err := os.Stat(w.asked()); err == nil {
		t.Error("guix was asked")
	}

	// Another tree, another guix, or an item that was collected: then it is.
	blamed := new(rollout.BadError)
	refused := func(name string, tree string) {
		t.Helper()
		_ = os.Remove(w.asked())
		_, err := l.Prepare(t.Context(), revisionOf(tree, "system.scm"), quiet)
		if !errors.As(err, &blamed) || !strings.Contains(err.Error(), "system.scm:7") || !strings.Contains(err.Error(), "foo: unbound variable") {
			t.Errorf("%s: %v, want what guix said, as the commit's fault", name, err)
		}
		if asked, err := os.ReadFile(w.asked()); err != nil || !strings.Contains(string(asked), "system build") {
			t.Errorf("%s: guix was asked %q (%v)", name, asked, err)
		}
	}
	refused("another tree", w.folder("trees/t2"))
	if err := os.RemoveAll(item); err != nil {
		t.Fatal(err)
	}
	refused("an item that is gone", tree)
	w.made("system", tree, "aaaa-system")
	w.guix("new")
	refused("another guix", tree)
}

func TestWhichFileIsAHome(t *testing.T) {
	w := newWorkshop(t)
	tree := w.folder("trees/t1")
	w.made("home:ann", tree, "bbbb-home")
	for _, row := range []struct {
		name  string
		main  bool
		files []string
		want  string // none: left alone
	}{
		{"its own", false, []string{"home/ann.scm"}, "home/ann.scm"},
		{"its own before the general one", true, []string{"home/ann.scm", "home.scm"}, "home/ann.scm"},
		{"the general one", true, []string{"home.scm"}, "home.scm"},
		{"the general one is the pod user's", false, []string{"home.scm"}, ""},
		{"another's", true, []string{"home/bob.scm"}, ""},
		{"none", true, []string{"system.scm"}, ""},
	} {
		l := homeLayer{&guix.Home{Runner: w.runner, User: "ann", Roots: w.roots}, w.builder(), "home:ann", row.main, ""}
		got, err := l.Prepare(t.Context(), revisionOf(tree, row.files...), quiet)
		if row.want == "" {
			if !errors.Is(err, rollout.ErrAbsent) {
				t.Errorf("%s: %+v, %v; want it left alone", row.name, got, err)
			}
			continue
		}
		var data guixItem
		if err := errors.Join(err, got.Decode(&data)); err != nil || data.File != row.want || got.ID != "home-bbbb" {
			t.Errorf("%s: %+v with file %q (%v), want %s", row.name, got, data.File, err, row.want)
		}
		if l.Home.File != "" {
			t.Errorf("%s: the layer itself took the file %s", row.name, l.Home.File)
		}
	}
}

func TestOnlyWhatATargetNeedsIsKept(t *testing.T) {
	w := newWorkshop(t)
	t1, t2, t3 := w.folder("trees/t1"), w.folder("trees/t2"), w.folder("trees/t3")
	first, second := w.made("system", t1, "aaaa-system"), w.made("system", t2, "bbbb-system")
	w.made("home:ann", t1, "cccc-home")
	w.made("home:anna", t1, "dddd-home")
	target := func(layer string, item guixItem) rollout.Target {
		t.Helper()
		target, err := guixTarget(layer, "r", item)
		if err != nil {
			t.Fatal(err)
		}
		return target
	}
	system := systemLayer{System: &guix.System{Roots: w.roots}}
	if err := system.Prune(t.Context(), []rollout.Target{target("system", guixItem{Item: first, Tree: t1}), target("system", guixItem{Item: second})}); err != nil {
		t.Fatal(err)
	}
	if got, want := w.kept(), []string{"aaaa-system", "bbbb-system", "cccc-home", "dddd-home"}; !slices.Equal(got, want) {
		t.Errorf("kept %q, want %q", got, want)
	}
	if err := system.Prune(t.Context(), []rollout.Target{target("system", guixItem{Item: second})}); err != nil {
		t.Fatal(err)
	}
	home := homeLayer{Home: &guix.Home{Roots: w.roots}, name: "home:ann"}
	if err := home.Prune(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got, want := w.kept(), []string{"bbbb-system", "dddd-home"}; !slices.Equal(got, want) {
		t.Errorf("kept %q, want %q: each layer drops only its own", got, want)
	}
	if err := system.Prune(t.Context(), []rollout.Target{{ID: "system-x", Layer: "system", Data: []byte("7")}}); err == nil {
		t.Error("something was dropped though a target couldn't be read")
	}
	if got := w.kept(); len(got) != 2 {
		t.Errorf("kept %q after a target that couldn't be read", got)
	}

	for _, tree := range []string{t1, t2} {
		if err := os.Mkdir(guix.LinksOf(tree), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := KeepTrees(filepath.Dir(t1), []rollout.Target{target("system", guixItem{Item: first, Tree: t2}), target("system", guixItem{Item: second}), {ID: "pods-x", Data: []byte(`{"pods":[]}`)}}); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]bool{t1: false, t2: true, t3: false, guix.LinksOf(t1): false, guix.LinksOf(t2): true} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", dir, err == nil, want)
		}
	}
	if err := KeepTrees(filepath.Join(w.dir, "none"), nil); err == nil {
		t.Error("a folder of trees that isn't there is no error")
	}
}

func TestTreeIsGivenOnlyWhileItIsThere(t *testing.T) {
	dir := t.TempDir()
	for tree, want := range map[string]string{dir: dir, filepath.Join(dir, "gone"): "", "": ""} {
		if got := treeOf(guixItem{Tree: tree}); got != want {
			t.Errorf("tree of %q is %q, want %q", tree, got, want)
		}
	}
}

// Who is to blame decides between bad and tried again.
func TestBlame(t *testing.T) {
	refused := fmt.Errorf("building: %w", &guix.BuildError{Says: "no such package"})
	passing := fmt.Errorf("building: %w", &guix.TransientError{Err: errors.New("the disk is full")})
	other := errors.New("guix isn't there")
	for _, err := range []error{refused, passing, other} {
		bad := new(rollout.BadError)
		if got := errors.As(blame(err), &bad); got != errors.Is(err, refused) {
			t.Errorf("preparing, %v blames the commit: %v", err, got)
		}
		later := new(rollout.TransientError)
		if got := errors.As(forgive(err), &later); got != errors.Is(err, passing) {
			t.Errorf("switching, %v is tried again: %v", err, got)
		}
		if blame(err).Error() != err.Error() || forgive(err).Error() != err.Error() {
			t.Errorf("%v is told as %v and %v", err, blame(err), forgive(err))
		}
		if !errors.Is(blame(err), err) || !errors.Is(forgive(err), err) {
			t.Errorf("%v got lost", err)
		}
	}
	if forgive(nil) != nil || blame(nil) != nil {
		t.Error("no error became one")
	}
}

func TestTargetThatCannotBeReadIsNamed(t *testing.T) {
	torn := rollout.Target{Layer: "pods", ID: "pods-1", Data: []byte("[")}
	ctx := t.Context()
	for name, l := range map[string]rollout.Layer{
		"system": systemLayer{System: &guix.System{}}, "home": homeLayer{Home: &guix.Home{}}, "pods": podsLayer{Podman: podman.Connect(filepath.Join(t.TempDir(), "s"))},
	} {
		_, diff := l.Diff(ctx, torn)
		_, problems := l.Problems(ctx, torn, time.Now())
		for what, err := range map[string]error{"diff": diff, "problems": problems, "switch": l.Switch(ctx, torn), "keep": l.Prune(ctx, []rollout.Target{torn})} {
			if err == nil || !strings.HasPrefix(err.Error(), "target pods-1 of pods: ") {
				t.Errorf("%s of %s: %v", what, name, err)
			}
		}
	}
}

// A plan compares with what runs, and the target of that must make sense, too.
func TestPodsArePlannedFromWhereTheyAre(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // a Podman that has nothing
		w.Header().Set("Libpod-API-Version", "5.8.0")
		fmt.Fprint(w, "[]")
	})}
	ended := make(chan error)
	go func() { ended <- server.Serve(listener) }()
	defer func() {
		server.Close()
		<-ended
	}()
	l := podsLayer{Podman: podman.Connect(socket)}
	target := func(claims ...string) rollout.Target {
		t, err := rollout.Encode("pods", "pods-1", "a", podman.Rendered{Claims: claims})
		if err != nil {
			panic(err)
		}
		return t
	}
	for name, row := range map[string]struct {
		now  rollout.Target
		want string
	}{
		"at first":         {rollout.Target{}, "create claim data"},
		"it has the claim": {target("data"), ""},
		"it has another":   {target("old"), "create claim data, leave claim old"},
	} {
		changes, err := l.Plan(t.Context(), row.now, target("data"))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range changes {
			got = append(got, c.Does+" "+c.Subject)
		}
		if got := strings.Join(got, ", "); got != row.want {
			t.Errorf("%s: %q, want %q", name, got, row.want)
		}
	}
	torn := rollout.Target{Layer: "pods", ID: "pods-0", Data: []byte("[")}
	_, plan := l.Plan(t.Context(), torn, target())
	_, release := l.Release(t.Context(), torn, target())
	for what, err := range map[string]error{"plan": plan, "release": release} {
		if err == nil || !strings.HasPrefix(err.Error(), "target pods-0 of pods: ") {
			t.Errorf("%s from a target that makes no sense: %v", what, err)
		}
	}
}

const goodPod = `apiVersion: v1
kind: Pod
metadata:
  name: web
spec:
  containers:
    - name: httpd
      image: localhost/web:1
`

func TestPodsAtFaultAndPodmanAway(t *testing.T) {
	l := podsLayer{Podman: podman.Connect(filepath.Join(t.TempDir(), "none.sock"))}
	files := func(pods ...string) rollout.Revision {
		all := fstest.MapFS{"system.scm": {}}
		for i, p := range pods {
			all[fmt.Sprintf("pods/%c.yaml", 'a'+i)] = &fstest.MapFile{Data: []byte(p)}
		}
		return rollout.Revision{Revision: source.Revision{ID: "abc"}, Files: view{repository: all}}
	}
	bad := new(rollout.BadError)

	if _, err := l.Prepare(t.Context(), files(), quiet); !errors.Is(err, rollout.ErrAbsent) {
		t.Errorf("without pods/: %v, want it left alone", err)
	}
	_, err := l.Prepare(t.Context(), files(strings.Replace(goodPod, "image", "imagee", 1), "kind: Podd\n"), quiet)
	if !errors.As(err, &bad) || !strings.Contains(err.Error(), "pods/a.yaml:8: spec.containers[0].imagee: there is no such field\n  hint: did you mean image?") || !strings.Contains(err.Error(), "\npods/b.yaml:1: ") {
		t.Errorf("mistakes in YAML: %v, want all of them, with hints, as the commit's fault", err)
	}
	if _, err := l.Prepare(t.Context(), files(slices.Repeat([]string{"kind: Podd\n"}, 26)...), quiet); !errors.As(err, &bad) || !strings.HasSuffix(err.Error(), " more") {
		t.Errorf("many mistakes: %v, want a few, and how many more", err)
	} else if got := strings.Count(err.Error(), "\npods/"); got != 19 {
		t.Errorf("%d mistakes are reported, want %d", got+1, 20)
	}
	for name, rev := range map[string]rollout.Revision{"a good pod": files(goodPod), "the baseline": {Revision: source.Revision{ID: rollout.Baseline}}} {
		if _, err := l.Prepare(t.Context(), rev, quiet); err == nil || errors.As(err, &bad) || !strings.Contains(err.Error(), "Podman") {
			t.Errorf("%s, without Podman: %v, want to hear of Podman, and nobody blamed", name, err)
		} else if !errors.As(err, new(*rollout.UserError)) {
			t.Errorf("%s, without Podman: %v is not its user's", name, err)
		}
	}
}

func TestAForwarderThatIsAwayIsNobodysFault(t *testing.T) {
	transient := new(rollout.TransientError)
	if err := forgiveSilence(fmt.Errorf("pod web: %w", new(forward.Error))); !errors.As(err, &transient) {
		t.Errorf("%v blames the commit", err)
	}
}

func TestPodmanThatHangsUpIsNobodysFault(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	server, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	defer func() {
		server.Close()
		<-gone
	}()
	l := podsLayer{Podman: podman.Connect(socket)}
	rev := rollout.Revision{Revision: source.Revision{ID: "abc"}, Files: view{repository: fstest.MapFS{"pods/a.yaml": {Data: []byte(goodPod)}}}}
	if _, err := l.Prepare(t.Context(), rev, quiet); err == nil {
		t.Error("pods were prepared")
	} else if bad := new(rollout.BadError); errors.As(err, &bad) {
		t.Errorf("the commit is blamed: %v", err)
	}
}

// A system without Collie's own service is refused unless the commit says that it is meant so.
func TestLeavingIsAskedFor(t *testing.T) {
	for _, row := range []struct {
		name     string
		services string
		leave    string
		want     string
	}{
		{"as ever", "collie", "leave: false", ""},
		{"a mistake in the file", "collie", "leaves: true", "collie.yaml:1: leaves: there is no such key\n  hint: did you mean leave?"},
		{"asked for, and not done", "collie", "leave: true", "collie.yaml: leave: true, but the system of system.scm still has the service collie"},
	} {
		w := newWorkshop(t)
		tree := w.folder("trees/t1")
		w.services(w.made("system", tree, systemItem), row.services)
		l := systemLayer{w.system(), w.builder(), "podman"}
		rev := revisionOf(tree, "system.scm")
		filesOf(rev).repository.(fstest.MapFS)["collie.yaml"] = &fstest.MapFile{Data: []byte(row.leave)}
		_, err := l.Prepare(t.Context(), rev, quiet)
		if got := message(err); !strings.HasPrefix(got, row.want) || row.want == "" && got != "" {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}

func TestUnsupportedFilesAreNamedAllAtOnce(t *testing.T) {
	for _, row := range []struct {
		files []string
		want  int
	}{
		{[]string{"system.scm", "home.scm", "modules/x.scm", "pods/hosts.yaml", "home/secrets.scm", "README.md"}, 0},
		{[]string{"channels.scm"}, 0},
		{[]string{"channels.scm", "hosts/a/system.scm", "secrets/x.age", ".guix-authorizations", ".guix-channel", "collie.yaml"}, 1},
		{[]string{"secrets/recipients", "secrets/db.yaml", "secrets/more/x.yaml.age", "secrets/files/tls.pem", "secrets/README.md", "secrets/.keep"}, 4},
	} {
		if got := unsupported(filesOf(revisionOf("", row.files...))); len(got) != row.want {
			t.Errorf("of %q: %v, want %d", row.files, got, row.want)
		}
	}
}

func TestWhatGuixSeesOfARevision(t *testing.T) {
	trees := filepath.Join(t.TempDir(), "trees")
	files := fstest.MapFS{
		"system.scm": {Data: []byte("s")}, "modules/x.scm": {Data: []byte("x")}, "home/ann.scm": {Data: []byte("h")}, "modules/pods/y.scm": {Data: []byte("y")},
		"pods/web.yaml": {Data: []byte("p")}, "secrets/x.age": {Data: []byte("secret")}, "hosts/a/system.scm": {}, "collie.yaml": {},
	}
	if tree, err := (view{repository: files}).Export(); tree != "" || err != nil {
		t.Errorf("without system and homes: %q, %v; want no tree", tree, err)
	}
	if err := os.MkdirAll(trees, 0o755); err != nil {
		t.Fatal(err)
	}
	tree, err := (view{repository: files, trees: trees}).Export()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	err = fs.WalkDir(os.DirFS(tree), ".", func(path string, e fs.DirEntry, err error) error {
		if !e.IsDir() {
			got = append(got, path)
		}
		return err
	})
	if want := []string{"home/ann.scm", "modules/pods/y.scm", "modules/x.scm", "system.scm"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("Guix sees %q (%v), want %q", got, err, want)
	}
	files["pods/web.yaml"] = &fstest.MapFile{Data: []byte("another")}
	if again, err := (view{repository: files, trees: trees}).Export(); again != tree || err != nil {
		t.Errorf("another pod made another tree: %s (%v), not %s", again, err, tree)
	}
	files["modules/x.scm"] = &fstest.MapFile{Data: []byte("another")}
	if again, err := (view{repository: files, trees: trees}).Export(); again == tree || err != nil {
		t.Errorf("another module made the same tree (%v)", err)
	}
}

func TestValidate(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	host := ""
	check := func(name string, notes, mistakes []string) { // each by its beginning
		t.Helper()
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		gotNotes, gotMistakes := Validate(root.FS(), host)
		if !slices.EqualFunc(gotNotes, notes, strings.HasPrefix) {
			t.Errorf("%s: notes %q, want %q", name, gotNotes, notes)
		}
		if !slices.EqualFunc(gotMistakes, mistakes, strings.HasPrefix) {
			t.Errorf("%s: mistakes %q, want %q", name, gotMistakes, mistakes)
		}
	}
	check("empty", []string{"no system.scm: the operating system is left alone", "no home.scm: homes are left alone", "no pods/: pods are left alone"}, nil)
	write("system.scm", "")
	write("home/ann.scm", "")
	write("pods/web.yaml", goodPod)
	write(".git/config", "")
	if err := os.Symlink("config", filepath.Join(dir, ".git/link")); err != nil {
		t.Fatal(err)
	}
	check("good", nil, nil)
	own := []string{"#web.yaml#", ".#notes.txt", ".#web.yaml", ".web.yaml", ".web.yaml.swp", "web.swp", "web.yaml~"}
	for _, name := range own {
		if !strings.HasPrefix(name, ".#") {
			write("pods/"+name, "no: {manifest")
		} else if err := os.Symlink("ann@guest.7:1", filepath.Join(dir, "pods", name)); err != nil {
			t.Fatal(err)
		}
	}
	var left []string
	for _, name := range own {
		left = append(left, "pods/"+name+":1: is left out: ")
	}
	check("editors' files", left, nil)
	for _, name := range own {
		if err := os.Remove(filepath.Join(dir, "pods", name)); err != nil {
			t.Fatal(err)
		}
	}
	write("pods/a\nb.yaml", goodPod)
	write("new\x1bs/system.scm", "")
	check("names that no file may have", nil, []string{`"new\x1bs" has a control character`, `"pods/a\nb.yaml" has a control character`})
	if err := errors.Join(os.Remove(filepath.Join(dir, "pods/a\nb.yaml")), os.RemoveAll(filepath.Join(dir, "new\x1bs"))); err != nil {
		t.Fatal(err)
	}
	write("pods/db.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: db}\nstringData: {a: b}\n")
	check("a Secret that no pod uses", []string{"pods/db.yaml:3: metadata.name: no pod uses this Secret", "pods/db.yaml:1: this Secret can be read by all who see the repository"}, nil)
	if err := os.Remove(filepath.Join(dir, "pods/db.yaml")); err != nil {
		t.Fatal(err)
	}
	write("pods/web.yaml", goodPod+"  nodeSelector: {disk: fast}\n")
	check("with what has no meaning here", []string{"pods/web.yaml:9: spec.nodeSelector: "}, nil)
	write("pods/web.yaml", goodPod)
	for link, to := range map[string]string{"home.scm": "home/ann.scm", "modules": "/etc", "pods/out.yaml": "/etc/passwd"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	check("links, inside and out", nil, []string{`modules: is a symbolic link to "/etc", which isn't a path from where the link is`, `pods/out.yaml:1: is a symbolic link to "/etc/passwd", which isn't a path`})
	write("channels.scm", "")
	write("collie.yaml", "hooks: []\n")
	check("links, and what isn't supported", nil, []string{"channels.scm:1: ", "collie.yaml:1: hooks: there is no such key", "modules: ", "pods/out.yaml"})

	for _, name := range []string{"home.scm", "modules", "pods/out.yaml", "channels.scm", "collie.yaml", "system.scm"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	write("hosts/a/system.scm", "")
	write("hosts/a/channels.scm", "")
	write("hosts/b/pods/web.yaml", goodPod)
	write("hosts/b/collie.yaml", "hooks: []\n")
	ofA, ofB := []string{"hosts/a/channels.scm:1: "}, []string{"hosts/b/collie.yaml:1: hooks: there is no such key", "hosts/b/pods/web.yaml:4: metadata.name: there is a Pod \"web\" already (pods/web.yaml:4)"}
	check("all hosts", []string{"no system.scm, nor hosts/b/system.scm: "}, slices.Concat(ofA, ofB))
	host = "a"
	check("a host", nil, ofA)
	host = "b"
	check("another host", []string{"no system.scm, nor hosts/b/system.scm: "}, ofB)
	host = "c"
	check("a host that isn't there", nil, []string{"hosts/: there is no folder of this host, c, only of a, b\n"})
}

// A settler waits once for what a former life left, and again if that went wrong.
func TestSettlerSettlesOnce(t *testing.T) {
	s := NewBuilder(&guix.Runner{Command: "guix", Logs: t.TempDir()}, "", 0, t.TempDir())
	ctx, stop := context.WithCancel(t.Context())
	stop()
	_ = s.settle(ctx)
	if err := s.settle(t.Context()); err != nil || !s.settled.done {
		t.Errorf("settled: %v, %v", s.settled.done, err)
	}
	s.runner = nil // it isn't asked again
	if err := s.settle(t.Context()); err != nil {
		t.Error(err)
	}
}

// A disk that is full in a switch is no commit's fault: a note that couldn't be written once made a commit bad.
func TestAFullDiskBlamesNoCommit(t *testing.T) {
	for err, passes := range map[error]bool{syscall.ENOSPC: true, syscall.EDQUOT: true, syscall.ENOENT: false, errors.New("no space left on device"): false} {
		err = forgive(fmt.Errorf("writing system.begun: %w", &os.PathError{Op: "write", Path: ".new", Err: err}))
		if passing := new(rollout.TransientError); errors.As(err, &passing) != passes {
			t.Errorf("%v: passes %v", err, !passes)
		}
	}
}

// What the pod user can break is a problem of the pods, though a service of the system shows it.
func TestProblemsOfServicesThatRunAsThePodUser(t *testing.T) {
	says := "died since then and was started again, 3×"
	got := ofPods([]rollout.Problem{{Subject: "service podman-api", Says: says}, {Subject: "service collie-forward", Says: says}, {Subject: "service nginx", Says: says}}, "podman")
	want := []rollout.Problem{
		{Layer: "pods", Subject: "service podman-api", Says: says, Unrelated: true, Stands: []string{"/etc/containers", "/etc/subuid", "/etc/subgid", "home of podman"}},
		{Layer: "pods", Subject: "service collie-forward", Says: says, Unrelated: true, Stands: []string{}},
		{Subject: "service nginx", Says: says},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}
