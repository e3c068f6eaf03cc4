package shepherd

import (
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// A way is how Guile writes a character, as testdata/guile/characters.scm found it: where → code → how.
type way map[string]map[rune]string

func ways(t testing.TB) way {
	t.Helper()
	text, err := os.ReadFile("testdata/guile/characters")
	if err != nil {
		t.Fatal(err)
	}
	all, where, how := way{}, "", ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if !strings.HasPrefix(line, "  ") {
			where, how, _ = strings.Cut(line, " ")
			if all[where] == nil {
				all[where] = map[rune]string{}
			}
			continue
		}
		for _, codes := range strings.Fields(line) {
			first, last, isRange := strings.Cut(codes, "-")
			if !isRange {
				last = first
			}
			from, err := strconv.ParseInt(first, 16, 32)
			to, err2 := strconv.ParseInt(last, 16, 32)
			if err != nil || err2 != nil {
				t.Fatalf("characters: %q", codes)
			}
			for code := from; code <= to; code++ {
				all[where][rune(code)] = how
			}
		}
	}
	return all
}

// write is what Guile writes for char there.
func (w way) write(where string, char rune) string {
	how := w[where][char]
	return strings.NewReplacer("*", string(char), "%x", fmt.Sprintf("%x", char), "%o", fmt.Sprintf("%o", char),
		"%2", fmt.Sprintf("%02x", char), "%4", fmt.Sprintf("%04x", char), "%6", fmt.Sprintf("%06x", char)).Replace(how)
}

// Each character that there is, up to U+FFFF, and some above, is read back as real Guile writes it.
func TestReadEachCharacterOfGuile(t *testing.T) {
	all, failed := ways(t), 0
	for where, want := range map[string]func(char string) any{
		"string":    func(char string) any { return "a" + char + "b" },
		"symbol":    func(char string) any { return symbol("a" + char + "b") },
		"initial":   func(char string) any { return symbol(char) },
		"character": func(char string) any { return char },
	} {
		if len(all[where]) < 0x10000-0x800 {
			t.Fatalf("%s: only %d characters", where, len(all[where]))
		}
		for char := range all[where] {
			text := all.write(where, char)
			got, err := read([]byte("(" + text + " beside)"))
			if failed < 20 && (err != nil || !reflect.DeepEqual(got, []any{want(string(char)), symbol("beside")})) {
				t.Errorf("%s U+%04X: %s was read as %q, %v", where, char, text, got, err)
				failed++
			}
		}
	}
}

// Other data of real Guile are read as one each, and what they are.
func TestReadDataOfGuile(t *testing.T) {
	text, err := os.ReadFile("testdata/guile/data")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]string{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		got, err := read([]byte("(" + line + " beside)"))
		items, ok := got.([]any)
		if err != nil || !ok || len(items) != 2 || items[1] != symbol("beside") {
			t.Errorf("%s was read as %q, %v", line, got, err)
			continue
		}
		kinds[line] = fmt.Sprintf("%T %q", items[0], fmt.Sprint(items[0]))
	}
	for line, want := range map[string]string{
		"-5": `int64 "-5"`, "-0.0": `float64 "-0"`, "1.0e100": `float64 "1e+100"`, "+inf.0": `float64 "+Inf"`, "-inf.0": `float64 "-Inf"`, "+nan.0": `float64 "NaN"`,
		"1/2": `shepherd.opaque "1/2"`, "1.0-2.5i": `shepherd.opaque "1.0-2.5i"`, "-9223372036854775808": `int64 "-9223372036854775808"`,
		"123456789012345678901234567890": `float64 "1.2345678901234568e+29"`, "#nil": `bool "false"`, "#<unspecified>": `shepherd.opaque "#<unspecified>"`,
		"|a|": `shepherd.symbol "|a|"`, "...": `shepherd.symbol "..."`, "#{}#": `shepherd.symbol ""`, "#{-1}#": `shepherd.symbol "-1"`, "#{.}#": `shepherd.symbol "."`,
		`#{a\x0;\x1b;\xa;;\x28;"}#`: `shepherd.symbol "a\x00\x1b\n;(\""`, "#:key": `shepherd.keyword "key"`, "#:#{a b}#": `shepherd.keyword "a b"`,
		"#vu8(97 98 99)": `shepherd.vector "[97 98 99]"`, "#*101": `shepherd.opaque "#*101"`, "(a b . 1)": `shepherd.dotted "{[a b] 1}"`,
		"#<procedure string->symbol (_)>": `shepherd.opaque "#<procedure string->symbol (_)>"`, `#<<odd> of: #\>>`: `shepherd.opaque "#<<odd> of: #\\>>"`,
	} {
		if kinds[line] != want {
			t.Errorf("%s is %s; want %s", line, kinds[line], want)
		}
	}
}

// Whatever a service logs, Shepherd writes it as Guile does: it is read back, and so is what stands beside it.
func FuzzReadWhatGuileWrites(f *testing.F) {
	all := ways(f)
	for _, text := range []string{"", "\x1b[32mINFO\x1b[0m up", "\x1b;", "a\\x41;b", "\x7f\x00\u00ad\u200b", "\"", ")", "(service (version 0)", "\\", "é\u0301😀\U000e0001"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var written strings.Builder
		for _, char := range text {
			piece := all.write("string", char)
			if piece == "" { // above U+FFFF only some are known
				piece = fmt.Sprintf(`"a\U%06xb"`, char)
			}
			written.WriteString(piece[2 : len(piece)-2]) // without the quotes, a and b
		}
		got, err := services(mustRead(t, `((service (version 0) (provides (loud)) (status running) (recent-messages ((17 . "`+written.String()+
			`"))) (pending-replacement? #t)) (service (version 0) (provides (beside)) (status stopped)))`))
		want := string([]rune(text)) // invalid UTF-8 is no string of Guile's
		if err != nil || len(got) != 2 || len(got[0].Messages) != 1 || got[0].Messages[0] != want || !got[0].Pending || got[1].Status != "stopped" {
			t.Errorf("%q was written %s and read as %+v, %v", text, written.String(), got, err)
		}
	})
}

func mustRead(t *testing.T, text string) any {
	datum, err := read([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return datum
}
