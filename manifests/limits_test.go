package manifests

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"example.org/collie/agent/mistake"
	"example.org/collie/manifests/internal/tree"
)

func files(namesAndText ...string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for i := 0; i < len(namesAndText); i += 2 {
		fsys[namesAndText[i]] = &fstest.MapFile{Data: []byte(namesAndText[i+1])}
	}
	return fsys
}

// What a file must not be, and the one mistake that it makes.
func TestFilesThatAreRefused(t *testing.T) {
	tests := map[string]struct {
		file fstest.MapFile
		want string
	}{
		"not UTF-8":       {fstest.MapFile{Data: []byte("a: b\nc: \xff\n")}, "x.yaml:2: is not UTF-8 text"},
		"UTF-16":          {fstest.MapFile{Data: []byte("\xff\xfea\x00:\x00")}, "x.yaml:1: is not UTF-8 text"},
		"control":         {fstest.MapFile{Data: []byte("a: b\n\nc: \x00\n")}, "x.yaml:3: holds the control character U+0000"},
		"old Mac":         {fstest.MapFile{Data: []byte("a: b\r\nc: d\re: f\n")}, "x.yaml:2: holds the line separator U+000D"},
		"line separator":  {fstest.MapFile{Data: []byte("a: b\u2028c: d\n")}, "x.yaml:1: holds the line separator U+2028"},
		"link":            {fstest.MapFile{Data: []byte("/etc/passwd"), Mode: fs.ModeSymlink}, "x.yaml:1: is not a plain file, but a symbolic link"},
		"pipe":            {fstest.MapFile{Mode: fs.ModeNamedPipe}, "x.yaml:1: is not a plain file, but something else"},
		"large":           {fstest.MapFile{Data: bytes.Repeat([]byte("# much\n"), 1<<20)}, "x.yaml:1: is larger than 1 MiB"},
		"many documents":  {fstest.MapFile{Data: bytes.Repeat([]byte("---\na: b\n"), 1001)}, "x.yaml:2002: a file may hold 1000 documents"},
		"many values":     {fstest.MapFile{Data: []byte("a: [" + strings.Repeat("b,", 100_001) + "]\n")}, "x.yaml:1: holds more than 100000 values once its aliases are followed"},
		"deep":            {fstest.MapFile{Data: []byte("a: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000))}, "x.yaml:1: is nested more than 64 levels deep"},
		"deeper":          {fstest.MapFile{Data: []byte("a: " + strings.Repeat("[", 100_000))}, "x.yaml:1: is nested too deeply"},
		"deep blocks":     {fstest.MapFile{Data: []byte(strings.Repeat("- ", 100_000))}, "x.yaml:1: is nested too deeply"},
		"aliases of text": {fstest.MapFile{Data: []byte("a: &a " + strings.Repeat("x", 500_000) + "\nb: [" + strings.Repeat("*a,", 1000) + "]\n")}, "x.yaml:1: holds more than 4 MiB of text once its aliases are followed"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			file := tt.file
			_, err := Load(fstest.MapFS{"x.yaml": &file}, ".")
			var mistakes mistake.List
			if !errors.As(err, &mistakes) {
				t.Fatalf("got %v, want mistakes", err)
			}
			if got := mistakes[len(mistakes)-1].Error(); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// What is too large costs little more than what may be: nobody reads 50 MB to say so.
func TestWhatIsTooLargeCostsLittleMemory(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, times int) string {
		file, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		for range times {
			if _, err := file.WriteString(text); err != nil {
				t.Fatal(err)
			}
		}
		return name
	}
	const document = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
	for _, row := range []struct {
		name, says string
		most       uint64
	}{
		{write("50MB.yaml", strings.Repeat("# much\n", 1000), 50_000_000/7000), "50MB.yaml:1: is larger than 1 MiB", 8 << 20},
		{write("documents.yaml", document, 10_000), "documents.yaml:4002: a file may hold 1000 documents", 16 << 20},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Load(onlyFile{os.DirFS(dir), row.name}, ".")
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), row.says) {
			t.Errorf("got %v, want %s", err, row.says)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > row.most {
			t.Errorf("%s: %d bytes were allocated, want at most %d", row.name, used, row.most)
		}
	}
}

// onlyFile is one file of a folder.
type onlyFile struct {
	fs.FS
	name string
}

func (o onlyFile) ReadDir(name string) ([]fs.DirEntry, error) {
	all, err := fs.ReadDir(o.FS, name)
	return slices.DeleteFunc(all, func(e fs.DirEntry) bool { return e.Name() != o.name }), err
}

func TestALinkToAFolderIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("/etc", dir+"/more"); err != nil {
		t.Fatal(err)
	}
	_, err := Load(os.DirFS(dir), ".")
	if want := "more:1: is not a plain file, but a symbolic link\n  hint: put the file itself there"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestTooManyFilesAreRefused(t *testing.T) {
	fsys := fstest.MapFS{}
	for i := range mostEntries {
		fsys[fmt.Sprintf("%05d.yaml", i)] = &fstest.MapFile{}
	}
	_, err := Load(fsys, ".")
	if want := "09999.yaml:1: is one too many: there may be 10000 files and folders"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestTooMuchTextIsRefused(t *testing.T) {
	text := append([]byte("\"\\q\n"), bytes.Repeat([]byte("#"), mostFile-5)...) // a mistake at once: parsing 16 MiB takes a while
	fsys := fstest.MapFS{}
	for i := range 17 {
		fsys[fmt.Sprintf("%02d.yaml", i)] = &fstest.MapFile{Data: text}
	}
	_, err := Load(fsys, ".")
	var mistakes mistake.List
	if !errors.As(err, &mistakes) || len(mistakes) != 17 {
		t.Fatalf("got %v, want one mistake a file", err)
	}
	if got, want := mistakes[16].Error(), "16.yaml:1: is too much: all files together may have 16 MiB"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// A thousand million values in half a page must cost no more than that half page.
func TestAnAliasBombCostsLittleMemory(t *testing.T) {
	bomb := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c <= 'i'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c, ", c-1), 10), ", "))
	}
	fsys := files("bomb.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bomb}\n"+bomb)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := Load(fsys, ".")
	runtime.ReadMemStats(&after)
	if err == nil || !strings.Contains(err.Error(), "once its aliases are followed") {
		t.Errorf("got %v, want a refusal", err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 {
		t.Errorf("%d bytes were allocated, want less than 4 MiB", used)
	}
}

func TestMistakesAreBounded(t *testing.T) {
	text := "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n" + strings.Repeat("  - nonsense: a\n", 20_000)
	_, err := Load(files("a.yaml", text), ".")
	var mistakes mistake.List
	if !errors.As(err, &mistakes) || len(mistakes) != mostMistakes {
		t.Fatalf("got %d mistakes, want %d", len(mistakes), mostMistakes)
	}
	if lines := strings.Count(err.Error(), "\n") + 1; lines > 41 || !strings.HasSuffix(err.Error(), "\nand 980 more") {
		t.Errorf("the error has %d lines, want 20 mistakes and a count", lines)
	}
}

func TestAFolderThatIsNotThere(t *testing.T) {
	_, err := Load(files("a.yaml", ""), "pods")
	var mistakes mistake.List
	if !errors.Is(err, fs.ErrNotExist) || errors.As(err, &mistakes) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
}

func TestFilesAreNamedFromTheRoot(t *testing.T) {
	_, err := Load(files("pods/sub/a.yml", "kind: Nonsense\n", "other/b.yaml", "kind: Nonsense\n"), "pods")
	if want := `pods/sub/a.yml:1: kind: "Nonsense" is no kind that is known here`; err == nil || !strings.HasPrefix(err.Error(), want+"\n  hint: ") {
		t.Errorf("got %v, want %s and a hint", err, want)
	}
}

func TestEachMistakeCanBeUnwrapped(t *testing.T) {
	_, err := Load(files("a.yaml", "kind: Nonsense\n"), ".")
	var wrong *mistake.Error
	if !errors.As(fmt.Errorf("pods: %w", err), &wrong) || wrong.Field != "kind" {
		t.Errorf("got %v", wrong)
	}
}

// Whatever way a revision is printed, its secrets aren't.
func TestSecretsAreNotPrinted(t *testing.T) {
	m := load(t, os.DirFS("testdata/good/secrets"))
	secret := m.Pods[0].Secrets[0]
	hidden := struct{ o Object }{*secret} // fmt can't call methods on unexported fields
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, v := range []any{m, m.Pods[0], secret, *secret, secret.Doc, &secret.Doc} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	fmt.Fprintf(&out, "%v %+v %#v\n", hidden, hidden, hidden)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "pod", m.Pods[0], "secret", secret, "doc", secret.Doc, "value", *secret)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "pod", m.Pods[0], "secret", secret, "doc", secret.Doc, "value", *secret)
	for _, value := range []string{"aHVudGVyMg", "hunter2", fmt.Sprintf("%x", "aHVudGVyMg")} {
		if strings.Contains(out.String(), value) {
			t.Errorf("%s is printed:\n%s", value, out.String())
		}
	}
	if data, err := json.Marshal(m); err == nil {
		t.Errorf("marshalled to %s", data)
	}
	if got := tree.Section(secret.Doc.Reveal(), "data")["password"]; got != "aHVudGVyMg==" { // else the above proves nothing
		t.Errorf("got %v", got)
	}
}
