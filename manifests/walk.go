package manifests

import (
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"example.org/collie/agent/mistake"
)

// A walk goes through one document.
type walk struct {
	*checker
	doc  *document
	kind *kindRow
}

// list reads the items of a List as if each were a document of its own.
func (w *walk) list(n *yaml.Node, p place) {
	if strings.Contains(p.field, "items[") {
		w.wrong(p.key("kind", n.Line), "", "a List can't hold a List")
		return
	}
	w.object(n, w.kind.form, p)
	items := valueAt(n, "items")
	if items == nil || items.Kind != yaml.SequenceNode {
		w.torn = true
		return
	}
	for i, item := range items.Content {
		w.document(p.file, item, p.field+fmt.Sprintf("items[%d].", i))
	}
}

// value checks a node against its form. It returns nil for a wrong value.
func (w *walk) value(n *yaml.Node, f *form, p place) any {
	n = follow(n)
	if n.Style&yaml.TaggedStyle != 0 && n.Tag != "!!str" {
		w.wrong(p, "leave the tag out", "has a tag, which is not supported")
		return nil
	}
	switch {
	case f.scalar != nil:
		if n.Kind != yaml.ScalarNode {
			hint := ""
			if len(n.Content) > 0 && n.Kind == yaml.MappingNode && follow(n.Content[0]).Kind != yaml.ScalarNode {
				hint = noTemplates
			}
			w.wrong(p, hint, "must be %s, not %s", f.is, called(n))
			return nil
		}
		v, wrong, hint := f.scalar(n)
		if wrong != "" {
			w.wrong(p, hint, "%s", wrong)
			return nil
		}
		return v
	case f.items != nil:
		return w.items(n, f, p)
	case f.fields != nil && f.values == nil:
		if v := w.object(n, f, p); v != nil {
			return v
		}
		return nil
	case f.values != nil:
		if v := w.values(n, f, p); len(v) > 0 {
			return v
		}
		return nil
	}
	return nil // anything, and nobody wants it
}

func (w *walk) items(n *yaml.Node, f *form, p place) any {
	if n.Kind != yaml.SequenceNode {
		w.wrong(p, "begin each item with '- '", "must be a list, not %s", called(n))
		return nil
	}
	if f.some && len(n.Content) == 0 {
		w.wrong(p, "", "is empty")
	}
	var out []any
	for i, item := range n.Content {
		q := p.item(i, item.Line)
		w.doc.lines.add(strings.TrimPrefix(q.field, w.doc.prefix), q.line)
		out = append(out, w.value(item, f.items, q))
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// object holds a map against the rows of its form.
func (w *walk) object(n *yaml.Node, f *form, p place) map[string]any {
	if n.Kind != yaml.MappingNode {
		w.wrong(p, "", "must hold keys and values, not %s", called(n))
		return nil
	}
	out := map[string]any{}
	given := map[string]bool{} // fields that are there, or that a mistaken key stands for
	empty := map[string]int{}  // the lines of those that say null
	astray := false            // a key may stand for one of several
	pairs := w.pairs(n, p)
	// A value that has to be one of several things is empty without it.
	lenient := w.doc.lenient && (len(f.one) == 0 || f.none || slices.ContainsFunc(pairs, func(pair pair) bool { return slices.Contains(f.one, pair.key) && !isNull(pair.value) }))
	for _, pair := range pairs {
		q := p.key(pair.key, pair.line)
		row := f.field(pair.key)
		if row == nil {
			if len(w.errs) >= mostMistakes {
				return nil
			}
			if lenient && len(w.notes) >= mostMistakes { // a guess takes time, and nobody would read it
				continue
			}
			meant, hint := w.guess(pair.key, f)
			if lenient {
				w.note(q, "there is no such field: ignored%s", inBrackets(hint))
				continue
			}
			given[meant], astray = true, true
			w.wrong(q, hint, "there is no such field")
			continue
		}
		if isNull(pair.value) { // as if it weren't there, as for Kubernetes
			empty[row.name] = pair.line
			continue
		}
		if row.class == unsupported && lenient {
			if !isEmpty(pair.value) {
				w.note(q, "%s: ignored", row.says)
			}
			continue
		}
		given[row.name] = true
		w.doc.lines.add(strings.TrimPrefix(q.field, w.doc.prefix), q.line)
		w.row(f, row, pair.value, q, out)
		astray = astray || row.class == unsupported && !isEmpty(pair.value)
	}
	for _, row := range f.fields {
		switch line, said := empty[row.name]; {
		case !row.must || given[row.name]:
		case said:
			w.wrong(p.key(row.name, line), "", "is empty")
		default:
			w.wrong(p.key(row.name, p.line), "", "is missing")
		}
	}
	if len(f.one) > 0 {
		hint := ""
		if _, said := empty["emptyDir"]; said {
			hint = "write emptyDir: {}"
		}
		w.exactlyOne(f, given, astray, p, hint)
	}
	return out
}

func inBrackets(hint string) string {
	if hint == "" {
		return ""
	}
	return " (" + hint + ")"
}

// row does with a field of f what the table says. Empty is as good as absent, unless being there is what the field says.
func (w *walk) row(f *form, row *fieldRow, n *yaml.Node, q place, out map[string]any) {
	switch row.class {
	case unsupported:
		if !isEmpty(n) {
			w.wrong(q, row.hint, "%s", row.says)
		}
	case noted:
		if isEmpty(n) {
			return
		}
		w.note(q, "%s", row.says)
		if row.form != nil {
			w.value(n, row.form, q)
		}
	default:
		v := w.value(n, row.form, q)
		if m, ok := v.(map[string]any); ok && len(m) == 0 && !slices.Contains(f.one, row.name) {
			return
		}
		if v != nil {
			out[row.name] = v
		}
	}
}

// isEmpty is true of what Kubernetes writes for nothing: {}, [], "" and false.
func isEmpty(n *yaml.Node) bool {
	n = follow(n)
	if n.Kind == yaml.ScalarNode {
		return n.Value == "" || n.Tag == "!!bool" && n.Value == "false"
	}
	return len(n.Content) == 0
}

func (w *walk) exactlyOne(f *form, given map[string]bool, astray bool, p place, hint string) {
	var have []string
	for _, name := range f.one {
		if given[name] {
			have = append(have, name)
		}
	}
	switch {
	case len(have) > 1:
		w.wrong(p, "leave one of them", "has both %s and %s", have[0], have[1])
	case len(have) == 0 && !astray && !f.none:
		w.wrong(p, hint, "needs one of %s", strings.Join(f.one, ", "))
	}
}

// values holds a map with free keys against its form. Some of its keys may have rows of their own.
func (w *walk) values(n *yaml.Node, f *form, p place) map[string]any {
	if n.Kind != yaml.MappingNode {
		w.wrong(p, "", "must hold keys and values, not %s", called(n))
		return nil
	}
	out := map[string]any{}
	for _, pair := range w.pairs(n, p) {
		q := p.key(pair.key, pair.line)
		w.doc.lines.add(strings.TrimPrefix(q.field, w.doc.prefix), q.line)
		if row := f.field(pair.key); row != nil {
			w.row(f, row, pair.value, q, out)
			continue
		}
		if says := f.key(pair.key); says != "" {
			w.wrong(q, "", "%s", says)
			continue
		}
		if pair.key == lastApplied {
			w.note(q, byCluster)
			continue
		}
		if v := w.value(pair.value, f.values, q); v != nil {
			out[pair.key] = v
		}
	}
	return out
}

// lastApplied is kubectl's copy of the object: it says nothing new, and of a Secret it shows all.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

const noTemplates = "nothing fills in {{ }} here: write the value itself, or quote it"

// A pair is a key of a map with its value, merge keys resolved.
type pair struct {
	key   string
	line  int
	value *yaml.Node
}

func (c *checker) pairs(n *yaml.Node, p place) []pair {
	var out, merged []pair
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := follow(n.Content[i]), n.Content[i+1]
		if k.Kind != yaml.ScalarNode {
			p.line = n.Content[i].Line
			c.wrong(p, noTemplates, "a key must be a word, not %s", called(k))
			continue
		}
		if k.Tag == "!!merge" {
			merged = append(merged, c.merge(v, p)...)
			continue
		}
		line := n.Content[i].Line
		if was, twice := first[k.Value]; twice {
			c.wrong(p.key(k.Value, line), "leave one of them", "is given twice, first in line %d", was)
			continue
		}
		first[k.Value] = line
		out = append(out, pair{k.Value, line, v})
	}
	for _, m := range merged { // what is said outright wins, then what is merged first
		if _, said := first[m.key]; !said {
			first[m.key] = m.line
			out = append(out, m)
		}
	}
	return out
}

// merge is what `<<: *anchor` or `<<: [*one, *two]` stands for.
func (c *checker) merge(n *yaml.Node, p place) []pair {
	line := n.Line
	n = follow(n)
	switch n.Kind {
	case yaml.MappingNode:
		return c.pairs(n, p)
	case yaml.SequenceNode:
		var out []pair
		for _, item := range n.Content {
			if item = follow(item); item.Kind == yaml.MappingNode {
				out = append(out, c.pairs(item, p)...)
				continue
			}
			c.wrong(p.key("<<", line), "", "can only merge maps")
		}
		return out
	}
	c.wrong(p.key("<<", line), "", "can only merge maps")
	return nil
}

// guess returns the field that an unknown key was probably meant to be, if there is one.
func (w *walk) guess(key string, f *form) (meant, hint string) {
	var names []string
	for _, row := range f.fields {
		names = append(names, row.name)
	}
	if meant, hint = mistake.Guess(key, names); meant != "" {
		return meant, hint
	}
	if where := w.kind.form.find(key, ""); where != "" {
		return "", key + " belongs to " + where
	}
	for _, name := range names {
		if len(name) > 2 && strings.HasPrefix(strings.ToLower(key), strings.ToLower(name)) || len(key) > 2 && strings.HasPrefix(strings.ToLower(name), strings.ToLower(key)) {
			return name, "did you mean " + name + "?"
		}
	}
	return "", ""
}

// find says below which field the table has a name: the first such place on the highest level.
func (f *form) find(name, under string) string {
	if f == nil {
		return ""
	}
	if row := f.field(name); row != nil && under != "" {
		return under
	}
	best := f.items.find(name, under+"[]")
	for _, row := range f.fields {
		if got := row.form.find(name, strings.TrimPrefix(under+"."+row.name, ".")); got != "" && (best == "" || depth(got) < depth(best)) {
			best = got
		}
	}
	return best
}

func depth(field string) int { return strings.Count(field, ".") + strings.Count(field, "[]") }

// called names a node's shape in the user's words.
func called(n *yaml.Node) string {
	switch n.Kind {
	case yaml.SequenceNode:
		return "a list"
	case yaml.MappingNode:
		return "keys and values"
	}
	if n.Value == "" {
		return "nothing"
	}
	return "a single value"
}
