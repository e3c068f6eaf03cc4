package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

const longestBuild = 10 * time.Minute

// A pkg is what `go list` says of a package.
type pkg struct {
	ImportPath, Dir                    string
	GoFiles, TestGoFiles, XTestGoFiles []string
}

func (g gopher) list(ctx context.Context, patterns []string) (all []pkg, err error) {
	out, err := g.do(ctx, append([]string{"list", "-json=ImportPath,Dir,GoFiles,TestGoFiles,XTestGoFiles"}, patterns...)...)
	if err != nil {
		return nil, fmt.Errorf("go list: %w\n%s", err, out)
	}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		all = append(all, p)
	}
}

func (p pkg) tested() bool { return len(p.TestGoFiles)+len(p.XTestGoFiles) > 0 }

// A condition is that of an `if`.
type condition struct {
	pkg        string
	file       string
	line       int
	start, end int // in the file
	text       string
}

func (p pkg) conditions() (all []condition, err error) {
	for _, name := range p.GoFiles {
		file := filepath.Join(p.Dir, name)
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, file, text, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if n, is := n.(*ast.IfStmt); is {
				start, end := fset.Position(n.Cond.Pos()), fset.Position(n.Cond.End())
				all = append(all, condition{p.ImportPath, file, start.Line, start.Offset, end.Offset, string(text[start.Offset:end.Offset])})
			}
			return true
		})
	}
	return all, nil
}

func (c condition) String() string {
	file := c.file
	if here, err := os.Getwd(); err == nil {
		if short, err := filepath.Rel(here, file); err == nil && filepath.IsLocal(short) {
			file = short
		}
	}
	return fmt.Sprintf("%s:%d: if %s", file, c.line, strings.Join(strings.Fields(c.text), " "))
}

// green runs the unchanged tests: if they fail anyway, no conclusion is possible. Skipped tests are printed.
func (g gopher) green(ctx context.Context, chosen []condition, out io.Writer) error {
	var packages []string
	for _, c := range chosen {
		packages = append(packages, c.pkg)
	}
	slices.Sort(packages)
	said, err := g.do(ctx, append([]string{"test", "-v", "-vet=off", "-timeout", g.limit.String()}, slices.Compact(packages)...)...)
	if err != nil {
		return fmt.Errorf("the tests fail as they are: %w\n%s", err, failures(said))
	}
	for line := range bytes.Lines(said) {
		if test, is := bytes.CutPrefix(bytes.TrimSpace(line), []byte("--- SKIP: ")); is {
			fmt.Fprintf(out, "skipped: %s\n", test)
		}
	}
	return nil
}

var failure = regexp.MustCompile(`(?m)^(\s*--- FAIL|panic: |FAIL\t|# )`)

// failures are the lines that say what failed, for a person.
func failures(said []byte) []byte {
	if at := failure.FindIndex(said); at != nil {
		said = said[at[0]:]
	}
	return said[:min(len(said), 4000)]
}

// An outcome is what became of a condition that was turned off.
type outcome string

const (
	caught   outcome = "caught"
	survived outcome = "survived"
	notMade  outcome = "not made, as it doesn't compile"
)

// without runs the tests of c's package with c turned to false. The names in c are still used, so it compiles.
func (g gopher) without(ctx context.Context, c condition) (outcome, error) {
	text, err := os.ReadFile(c.file)
	if err != nil {
		return "", err
	}
	if len(text) < c.end || string(text[c.start:c.end]) != c.text {
		return "", errors.New("the file was changed meanwhile")
	}
	tmp, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	mutant, overlay := filepath.Join(tmp, "mutant.go"), filepath.Join(tmp, "overlay.json")
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{c.file: mutant}})
	if err != nil {
		return "", err
	}
	changed := slices.Concat(text[:c.start], []byte("false && ("), text[c.start:c.end], []byte(")"), text[c.end:])
	if err := errors.Join(os.WriteFile(mutant, changed, 0o600), os.WriteFile(overlay, replace, 0o600)); err != nil {
		return "", err
	}
	said, err := g.do(ctx, "test", "-count=1", "-failfast", "-vet=off", "-timeout", g.limit.String(), "-overlay", overlay, c.pkg)
	switch {
	case err == nil:
		return survived, nil
	case bytes.Contains(said, []byte("[build failed]")):
		return notMade, nil
	case bytes.Contains(said, []byte("FAIL\t"+c.pkg+"\t")):
		return caught, nil
	}
	return "", fmt.Errorf("go test: %w\n%s", err, said)
}

// A gopher runs go.
type gopher struct {
	dir   string
	limit time.Duration // of the tests of a package; what still runs then hangs, which counts as noticed
}

// do returns what go says.
func (g gopher) do(ctx context.Context, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, g.limit+longestBuild)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = g.dir
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return out, context.Cause(ctx)
	}
	return out, err
}
