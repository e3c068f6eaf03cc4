package mistake

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// Bounds on what a file may hold once its aliases are followed.
const (
	mostDocuments = 1_000
	mostNodes     = 100_000
	mostText      = 4 << 20
	mostDepth     = 64
)

// Documents splits a YAML file into its documents; those that hold only comments are left out. A mistake ends the file, but not
// what stands before it; in a file with too many documents a thousand more mistakes would hide it.
func Documents(file string, data []byte) ([]*yaml.Node, *Error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if mistake := unreadable(data); mistake != nil {
		mistake.File = file
		return nil, mistake
	}
	var (
		roots []*yaml.Node
		size  = budget{nodes: mostNodes, text: mostText}
		lines = &lineReader{rest: data}
		dec   = yaml.NewDecoder(lines)
	)
	for {
		doc, err := nextDocument(dec)
		if errors.Is(err, io.EOF) {
			return roots, nil
		}
		if err != nil {
			return roots, syntaxError(file, data, err, lines.line)
		}
		shiftLines(doc)
		if len(doc.Content) == 0 || doc.Content[0].ShortTag() == "!!null" { // nothing but comments
			continue
		}
		if len(roots) == mostDocuments {
			return nil, &Error{File: file, Line: doc.Content[0].Line, Says: fmt.Sprintf("a file may hold %d documents", mostDocuments), Hint: "split it"}
		}
		if says := size.spend(doc, 0); says != "" {
			return roots, &Error{File: file, Line: doc.Content[0].Line, Says: says}
		}
		roots = append(roots, doc.Content[0])
	}
}

// nextDocument reads one document. The library panics on some malformed input: to its caller that is an error like any other.
func nextDocument(dec *yaml.Decoder) (doc *yaml.Node, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = errors.New("yaml: unreadable")
		}
	}()
	doc = new(yaml.Node)
	return doc, dec.Decode(doc)
}

// A lineReader hands out a line at a time and so knows how far the parser came: its errors often name the line where the
// block began instead. The empty line before the file makes it name a line at all: it leaves out the first.
type lineReader struct {
	rest  []byte
	begun bool
	line  int
}

func (r *lineReader) Read(p []byte) (int, error) {
	if !r.begun {
		r.begun = true
		return copy(p, "\n"), nil
	}
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := min(len(p), len(r.rest))
	if i := bytes.IndexByte(r.rest[:n], '\n'); i >= 0 {
		n = i + 1
	}
	copy(p, r.rest[:n])
	if r.rest = r.rest[n:]; p[n-1] == '\n' || len(r.rest) == 0 {
		r.line++
	}
	return n, nil
}

// shiftLines takes the empty line before the file off the numbers again. Aliases are not followed: their nodes are shifted
// where they stand.
func shiftLines(n *yaml.Node) {
	n.Line--
	for _, child := range n.Content {
		shiftLines(child)
	}
}

// A budget is what may still be read of a file, with each alias counted as what it stands for.
type budget struct{ nodes, text int }

func (b *budget) spend(n *yaml.Node, depth int) string {
	b.nodes--
	b.text -= len(n.Value)
	switch {
	case depth > mostDepth:
		return fmt.Sprintf("is nested more than %d levels deep", mostDepth)
	case b.nodes < 0:
		return fmt.Sprintf("holds more than %d values once its aliases are followed", mostNodes)
	case b.text < 0:
		return fmt.Sprintf("holds more than %d MiB of text once its aliases are followed", mostText>>20)
	}
	if n.Kind == yaml.AliasNode {
		return b.spend(n.Alias, depth+1)
	}
	for _, child := range n.Content {
		if says := b.spend(child, depth+1); says != "" {
			return says
		}
	}
	return ""
}

// unreadable finds bytes that no YAML file should hold.
func unreadable(data []byte) *Error {
	line := 1
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			return &Error{Line: line, Says: "is not UTF-8 text", Hint: "save the file as UTF-8"}
		case r == '\n':
			line++
		case r == '\r' && !bytes.HasPrefix(data[i+1:], []byte("\n")), r == '\u0085', r == '\u2028', r == '\u2029':
			// The library would count a line here, and an editor would not.
			return &Error{Line: line, Says: fmt.Sprintf("holds the line separator %U", r), Hint: "end lines as usual; in a text, write it as an escape in double quotes"}
		case r < ' ' && r != '\t' && r != '\r', r == 0x7f:
			return &Error{Line: line, Says: fmt.Sprintf("holds the control character %U", r), Hint: "in a text, write it as an escape in double quotes"}
		}
		i += n
	}
	return nil
}

// A syntaxRow is what the library says, and what a person wants to read.
type syntaxRow struct {
	library    string
	parser     bool
	begins     bool
	says, hint string
}

// syntax is the table of all. In a scanner's message the line counts from 1, in a
// parser's from 0; where it is the line on which the block begins, the parser is asked again.
var syntax = []syntaxRow{
	{"did not find expected key", true, true, "this line doesn't fit to what stands above it", "check its indentation, and quotes that end too early"},
	{"did not find expected '-' indicator", true, true, "this line doesn't fit to the list above it", "check its indentation"},
	{"did not find expected ',' or ']'", true, false, "a list in [ ] isn't closed, or lacks a comma", ""},
	{"did not find expected ',' or '}'", true, false, "a map in { } isn't closed, or lacks a comma", ""},
	{"did not find expected node content", true, false, "a value was expected here", "quote text that begins with a special character"},
	{"did not find expected <document start>", true, false, "a new document must begin with ---", "check the indentation"},
	{"found undefined tag handle", true, false, "a word that begins with ! is a tag, and this one is not known", "quote the text"},
	{"unknown anchor", true, true, "a word that begins with * is an alias, and this one stands for nothing above it", "quote the text if it is none"},
	{"mapping values are not allowed", false, false, "a ':' stands where no key can be", "quote text that holds ': ', or check the indentation"},
	{"could not find expected ':'", false, false, "a ':' is missing after the key", "write it as key: value, or check the indentation"},
	{"found unexpected end of stream", false, false, "a quoted text isn't closed", ""},
	{"found character that cannot start any token", false, false, "text can't begin with this character", "quote the text"},
	{"found a tab character", false, true, "a tab stands in the indentation", "indent with spaces, not tabs"},
	{"did not find expected alphabetic or numeric character", false, false, "a word that begins with * or & is an alias or an anchor", "quote the text if it is none"},
	{"did not find expected comment or line break", false, false, "only a comment can follow | or >", "begin the text on the next line"},
	{"found unknown escape character", false, false, "this escape is not known in double quotes", "use single quotes, or write \\\\ for \\"},
	{"block sequence entries are not allowed", false, false, "a list can't begin here", "begin it on a line of its own"},
	{"exceeded max depth", false, false, "is nested too deeply", ""},
}

// OfSyntax reports whether a mistake says one of the sentences of that table, which quote nothing of the file.
func OfSyntax(says string) bool {
	return slices.ContainsFunc(syntax, func(row syntaxRow) bool { return row.says == says })
}

var inLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// syntaxError says in a user's words what the library found, and where. reached is the last line that was read.
func syntaxError(file string, data []byte, err error, reached int) *Error {
	e := &Error{File: file, Line: reached, Says: "is not YAML here", Hint: "check the indentation and the quotes"}
	text := err.Error()
	m := inLine.FindStringSubmatch(text)
	if m != nil && m[1] != "" {
		e.Line, _ = strconv.Atoi(m[1])
		e.Line-- // the empty line before the file
	}
	for _, s := range syntax {
		if !strings.Contains(text, s.library) {
			continue
		}
		e.Says, e.Hint = s.says, s.hint
		switch {
		case s.begins || m == nil || m[1] == "":
			e.Line = firstWith(data, s.library, reached)
		case s.parser:
			e.Line++
		}
		break
	}
	e.Line = min(max(e.Line, 1), max(reached, 1))
	if tabbed(lineAt(data, e.Line)) {
		e.Says, e.Hint = "a tab stands in the indentation", "indent with spaces, not tabs"
	}
	return e
}

// firstWith is the line that brings the mistake: the file up to it has it, the file up to the line before does not. The
// parser looks at most one line of text ahead, not counting comments.
func firstWith(data []byte, library string, reached int) int {
	at := textUpTo(data, reached)
	for range 2 {
		before := textUpTo(data, at-1)
		if before < 1 || !hasMistake(firstLines(data, before), library) {
			break
		}
		at = before
	}
	return at
}

func hasMistake(data []byte, library string) bool {
	dec := yaml.NewDecoder(&lineReader{rest: data})
	for {
		if _, err := nextDocument(dec); err != nil {
			return strings.Contains(err.Error(), library)
		}
	}
}

// textUpTo is the last line up to n that is neither empty nor a comment.
func textUpTo(data []byte, n int) int {
	for ; n > 0; n-- {
		if l := bytes.TrimSpace(lineAt(data, n)); len(l) > 0 && l[0] != '#' {
			return n
		}
	}
	return 0
}

func firstLines(data []byte, n int) []byte {
	end := 0
	for range n {
		i := bytes.IndexByte(data[end:], '\n')
		if i < 0 {
			return data
		}
		end += i + 1
	}
	return data[:end]
}

func lineAt(data []byte, n int) []byte {
	return bytes.TrimPrefix(firstLines(data, n), firstLines(data, n-1))
}

func tabbed(line []byte) bool {
	indent := line[:len(line)-len(bytes.TrimLeft(line, " \t"))]
	return slices.Contains(indent, '\t')
}
