package layers

import (
	"strings"
	"testing"
	"testing/fstest"

	"example.org/collie/agent/mistake"
)

// collie.yaml is read strictly.
func TestRepositoryConfig(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"", ""},
		{"# nothing yet\n", ""},
		{"leave: true\n", ""},
		{"leave: false\n", ""},
		{"leave: true\nsoak: 1m\n", "collie.yaml:2: soak: there is no such key\n  hint: the keys here are leave, prune, secrets"},
		{"leave: maybe\n", "collie.yaml:1: leave: \"maybe\" is neither true nor false\n  hint: write true or false, without quotes"},
		{"leave: true\nleave: true\n", "collie.yaml:2: leave: is given twice, first in line 1\n  hint: leave one of them"},
		{"- leave\n", "collie.yaml:1: must hold keys and values, not a list"},
		{"leave: true\n---\nleave: true\n", "collie.yaml:3: holds more than one document\n  hint: remove the line --- and what follows it"},
		{"leaves: true\nsecrets:\n  wg.key: {mode: 0777, onwer: web}\n  db: {mdoe: 0400}\nprune: web\n", "collie.yaml:1: leaves: there is no such key\n  hint: did you mean leave?\n" +
			"collie.yaml:3: secrets.wg.key.mode: \"0777\" is no mode of a secret: write 0400, 0440 or 0640; others than owner and group never may\n" +
			"collie.yaml:3: secrets.wg.key.onwer: there is no such key\n  hint: did you mean owner?\n" +
			"collie.yaml:4: secrets.db.mdoe: there is no such key\n  hint: did you mean mode?\n" +
			"collie.yaml:5: prune: must be a list, not a single value\n  hint: write [a, b], or each item on a line of its own that begins with '- '"},
		{"leave: true\n prune: [x]\n", "collie.yaml:2: a ':' stands where no key can be\n  hint: quote text that holds ': ', or check the indentation"},
		{strings.Repeat("#", mistake.MostText+1), "collie.yaml: is larger than 1 MiB"},
	} {
		cfg, err := readRepositoryConfig(view{repository: fstest.MapFS{"collie.yaml": {Data: []byte(row.text)}}})
		if got := message(err); got != row.want || cfg.Leave != (row.text == "leave: true\n") && err == nil {
			t.Errorf("%.40q: %+v, %q; want %q", row.text, cfg, got, row.want)
		}
	}
	if cfg, err := readRepositoryConfig(view{repository: fstest.MapFS{}}); err != nil || cfg.Leave {
		t.Errorf("without the file: %+v, %v", cfg, err)
	}
	own := view{repository: fstest.MapFS{"hosts/a/collie.yaml": {Data: []byte("x: 1\n")}}, dir: "hosts/a", laid: map[string]bool{"collie.yaml": true}}
	if _, err := readRepositoryConfig(own); message(err) != "hosts/a/collie.yaml:1: x: there is no such key\n  hint: the keys here are leave, prune, secrets" {
		t.Errorf("of a host: %v", err)
	}
}

func FuzzRepositoryConfig(f *testing.F) {
	for _, seed := range []string{"leave: true\n", "leave: &a true\nx: *a\n", "\xff", "---\n---\n", "leave:\n\t- x\n", "? leave\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		cfg, err := readRepositoryConfig(view{repository: fstest.MapFS{"collie.yaml": {Data: text}}})
		for line := range strings.Lines(message(err)) {
			if !strings.HasPrefix(line, "collie.yaml") && !strings.HasPrefix(line, "  hint: ") {
				t.Errorf("this line doesn't name the file: %q", line)
			}
		}
		if cfg.Leave && err == nil && !strings.Contains(string(text), "leave") {
			t.Errorf("%q makes Collie leave", text)
		}
	})
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// A collie.yaml that can't be read is a mistake, too, and not as good as none.
func TestACollieYAMLThatCannotBeRead(t *testing.T) {
	got := unsupported(view{repository: fstest.MapFS{"system.scm": {}, "collie.yaml/x": {}}})
	if len(got) != 1 || got[0].File != RepositoryFile || !strings.Contains(got[0].Says, RepositoryFile) {
		t.Errorf("got %v, want one mistake of %s", got, RepositoryFile)
	}
}
