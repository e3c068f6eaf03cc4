package mistake

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

type sample struct {
	Name   string             `yaml:"name"`
	Many   []string           `yaml:"many"`
	Count  int                `yaml:"count"`
	On     bool               `yaml:"on"`
	Colour colour             `yaml:"colour"`
	By     map[string]smaller `yaml:"by"`
	In     struct {
		smaller `yaml:",inline"`
		Others  []smaller `yaml:"others"`
	} `yaml:"in"`
}

type smaller struct {
	Size  int    `yaml:"size"`
	Shape string `yaml:"shape"`
}

type colour string

func (c *colour) UnmarshalYAML(n *yaml.Node) error {
	if n.Value != "red" && n.Value != "blue" {
		return errors.New("is neither red nor blue")
	}
	*c = colour(n.Value)
	return nil
}

func TestDecode(t *testing.T) {
	got := sample{Name: "was", Count: 7}
	doc := Decode("a.yaml", []byte("name: ~\nmany: [x, y]\non: true\ncolour: red\nby:\n  a.b: &small {size: 1}\nin:\n  <<: *small\n  shape: round\n  others: [*small, {<<: [*small, {shape: flat}], size: 2}]\n"), &got)
	if wrong := doc.Mistakes(); len(wrong) > 0 {
		t.Fatal(wrong)
	}
	want := sample{Name: "was", Many: []string{"x", "y"}, Count: 7, On: true, Colour: "red", By: map[string]smaller{"a.b": {Size: 1}}}
	want.In.smaller, want.In.Others = smaller{1, "round"}, []smaller{{Size: 1}, {2, "flat"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestDecodeFindsAllMistakes(t *testing.T) {
	for name, row := range map[string]struct{ text, want string }{
		"empty":                     {"# nothing\n", ""},
		"keys":                      {"nmae: a\nON: true\nin: {shap: x, hidden: 1}\nby: {x: {sise: 2}}\n", "a.yaml:1: nmae: there is no such key\n  hint: did you mean name?\na.yaml:2: ON: there is no such key\n  hint: upper and lower case differ: on\na.yaml:3: in.shap: there is no such key\n  hint: did you mean shape?\na.yaml:3: in.hidden: there is no such key\n  hint: the keys here are size, shape, others\na.yaml:4: by.x.sise: there is no such key\n  hint: did you mean size?"},
		"kinds":                     {"name: [a]\nmany: a\ncount: two\non: 3\ncolour: {}\nby: []\nin: 1\n", "a.yaml:1: name: must be a single value, not a list\na.yaml:2: many: must be a list, not a single value\n  hint: write [a, b], or each item on a line of its own that begins with '- '\na.yaml:3: count: \"two\" is no whole number\na.yaml:4: on: \"3\" is neither true nor false\n  hint: write true or false, without quotes\na.yaml:5: colour: must be a single value, not keys and values\na.yaml:6: by: must hold keys and values, not a list\na.yaml:7: in: must hold keys and values, not a single value"},
		"a type's own word":         {"colour: green\n", "a.yaml:1: colour: is neither red nor blue"},
		"an item":                   {"in:\n  others:\n  - size: 1\n  - size: a\n", "a.yaml:4: in.others[1].size: \"a\" is no whole number"},
		"twice":                     {"on: true\non: true\n", "a.yaml:2: on: is given twice, first in line 1\n  hint: leave one of them"},
		"no map":                    {"hello\n", "a.yaml:1: must hold keys and values, not a single value"},
		"no word for a key":         {"[a]: b\nnmae: x\n", "a.yaml:1: a key must be a word, not a list\na.yaml:2: nmae: there is no such key\n  hint: did you mean name?"},
		"what can't be merged":      {"in:\n  <<: [[a]]\n", "a.yaml:2: in: << can only merge keys and values"},
		"an alias of itself":        {"many: &a [*a]\n", "a.yaml:1: is nested more than 64 levels deep"},
		"a binary":                  {"name: !!binary x\n", "a.yaml:1: name: \"x\" can't be read"},
		"another document":          {"on: maybe\n---\non: true\n", "a.yaml:1: on: \"maybe\" is neither true nor false\n  hint: write true or false, without quotes\na.yaml:3: holds more than one document\n  hint: remove the line --- and what follows it"},
		"syntax":                    {"on: true\n many: [a]\n", "a.yaml:2: a ':' stands where no key can be\n  hint: quote text that holds ': ', or check the indentation"},
		"what a terminal obeys":     {"\"a\\e[31m\": 1\ncount: \"\\e[1m\"\n", "a.yaml:1: a[31m: there is no such key\na.yaml:2: count: \"[1m\" is no whole number"},
		"more than a file may have": {strings.Repeat("#", MostText+1), "a.yaml: is larger than 1 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			got := Decode("a.yaml", []byte(row.text), new(sample)).Mistakes().Error()
			if got = strings.ReplaceAll(got, "\n  hint: the keys here are name, many, count, on, colour, by, in", ""); got != row.want {
				t.Errorf("got\n%s\nwant\n%s", got, row.want)
			}
		})
	}
}

// What follows from a mistake isn't one more.
func TestWrong(t *testing.T) {
	for name, row := range map[string]struct{ text, field, want string }{
		"a field":           {"in:\n  size: 1\n", "in.size", "a.yaml:2: in.size: is small"},
		"one that is away":  {"in:\n  size: 1\n", "in.others[3].size", "a.yaml:1: in.others[3].size: is small"},
		"a key with a dot":  {"by:\n  a: {}\n  a.b: {}\n", "by.a.b", "a.yaml:3: by.a.b: is small"},
		"nothing there":     {"", "in.size", "a.yaml: in.size: is small"},
		"around it":         {"in: 1\n", "in.size", "a.yaml:1: in: must hold keys and values, not a single value"},
		"below it":          {"in: {size: x}\n", "in", "a.yaml:1: in.size: \"x\" is no whole number"},
		"meant":             {"in: {sise: 1}\n", "in.size", "a.yaml:1: in.sise: there is no such key\n  hint: did you mean size?"},
		"another, as named": {"nam: x\n", "name2", "a.yaml: name2: is small\na.yaml:1: nam: there is no such key\n  hint: did you mean name?"},
		"unread":            {"a: [b\n", "in", "a.yaml:1: a list in [ ] isn't closed, or lacks a comma"},
	} {
		t.Run(name, func(t *testing.T) {
			doc := Decode("a.yaml", []byte(row.text), new(sample))
			doc.Wrong(row.field, "", "is %s", "small")
			if got := doc.Mistakes().Error(); got != row.want {
				t.Errorf("got\n%s\nwant\n%s", got, row.want)
			}
		})
	}
}

// Whatever a file holds, each of its mistakes has a place, words of Collie's own, and nothing that a terminal obeys.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		"name: a\nmany: [b]\ncount: 1\non: true\ncolour: red\nby: {a: {size: 1}}\nin: {size: 1, others: [{shape: x}]}\n",
		"in: &a {size: 1}\nby: {x: *a}\n", "many: &a [*a]\n", "<<: {name: a}\n", "? [x]\n: y\n", "---\n---\n", "in:\n\tsize\n", "colour: {a: b}\n", "name: !!binary x\n", "\xff\xfe", "count: 0x10\n", "on: !!bool x\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		lines := strings.Count(string(text), "\n") + 1
		wrong := Decode("a.yaml", text, new(sample)).Mistakes()
		for _, e := range wrong {
			shown := e.Text()
			if e.File != "a.yaml" || e.Line < 1 || e.Line > lines || e.Says == "" || len(shown) > 3000 {
				t.Errorf("no place, no word, or too many: %#v in %d lines", *e, lines)
			}
			if strings.Contains(shown, "yaml: ") || strings.Contains(shown, "unmarshal") || strings.Contains(shown, "mistake.") {
				t.Errorf("the library's words: %q", shown)
			}
			if !utf8.ValidString(shown) || strings.ContainsFunc(shown, func(r rune) bool { return r != '\n' && unicode.IsControl(r) }) {
				t.Errorf("a terminal obeys it: %q", shown)
			}
		}
	})
}
