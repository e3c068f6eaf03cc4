package rollout

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// undrawn are the methods that end a phase beside the arrows.
var undrawn = map[string]string{
	"dropTarget": "a target was lost: lost.go has the table, and design.md the row",
}

// The drawing of the phases in docs/design.md has the phases of the code, and each arrow the method that takes it.
func TestThePhasesAreAsTheyAreDrawn(t *testing.T) {
	text, err := os.ReadFile("../../docs/design.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Phases\n")
	section, _, _ = strings.Cut(section, "\n## ")
	_, rest, _ := strings.Cut(section, "\n```\n")
	drawing, below, _ := strings.Cut(rest, "\n```\n")
	drawn, labels, arrows := read(drawing)
	if len(arrows) < 5 || len(labels) < 5 {
		t.Fatalf("in the drawing are the arrows %v with the labels %q", arrows, labels)
	}
	code := readMethods(t)
	want := []string{}
	for _, p := range code.phases {
		want = append(want, p.String())
	}
	slices.Sort(want)
	if !slices.Equal(drawn, want) {
		t.Errorf("drawn are the phases %q, and the code has %q", drawn, want)
	}
	for _, label := range labels {
		if len(code.leadsTo(label, labels)) == 0 {
			t.Errorf("an arrow is named %s, and no method of the conductor's takes one by that name", label)
		}
	}
	for name, m := range code.methods {
		if len(m.sets) > 0 && !slices.Contains(labels, name) && undrawn[name] == "" && !code.isPartOf(name, labels) {
			t.Errorf("%s leads to %v, and is no arrow", name, m.sets)
		}
	}
	for name := range undrawn {
		if len(code.methods[name].sets) == 0 || slices.Contains(labels, name) {
			t.Errorf("%s needs no exception", name)
		}
	}
	for _, a := range arrows {
		for _, label := range a.labels {
			if to := code.leadsTo(label, labels); !slices.ContainsFunc(to, func(p phase) bool { return p.String() == a.to }) {
				t.Errorf("%s is drawn from %s to %s, and leads to %v", label, a.from, a.to, to)
			}
		}
	}

	rows := regexp.MustCompile("(?m)^\\| (`[^|]*`) \\|").FindAllStringSubmatch(below, -1)
	if len(rows) < 5 {
		t.Errorf("%d methods stand in the table below the drawing", len(rows))
	}
	for _, row := range rows {
		for name := range strings.SplitSeq(row[1], ", ") {
			if _, is := code.methods[strings.Trim(name, "`")]; !is {
				t.Errorf("%s isn't a method of the conductor", name)
			}
		}
	}
}

// An arrow is one from left to right, with the methods above it.
type arrow struct {
	from, to string
	labels   []string
}

var (
	piece      = regexp.MustCompile(`[^\s─│┌┐└┘┴┼┬├┤►▲▼]+(?: [^\s─│┌┐└┘┴┼┬├┤►▲▼]+)*`)
	horizontal = regexp.MustCompile(`([A-Z][a-z]+(?: [a-z]+)?) (─+►) `)
)

// read returns the phases and labels of a drawing, each once, and those arrows that lie. A label is one word, or several with
// commas; a phase begins with a capital; all else is a remark.
func read(drawing string) (phases, labels []string, arrows []arrow) {
	above := ""
	for line := range strings.Lines(drawing) {
		line = strings.TrimRight(line, "\n")
		for _, words := range piece.FindAllString(line, -1) {
			for word := range strings.SplitSeq(words, ", ") {
				switch {
				case word[0] >= 'A' && word[0] <= 'Z':
					phases = append(phases, strings.ToLower(word))
				case !strings.Contains(word, " "):
					labels = append(labels, word)
				}
			}
		}
		for _, at := range horizontal.FindAllStringSubmatchIndex(line, -1) {
			a := arrow{from: strings.ToLower(line[at[2]:at[3]]), to: strings.ToLower(piece.FindString(line[at[1]:]))}
			for _, words := range piece.FindAllStringIndex(above, -1) {
				if column(above, words[0]) < column(line, at[5]) && column(above, words[1]) > column(line, at[4]) {
					_, named, _ := read(above[words[0]:words[1]])
					a.labels = append(a.labels, named...)
				}
			}
			arrows = append(arrows, a)
		}
		above = line
	}
	return slices.Compact(slices.Sorted(slices.Values(phases))), slices.Compact(slices.Sorted(slices.Values(labels))), arrows
}

func column(line string, at int) int { return utf8.RuneCountInString(line[:at]) }

// methods are those of the conductor.
type methods struct {
	phases  map[string]phase // by the name of the constant
	methods map[string]method
}

type method struct {
	sets  []phase
	calls []string
}

func readMethods(t *testing.T) methods {
	t.Helper()
	all := methods{map[string]phase{"idle": idle, "switching": switching, "soaking": soaking, "rollingBack": rollingBack, "stuck": stuck}, map[string]method{}}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	constants := 0
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), e.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if spec, is := n.(*ast.ValueSpec); is {
				if kind, is := spec.Type.(*ast.Ident); is && kind.Name == "phase" {
					constants += len(spec.Names)
				}
			}
			return true
		})
		for _, d := range f.Decls {
			f, is := d.(*ast.FuncDecl)
			if !is || f.Recv == nil {
				continue
			}
			if star, is := f.Recv.List[0].Type.(*ast.StarExpr); is {
				if owner, is := star.X.(*ast.Ident); is && owner.Name == "Conductor" {
					all.methods[f.Name.Name] = all.read(f)
				}
			}
		}
	}
	if constants != len(all.phases) {
		t.Fatalf("the code has %d phases, and this test %d", constants, len(all.phases))
	}
	return all
}

// read finds which phases a method sets: State.phase says what follows from Rollout and Stuck.
func (all methods) read(f *ast.FuncDecl) (m method) {
	add := func(field, value ast.Expr) {
		name := ""
		switch field := field.(type) {
		case *ast.SelectorExpr:
			name = field.Sel.Name
		case *ast.Ident: // in a literal
			name = field.Name
		}
		word, _ := value.(*ast.Ident)
		switch {
		case name == "Phase" && word != nil && all.phases[word.Name] != "":
			m.sets = append(m.sets, all.phases[word.Name])
		case (name == "Rollout" || name == "Stuck") && word != nil && word.Name == "nil":
			m.sets = append(m.sets, idle)
		case name == "Stuck":
			m.sets = append(m.sets, stuck)
		}
	}
	ast.Inspect(f.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for i := range n.Lhs {
				if len(n.Lhs) == len(n.Rhs) {
					add(n.Lhs[i], n.Rhs[i])
				}
			}
		case *ast.KeyValueExpr:
			add(n.Key, n.Value)
		case *ast.SelectorExpr:
			if x, is := n.X.(*ast.Ident); is && x.Name == "c" {
				m.calls = append(m.calls, n.Sel.Name)
			}
		}
		return true
	})
	if slices.Contains(m.sets, stuck) { // which ends the rollout too
		m.sets = []phase{stuck}
	}
	return m
}

// leadsTo are the phases that a method sets, itself or by another that is no arrow.
func (all methods) leadsTo(name string, arrows []string) []phase {
	found := map[phase]bool{}
	seen := map[string]bool{}
	var follow func(string)
	follow = func(name string) {
		seen[name] = true
		for _, p := range all.methods[name].sets {
			found[p] = true
		}
		for _, called := range all.methods[name].calls {
			if _, is := all.methods[called]; is && !seen[called] && !slices.Contains(arrows, called) && undrawn[called] == "" {
				follow(called)
			}
		}
	}
	follow(name)
	return slices.Sorted(maps.Keys(found))
}

// isPartOf reports whether only arrows call a method, themselves or by others that only they call.
func (all methods) isPartOf(name string, arrows []string) bool {
	called := false
	for caller, m := range all.methods {
		if caller == name || !slices.Contains(m.calls, name) {
			continue
		}
		if called = true; !slices.Contains(arrows, caller) && !all.isPartOf(caller, arrows) {
			return false
		}
	}
	return called
}
