package manifests

import (
	"slices"

	"gopkg.in/yaml.v3"
)

// A class says what becomes of a kind or a field.
type class int

const (
	supported   class = iota
	noted             // has no meaning on one machine: passes with a note, and is left out of the pod
	unsupported       // a pod would behave otherwise than its author expects
)

// A kindRow is one row of the table of kinds.
type kindRow struct {
	name, version string
	class         class
	form          *form  // of supported ones
	says, hint    string // of the others
}

// A fieldRow is one row of the table of fields.
type fieldRow struct {
	name  string
	class class
	must  bool
	form  *form  // nil: anything
	says  string // of the other two classes
	hint  string
}

// A form says what a value must be: a scalar, a list, an object with known fields, or a map with free keys.
type form struct {
	is     string                                       // a scalar, in the user's words
	scalar func(*yaml.Node) (v any, wrong, hint string) // the value, or what is wrong with it
	items  *form                                        // of a list
	values *form                                        // of a map
	key    func(string) string                          // what is wrong with a map's key
	fields []fieldRow                                   // of an object
	one    []string                                     // of these fields an object has exactly one
	none   bool                                         // or none
	some   bool                                         // a list that mustn't be empty
}

// Known reports whether objects of a kind may be in a revision.
func Known(kind string) bool {
	return slices.ContainsFunc(kinds, func(k kindRow) bool { return k.name == kind && k.class == supported })
}

func (f *form) field(name string) *fieldRow {
	for i := range f.fields {
		if f.fields[i].name == name {
			return &f.fields[i]
		}
	}
	return nil
}

// Building blocks of the table.

func must(name string, f *form) fieldRow { return fieldRow{name: name, form: f, must: true} }
func may(name string, f *form) fieldRow  { return fieldRow{name: name, form: f} }

func pass(name, says string) fieldRow { return fieldRow{name: name, class: noted, says: says} }
func refuse(name, says, hint string) fieldRow {
	return fieldRow{name: name, class: unsupported, says: says, hint: hint}
}

// passChecked is a noted field whose value is checked nevertheless: it will get a meaning.
func passChecked(name string, f *form, says string) fieldRow {
	return fieldRow{name: name, class: noted, form: f, says: says}
}

func objectOf(fields ...fieldRow) *form { return &form{fields: fields} }
func listOf(items *form) *form          { return &form{items: items} }
func someOf(items *form) *form          { return &form{items: items, some: true} }

func oneOf(f *form, names ...string) *form {
	f.one = names
	return f
}

func oneAtMost(f *form, names ...string) *form {
	f.one, f.none = names, true
	return f
}

// withRows is f with some rows replaced.
func withRows(f *form, rows ...fieldRow) *form {
	out := *f
	out.fields = slices.Clone(f.fields)
	for _, row := range rows {
		*out.field(row.name) = row
	}
	return &out
}
