package shepherd

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	tests := []struct {
		text string
		want any
		err  string
	}{
		{`(a "b" 1 -2 0.1 #t #f)`, []any{symbol("a"), "b", int64(1), int64(-2), 0.1, true, false}, ""},
		{`(a . 1)`, dotted{[]any{symbol("a")}, int64(1)}, ""},
		{`(a b . c)`, dotted{[]any{symbol("a"), symbol("b")}, symbol("c")}, ""},
		{`(a . (b . (c)))`, []any{symbol("a"), symbol("b"), symbol("c")}, ""},
		{`(a . (b . c))`, dotted{[]any{symbol("a"), symbol("b")}, symbol("c")}, ""},
		{`"q\"b\\n\na\aä\x7f;\U01F600;"`, "q\"b\\n\na\aä\x7f;😀;", ""},
		{`("\xzz;" "\x1" "\ud800" "\U110000" "\ä" "\u")`, []any{"�zz;", "�1", "�", "�", "ä", "�"}, ""},
		{`(#:name #{a b}# ...  + - fs-/mnt/d don't)`, []any{keyword("name"), symbol("a b"), symbol("..."), symbol("+"), symbol("-"), symbol("fs-/mnt/d"), symbol("don't")}, ""},
		{`(Inf nan 0x1p2 1_0 1/2)`, []any{symbol("Inf"), symbol("nan"), opaque("0x1p2"), opaque("1_0"), opaque("1/2")}, ""},
		{"", nil, "cut off"},
		{"(a", nil, "cut off in a list"},
		{`(a "b`, nil, "cut off in a string"},
		{`"\`, nil, "cut off in a string"},
		{"#{a", nil, "cut off in a symbol"},
		{")(", nil, "too many"},
		{"a b", nil, "more than one"},
		{"(a . b c)", []any{symbol("a"), dot, symbol("b"), symbol("c")}, ""},
		{"(. a)", []any{dot, symbol("a")}, ""},
		{`(#(1 "/run/x") #vu8(1 2) #<procedure x (#<y>)> #\a #\space #\( #())`,
			[]any{vector{int64(1), "/run/x"}, vector{int64(1), int64(2)}, opaque("#<procedure x (#<y>)>"), "a", " ", "(", vector{}}, ""},
		{"#(a . b)", dotted{[]any{symbol("a")}, symbol("b")}, ""},
		{"#<a", nil, "cut off in an object"},
		{"(#unknown 'a ; )", []any{opaque("#unknown"), opaque("'a"), opaque(";")}, ""},
		{"(\"a\xff\" b\xff)", []any{"a�", symbol("b�")}, ""},
		{"#", opaque("#"), ""},
	}
	for _, test := range tests {
		got, err := read([]byte(test.text))
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%.40q: got %v, %v; want error %q", test.text, got, err, test.err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%.40q: got %#v, %v", test.text, got, err)
		}
	}
}

// What is nested too deeply, for a reader that takes a hundred bytes of stack and more for each level, hides nothing beside it.
func TestReadDeep(t *testing.T) {
	for _, open := range []string{"(", "#(", "#vu8(", "(a . ("} {
		n := 1_000_000
		text := "(" + strings.Repeat(open, n) + ` ")" #\) #{)}# ` + strings.Repeat(")", n*strings.Count(open, "(")) + " beside)"
		datum, err := read([]byte(text))
		if items, ok := datum.([]any); err != nil || !ok || len(items) != 2 || items[1] != symbol("beside") {
			t.Errorf("%s…: %v", open, err)
		}
	}
}

func TestWrite(t *testing.T) {
	for _, text := range []string{`(a "b\\c\"" 1 -2 0.1 1.0 #t #f)`, "(a b . c)", "()", "#:key", "#{a b}#", "#{+1}#", "(a #{.}# (b))", "#{#t}#", "-0.0",
		"#:#{a b}#", `#{a\x7d;#b}#`, "+inf.0", "+nan.0", "#{+inf.0}#", "1/2", "#{1/2}#"} {
		datum, err := read([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := write(datum); got != text {
			t.Errorf("%s became %s", text, got)
		}
	}
}

// Whatever the bytes, reading ends without a panic; what was read survives being written and read again.
func FuzzRead(f *testing.F) {
	files, err := filepath.Glob("testdata/*-*")
	if err != nil || len(files) == 0 {
		f.Fatalf("no recorded replies: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`(reply (version 0) (result ((service (provides ()))))) (error (a . b)) (messages (1 #:a "\x41;" . 0.5)))`))
	f.Fuzz(func(t *testing.T, text []byte) {
		_, _ = parse(text, "status", "root")
		datum, err := read(text)
		if err != nil {
			return
		}
		_, _ = services(datum)
		_ = refusal(datum, "start", "web")
		if items, ok := datum.([]any); ok {
			_, _ = service(datum)
			_ = fieldsOf(items)
		}
		again, err := read([]byte(write(datum)))
		if err == nil && write(again) != write(datum) {
			t.Errorf("%q became %q", write(datum), write(again))
		}
	})
}
