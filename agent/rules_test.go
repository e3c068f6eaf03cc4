package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "example.org/collie"

// A pkg is what `go list` says of one of our packages.
type pkg struct {
	ImportPath, Dir      string
	Imports, TestImports []string
	GoFiles, TestGoFiles []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,Imports,TestImports,GoFiles,TestGoFiles", module+"/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 8 {
		t.Fatalf("go list names %d packages: are these ours?", len(all))
	}
	return all
}

// The arrows of docs/design.md: who may import whom.
func TestImportsRunOneWay(t *testing.T) {
	may := map[string][]string{
		"agent":                     {"agent/api", "agent/cmdline", "agent/foreign", "agent/layers", "agent/mistake", "agent/rollout", "agent/secrets", "agent/source", "agent/statefile", "guix", "manifests/forward", "manifests/podman", "shepherd"},
		"agent/layers":              {"agent/api", "agent/mistake", "agent/rollout", "agent/secrets", "agent/source", "agent/statefile", "guix", "manifests", "manifests/forward", "manifests/podman"},
		"agent/layertest":           {"agent/rollout", "agent/source"},
		"agent/rollout":             {"agent/api", "agent/crash", "agent/foreign", "agent/mistake", "agent/source", "agent/statefile", "agent/waits"},
		"agent/api":                 {"agent/foreign"},
		"agent/bootstrap":           {"agent/api", "agent/source", "guix"},
		"agent/cmdline":             nil,
		"agent/crash":               nil,
		"agent/limits":              nil,
		"agent/foreign":             nil,
		"agent/mistake":             {"agent/foreign"},
		"agent/secrets":             {"agent/mistake", "agent/statefile"},
		"agent/statefile":           nil,
		"agent/waits":               nil,
		"agent/source":              {"agent/crash", "agent/foreign", "agent/limits", "agent/statefile"},
		"cmd/collie":                {"agent", "agent/api", "agent/bootstrap", "agent/foreign", "agent/layers", "agent/limits", "agent/mistake", "agent/secrets", "guix", "manifests", "manifests/forward", "manifests/podman"},
		"cmd/mutants":               nil,
		"guix":                      {"agent/cmdline", "agent/crash", "agent/limits", "agent/mistake", "agent/statefile", "agent/waits", "shepherd"},
		"guix/lab":                  nil,
		"manifests":                 {"agent/foreign", "agent/mistake", "manifests/internal/tree"},
		"manifests/forward":         {"agent/foreign", "agent/waits"},
		"manifests/internal/tree":   nil,
		"manifests/podman":          {"agent/cmdline", "agent/crash", "agent/foreign", "agent/statefile", "agent/waits", "manifests", "manifests/forward", "manifests/internal/tree"},
		"manifests/internal/golden": nil,
		"shepherd":                  {"agent/waits"},
	}
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		allowed, known := may[name]
		if !known {
			t.Errorf("package %s isn't in the table", name)
		}
		for _, imported := range p.Imports {
			ours, is := strings.CutPrefix(imported, module+"/")
			if is && !slices.Contains(allowed, ours) {
				t.Errorf("%s imports %s", name, ours)
			}
			// The sub-packages cost 13 MiB and build tags.
			if strings.Contains(imported, "containers/podman") && imported != "github.com/containers/podman/v5/pkg/bindings" {
				t.Errorf("%s imports %s: only the bare bindings", name, imported)
			}
		}
	}
}

// Package manifests reads files that it is given: it has no socket, no clock and no goroutine.
func TestManifestsIsPure(t *testing.T) {
	may := []string{"bytes", "cmp", "context", "crypto/hmac", "crypto/sha256", "encoding/base64", "encoding/hex", "encoding/json", "errors", "fmt", "io", "io/fs",
		"log/slog", "maps", "net/netip", "net/url", "path", "regexp", "slices", "strconv", "strings", "time", "time/tzdata", "unicode/utf8"}
	pure := 0
	for _, p := range packages(t) {
		if p.ImportPath != module+"/manifests" && p.ImportPath != module+"/manifests/internal/tree" {
			continue
		}
		pure++
		for _, imported := range p.Imports {
			if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") && !slices.Contains(may, imported) {
				t.Errorf("%s imports %s", p.ImportPath, imported)
			}
		}
		for _, name := range p.GoFiles {
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.GoStmt:
					t.Errorf("%s: a goroutine", fset.Position(n.Pos()))
				case *ast.SelectorExpr:
					if x, is := n.X.(*ast.Ident); is && x.Name == "time" && slices.Contains([]string{"Now", "Since", "Until", "After", "AfterFunc", "Sleep", "Tick", "NewTimer", "NewTicker"}, n.Sel.Name) {
						t.Errorf("%s: time.%s", fset.Position(n.Pos()), n.Sel.Name)
					}
				}
				return true
			})
		}
	}
	if pure != 2 {
		t.Errorf("%d of 2 packages were checked", pure)
	}
}

// What others use of a package fits on a page; a file and a function have an end, too.
func TestPackagesAndFilesStaySmall(t *testing.T) {
	const mostNames, mostLines, mostInFunc = 35, 500, 80
	large := []string{"agent/api", "guix"} // the words of the API; guix, as each cut of it was found to cost more names than it saves
	for _, p := range packages(t) {
		var names []string
		for _, name := range p.GoFiles {
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			if lines := fset.File(f.Pos()).LineCount(); lines > mostLines {
				t.Errorf("%s/%s has %d lines, want at most %d", p.ImportPath, name, lines, mostLines)
			}
			for _, d := range f.Decls {
				fn, is := d.(*ast.FuncDecl)
				if lines := fset.Position(d.End()).Line - fset.Position(d.Pos()).Line + 1; is && lines > mostInFunc {
					t.Errorf("%s/%s: %s has %d lines, want at most %d", p.ImportPath, name, fn.Name.Name, lines, mostInFunc)
				}
			}
			names = append(names, exported(f)...)
		}
		if len(names) > mostNames && !slices.Contains(large, strings.TrimPrefix(p.ImportPath, module+"/")) {
			t.Errorf("%s exports %d names, want at most %d: %q", p.ImportPath, len(names), mostNames, names)
		}
	}
}

// exported are the names of a file that others can use, without methods and fields.
func exported(f *ast.File) (names []string) {
	add := func(id *ast.Ident) {
		if id.IsExported() {
			names = append(names, id.Name)
		}
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				add(d.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					add(spec.Name)
				case *ast.ValueSpec:
					for _, id := range spec.Names {
						add(id)
					}
				}
			}
		}
	}
	return names
}

// What is started otherwise would be spared when memory runs out, as the agent is, and have the agent's limit.
func TestWhatTheAgentStartsHasNoneOfItsLimits(t *testing.T) {
	starts := 0
	for _, p := range packages(t) {
		switch name := strings.TrimPrefix(p.ImportPath, module+"/"); name {
		case "cmd/collie", "cmd/mutants", "agent/bootstrap", "guix/lab": // no agent
			continue
		}
		for _, name := range p.GoFiles {
			text, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			made := bytes.Count(text, []byte("exec.Command"))
			if made == 0 || name == "network.go" { // that runs in a child of the agent
				continue
			}
			if bytes.Count(text, []byte("limits.Start("))+bytes.Count(text, []byte("limits.Run(")) < made {
				t.Errorf("%s of %s starts something without limits.Start", name, p.ImportPath)
			}
			starts += made
		}
	}
	if starts < 4 {
		t.Errorf("only %d starts were found", starts)
	}
}

func TestEachPackageHasOneDoc(t *testing.T) {
	for _, p := range packages(t) {
		var docs []string
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.PackageClauseOnly)
			if err != nil {
				t.Fatal(err)
			}
			if f.Doc != nil {
				docs = append(docs, name)
			}
		}
		if len(docs) != 1 {
			t.Errorf("%s has package docs in %q, want one", p.ImportPath, docs)
		}
	}
}

// "failed to x: failed to y" tells a person nothing: an error says what was attempted, on what, and what to do.
func TestErrorsSayMoreThanThatItFailed(t *testing.T) {
	empty := regexp.MustCompile(`(?i)^"(failed|failure|could ?n[o']t|cannot|can't|unable|error)\b`)
	for _, p := range packages(t) {
		for _, name := range p.GoFiles {
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				call, is := n.(*ast.CallExpr)
				if !is || len(call.Args) == 0 {
					return true
				}
				text, is := call.Args[0].(*ast.BasicLit)
				if sel, ok := call.Fun.(*ast.SelectorExpr); ok && is && (sel.Sel.Name == "Errorf" || sel.Sel.Name == "New") && empty.MatchString(text.Value) {
					t.Errorf("%s: an error begins with %s", fset.Position(text.Pos()), text.Value)
				}
				return true
			})
		}
	}
}

// Only main ends the process, so that whoever began something can end it.
func TestOnlyMainExits(t *testing.T) {
	for _, p := range packages(t) {
		for _, name := range p.GoFiles {
			text, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			for _, exit := range []string{"os.Exit(", "log.Fatal", "syscall.Exit("} {
				if strings.Contains(string(text), exit) && !(strings.HasPrefix(p.ImportPath, module+"/cmd/") && name == "main.go") {
					t.Errorf("%s/%s calls %s", p.ImportPath, name, exit)
				}
			}
		}
	}
}

func TestNothingIsLeftToDo(t *testing.T) {
	words := [][]byte{[]byte("TO" + "DO"), []byte("FIX" + "ME")}
	files := 0
	err := filepath.WalkDir("..", func(path string, e fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // an editor's, gone meanwhile
			return nil
		case err != nil:
			return err
		case e.IsDir() && (e.Name() == ".git" || e.Name() == "bin" || e.Name() == "vendor"):
			return fs.SkipDir
		case !e.Type().IsRegular() || !slices.Contains([]string{".go", ".scm", ".md", ".sh", ".txt", ".yaml", ""}, filepath.Ext(path)):
			return nil
		}
		text, err := os.ReadFile(path)
		for _, word := range words {
			if bytes.Contains(text, word) {
				t.Errorf("%s: %s", path, word)
			}
		}
		files++
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil || files < 50 {
		t.Errorf("%d files were looked at: %v", files, err)
	}
}

// Guix 1.5.0 packages Go 1.25; go.mod says 1.26 because go-git does. `make lint` runs this, as it type-checks all packages.
func TestLintNothingNewerThanGo125(t *testing.T) {
	check := newGo125(t)
	for _, p := range packages(t) {
		var files []string
		for _, name := range append(p.GoFiles, p.TestGoFiles...) {
			files = append(files, filepath.Join(p.Dir, name))
		}
		for _, m := range check.mistakes(t, p.ImportPath, files, nil) {
			t.Error(m)
		}
	}
}

func TestLintSeesWhatIsNewerThanGo125(t *testing.T) {
	check := newGo125(t)
	for body, want := range map[string]string{
		"_ = new(int)":   "",
		"_ = new(n)":     "requires go1.26",
		"_ = new(n + 1)": "requires go1.26",
		"_, _ = errors.AsType[*fs.PathError](nil)":           "errors.AsType came after Go 1.25",
		"_ = errors.AsType[*fs.PathError]":                   "errors.AsType came after Go 1.25",
		"_, _ = new(bytes.Buffer).Peek(1)":                   "bytes.Buffer.Peek came after Go 1.25",
		"var b struct{ *bytes.Buffer }; b.Peek(1)":           "bytes.Buffer.Peek came after Go 1.25",
		"_ = new(bytes.Buffer).Len()":                        "",
		"_ = tls.ConnectionState{HelloRetryRequest: true}":   "tls.ConnectionState.HelloRetryRequest came after Go 1.25",
		"var s tls.ConnectionState; _ = s.HelloRetryRequest": "tls.ConnectionState.HelloRetryRequest came after Go 1.25",
		"_ = tls.ConnectionState{Version: 1}.Version":        "",
	} {
		file := "package x\nimport (\"bytes\"; \"crypto/tls\"; \"errors\"; \"io/fs\")\nvar _ tls.Config; var _ bytes.Buffer; var _ fs.FS; var _ = errors.New\nfunc f(n int) { " + body + " }\n"
		got := strings.Join(check.mistakes(t, "x", []string{"x.go"}, []byte(file)), "\n")
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", body, got, want)
		}
	}
}

// A go125 checks types as Go 1.25 would, and knows what the standard library got later.
type go125 struct {
	fset     *token.FileSet
	importer types.Importer // of what the compiler exported of each package we use
	newer    map[string]bool
}

func newGo125(t *testing.T) go125 {
	t.Helper()
	args := []string{"list", "-export", "-json=ImportPath,Export", "crypto/tls"} // a test below uses it
	for _, p := range packages(t) {
		for _, imported := range append(p.Imports, p.TestImports...) {
			if imported != "C" && imported != "unsafe" && !slices.Contains(args, imported) {
				args = append(args, imported)
			}
		}
	}
	out, err := exec.Command("go", args...).Output()
	if err != nil {
		t.Fatal(err)
	}
	exports := map[string]string{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct{ ImportPath, Export string }
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		exports[p.ImportPath] = p.Export
	}
	fset := token.NewFileSet()
	exported := importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		if exports[path] == "" {
			return nil, fmt.Errorf("%s: not exported", path)
		}
		return os.Open(exports[path])
	})
	return go125{fset, exported, symbolsAfter(t, 25)}
}

// mistakes names what of a package isn't Go 1.25. Of a single file, src is the text.
func (g go125) mistakes(t *testing.T, path string, files []string, src []byte) (all []string) {
	t.Helper()
	fset := g.fset
	var parsed []*ast.File
	for _, name := range files {
		var text any // parser.ParseFile takes no typed nil
		if src != nil {
			text = src
		}
		f, err := parser.ParseFile(fset, name, text, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, f)
	}
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}, Selections: map[*ast.SelectorExpr]*types.Selection{}, Types: map[ast.Expr]types.TypeAndValue{}}
	cfg := types.Config{
		GoVersion: "go1.25",
		Importer:  g.importer,
		Error:     func(err error) { all = append(all, err.Error()) },
	}
	_, _ = cfg.Check(path, fset, parsed, info) // Error was told
	for id, used := range info.Uses {
		if name := symbolOf(used); g.newer[name] {
			all = append(all, fmt.Sprintf("%s: %s came after Go 1.25", fset.Position(id.Pos()), name))
		}
	}
	field := func(owner types.Type, id *ast.Ident) {
		if named, is := deref(owner).(*types.Named); is && named.Obj().Pkg() != nil {
			if name := named.Obj().Pkg().Path() + "." + named.Obj().Name() + "." + id.Name; g.newer[name] {
				all = append(all, fmt.Sprintf("%s: %s came after Go 1.25", fset.Position(id.Pos()), name))
			}
		}
	}
	for sel, s := range info.Selections {
		if s.Kind() == types.FieldVal {
			field(s.Recv(), sel.Sel)
		}
	}
	for e, t := range info.Types {
		literal, is := e.(*ast.CompositeLit)
		if !is {
			continue
		}
		for _, el := range literal.Elts {
			if pair, is := el.(*ast.KeyValueExpr); is {
				if key, is := pair.Key.(*ast.Ident); is {
					field(t.Type, key)
				}
			}
		}
	}
	return all
}

// symbolOf is bytes.NewBuffer, or bytes.Buffer.Len of a method.
func symbolOf(o types.Object) string {
	if o.Pkg() == nil {
		return ""
	}
	if f, is := o.(*types.Func); is && f.Signature().Recv() != nil {
		if owner, is := deref(f.Signature().Recv().Type()).(*types.Named); is {
			return o.Pkg().Path() + "." + owner.Obj().Name() + "." + o.Name()
		}
		return ""
	}
	if o.Parent() != o.Pkg().Scope() {
		return ""
	}
	return o.Pkg().Path() + "." + o.Name()
}

func deref(t types.Type) types.Type {
	if p, is := types.Unalias(t).(*types.Pointer); is {
		t = p.Elem()
	}
	return types.Unalias(t)
}

var deprecated = regexp.MustCompile(`(?m)^.* //deprecated.*$`)

var symbol = regexp.MustCompile(`(?m)^pkg (\S+)(?: \([^)]*\))?, (?:(?:func|const|var) (\w+)|method \(\*?(\w+)(?:\[[^\]]*\])?\) (\w+)|type (\w+) (?:struct|interface), (\w+)|type (\w+) )`)

// symbolsAfter is what the releases of Go after 1.minor added, as their own lists say.
func symbolsAfter(t *testing.T, minor int) map[string]bool {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	symbols := map[string]bool{}
	for minor++; ; minor++ {
		text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(root)), "api", fmt.Sprintf("go1.%d.txt", minor)))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range symbol.FindAllStringSubmatch(deprecated.ReplaceAllString(string(text), ""), -1) {
			name := m[1] + "." + m[2] + m[3] + m[5] + m[7]
			if member := m[4] + m[6]; member != "" {
				name += "." + member
			}
			symbols[name] = true
		}
	}
	if !symbols["errors.AsType"] || !symbols["bytes.Buffer.Peek"] {
		t.Fatalf("of %d symbols none is errors.AsType: are Go's lists read rightly?", len(symbols))
	}
	return symbols
}
