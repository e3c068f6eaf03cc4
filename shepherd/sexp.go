package shepherd

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// What read returns: string for a Guile string or character, symbol, keyword, int64, float64, bool, []any for a list,
// dotted for an improper one, vector, and opaque for what can't be read back.
type (
	symbol  string
	keyword string
	vector  []any
	opaque  string // #<procedure x>
	dotted  struct {
		items []any // at least one
		tail  any   // no list: (a . (b)) is read as (a b)
	}
)

// maxDepth is far beyond what a Shepherd sends (about 8), and far below what the stack can bear.
const maxDepth = 100

// read reads the one datum that text holds.
func read(text []byte) (any, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("not UTF-8")
	}
	r := &reader{text: string(text)}
	datum, err := r.datum(0)
	if err != nil {
		return nil, fmt.Errorf("at byte %d: %w", r.at, err)
	}
	if r.space(); r.at < len(r.text) {
		return nil, fmt.Errorf("at byte %d: more than one answer", r.at)
	}
	return datum, nil
}

type reader struct {
	text string
	at   int
}

// space skips to the next datum.
func (r *reader) space() {
	for r.at < len(r.text) && strings.IndexByte(" \t\r\n\f", r.text[r.at]) >= 0 {
		r.at++
	}
}

func (r *reader) datum(depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	r.space()
	if r.at == len(r.text) {
		return nil, errors.New("the answer is cut off")
	}
	switch r.text[r.at] {
	case '(':
		return r.list(depth)
	case ')':
		return nil, errors.New("a closing parenthesis too many")
	case '"':
		return r.quoted()
	case '#':
		return r.hash(depth)
	case '\'', '`', ',', '[', ']', '{', '}', ';':
		return nil, fmt.Errorf("%q isn't data", r.text[r.at])
	}
	token := r.token()
	if token == "." {
		return nil, errors.New("a dot out of place")
	}
	return atom(token), nil
}

func (r *reader) list(depth int) (any, error) {
	r.at++ // the parenthesis
	items := []any{}
	for {
		if r.space(); r.at == len(r.text) {
			return nil, errors.New("the answer is cut off in a list")
		}
		if r.text[r.at] == ')' {
			r.at++
			return items, nil
		}
		if len(items) > 0 && r.dot() {
			return r.tail(items, depth)
		}
		item, err := r.datum(depth + 1)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
}

// dot tells whether a lone dot comes next, and takes it.
func (r *reader) dot() bool {
	if r.text[r.at] != '.' || r.at+1 < len(r.text) && !delimiter(r.text[r.at+1]) {
		return false
	}
	r.at++
	return true
}

func (r *reader) tail(items []any, depth int) (any, error) {
	tail, err := r.datum(depth + 1)
	if err != nil {
		return nil, err
	}
	if r.space(); r.at == len(r.text) || r.text[r.at] != ')' {
		return nil, errors.New("no closing parenthesis after a pair")
	}
	r.at++
	switch tail := tail.(type) {
	case []any:
		return append(items, tail...), nil
	case dotted:
		return dotted{append(items, tail.items...), tail.tail}, nil
	}
	return dotted{items, tail}, nil
}

func (r *reader) quoted() (any, error) {
	r.at++ // the quote
	var b strings.Builder
	for r.at < len(r.text) {
		c := r.text[r.at]
		r.at++
		switch c {
		case '"':
			return b.String(), nil
		case '\\':
			if err := r.escape(&b); err != nil {
				return nil, err
			}
		default:
			b.WriteByte(c)
		}
	}
	return nil, errors.New("the answer is cut off in a string")
}

// Guile writes \" \\ \n and the like, and \x7f; for what can't be printed.
var escapes = map[byte]string{'n': "\n", 't': "\t", 'r': "\r", 'a': "\a", 'b': "\b", 'f': "\f", 'v': "\v", '0': "\x00", '\n': ""}

func (r *reader) escape(b *strings.Builder) error {
	if r.at == len(r.text) {
		return errors.New("the answer is cut off in a string")
	}
	c := r.text[r.at]
	r.at++
	if c != 'x' {
		if s, ok := escapes[c]; ok {
			b.WriteString(s)
		} else {
			b.WriteByte(c)
		}
		return nil
	}
	digits, _, found := strings.Cut(r.text[r.at:min(r.at+8, len(r.text))], ";")
	code, err := strconv.ParseUint(digits, 16, 32)
	if !found || err != nil {
		return errors.New(`a \x that names no character`)
	}
	r.at += len(digits) + 1
	b.WriteRune(rune(code)) // no valid rune: U+FFFD
	return nil
}

// hash reads what begins with #: a timer's or an endpoint's status may hold whatever Guile can write.
func (r *reader) hash(depth int) (any, error) {
	rest := r.text[r.at:]
	switch {
	case strings.HasPrefix(rest, "#:"):
		r.at += 2
		return keyword(r.token()), nil
	case strings.HasPrefix(rest, "#("): // the address of a socket is a vector
		r.at++
		return r.vector(depth)
	case strings.HasPrefix(rest, "#vu8("):
		r.at += 4
		return r.vector(depth)
	case strings.HasPrefix(rest, "#{"): // a symbol that isn't written plainly: #{a b}#
		name, _, found := strings.Cut(rest[2:], "}#")
		if !found {
			return nil, errors.New("the answer is cut off in a symbol")
		}
		r.at += len(name) + 4
		return symbol(name), nil
	case strings.HasPrefix(rest, "#<"):
		return r.object()
	case strings.HasPrefix(rest, `#\`):
		_, size := utf8.DecodeRuneInString(rest[2:])
		r.at += 2 + size // it may be a delimiter
		return rest[2:2+size] + r.token(), nil
	}
	switch token := r.token(); token {
	case "#t", "#true":
		return true, nil
	case "#f", "#false", "#nil":
		return false, nil
	default:
		return nil, fmt.Errorf("%.20q isn't data", token)
	}
}

func (r *reader) vector(depth int) (any, error) {
	items, err := r.list(depth)
	if err != nil {
		return nil, err
	}
	if items, proper := items.([]any); proper {
		return vector(items), nil
	}
	return nil, errors.New("a dot in a vector")
}

// object passes over #<procedure x (y)>, in which other objects may be.
func (r *reader) object() (any, error) {
	open := 0
	for i, c := range []byte(r.text[r.at:]) {
		switch c {
		case '<':
			open++
		case '>':
			open--
		}
		if i > 0 && open == 0 {
			start := r.at
			r.at += i + 1
			return opaque(r.text[start:r.at]), nil
		}
	}
	return nil, errors.New("the answer is cut off in an object")
}

// token takes all up to the next delimiter.
func (r *reader) token() string {
	start := r.at
	for r.at < len(r.text) && !delimiter(r.text[r.at]) {
		r.at++
	}
	return r.text[start:r.at]
}

func delimiter(c byte) bool { return strings.IndexByte(" \t\r\n\f()\";", c) >= 0 }

func atom(token string) any {
	if n, err := strconv.ParseInt(token, 10, 64); err == nil {
		return n
	}
	// Guile has no such names as Inf or 0x1p-2, which ParseFloat would take.
	if strings.Trim(token, "0123456789+-.e") == "" {
		if f, err := strconv.ParseFloat(token, 64); err == nil {
			return f
		}
	}
	return symbol(token)
}

// write is how Scheme writes datum.
func write(datum any) string {
	switch d := datum.(type) {
	case string:
		return quote(d)
	case symbol:
		if again, err := read([]byte(d)); err != nil || again != datum {
			return "#{" + string(d) + "}#"
		}
		return string(d)
	case keyword:
		return "#:" + string(d)
	case vector:
		return "#(" + writeAll(d) + ")"
	case bool:
		if d {
			return "#t"
		}
		return "#f"
	case float64:
		text := strconv.FormatFloat(d, 'g', -1, 64)
		if strings.Trim(text, "-0123456789") == "" {
			text += ".0"
		}
		return text
	case []any:
		return "(" + writeAll(d) + ")"
	case dotted:
		return "(" + writeAll(d.items) + " . " + write(d.tail) + ")"
	}
	return fmt.Sprint(datum)
}

func writeAll(items []any) string {
	words := make([]string, len(items))
	for i, item := range items {
		words[i] = write(item)
	}
	return strings.Join(words, " ")
}

var quoter = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

func quote(s string) string { return `"` + quoter.Replace(s) + `"` }
