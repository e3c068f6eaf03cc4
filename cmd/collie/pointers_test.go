package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The table in docs/design.md for newcomers names functions that exist, each in the file that declares it.
func TestDocsAnswerTheFirstQuestions(t *testing.T) {
	const top = "../.."
	_, section, _ := strings.Cut(read(t, filepath.Join(docs, "design.md")), "\n## Where to start reading\n")
	section, _, _ = strings.Cut(section, "\n## ")
	rows := regexp.MustCompile("(?m)^\\|([^|]*)\\|[^|]*\\| `([^`]+)` \\| \\[([^\\]]+)\\]").FindAllStringSubmatch(section, -1)
	var questions []string
	for _, row := range rows {
		if question := strings.TrimSpace(row[1]); question != "" {
			questions = append(questions, question)
		}
		function, file := row[2], row[3]
		if declares(t, filepath.Join(top, file), function) {
			continue
		}
		t.Errorf("docs/design.md, \"Where to start reading\": %s doesn't declare %s; these files do: %v. Change the table",
			file, function, declarers(t, top, function))
	}
	for _, want := range []string{"Where is a pod replaced?", "Where is a commit refused?", "Where is a roll-back decided?"} {
		if !slices.Contains(questions, want) {
			t.Errorf("docs/design.md, \"Where to start reading\" has no row for %q", want)
		}
	}
	if rows := strings.Count(section, "\n|") - 2; rows != strings.Count(section, "](../") {
		t.Errorf("docs/design.md, \"Where to start reading\": %d rows, but %d links to files", rows, strings.Count(section, "](../"))
	}
}

// declares reports whether a Go file declares a function: name, or (*Type).name.
func declares(t *testing.T, file, function string) bool {
	if _, err := os.Stat(file); err != nil {
		return false // as when it moved
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(parsed.Decls, func(d ast.Decl) bool {
		f, is := d.(*ast.FuncDecl)
		return is && nameOfFunction(f) == function
	})
}

func nameOfFunction(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return f.Name.Name
	}
	if star, is := f.Recv.List[0].Type.(*ast.StarExpr); is {
		if of, is := star.X.(*ast.Ident); is {
			return "(*" + of.Name + ")." + f.Name.Name
		}
	}
	if of, is := f.Recv.List[0].Type.(*ast.Ident); is {
		return of.Name + "." + f.Name.Name
	}
	return f.Name.Name
}

// declarers are the files below top that declare a function.
func declarers(t *testing.T, top, function string) (files []string) {
	eachSource(t, top, func(file string) {
		if strings.HasSuffix(file, ".go") && !strings.HasSuffix(file, "_test.go") && declares(t, filepath.Join(top, file), function) {
			files = append(files, file)
		}
	})
	return files
}

// eachSource visits the files of the folders that hold source.
func eachSource(t *testing.T, top string, visit func(file string)) {
	for _, folder := range []string{"agent", "cmd", "guix", "manifests", "shepherd"} {
		err := filepath.WalkDir(filepath.Join(top, folder), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			file, err := filepath.Rel(top, path)
			visit(file)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A fact that the source cites is there: (docs/facts/PAGE.md, "WORDS") leads to a bullet of that page with those words.
func TestDocsHaveTheFactsThatAreCited(t *testing.T) {
	const top = "../.."
	var (
		mention = regexp.MustCompile(`\bfacts/\w+\.md`)
		cited   = regexp.MustCompile(`\bdocs/facts/(\w+\.md), "([^"]+)"`)
		margin  = regexp.MustCompile(`\n\s*(?://|;+|#)?\s*`)
		citing  int
	)
	eachSource(t, top, func(file string) {
		if !slices.Contains([]string{".go", ".scm", ".txt", ".sh", ""}, filepath.Ext(file)) || strings.HasSuffix(file, "pointers_test.go") {
			return
		}
		text := margin.ReplaceAllString(read(t, filepath.Join(top, file)), " ") // a comment may break a line in between
		all := cited.FindAllStringSubmatch(text, -1)
		if mentions := mention.FindAllString(text, -1); len(mentions) != len(all) {
			t.Errorf("%s cites %d of %d facts as (docs/facts/PAGE.md, \"WORDS OF A BULLET\")", file, len(all), len(mentions))
		}
		for _, m := range all {
			citing++
			page := filepath.Join(docs, "facts", m[1])
			if _, err := os.Stat(page); err != nil {
				t.Errorf("%s cites docs/facts/%s: there is no such page", file, m[1])
				continue
			}
			if !slices.ContainsFunc(bullets(read(t, page)), func(b string) bool { return strings.Contains(b, m[2]) }) {
				t.Errorf("%s cites docs/facts/%s, %q: no bullet there has these words", file, m[1], m[2])
			}
		}
	})
	if citing == 0 {
		t.Error("nothing cites a fact: is this looking in the right place?")
	}
}

// bullets are the list items of a page, each in one line.
func bullets(page string) (all []string) {
	for _, item := range strings.Split("\n"+page, "\n* ")[1:] {
		item, _, _ = strings.Cut(item, "\n\n")
		all = append(all, strings.Join(strings.Fields(item), " "))
	}
	return all
}
