package shepherd

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// GNU Guile 3.0 writes what isn't plain in ways of its own, which aren't R7RS's. testdata/guile holds how it writes every
// character.
//
//	in a string    \" \\ \a \b \t \n \v \f \r, and \x1b \u200b \U0e0001 with just two, four and six digits: what follows
//	               is text, also if it is a semicolon
//	in a symbol    #{a\x20;b}#
//	a character    #\a #\space; #\33 in octal digits; a combining one after a dotted circle

// plainEscapes are those of strings that aren't numbers. A character in none of the tables stands for itself.
var plainEscapes = map[byte]string{'n': "\n", 't': "\t", 'r': "\r", 'a': "\a", 'b': "\b", 'f': "\f", 'v': "\v", '0': "\x00", '\n': ""}

var numberEscapes = map[byte]int{'x': 2, 'u': 4, 'U': 6}

// StringText is the text of a string that Guile wrote, given without its quotes. It can't fail: an escape that names no
// character becomes U+FFFD.
func StringText(written string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(written, `\`)
		b.WriteString(before)
		if !found || after == "" {
			return b.String()
		}
		c, rest := after[0], after[1:]
		digits, isNumber := numberEscapes[c]
		plain, isPlain := plainEscapes[c]
		switch {
		case isNumber && len(rest) >= digits && isHex(rest[:digits]):
			b.WriteRune(codePoint(rest[:digits], 16))
			rest = rest[digits:]
		case isNumber:
			b.WriteRune(utf8.RuneError)
		case isPlain:
			b.WriteString(plain)
		default:
			rest = after // it may be the first byte of several
			_, size := utf8.DecodeRuneInString(rest)
			b.WriteString(rest[:size])
			rest = rest[size:]
		}
		written = rest
	}
}

// SymbolName is the name of a symbol that Guile wrote as #{…}#, given without these.
func SymbolName(written string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(written, `\x`)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		digits, _, closed := strings.Cut(after[:min(len(after), 8)], ";")
		if closed && isHex(digits) {
			b.WriteRune(codePoint(digits, 16))
			written = after[len(digits)+1:]
			continue
		}
		b.WriteString(`\x`)
		written = after
	}
}

// characterNames are those that Guile writes; of the others it writes the code.
var characterNames = map[string]rune{
	"nul": 0, "soh": 1, "stx": 2, "etx": 3, "eot": 4, "enq": 5, "ack": 6, "alarm": 7, "backspace": 8, "tab": 9, "newline": 10,
	"vtab": 11, "page": 12, "return": 13, "so": 14, "si": 15, "dle": 16, "dc1": 17, "dc2": 18, "dc3": 19, "dc4": 20, "nak": 21,
	"syn": 22, "etb": 23, "can": 24, "em": 25, "sub": 26, "esc": 27, "fs": 28, "gs": 29, "rs": 30, "us": 31, "space": 32, "delete": 127,
}

const dottedCircle = "\u25cc"

// characterText is the character that Guile wrote as #\…, given without these. A name that isn't known stands for itself.
func characterText(written string) string {
	if char, known := characterNames[written]; known {
		return string(char)
	}
	if len(written) > 1 && strings.Trim(written, "01234567") == "" {
		return string(codePoint(written, 8))
	}
	if combining := strings.TrimPrefix(written, dottedCircle); combining != "" {
		return combining
	}
	return written
}

// codePoint is what digits name, or U+FFFD.
func codePoint(digits string, base int) rune {
	code, err := strconv.ParseUint(digits, base, 32)
	if err != nil || code > utf8.MaxRune || !utf8.ValidRune(rune(code)) {
		return utf8.RuneError
	}
	return rune(code)
}

func isHex(digits string) bool {
	return digits != "" && strings.Trim(digits, "0123456789abcdefABCDEF") == ""
}
