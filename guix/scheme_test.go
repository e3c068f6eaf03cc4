package guix

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What real Guile writes of each character, in a string, in a symbol and as a character, is one datum for what reads the
// store, and the string and symbol that it was. The goldens are those of package shepherd.
func TestReadStoreWhatGuileWrites(t *testing.T) {
	golden, err := os.ReadFile("../shepherd/testdata/guile/characters")
	if err != nil {
		t.Fatal(err)
	}
	where, how, seen, failed := "", "", 0, 0
	one := func(char rune) {
		text := strings.NewReplacer("*", string(char), "%x", fmt.Sprintf("%x", char), "%o", fmt.Sprintf("%o", char),
			"%2", fmt.Sprintf("%02x", char), "%4", fmt.Sprintf("%04x", char), "%6", fmt.Sprintf("%06x", char)).Replace(how)
		want := map[string]string{"string": "a" + string(char) + "b", "symbol": "a" + string(char) + "b", "initial": string(char), "character": text}[where]
		forms, err := readStore("(" + text + " (beside))")
		seen++
		if failed < 20 && (err != nil || len(forms) != 1 || len(forms[0].list) != 2 || forms[0].list[1].head() != "beside" ||
			forms[0].list[0].atom != want || forms[0].list[0].str != (where == "string")) {
			t.Errorf("%s U+%04X: %s was read as %+v, %v", where, char, text, forms, err)
			failed++
		}
	}
	for line := range strings.Lines(string(golden)) {
		line = strings.TrimSuffix(line, "\n")
		if !strings.HasPrefix(line, "  ") {
			where, how, _ = strings.Cut(line, " ")
			continue
		}
		for _, codes := range strings.Fields(line) {
			first, last, _ := strings.Cut(codes, "-")
			from, _ := strconv.ParseInt(first, 16, 32)
			to, _ := strconv.ParseInt(last, 16, 32)
			for code := from; code <= max(from, to); code++ {
				one(rune(code))
			}
		}
	}
	if seen < 4*(0x10000-0x800) {
		t.Errorf("only %d characters", seen)
	}
}

// Data of other kinds that Guile can read again are read as one each, and in full.
func TestReadStoreDataOfGuile(t *testing.T) {
	golden, err := os.ReadFile("../shepherd/testdata/guile/data")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(golden)) {
		line = strings.TrimSuffix(line, "\n")
		if strings.Contains(line, "#<") { // Guix refuses to write these
			continue
		}
		forms, err := readStore("(" + line + " (beside))")
		if err != nil || len(forms) != 1 || len(forms[0].list) != 2 || forms[0].list[1].head() != "beside" {
			t.Errorf("%s was read as %+v, %v", line, forms, err)
		}
	}
	forms, err := readStore(`((requires a'b |c| #{d e}# #:#{f g}#) "\x1b;[0m\u200b" #\; #\( x)`)
	if err != nil || len(forms) != 1 || len(forms[0].list) != 5 ||
		!slices.Equal(forms[0].list[0].atoms(), []string{"requires", "a'b", "|c|", "d e", "#:f g"}) || forms[0].list[1].atom != "\x1b;[0m\u200b" {
		t.Errorf("got %+v, %v", forms, err)
	}
}
