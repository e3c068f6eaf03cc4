package guix

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseDerivation(t *testing.T) {
	with := func(environment string) string {
		return `Derive([("doc","/gnu/store/a-doc","",""),("out","/gnu/store/a","sha256","00")],[],[],"x86_64-linux","builtin:download",[],[` + environment + `])`
	}
	for _, row := range []struct {
		name, text string
		local      bool
		wrong      bool
	}{
		{"a package", with(`("out","/gnu/store/a")`), false, false},
		{"without an environment", with(``), false, false},
		{"a profile", with(`("out","/gnu/store/a"),("preferLocalBuild","1")`), true, false},
		{"never substituted", with(`("allowSubstitutes","0")`), true, false},
		{"substituted, it says", with(`("allowSubstitutes","1"),("preferLocalBuild","0")`), false, false},
		{"the words elsewhere", with(`("text","(\"preferLocalBuild\",\"1\")")`), false, false},
		{"escaped", with("(\"text\",\"a\\n\\t\\r\\\\\\\"\"),(\"preferLocalBuild\",\"1\")"), true, false},
		{"nothing", "", false, true},
		{"no derivation", "(hello)", false, true},
		{"cut short", with(``)[:40], false, true},
		{"more behind", with(``) + "x", false, true},
		{"too few parts", `Derive([("out","/gnu/store/a","","")])`, false, true},
		{"no outputs", strings.Replace(with(``), `("doc","/gnu/store/a-doc","",""),("out","/gnu/store/a","sha256","00")`, "", 1), false, true},
		{"an output without a path", strings.Replace(with(``), "/gnu/store/a-doc", "", 1), false, true},
		{"a variable that is no pair", with(`("out")`), false, true},
		{"deep", "Derive" + strings.Repeat("[", 1_000_000), false, true},
	} {
		d, err := parseDerivation(row.text)
		if (err != nil) != row.wrong || d.local != row.local {
			t.Errorf("%s: local %v, %v", row.name, d.local, err)
		}
		if err == nil && fmt.Sprint(d.outputs) != "[/gnu/store/a-doc /gnu/store/a]" {
			t.Errorf("%s: outputs %v", row.name, d.outputs)
		}
	}
}

func FuzzDerivation(f *testing.F) {
	f.Add(`Derive([("out","/gnu/store/a","","")],[("/gnu/store/b.drv",["out"])],["/gnu/store/c"],"x86_64-linux","/bin/guile",["-C"],[("out","/gnu/store/a"),("preferLocalBuild","1")])`)
	f.Add(`Derive([("out","a\"\\\n","","")],[],[],"","",[],[])`)
	f.Fuzz(func(t *testing.T, text string) {
		if d, err := parseDerivation(text); err == nil && len(d.outputs) == 0 {
			t.Error("no outputs, and no mistake")
		}
	})
}
