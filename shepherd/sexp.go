package shepherd

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The results of read: string for a Guile string or character, symbol, keyword, int64, float64, bool, []any for a list,
// dotted for an improper one, vector, and opaque for what is none of these, or what can't be read.
type (
	symbol  string
	keyword string
	vector  []any
	opaque  string // #<procedure x>, 1/2
	dotted  struct {
		items []any // at least one
		tail  any   // no list: (a . (b)) is read as (a b)
	}
)

// maxDepth is far beyond what a Shepherd sends (about 8), and far below what the stack can bear.
const maxDepth = 100

// read reads the one datum that text holds. Only where that begins and ends must be clear: what is odd within it becomes
// opaque, or a character U+FFFD, and the rest is as it is.
func read(text []byte) (any, error) {
	r := &reader{text: strings.ToValidUTF8(string(text), "\uFFFD")}
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
		item, err := r.hash()
		if _, prefix := item.(opaque); err != nil || !prefix || r.at == len(r.text) || r.text[r.at] != '(' {
			return item, err
		}
		items, err := r.list(depth) // #(…), #vu8(…), #2((…) (…)): the address of a socket is a vector
		if list, proper := items.([]any); proper {
			return vector(list), err
		}
		return items, err
	}
	return atom(r.token()), nil
}

func (r *reader) list(depth int) (any, error) {
	start := r.at
	r.at++ // the parenthesis
	if depth == maxDepth {
		return r.skip(start)
	}
	items, dots := []any{}, 0
	for {
		if r.space(); r.at == len(r.text) {
			return nil, errors.New("the answer is cut off in a list")
		}
		if r.text[r.at] == ')' {
			r.at++
			if n := len(items); dots == 1 && n > 2 && items[n-2] == dot {
				return pair(items[:n-2], items[n-1]), nil
			}
			return items, nil
		}
		item, err := r.datum(depth + 1)
		if err != nil {
			return nil, err
		}
		if item == dot {
			dots++
		}
		items = append(items, item)
	}
}

// dot is what stands before the last part of an improper list, and nowhere else.
const dot = opaque(".")

func pair(items []any, tail any) any {
	switch tail := tail.(type) {
	case []any:
		return append(items, tail...)
	case dotted:
		return dotted{append(items, tail.items...), tail.tail}
	}
	return dotted{items, tail}
}

// skip passes over a list that is nested too deeply, behind its parenthesis.
func (r *reader) skip(start int) (any, error) {
	for open := 1; open > 0; {
		if r.space(); r.at == len(r.text) {
			return nil, errors.New("the answer is cut off in a list")
		}
		switch r.text[r.at] {
		case '(':
			r.at++
			open++
			continue
		case ')':
			r.at++
			open--
			continue
		}
		if err := r.skipAtom(); err != nil {
			return nil, err
		}
	}
	return opaque(r.text[start:r.at]), nil
}

func (r *reader) skipAtom() (err error) {
	switch r.text[r.at] {
	case '"':
		_, err = r.quoted()
	case '#':
		_, err = r.hash()
	default:
		r.token()
	}
	return err
}

func (r *reader) quoted() (any, error) {
	start := r.at + 1
	for r.at = start; r.at < len(r.text); r.at++ {
		switch r.text[r.at] {
		case '"':
			r.at++
			return StringText(r.text[start : r.at-1]), nil
		case '\\':
			r.at++
		}
	}
	r.at = len(r.text)
	return nil, errors.New("the answer is cut off in a string")
}

// hash reads what begins with #, of a vector only that: a timer's or an endpoint's status may hold whatever Guile can write.
func (r *reader) hash() (any, error) {
	rest := r.text[r.at:]
	switch {
	case strings.HasPrefix(rest, "#{"):
		name, err := r.braced()
		return symbol(name), err
	case strings.HasPrefix(rest, "#:#{"):
		r.at += 2
		name, err := r.braced()
		return keyword(name), err
	case strings.HasPrefix(rest, "#:"):
		r.at += 2
		return keyword(r.token()), nil
	case strings.HasPrefix(rest, "#<"):
		return r.object()
	case strings.HasPrefix(rest, `#\`):
		return r.character(), nil
	}
	switch token := r.token(); token {
	case "#t", "#true":
		return true, nil
	case "#f", "#false", "#nil":
		return false, nil
	default:
		return opaque(token), nil
	}
}

// braced reads a symbol that isn't written plainly: #{a b}#. A brace in it is written \x7d;.
func (r *reader) braced() (string, error) {
	name, _, found := strings.Cut(r.text[r.at+2:], "}#")
	if !found {
		return "", errors.New("the answer is cut off in a symbol")
	}
	r.at += len(name) + 4
	return SymbolName(name), nil
}

func (r *reader) character() string {
	r.at += 2
	start := r.at
	_, size := utf8.DecodeRuneInString(r.text[r.at:])
	r.at += size // it may be a delimiter
	for r.at < len(r.text) && !delimiter(r.text[r.at]) {
		r.at++
	}
	return characterText(r.text[start:r.at])
}

// object passes over #<procedure x (y)>, in which other objects, strings and characters may be. Names such as <= and
// string->symbol may be in it, too, so it isn't certain where one ends; Shepherd writes most objects as strings.
func (r *reader) object() (any, error) {
	start, open := r.at, 0
	for r.at < len(r.text) {
		rest := r.text[r.at:]
		switch {
		case strings.HasPrefix(rest, "#<"):
			open++
			r.at += 2
			if strings.HasPrefix(rest, "#<<") {
				open++
				r.at++
			}
		case rest[0] == '"':
			if _, err := r.quoted(); err != nil {
				return nil, err
			}
		case strings.HasPrefix(rest, "#{"):
			if _, err := r.braced(); err != nil {
				return nil, err
			}
		case strings.HasPrefix(rest, `#\`):
			_, size := utf8.DecodeRuneInString(rest[2:])
			r.at += 2 + size
		case rest[0] == '<' && len(rest) > 1 && strings.IndexByte(" (", r.text[r.at-1]) >= 0 && letter(rest[1]):
			open++
			r.at++
		case rest[0] == '>' && (len(rest) == 1 || rest[1] == '>' || delimiter(rest[1])):
			r.at++
			if open--; open == 0 {
				return opaque(r.text[start:r.at]), nil
			}
		default:
			r.at++
		}
	}
	return nil, errors.New("the answer is cut off in an object")
}

func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// token takes all up to the next delimiter, and at least one byte.
func (r *reader) token() string {
	start := r.at
	for r.at < len(r.text) && (r.at == start || !delimiter(r.text[r.at])) {
		r.at++
	}
	return r.text[start:r.at]
}

func delimiter(c byte) bool { return strings.IndexByte(" \t\r\n\f()\";", c) >= 0 }

var infinite = map[string]float64{"+inf.0": math.Inf(1), "-inf.0": math.Inf(-1), "+nan.0": math.NaN()}

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
	if f, ok := infinite[token]; ok {
		return f
	}
	// A symbol that looks like a number, or begins like another datum, is written #{…}#.
	if number := strings.TrimLeft(token, "+-."); number != "" && number[0] >= '0' && number[0] <= '9' ||
		token == "." || strings.IndexByte("'`,[]{};", token[0]) >= 0 {
		return opaque(token)
	}
	return symbol(token)
}

// write is how Scheme writes datum.
func write(datum any) string {
	switch d := datum.(type) {
	case string:
		return quote(d)
	case symbol:
		return writeSymbol(d)
	case keyword:
		return "#:" + writeSymbol(symbol(d))
	case vector:
		return "#(" + writeAll(d) + ")"
	case bool:
		if d {
			return "#t"
		}
		return "#f"
	case float64:
		for text, f := range infinite {
			if d == f || math.IsNaN(d) && math.IsNaN(f) {
				return text
			}
		}
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

// plainSymbol is what is a symbol for each Scheme, without braces.
var plainSymbol = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+._/:@%=*!?~-]*$`)

// quoteSymbol writes a symbol so that no name can be taken for anything else.
func quoteSymbol(name string) string {
	if plainSymbol.MatchString(name) {
		return name
	}
	return "#{" + symbolEscape.Replace(name) + "}#"
}

func writeSymbol(name symbol) string {
	if again, err := read([]byte(name)); err != nil || again != any(name) || strings.ContainsAny(string(name), "{}[]") {
		return "#{" + symbolEscape.Replace(string(name)) + "}#"
	}
	return string(name)
}

var symbolEscape = strings.NewReplacer(`\`, `\x5c;`, "{", `\x7b;`, "}", `\x7d;`)

func writeAll(items []any) string {
	words := make([]string, len(items))
	for i, item := range items {
		words[i] = write(item)
	}
	return strings.Join(words, " ")
}

var quoter = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

func quote(s string) string { return `"` + quoter.Replace(s) + `"` }
