package manifests

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"example.org/collie/agent/mistake"
)

const usesSecret = `apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
    - name: web
      image: localhost/web:1
      env:
        - name: PASSWORD
          valueFrom: {secretKeyRef: {name: db, key: password}}
`

func secretOf(password string) []byte {
	return fmt.Appendf(nil, "apiVersion: v1\nkind: Secret\nmetadata: {name: db}\nstringData: {password: %s}\n", password)
}

func TestASealedSecretIsUsedLikeAnother(t *testing.T) {
	sealed, err := LoadWith(t.Context(), Private{Sealed: []Sealed{Opened("secrets/db.yaml.age", secretOf("hunter2"))}}, files("pods/web.yaml", usesSecret), "pods")
	if err != nil {
		t.Fatal(err)
	}
	plain := load(t, files("pods/web.yaml", usesSecret, "pods/db.yaml", string(secretOf("hunter2"))))
	if sealed.Pods[0].Hash != plain.Pods[0].Hash || sealed.Pods[0].Secrets[0].Hash != plain.Pods[0].Secrets[0].Hash {
		t.Errorf("sealed, the pod is %s; plain, it is %s", sealed.Pods[0].Hash, plain.Pods[0].Hash)
	}
}

func TestHashesOfSecretsAreKeyed(t *testing.T) {
	hash := func(key, password string) string {
		m, err := LoadWith(t.Context(), Private{Key: []byte(key), Sealed: []Sealed{Opened("x", secretOf(password))}}, files("pods/web.yaml", usesSecret), "pods")
		if err != nil {
			t.Fatal(err)
		}
		return m.Pods[0].Hash + " " + m.Pods[0].Secrets[0].Hash
	}
	seen := map[string]string{}
	for _, row := range [][2]string{{"", "a"}, {"one", "a"}, {"two", "a"}, {"one", "b"}} {
		h := hash(row[0], row[1])
		for _, part := range strings.Fields(h) {
			if was := seen[part]; was != "" {
				t.Errorf("%v and %s have one hash", row, was)
			}
			seen[part] = fmt.Sprint(row)
		}
		if hash(row[0], row[1]) != h {
			t.Errorf("%v: another hash the second time", row)
		}
	}
}

// What a closed file holds nobody knows, so a Secret may be there; a ConfigMap can't.
func TestAClosedFileMayHaveTheSecret(t *testing.T) {
	closed := Private{Sealed: []Sealed{Closed("secrets/db.yaml.age")}}
	if _, err := LoadWith(t.Context(), closed, files("pods/web.yaml", usesSecret), "pods"); err != nil {
		t.Error(err)
	}
	_, err := LoadWith(t.Context(), closed, files("pods/web.yaml", strings.Replace(usesSecret, "secretKeyRef", "configMapKeyRef", 1)), "pods")
	if err == nil || !strings.Contains(err.Error(), `there is no ConfigMap "db"`) {
		t.Errorf("got %v", err)
	}
}

// marker is what no mistake may show.
const marker = "hunter2"

func TestMistakesInSealedFilesShowNothingOfThem(t *testing.T) {
	const head = "apiVersion: v1\nkind: Secret\nmetadata: {name: db}\n"
	for name, row := range map[string]struct{ text, want string }{
		"a value as a key":      {head + "data:\n  password:\n    hunter2: x\n", "s:5: data: must be base64, not keys and values"},
		"a value as a field":    {head + "hunter2: x\n", "s:4: there is no such field"},
		"not base64":            {head + "data: {password: hunter2!}\n", "s:4: data: is not base64"},
		"a key that is none":    {head + "data: {\"hunter2 x\": a}\n", "s:4: data: is not as it must be; what is there isn't shown"},
		"a version":             {"apiVersion: hunter2\nkind: Secret\nmetadata: {name: db}\n", "s:1: apiVersion: is not as it must be; what is there isn't shown"},
		"a kind":                {"apiVersion: v1\nkind: hunter2\n", "s:2: kind: is not as it must be; what is there isn't shown"},
		"another kind":          {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: db}\ndata: {a: hunter2}\n", "s:2: kind: only Secrets can be encrypted"},
		"a list":                {"apiVersion: v1\nkind: List\nitems: [{hunter2: x}]\n", "s:2: kind: only Secrets can be encrypted"},
		"a name":                {"apiVersion: v1\nkind: Secret\nmetadata: {name: hunter2_}\n", "s:3: metadata.name: is not as it must be; what is there isn't shown"},
		"an annotation":         {"apiVersion: v1\nkind: Secret\nmetadata:\n  name: db\n  annotations: {collie.io/hunter2: x}\n", "s:5: metadata: is not as it must be; what is there isn't shown"},
		"twice":                 {head + "stringData:\n  hunter2: a\n  hunter2: b\n", "s:6: stringData: is given twice, first in line 5"},
		"indentation":           {head + "stringData:\n  password: a\n hunter2: b\n", "s:6: this line doesn't fit to what stands above it"},
		"a colon":               {head + "stringData:\n  password: hunter2: b\n", "s:5: a ':' stands where no key can be"},
		"an alias":              {head + "stringData:\n  password: *hunter2\n", "s:5: a word that begins with * is an alias, and this one stands for nothing above it"},
		"a tag":                 {head + "stringData:\n  password: !hunter2 a\n", "s:5: stringData: has a tag, which is not supported"},
		"no YAML":               {"hunter2", "s:1: is no object with keys and values"},
		"nothing":               {"# hunter2\n", "s:1: holds no Secret"},
		"a mistake, another ok": {string(secretOf("a")) + "---\nkind: hunter2\n", "s:6: kind: is not as it must be; what is there isn't shown"},
	} {
		t.Run(name, func(t *testing.T) {
			err := CheckSealed(Opened("s", []byte(row.text)))
			var mistakes mistake.List
			if !errors.As(err, &mistakes) {
				t.Fatalf("got %v", err)
			}
			if got := mistakes[0].Error(); got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
			for _, e := range mistakes {
				if strings.Contains(e.Error()+e.Hint, marker) {
					t.Errorf("it shows what is secret: %v (%s)", e, e.Hint)
				}
			}
		})
	}
}

// FuzzSealed: whatever stands in an encrypted file, no mistake, note or way of printing shows it.
func FuzzSealed(f *testing.F) {
	for _, text := range []string{"data: {password: hunter2}", "hunter2: x", "data:\n hunter2", "kind: hunter2", "data: {a: *hunter2}", "metadata: {name: hunter2, annotations: {hunter2: x}}"} {
		f.Add("apiVersion: v1\nkind: Secret\nmetadata: {name: db}\n" + text)
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		sealed := Opened("s", []byte(text))
		m, err := LoadWith(t.Context(), Private{Key: []byte("k"), Sealed: []Sealed{sealed}}, files("pods/web.yaml", usesSecret), "pods")
		said := fmt.Sprintf("%v %+v %#v %v %+v %#v", err, sealed, sealed, m, m, CheckSealed(sealed))
		var mistakes mistake.List
		if errors.As(err, &mistakes) {
			for _, e := range mistakes {
				said += e.Error() + e.Hint
				if e.Line < 1 || e.Says == "" {
					t.Errorf("no place or no word: %#v", *e)
				}
			}
		}
		if m != nil {
			for _, n := range m.Notes {
				said += n.String()
			}
		}
		// The name of a Secret is its name in Podman, and the words of Collie's own are no secrets.
		if strings.Contains(said, marker) && !strings.Contains(said, `"`+marker) {
			t.Errorf("%q is shown as\n%s", text, said)
		}
	})
}

// What was decrypted counts as what a commit has in plain files does.
func TestSealedFilesCountAgainstTheSize(t *testing.T) {
	text := []byte("\"\\q\n" + strings.Repeat("#", mostFile-4)) // a mistake at once: parsing 16 MiB takes a while
	var sealed []Sealed
	for i := range mostBytes/mostFile - 1 {
		sealed = append(sealed, Opened(fmt.Sprintf("secrets/%d.yaml.age", i), text))
	}
	for name, row := range map[string]struct {
		more  []Sealed
		plain string
		want  string
	}{
		"as much as may be":    {nil, "#", ""},
		"a plain one too much": {nil, string(text) + "\n#", "pods/web.yaml:1: is larger than 1 MiB"},
		"together too much":    {[]Sealed{Opened("secrets/x.yaml.age", text)}, "#", "pods/web.yaml:1: is too much: all files together may have 16 MiB"},
		"a sealed one":         {[]Sealed{Opened("secrets/x.yaml.age", text), Opened("secrets/y.yaml.age", []byte("#"))}, "", "secrets/y.yaml.age:1: is too much: all files together may have 16 MiB"},
	} {
		_, err := LoadWith(t.Context(), Private{Sealed: slices.Concat(sealed, row.more)}, files("pods/web.yaml", row.plain), "pods")
		var mistakes mistake.List
		if !errors.As(err, &mistakes) {
			t.Fatalf("%s: %v, want one mistake a file", name, err)
		}
		var large []string
		for _, m := range mistakes {
			if strings.Contains(m.Error(), " MiB") {
				large = append(large, m.Error())
			}
		}
		if got := strings.Join(large, "\n"); got != row.want {
			t.Errorf("%s: %s, want %q", name, got, row.want)
		}
	}
}

// Loading ends with its context.
func TestLoadingEnds(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	if _, err := LoadWith(ctx, Private{}, files("pods/web.yaml", usesSecret), "pods"); !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
}
