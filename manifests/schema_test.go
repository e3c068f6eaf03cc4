package manifests

import (
	"strings"
	"testing"
)

// Each row of the table must be able to say what it has to say.
func TestTheTableIsComplete(t *testing.T) {
	rows := 0
	for _, k := range kinds {
		if (k.form == nil) != (k.class != supported) {
			t.Errorf("%s: only a supported kind has fields", k.name)
		}
		if k.class != supported && k.says == "" {
			t.Errorf("%s: nothing says why it isn't supported", k.name)
		}
		if k.class == unsupported && !strings.Contains(k.says, k.name) {
			t.Errorf("%s: %q doesn't name it", k.name, k.says)
		}
		if k.form != nil {
			checkRows(t, k.name, k.form, &rows)
		}
	}
	if rows < 200 {
		t.Errorf("only %d rows were looked at", rows)
	}
}

func checkRows(t *testing.T, path string, f *form, rows *int) {
	if f == nil {
		return
	}
	seen := map[string]bool{}
	for _, row := range f.fields {
		*rows++
		at := path + "." + row.name
		if seen[row.name] {
			t.Errorf("%s is there twice", at)
		}
		seen[row.name] = true
		switch row.class {
		case supported:
			if row.form == nil || row.says != "" {
				t.Errorf("%s: a supported field has a form and no excuse", at)
			}
		case noted:
			if row.says == "" || row.hint != "" {
				t.Errorf("%s: a note has one sentence", at)
			}
		case unsupported:
			if row.says == "" || row.hint == "" {
				t.Errorf("%s: says neither why nor what to do", at)
			}
		}
		checkRows(t, at, row.form, rows)
	}
	for _, name := range f.one {
		if !seen[name] {
			t.Errorf("%s: one of its fields is %s, which it doesn't have", path, name)
		}
	}
	if f.values != nil && f.key == nil {
		t.Errorf("%s: nothing checks its keys", path)
	}
	if f.scalar != nil && f.is == "" {
		t.Errorf("%s: nothing says what it is", path)
	}
	checkRows(t, path+"[]", f.items, rows)
	checkRows(t, path+"[key]", f.values, rows)
}
