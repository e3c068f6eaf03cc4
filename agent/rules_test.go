package agent

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "example.org/collie"

// A pkg is what `go list` says of one of our packages.
type pkg struct {
	ImportPath, Dir      string
	Imports              []string
	GoFiles, TestGoFiles []string
	Doc                  string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,Imports,GoFiles,TestGoFiles,Doc", module+"/...").Output()
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
		"agent":        {"agent/api", "agent/crash", "agent/source", "guix", "manifests", "shepherd"},
		"agent/api":    nil,
		"agent/crash":  nil,
		"agent/source": {"agent/crash"},
		"cmd/collie":   {"agent", "agent/api", "guix"},
		"guix":         {"agent/crash", "shepherd"},
		"guix/lab":     nil,
		"manifests":    {"agent/crash"},
		"shepherd":     nil,
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

// Guix 1.5.0 packages Go 1.25; go.mod says 1.26 because go-git does.
func TestNothingNewerThanGo125(t *testing.T) {
	newer := symbolsSince(t, "go1.26.txt")
	for _, p := range packages(t) {
		for _, name := range append(p.GoFiles, p.TestGoFiles...) {
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			paths := map[string]string{} // by the name in this file
			for _, i := range f.Imports {
				path, _ := strconv.Unquote(i.Path.Value)
				local := path[strings.LastIndexByte(path, '/')+1:]
				if i.Name != nil {
					local = i.Name.Name
				}
				paths[local] = path
			}
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.SelectorExpr:
					if x, is := n.X.(*ast.Ident); is && newer[paths[x.Name]+"."+n.Sel.Name] {
						t.Errorf("%s: %s.%s came with Go 1.26", fset.Position(n.Pos()), paths[x.Name], n.Sel.Name)
					}
				case *ast.CallExpr:
					if f, is := n.Fun.(*ast.Ident); is && f.Name == "new" && len(n.Args) == 1 {
						switch n.Args[0].(type) {
						case *ast.BasicLit, *ast.CallExpr, *ast.BinaryExpr, *ast.UnaryExpr, *ast.CompositeLit:
							t.Errorf("%s: new with a value came with Go 1.26", fset.Position(n.Pos()))
						}
					}
				}
				return true
			})
		}
	}
}

// A type's new methods and fields come after one more comma.
var symbol = regexp.MustCompile(`(?m)^pkg (\S+), (?:(?:func|const|var) (\w+)|type (\w+) [^\s,]+(?: \{.*\})? #)`)

// symbolsSince are the functions, types and values that a release of Go added, as its own list says.
func symbolsSince(t *testing.T, list string) map[string]bool {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(root)), "api", list))
	if err != nil {
		t.Fatalf("what Go added isn't known: %v", err)
	}
	symbols := map[string]bool{}
	for _, m := range symbol.FindAllStringSubmatch(string(text), -1) {
		symbols[m[1]+"."+m[2]+m[3]] = true
	}
	if !symbols["errors.AsType"] {
		t.Fatalf("%s doesn't name errors.AsType: is it read rightly?", list)
	}
	return symbols
}
