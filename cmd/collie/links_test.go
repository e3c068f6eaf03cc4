package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	link      = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading   = regexp.MustCompile(`(?m)^#+ (.*)$`)
	notInLink = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// Each link of a page leads to a file that exists, and to a heading in it.
func TestLinksLeadSomewhere(t *testing.T) {
	const top = "../.."
	pages := []string{"README.md", "guix/lab/README.md", "docs/examples/README.md"}
	more, err := filepath.Glob(filepath.Join(docs, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range more {
		pages = append(pages, filepath.Join("docs", filepath.Base(page)))
	}
	for _, page := range pages {
		text, err := os.ReadFile(filepath.Join(top, page))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			file, anchor, _ := strings.Cut(m[1], "#")
			target := filepath.Join(top, page)
			if file != "" {
				target = filepath.Join(top, filepath.Dir(page), file)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %s: there is no such file", page, m[1])
				continue
			}
			if anchor != "" && !slices.Contains(anchors(t, target), anchor) {
				t.Errorf("%s: %s: there is no such heading", page, m[1])
			}
		}
	}
}

// Each test that the page on security names is there.
func TestAttacksAreTests(t *testing.T) {
	const top = "../.."
	page, err := os.ReadFile(filepath.Join(docs, "security.md"))
	if err != nil {
		t.Fatal(err)
	}
	var code []byte
	for _, folder := range []string{"agent", "cmd", "guix", "manifests", "shepherd"} {
		err := filepath.WalkDir(filepath.Join(top, folder), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			code = append(code, text...)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	named := regexp.MustCompile("`((?:Test|Fuzz)\\w+|\\w+\\.txt)`").FindAllStringSubmatch(string(page), -1)
	if len(named) == 0 {
		t.Error("it names none")
	}
	for _, m := range named {
		if script, is := strings.CutSuffix(m[1], ".txt"); is {
			if _, err := os.Stat(filepath.Join(top, "guix/lab/testdata", script+".txt")); err != nil {
				t.Errorf("%s: there is no such script", m[1])
			}
		} else if !bytes.Contains(code, []byte("\nfunc "+m[1]+"(")) {
			t.Errorf("%s: there is no such test", m[1])
		}
	}
}

// anchors returns what the headings of a page are called in a link, as forges do it.
func anchors(t *testing.T, page string) []string {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, m := range heading.FindAllStringSubmatch(string(text), -1) {
		all = append(all, strings.ReplaceAll(notInLink.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return all
}

// README.md is the first thing that a person reads, so it stays short.
func TestReadmeIsShort(t *testing.T) {
	const limit = 10_000
	info, err := os.Stat("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > limit {
		t.Errorf("README.md has %d bytes, more than %d: move what it explains to docs/", info.Size(), limit)
	}
}
