package mistake

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"example.org/collie/agent/foreign"
)

// A Document is the one YAML document of a file, decoded into a struct. Its owner adds what values make no sense.
type Document struct {
	file   string
	lines  map[string]int  // of fields, by their names
	astray map[string]bool // fields that have a mistake, or that an unknown key was probably meant to be
	wrong  List
	torn   bool // nothing of it was read
}

// MostText is how many bytes a file may have that Decode reads.
const MostText = 1 << 20

// Decode reads a file into a struct, by the names in its yaml tags. A key that the struct doesn't have, one that is given twice
// and a value of another kind are mistakes. They leave their fields as they were, and hide no other mistake. null is as good as
// an absent key. A type with a method UnmarshalYAML is written as a single value; the text of its error is what is wrong with it.
func Decode(file string, text []byte, into any) *Document {
	d := &Document{file: file, lines: map[string]int{}, astray: map[string]bool{}}
	if len(text) > MostText {
		d.torn, d.wrong = true, List{{File: file, Says: fmt.Sprintf("is larger than %d MiB", MostText>>20)}}
		return d
	}
	roots, wrong := Documents(file, text)
	if wrong != nil {
		d.torn, d.wrong = true, List{wrong}
		return d
	}
	if len(roots) > 0 {
		d.torn = follow(roots[0]).Kind != yaml.MappingNode
		d.value(roots[0], reflect.ValueOf(into).Elem(), "")
	}
	if len(roots) > 1 {
		d.wrong = append(d.wrong, &Error{File: file, Line: roots[1].Line, Says: "holds more than one document", Hint: "remove the line --- and what follows it"})
	}
	return d
}

// Wrong adds a mistake in a field, unless it follows from one that was found before: in the field, around it, or in a part of it.
func (d *Document) Wrong(field, hint, format string, args ...any) {
	if d.torn || d.Astray(field) {
		return
	}
	d.add(field, d.line(field), hint, format, args...)
}

// Astray reports whether any of the fields has a mistake, or an unknown key was probably meant to be it.
func (d *Document) Astray(fields ...string) bool {
	for at := range d.astray {
		for _, field := range fields {
			if at == field || within(at, field) || within(field, at) {
				return true
			}
		}
	}
	return false
}

// within reports whether a field is a part of another one.
func within(part, field string) bool {
	rest, is := strings.CutPrefix(part, field)
	return is && (strings.HasPrefix(rest, ".") || strings.HasPrefix(rest, "["))
}

// Mistakes are all that were found, by line.
func (d *Document) Mistakes() List { return d.wrong.Sorted() }

// line is that of a field, or of the part of its name that the file has.
func (d *Document) line(field string) int {
	for {
		if line := d.lines[field]; line > 0 {
			return line
		}
		i := strings.LastIndexAny(field, ".[")
		if i < 0 {
			return 0
		}
		field = field[:i]
	}
}

const (
	mostFound = 1000 // mistakes in a file
	mostWord  = 60   // characters that are quoted of a file
	mostField = 200  // characters of a field's name
	mostSays  = 500  // characters of what is wrong
)

func (d *Document) add(field string, line int, hint, format string, args ...any) {
	if field != "" {
		d.astray[field] = true
	}
	if len(d.wrong) < mostFound {
		d.wrong = append(d.wrong, &Error{d.file, line, foreign.Line(field, mostField), foreign.Line(fmt.Sprintf(format, args...), mostSays), hint})
	}
}

var unmarshaler = reflect.TypeFor[yaml.Unmarshaler]()

func (d *Document) value(n *yaml.Node, into reflect.Value, field string) {
	line := n.Line
	n = follow(n)
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return
	}
	kind := into.Kind()
	if reflect.PointerTo(into.Type()).Implements(unmarshaler) {
		kind = reflect.String
	}
	switch {
	case kind == reflect.Struct && n.Kind == yaml.MappingNode:
		d.object(n, into, field)
	case kind == reflect.Map && n.Kind == yaml.MappingNode:
		d.entries(n, into, field)
	case kind == reflect.Slice && n.Kind == yaml.SequenceNode:
		for i, item := range n.Content {
			at := fmt.Sprintf("%s[%d]", field, i)
			d.lines[at] = item.Line
			one := reflect.New(into.Type().Elem()).Elem()
			d.value(item, one, at)
			into.Set(reflect.Append(into, one))
		}
	case kind == reflect.Struct, kind == reflect.Map:
		d.add(field, line, "", "must hold keys and values, not %s", called(n))
	case kind == reflect.Slice:
		d.add(field, line, "write [a, b], or each item on a line of its own that begins with '- '", "must be a list, not %s", called(n))
	case n.Kind != yaml.ScalarNode:
		d.add(field, line, "", "must be a single value, not %s", called(n))
	default:
		d.scalar(n, into, field, line)
	}
}

func (d *Document) scalar(n *yaml.Node, into reflect.Value, field string, line int) {
	err := n.Decode(into.Addr().Interface())
	if err == nil {
		return
	}
	says, hint := err.Error(), ""
	if library := new(yaml.TypeError); errors.As(err, &library) || strings.HasPrefix(says, "yaml: ") {
		word := fmt.Sprintf("%q", foreign.Line(n.Value, mostWord))
		switch into.Kind() {
		case reflect.Bool:
			says, hint = word+" is neither true nor false", "write true or false, without quotes"
		case reflect.Int, reflect.Int64:
			says = word + " is no whole number"
		default:
			says = word + " can't be read"
		}
	}
	d.add(field, line, hint, "%s", says)
}

// A pair is a key of a map and its value.
type pair struct {
	key   string
	line  int
	value *yaml.Node
}

// pairs are those of a map, with what it merges by <<: what is said outright wins, then what is merged first.
func (d *Document) pairs(n *yaml.Node, field string) []pair {
	var all, merged []pair
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value, line := follow(n.Content[i]), n.Content[i+1], n.Content[i].Line
		switch was, twice := first[key.Value]; {
		case key.Kind != yaml.ScalarNode:
			d.add(field, line, "", "a key must be a word, not %s", called(key))
		case key.ShortTag() == "!!merge":
			merged = append(merged, d.merged(value, field)...)
		case twice:
			d.add(below(field, key.Value), line, "leave one of them", "is given twice, first in line %d", was)
		default:
			first[key.Value] = line
			all = append(all, pair{key.Value, line, value})
		}
	}
	for _, m := range merged {
		if first[m.key] == 0 {
			first[m.key] = m.line
			all = append(all, m)
		}
	}
	return all
}

func (d *Document) merged(n *yaml.Node, field string) (all []pair) {
	line := n.Line
	n = follow(n)
	switch {
	case n.Kind == yaml.MappingNode:
		return d.pairs(n, field)
	case n.Kind == yaml.SequenceNode && !slices.ContainsFunc(n.Content, func(n *yaml.Node) bool { return n.Kind == yaml.SequenceNode }):
		for _, item := range n.Content {
			all = append(all, d.merged(item, field)...)
		}
		return all
	}
	d.add(field, line, "", "<< can only merge keys and values")
	return nil
}

// below is the name of a field in another one.
func below(field, key string) string {
	if field == "" {
		return key
	}
	return field + "." + key
}

func (d *Document) object(n *yaml.Node, into reflect.Value, field string) {
	fields := map[string]reflect.Value{}
	names := fieldsOf(into, fields)
	for _, p := range d.pairs(n, field) {
		at := below(field, p.key)
		value, known := fields[p.key]
		if known {
			d.lines[at] = p.line
			d.value(p.value, value, at)
			continue
		}
		meant, hint := "", ""
		if len(d.wrong) < mostFound { // a guess takes time, and nobody would read it
			meant, hint = Guess(p.key, names)
		}
		switch {
		case meant != "":
			d.astray[below(field, meant)] = true
		case len(names) <= mostNames:
			hint = "the keys here are " + strings.Join(names, ", ")
		}
		d.add(at, p.line, hint, "there is no such key")
	}
}

// mostNames is how many keys a hint lists.
const mostNames = 12

// fieldsOf gathers the fields of a struct by the names that a file has for them, and returns these names in their order.
func fieldsOf(v reflect.Value, into map[string]reflect.Value) (names []string) {
	for i := range v.NumField() {
		name, inline, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		switch {
		case inline == "inline":
			names = append(names, fieldsOf(v.Field(i), into)...)
		case name != "":
			names = append(names, name)
			into[name] = v.Field(i)
		}
	}
	return names
}

// entries reads a map with free keys.
func (d *Document) entries(n *yaml.Node, into reflect.Value, field string) {
	into.Set(reflect.MakeMap(into.Type()))
	for _, p := range d.pairs(n, field) {
		at := below(field, p.key)
		d.lines[at] = p.line
		one := reflect.New(into.Type().Elem()).Elem()
		d.value(p.value, one, at)
		into.SetMapIndex(reflect.ValueOf(p.key), one)
	}
}

// follow is what an alias stands for.
func follow(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias // which is none itself
	}
	return n
}

// called names a node's shape in the user's words.
func called(n *yaml.Node) string {
	switch n.Kind {
	case yaml.SequenceNode:
		return "a list"
	case yaml.MappingNode:
		return "keys and values"
	}
	return "a single value"
}
