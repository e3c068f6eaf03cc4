package manifests

import (
	"cmp"
	"fmt"
	"strings"
)

// chapters are the forms that more than one kind has, each told once.
var chapters = []struct {
	form  *form
	title string
}{
	{podSpecForm, "The spec of a pod"},
	{containerForm, "Containers"},
	{probeForm, "Probes"},
	{volumeForm, "Volumes"},
	{jobSpecForm, "The spec of a Job"},
}

// Reference is docs/manifests.md but for its head: all kinds, fields and annotations, from the table that reads them.
func Reference() string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	p("## Kinds\n\n| kind | apiVersion | what becomes of it |\n|---|---|---|\n")
	for _, k := range kinds {
		what := "[taken](#" + anchor(k.name) + ")"
		switch k.class {
		case noted:
			what = "noted: " + strings.TrimPrefix(k.says, "ignored: ")
		case unsupported:
			what = "**mistake**: " + k.says
			if k.hint != "" {
				what += "; " + k.hint
			}
		}
		p("| %s | %s | %s |\n", k.name, k.version, inCell(what))
	}
	p("\n## Annotations\n\n| annotation | value | of |\n|---|---|---|\n")
	for _, o := range options {
		p("| `%s%s` | %s | %s |\n", OptionPrefix, o.key, inCell(strings.TrimPrefix(o.is, o.key+": ")), strings.Join(o.kinds, ", "))
	}
	for _, k := range kinds {
		if k.class != supported {
			continue
		}
		p("\n## %s\n\n| field | what |\n|---|---|\n", k.name)
		rows(&b, "", k.form, nil)
	}
	for _, c := range chapters {
		p("\n## %s\n\n| field | what |\n|---|---|\n", c.title)
		rows(&b, "", c.form, c.form)
	}
	return b.String()
}

// rows writes a line for each field below a form. A form with its own chapter is only named, except in that chapter.
func rows(b *strings.Builder, under string, f, chapter *form) {
	for _, row := range f.fields {
		name := under + row.name
		fmt.Fprintf(b, "| `%s` | %s |\n", name, inCell(row.tells()))
		if row.class != supported || row.form == nil {
			continue
		}
		below := row.form
		if below.items != nil {
			name, below = name+"[]", below.items
		}
		base, differs := below.chapter()
		switch {
		case base == nil:
			rows(b, name+".", below, chapter)
		default:
			rows(b, name+".", &form{fields: differs}, chapter)
		}
	}
}

// chapter is which one tells of a form, and the fields in which this one differs.
func (f *form) chapter() (base *form, differs []fieldRow) {
	for _, c := range chapters {
		if len(c.form.fields) != len(f.fields) {
			continue
		}
		same, differs := true, []fieldRow(nil)
		for i, row := range f.fields {
			is := c.form.fields[i]
			same = same && is.name == row.name
			if is.class != row.class || is.form != row.form || is.must != row.must || is.says != row.says {
				differs = append(differs, row)
			}
		}
		if same {
			return c.form, differs
		}
	}
	return nil, nil
}

// tells what becomes of a field, and what its value is.
func (r fieldRow) tells() string {
	switch r.class {
	case noted:
		return "noted: " + strings.TrimPrefix(r.says, "ignored: ")
	case unsupported:
		says := "**mistake**: " + r.says
		if r.hint != "" {
			says += "; " + r.hint
		}
		return says
	}
	is := r.form.tells()
	if r.must {
		is = strings.TrimSuffix("required, "+is, ", ")
	}
	return is
}

func (f *form) tells() string {
	switch {
	case f == nil:
		return ""
	case f.items != nil:
		return strings.TrimSuffix("a list: "+f.items.tells(), ": ")
	case f.values != nil:
		return "names, each with " + cmp.Or(f.values.tells(), "a value")
	case f.is != "":
		return f.is
	}
	if base, differs := f.chapter(); base != nil {
		for _, c := range chapters {
			if c.form != base {
				continue
			}
			says := fmt.Sprintf("[%s](#%s)", strings.ToLower(c.title[:1])+c.title[1:], anchor(c.title))
			if len(differs) > 0 {
				says += ", but for what follows"
			}
			return says
		}
	}
	if len(f.one) > 0 && !f.none {
		return "exactly one of " + strings.Join(f.one, ", ")
	}
	return ""
}

func anchor(title string) string { return strings.ToLower(strings.ReplaceAll(title, " ", "-")) }

func inCell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
