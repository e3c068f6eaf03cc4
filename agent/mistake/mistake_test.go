package mistake

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestGuess(t *testing.T) {
	words := []string{"image", "env", "ports", "readinessProbe", "a"}
	for word, want := range map[string]string{
		"img": "did you mean image?", "imgae": "did you mean image?", "prots": "did you mean ports?", "readynessProbe": "did you mean readinessProbe?",
		"ENVS": "did you mean env?", "readinessprobe": "upper and lower case differ: readinessProbe",
		"b": "", "something": "", "": "", strings.Repeat("x", 1000): "",
	} {
		meant, hint := Guess(word, words)
		if hint != want || (meant == "") != (hint == "") || !strings.Contains(hint, meant) {
			t.Errorf("Guess(%.20q) is %q, %q; want %q", word, meant, hint, want)
		}
	}
}

// An error has twenty mistakes with their hints, and how many there are beside these.
func TestListIsBounded(t *testing.T) {
	var l List
	for i := range 25 {
		l = append(l, &Error{File: "a.yaml", Line: i + 1, Field: "spec", Says: "is missing", Hint: "write it"})
	}
	text := l.Err().Error()
	if !strings.HasPrefix(text, "a.yaml:1: spec: is missing\n  hint: write it\na.yaml:2: ") || !strings.HasSuffix(text, "\na.yaml:20: spec: is missing\n  hint: write it\nand 5 more") {
		t.Error(text)
	}
	if (List{}).Err() != nil {
		t.Error("no mistake is an error")
	}
	if got := Of(fmt.Errorf("pods: %w", l)); len(got) != 25 {
		t.Errorf("%d mistakes are found again", len(got))
	}
	if got := Of(errors.New("no such file")); got != nil {
		t.Errorf("an error of another kind has the mistakes %v", got)
	}
}

func TestListIsSorted(t *testing.T) {
	l := List{{File: "b", Line: 1, Says: "x"}, {File: "a", Line: 2, Says: "y"}, {File: "a", Line: 2, Says: "x"}, {File: "a", Says: "is missing"}, {File: "a", Line: 2, Says: "y"}}
	var got []string
	for _, e := range l.Sorted() {
		got = append(got, e.Error())
	}
	if want := []string{"a: is missing", "a:2: y", "a:2: x", "b:1: x"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
