package manifests

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"example.org/collie/agent/mistake"
)

// mostMistakes bounds what is reported; a file can hold more mistakes than anyone wants to read.
const mostMistakes = 1_000

// A checker holds documents against the table and gathers what is wrong with them.
type checker struct {
	errs  mistake.List
	notes []Note
	docs  []*document
	pods  []*podDocument // of those documents that make one and have a name
	torn  bool           // something couldn't be read, so that what isn't found may well be there

	unnamed map[string]bool // kinds of which an object has no name, so that one that isn't found may well be there

	key    []byte            // of the hashes of Secrets
	fields map[string]string // the names of all fields, each once
	brief  bool              // of a checked pod only the parts are kept that others are compared with

	sealed map[string]bool // files of which nothing may be shown
	closed bool            // one of them couldn't be decrypted: a Secret that isn't found may well be there
}

// A document is one object of a file. Its body is canonical: no null, no noted field, scalars of the type that Podman
// expects. Where it has mistakes, parts are missing, but lists keep their positions.
type document struct {
	kind, name string
	file       string
	prefix     string // of its fields' names, inside a List
	line       int
	body       map[string]any
	lines      fieldLines
	selector   map[string]string // of a Service
	lenient    bool              // what is unsupported or unknown in it is only noted
}

// fieldLines are the lines of a document's fields by their names. Files have most names in common, so each is kept once.
type fieldLines struct {
	names  map[string]string
	all    []fieldLine
	sorted bool
}

type fieldLine struct {
	name string
	line int
}

func (l *fieldLines) add(name string, line int) {
	known, ok := l.names[name]
	if !ok {
		known = strings.Clone(name)
		l.names[known] = known
	}
	l.all = append(l.all, fieldLine{known, line})
	l.sorted = false
}

// of is the line of a field; of one that was added twice, the later.
func (l *fieldLines) of(name string) (line int, ok bool) {
	if !l.sorted {
		slices.SortStableFunc(l.all, func(a, b fieldLine) int { return strings.Compare(a.name, b.name) })
		l.sorted = true
	}
	i, ok := slices.BinarySearchFunc(l.all, name, func(f fieldLine, name string) int { return strings.Compare(f.name, name) })
	if !ok {
		return 0, false
	}
	for i+1 < len(l.all) && l.all[i+1].name == name {
		i++
	}
	return l.all[i].line, true
}

// at is the place of a field; that of the nearest field around it, if the file doesn't have it.
func (d *document) at(field string) place {
	p := place{d.file, d.line, d.prefix + field}
	for f := field; ; {
		if line, ok := d.lines.of(f); ok {
			p.line = line
			return p
		}
		i := strings.LastIndexAny(f, ".[")
		if i < 0 {
			return p
		}
		f = f[:i]
	}
}

// A place is where a value stands.
type place struct {
	file  string
	line  int
	field string
}

func (p place) String() string { return fmt.Sprintf("%s:%d", p.file, p.line) }

var simpleKey = regexp.MustCompile(`\A[A-Za-z0-9_-]+\z`)

func (p place) key(name string, line int) place {
	switch {
	case !simpleKey.MatchString(name):
		p.field += "[" + shorten(name) + "]"
	case p.field == "" || strings.HasSuffix(p.field, "."):
		p.field += shorten(name)
	default:
		p.field += "." + shorten(name)
	}
	p.line = line
	return p
}

func (p place) item(i, line int) place {
	p.field = fmt.Sprintf("%s[%d]", p.field, i)
	p.line = line
	return p
}

func (c *checker) wrong(p place, hint, format string, args ...any) {
	if len(c.errs) < mostMistakes {
		c.errs = append(c.errs, &mistake.Error{File: p.file, Line: max(p.line, 1), Field: p.field, Says: fmt.Sprintf(format, args...), Hint: hint})
	}
}

func (c *checker) note(p place, format string, args ...any) {
	if len(c.notes) < mostMistakes {
		c.notes = append(c.notes, Note{File: p.file, Line: max(p.line, 1), Field: p.field, Says: fmt.Sprintf(format, args...)})
	}
}

// document reads one object. prefix names it inside a List.
func (c *checker) document(file string, n *yaml.Node, prefix string) {
	n = follow(n)
	p := place{file, n.Line, prefix}
	if n.Kind != yaml.MappingNode {
		c.torn = true
		c.wrong(place{file, n.Line, strings.TrimSuffix(prefix, ".")}, "begin it with apiVersion: and kind:", "is no object with keys and values")
		return
	}
	if len(n.Content) > 0 && follow(n.Content[0]).Kind != yaml.ScalarNode { // a template's line
		c.torn = true
		c.pairs(n, p)
		return
	}
	row, ok := c.kind(n, p)
	if !ok {
		return
	}
	if c.sealed[file] && row.name != "Secret" {
		c.torn = true
		c.wrong(p.key("kind", valueAt(n, "kind").Line), "", onlySecrets)
		return
	}
	if c.fields == nil {
		c.fields = map[string]string{}
	}
	d := &document{kind: row.name, file: file, prefix: prefix, line: n.Line, lines: fieldLines{names: c.fields}, lenient: lenient(n)}
	w := walk{checker: c, doc: d, kind: row}
	if row.name == "List" {
		w.list(n, p)
		return
	}
	if row.class == noted {
		if row.name == "Service" { // what to say of it depends on the pods
			d.name, d.selector = scalarAt(n, "metadata", "name"), textsAt(n, "spec", "selector")
			c.docs = append(c.docs, d)
			return
		}
		c.note(p.key("kind", n.Line), "%s %s", row.name, row.says)
		return
	}
	d.body = w.object(n, row.form, p)
	if meta, ok := d.body["metadata"].(map[string]any); ok {
		d.name, _ = meta["name"].(string)
	}
	if d.name == "" {
		if c.unnamed == nil {
			c.unnamed = map[string]bool{}
		}
		c.unnamed[calledKind(d.kind)] = true
	}
	c.docs = append(c.docs, d)
	if makesPod(d.kind) {
		c.pods = append(c.pods, c.podDocument(d))
	}
}

// calledKind is the kind whose names an object shares: what users call a pod is one name, whatever makes it.
func calledKind(kind string) string {
	if makesPod(kind) {
		return "Pod"
	}
	return kind
}

// unsure reports whether an object that isn't found may be there all the same.
func (c *checker) unsure(kind string) bool { return c.torn || c.unnamed[kind] }

// kind finds the row for a document, and says what is wrong if there is none.
func (c *checker) kind(n *yaml.Node, p place) (*kindRow, bool) {
	said, version := valueAt(n, "kind"), valueAt(n, "apiVersion")
	if said == nil || isNull(said) || said.Kind != yaml.ScalarNode {
		c.torn = true
		c.wrong(p.key("kind", n.Line), "such as kind: Pod", "is missing")
		return nil, false
	}
	p = p.key("kind", said.Line)
	var names []string
	for i := range kinds {
		row := &kinds[i]
		names = append(names, row.name)
		switch {
		case row.name != said.Value:
		case row.class == unsupported && lenient(n):
			c.note(p, "%s: ignored", row.says)
			return nil, false
		case row.class == unsupported:
			c.torn = true
			c.wrong(p, row.hint, "%s", row.says)
			return nil, false
		case row.class == noted:
			return row, true
		case version != nil && version.Kind == yaml.ScalarNode && !isNull(version) && version.Value != row.version:
			p.field = strings.TrimSuffix(p.field, "kind") + "apiVersion"
			p.line = version.Line
			c.wrong(p, "write apiVersion: "+row.version, "%q is not the version of a %s", shorten(version.Value), row.name)
			return row, true
		default:
			return row, true
		}
	}
	if lenient(n) {
		c.note(p, "%q is no kind that is known here: ignored", shorten(said.Value))
		return nil, false
	}
	c.torn = true
	hint := "use Pod, Deployment, DaemonSet, Job, CronJob, ConfigMap, Secret or PersistentVolumeClaim"
	if _, guess := mistake.Guess(said.Value, names); guess != "" {
		hint = guess
	}
	c.wrong(p, hint, "%q is no kind that is known here", shorten(said.Value))
	return nil, false
}
