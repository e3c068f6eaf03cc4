package guix

import "strings"

// A form is a datum of Scheme, as far as lists of channels need it.
type form struct {
	line   int
	isList bool
	quoted bool
	str    bool
	atom   string // a symbol's name, or a string's text
	list   []form
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
}

func (e *schemeError) Error() string { return e.says }

const schemeDepth = 20

// readScheme reads the data in text, and evaluates nothing.
func readScheme(text string) ([]form, error) {
	r := &schemeReader{text: text, line: 1}
	forms, err := r.forms(0)
	if err == nil && r.text != "" {
		err = &schemeError{r.line, "a closing parenthesis too many"}
	}
	return forms, err
}

type schemeReader struct {
	text string // what is left
	line int
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
		default:
			return
		}
	}
}

// forms reads until the end, or until what closes a list.
func (r *schemeReader) forms(depth int) ([]form, error) {
	var all []form
	for {
		r.blank()
		if r.text == "" || closes(r.text[0]) {
			return all, nil
		}
		f, err := r.form(depth)
		if err != nil {
			return all, err
		}
		all = append(all, f)
	}
}

func closes(c byte) bool { return c == ')' || c == ']' }

func (r *schemeReader) form(depth int) (form, error) {
	f := form{line: r.line}
	if depth > schemeDepth {
		return f, &schemeError{r.line, "is nested too deeply"}
	}
	switch c := r.text[0]; {
	case c == '\'':
		r.skip(1)
		r.blank()
		if r.text == "" || closes(r.text[0]) {
			return f, &schemeError{f.line, "nothing follows the quote"}
		}
		f, err := r.form(depth + 1)
		f.quoted = true
		return f, err
	case c == '(' || c == '[':
		r.skip(1)
		var err error
		if f.list, err = r.forms(depth + 1); err != nil {
			return f, err
		}
		if r.text == "" {
			return f, &schemeError{f.line, "the closing parenthesis is missing"}
		}
		r.skip(1)
		f.isList = true
		return f, nil
	case c == '"':
		return r.string()
	case c == '#' || c == '`' || c == ',' || c == '|':
		return f, &schemeError{f.line, "has Scheme syntax (" + string(rune(c)) + ") that a list of channels doesn't need"}
	}
	n := strings.IndexAny(r.text, " \t\r\n\f()[]\";'")
	if n < 0 {
		n = len(r.text)
	}
	f.atom = r.skip(max(n, 1))
	return f, nil
}

func (r *schemeReader) string() (form, error) {
	f := form{line: r.line, str: true}
	for i := 1; i < len(r.text); i++ {
		switch r.text[i] {
		case '\\':
			return f, &schemeError{f.line, "has a backslash in a string, which a list of channels doesn't need"}
		case '"':
			f.atom = r.text[1:i]
			r.skip(i + 1)
			return f, nil
		}
	}
	return f, &schemeError{f.line, "a string isn't closed"}
}
