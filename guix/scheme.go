package guix

import (
	"strings"
	"unicode/utf8"

	"example.org/collie/shepherd"
)

// A form is a datum of Scheme: as much of it as a list of channels needs, or what Guix writes into the store.
type form struct {
	line   int
	isList bool
	quoted bool
	str    bool
	atom   string // a symbol's name, or a string's text
	list   []form

	from, to int // where it stands: bytes that are left of the text where it begins, and behind it
}

// head is the symbol that a list begins with.
func (f form) head() string {
	if len(f.list) == 0 || f.list[0].str || f.list[0].quoted {
		return ""
	}
	return f.list[0].atom
}

type schemeError struct {
	line int
	says string
	hint string
}

func (e *schemeError) Error() string { return e.says }

// writeOut explains how a list of channels has to be.
const writeOut = "write out the channels alone, each as (channel …) with its commit"

// The most that is read of one text: a list of channels is nested 5 deep, the program of a service some 30.
const (
	schemeDepth = 20
	storeDepth  = 300
	schemeForms = 500_000
)

// readScheme reads the data in text, and evaluates nothing. It refuses what a list of channels has no need of.
func readScheme(text string) ([]form, error) {
	return (&schemeReader{text: text, line: 1, depth: schemeDepth}).all()
}

// readStore reads what Guix wrote into the store: programs, manifests, parameters. It evaluates nothing either.
func readStore(text string) ([]form, error) {
	return (&schemeReader{text: text, line: 1, depth: storeDepth, whole: true}).all()
}

type schemeReader struct {
	text  string // what is left
	line  int
	depth int  // of nested lists, at most
	whole bool // all syntax is taken, not only what lists of channels need
	count int  // of forms
}

func (r *schemeReader) all() ([]form, error) {
	forms, err := r.forms(0)
	if err == nil && r.text != "" {
		err = &schemeError{r.line, "a closing parenthesis too many", "remove it, or see which list is closed too early"}
	}
	return forms, err
}

func (r *schemeReader) skip(n int) string {
	part := r.text[:n]
	r.text = r.text[n:]
	r.line += strings.Count(part, "\n")
	return part
}

// blank skips spaces and comments.
func (r *schemeReader) blank() {
	for r.text != "" {
		switch {
		case strings.ContainsRune(" \t\r\n\f", rune(r.text[0])):
			r.skip(1)
		case r.text[0] == ';':
			n := strings.IndexByte(r.text, '\n')
			if n < 0 {
				n = len(r.text)
			}
			r.skip(n)
		case r.whole && strings.HasPrefix(r.text, "#|"):
			r.past("|#")
		case r.whole && strings.HasPrefix(r.text, "#!"): // as in #!/gnu/store/…/guile !#
			r.past("!#")
		default:
			return
		}
	}
}

// past skips what ends with end; without an end, all.
func (r *schemeReader) past(end string) {
	n := strings.Index(r.text[2:], end)
	if n < 0 {
		r.skip(len(r.text))
		return
	}
	r.skip(n + 2 + len(end))
}

// forms reads until the end, or until what closes a list.
func (r *schemeReader) forms(depth int) ([]form, error) {
	var all []form
	for {
		r.blank()
		if r.text == "" || closes(r.text[0]) {
			return all, nil
		}
		if r.whole && strings.HasPrefix(r.text, "#;") { // a comment: the datum that follows
			r.skip(2)
			if _, err := r.next(depth); err != nil {
				return all, err
			}
			continue
		}
		from := len(r.text)
		f, err := r.form(depth)
		if err != nil {
			return all, err
		}
		f.from, f.to = from, len(r.text)
		all = append(all, f)
	}
}

func closes(c byte) bool { return c == ')' || c == ']' }

func (r *schemeReader) form(depth int) (form, error) {
	f := form{line: r.line}
	if r.count++; depth > r.depth || r.count > schemeForms {
		return f, &schemeError{r.line, "is nested too deeply, or too long", writeOut}
	}
	switch c := r.text[0]; {
	case c == '\'':
		r.skip(1)
		f, err := r.next(depth)
		f.quoted = true
		return f, err
	case c == '(' || c == '[':
		r.skip(1)
		return r.rest(f, depth)
	case c == '"':
		return r.string()
	case !r.whole && (c == '#' || c == '`' || c == ',' || c == '|'):
		return f, &schemeError{f.line, "has Scheme syntax (" + string(rune(c)) + ") that a list of channels doesn't need", writeOut}
	case c == '`' || c == ',':
		r.skip(1 + len(r.text[1:]) - len(strings.TrimPrefix(r.text[1:], "@")))
		return r.next(depth)
	case strings.HasPrefix(r.text, "#{"), strings.HasPrefix(r.text, "#:#{"):
		return r.odd(f)
	case strings.HasPrefix(r.text, `#\`): // a character, which may be a parenthesis
		_, n := utf8.DecodeRuneInString(r.text[2:])
		f.atom = r.skip(2 + n)
		if r.text != "" && !strings.ContainsAny(r.text[:1], delimiters) {
			f.atom += r.atom()
		}
		return f, nil
	}
	f.atom = r.atom()
	if strings.HasPrefix(f.atom, "#") && strings.HasPrefix(r.text, "(") { // #(…), #vu8(…)
		r.skip(1)
		return r.rest(f, depth)
	}
	return f, nil
}

const delimiters = " \t\r\n\f()[]\";" // neither a quote nor a bar: don't and |a| are symbols of Guile's

func (r *schemeReader) atom() string {
	n := strings.IndexAny(r.text, delimiters)
	if n < 0 {
		n = len(r.text)
	}
	return r.skip(max(n, 1))
}

// next is what a quote stands before.
func (r *schemeReader) next(depth int) (form, error) {
	r.blank()
	if r.text == "" || closes(r.text[0]) {
		return form{line: r.line}, &schemeError{r.line, "nothing follows the quote", "write a name behind it, as in 'guix"}
	}
	return r.form(depth + 1)
}

// rest reads a list behind its opening parenthesis.
func (r *schemeReader) rest(f form, depth int) (form, error) {
	var err error
	if f.list, err = r.forms(depth + 1); err != nil {
		return f, err
	}
	if r.text == "" {
		return f, &schemeError{f.line, "the closing parenthesis is missing", "close the list that begins in this line"}
	}
	r.skip(1)
	f.isList = true
	return f, nil
}

// odd reads a symbol or keyword with odd characters: #{a b}#, #:#{a b}#.
func (r *schemeReader) odd(f form) (form, error) {
	begin := strings.IndexByte(r.text, '{') + 1
	n := strings.Index(r.text[begin:], "}#")
	if n < 0 {
		return f, &schemeError{f.line, "a symbol isn't closed", "end it with }#"}
	}
	f.atom = strings.TrimSuffix(r.text[:begin], "#{") + shepherd.SymbolName(r.text[begin:begin+n])
	r.skip(begin + n + len("}#"))
	return f, nil
}

func (r *schemeReader) string() (form, error) {
	f := form{line: r.line, str: true}
	for i := 1; i < len(r.text); i++ {
		switch r.text[i] {
		case '\\':
			if !r.whole {
				return f, &schemeError{f.line, "has a backslash in a string, which a list of channels doesn't need", "leave it out"}
			}
			i++ // a quote may follow
		case '"':
			f.atom = shepherd.StringText(r.text[1:i])
			r.skip(i + 1)
			return f, nil
		}
	}
	return f, &schemeError{f.line, "a string isn't closed", "end it with a double quote"}
}

// bare is what a quote in words holds: x of (quote x), (quasiquote x), (unquote x).
func (f form) bare() form {
	for len(f.list) == 2 && (f.head() == "quote" || f.head() == "quasiquote" || f.head() == "unquote") {
		f = f.list[1]
	}
	return f
}

// atoms are the symbols and strings in a list, quoted or not.
func (f form) atoms() []string {
	var all []string
	for _, item := range f.bare().list {
		if item = item.bare(); !item.isList {
			all = append(all, item.atom)
		}
	}
	return all
}

// seek is the first list in all that begins with the symbol head, looked for in depth.
func seek(all []form, head string) (form, bool) {
	return seekFunc(all, func(symbol string) bool { return symbol == head })
}

func seekFunc(all []form, is func(head string) bool) (form, bool) {
	for _, f := range all {
		if head := f.head(); head != "" && is(head) {
			return f, true
		}
		if inner, ok := seekFunc(f.list, is); ok {
			return inner, true
		}
	}
	return form{}, false
}

// keyword is what follows #:name in a list.
func (f form) keyword(name string) (form, bool) {
	for i := 0; i+1 < len(f.list); i++ {
		if !f.list[i].str && f.list[i].atom == "#:"+name {
			return f.list[i+1], true
		}
	}
	return form{}, false
}
