package layers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"example.org/collie/agent/mistake"
	"example.org/collie/agent/rollout"
	"example.org/collie/agent/secrets"
	"example.org/collie/agent/source"
	"example.org/collie/manifests"
	"example.org/collie/manifests/podman"
)

const someSecret = "apiVersion: v1\nkind: Secret\nmetadata: {name: db}\nstringData: {password: hunter2}\n"

// encrypted are the files of a repository; those that end in .age are encrypted for keys.
func encrypted(t *testing.T, keys string, files map[string]string) fs.FS {
	t.Helper()
	all := fstest.MapFS{}
	for name, text := range files {
		data := []byte(text)
		if strings.HasSuffix(name, ".age") {
			r, err := secrets.ParseRecipients("keys", []byte(keys))
			if err == nil {
				data, err = secrets.Encrypt(data, r)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		all[name] = &fstest.MapFile{Data: data}
	}
	return all
}

func machineKeys(t *testing.T) (dir, public string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "keys")
	id, err := secrets.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir, id.Public
}

func viewOn(t *testing.T, files fs.FS) view {
	t.Helper()
	v, err := viewOf(files, "web")
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestSecretsAreDecryptedForAHost(t *testing.T) {
	keys, own := machineKeys(t)
	_, other := machineKeys(t)
	pod := "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n    - name: web\n      image: a:1\n      envFrom:\n        - secretRef: {name: db}\n"
	hash := func(files map[string]string) string {
		t.Helper()
		files["pods/web.yaml"], files["secrets/recipients"] = pod, own+"\n"+other
		v := viewOn(t, encrypted(t, own+"\n"+other, files))
		p, wrong, err := podsLayer{&podman.Podman{}, keys}.private(t.Context(), v)
		if err != nil || wrong != nil {
			t.Fatal(wrong, err)
		}
		m, err := manifests.LoadWith(t.Context(), p, v.repository, v.pods()...)
		if err != nil {
			t.Fatal(err)
		}
		return m.Pods[0].Hash
	}
	plain := hash(map[string]string{"pods/db.yaml": someSecret})
	if got := hash(map[string]string{"secrets/db.yaml.age": someSecret}); got != plain {
		t.Errorf("the hash is %s encrypted, and %s in plain", got, plain)
	}
	another := strings.Replace(someSecret, "hunter2", "swordfish", 1)
	if got := hash(map[string]string{"secrets/db.yaml.age": another, "hosts/web/secrets/db.yaml.age": someSecret, "hosts/other/secrets/db.yaml.age": another}); got != plain {
		t.Errorf("the host's own doesn't come before the common one: %s, want %s", got, plain)
	}
	if got := hash(map[string]string{"secrets/db.yaml.age": another}); got == plain {
		t.Error("another password has the same hash")
	}
}

func TestFilesThatAreNotForThisMachine(t *testing.T) {
	keys, own := machineKeys(t)
	_, other := machineKeys(t)
	for name, row := range map[string]struct {
		list string
		want []string
	}{
		"not on the list":       {other, []string{"secrets/db.yaml.age: it is encrypted for other keys: 1 of age (X25519)", "add this machine's key", "key: " + own}},
		"on it since":           {other + "\n" + own, []string{"secrets/db.yaml.age: it is encrypted for other keys: ", "so the file is older than that: run `collie secret rekey`"}},
		"and two are told both": {other, []string{"secrets/db.yaml.age: ", "secrets/x.yml.age: "}},
	} {
		files := encrypted(t, other, map[string]string{"secrets/recipients": row.list, "secrets/db.yaml.age": someSecret, "secrets/x.yml.age": someSecret, "pods/web.yaml": goodPod})
		_, err := podsLayer{&podman.Podman{}, keys}.Prepare(t.Context(), rollout.Revision{Files: viewOn(t, files)}, quiet)
		blamed := new(rollout.BadError)
		if !errors.As(err, &blamed) {
			t.Fatalf("%s: got %v", name, err)
		}
		for _, want := range row.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v\ndoesn't say %q", name, err, want)
			}
		}
	}
}

// A machine that the next rekey would take off is warned of.
func TestAListWithoutTheMachineIsLogged(t *testing.T) {
	keys, own := machineKeys(t)
	_, other := machineKeys(t)
	for list, want := range map[string]bool{own: false, other: true} {
		var log bytes.Buffer
		l := podsLayer{&podman.Podman{Log: slog.New(slog.NewTextHandler(&log, nil))}, keys}
		files := encrypted(t, own, map[string]string{"secrets/recipients": list, "secrets/db.yaml.age": someSecret})
		if _, _, err := l.private(t.Context(), viewOn(t, files)); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(log.String(), "rekey"); got != want || strings.Contains(log.String(), "hunter2") {
			t.Errorf("logged %s, want a warning: %v", &log, want)
		}
	}
}

func TestAKeyThatIsBrokenBlamesNoCommit(t *testing.T) {
	keys := t.TempDir()
	if err := os.WriteFile(filepath.Join(keys, secrets.IdentityFile), []byte("AGE-SECRET-KEY-hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, other := machineKeys(t)
	files := encrypted(t, other, map[string]string{"secrets/recipients": other, "secrets/db.yaml.age": someSecret})
	_, _, err := podsLayer{&podman.Podman{}, keys}.private(t.Context(), viewOn(t, files))
	if blamed := new(rollout.BadError); err == nil || errors.As(err, &blamed) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
	// Without encrypted files it isn't needed.
	if _, _, err := (podsLayer{&podman.Podman{}, keys}).private(t.Context(), viewOn(t, encrypted(t, other, nil))); err != nil {
		t.Error(err)
	}
}

func TestWhatIsBesideSecrets(t *testing.T) {
	_, one := machineKeys(t)
	for name, row := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"all is well":   {map[string]string{"secrets/recipients": one, "secrets/db.yaml.age": someSecret, "secrets/README.md": "", "secrets/.keep": ""}, nil},
		"no list":       {map[string]string{"secrets/db.yaml.age": someSecret}, []string{"secrets/recipients: is missing"}},
		"a broken list": {map[string]string{"secrets/recipients": "hunter2"}, []string{"secrets/recipients:1: isn't a public key"}},
		"in plain":      {map[string]string{"secrets/db.yaml": someSecret}, []string{"secrets/db.yaml: isn't encrypted, and whoever sees the repository has read it"}},
		"for services":  {map[string]string{"secrets/files/tls.age": "x"}, []string{"secrets/recipients: is missing"}},
		"another name":  {map[string]string{"secrets/recipients": one, "secrets/db.age": "x"}, []string{"secrets/db.age: isn't read: name it NAME.yaml.age"}},
		"a folder":      {map[string]string{"hosts/web/secrets/more/db.yaml.age": "x"}, []string{"hosts/web/secrets/more: is a folder"}},
	} {
		got := checkSealed(viewOn(t, encrypted(t, one, row.files)))
		if len(got) != len(row.want) {
			t.Errorf("%s: got %v, want %q", name, got, row.want)
			continue
		}
		for i, want := range row.want {
			if !strings.HasPrefix(got[i].Error(), want) || strings.Contains(got[i].Error(), "hunter2") {
				t.Errorf("%s: got %v, want %s", name, got[i], want)
			}
		}
	}
}

func TestValidateTellsOfSecrets(t *testing.T) {
	_, one := machineKeys(t)
	pod := "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n    - name: web\n      image: a:1\n      envFrom:\n        - secretRef: {name: db}\n"
	for name, row := range map[string]struct {
		files map[string]string
		want  string
	}{
		"encrypted": {map[string]string{"pods/web.yaml": pod, "secrets/recipients": one, "secrets/db.yaml.age": someSecret}, "secrets/db.yaml.age: is encrypted, so its content isn't checked here"},
		"one key":   {map[string]string{"pods/web.yaml": pod, "secrets/recipients": one, "secrets/db.yaml.age": someSecret}, "secrets/recipients: there is one key: who loses it loses all that is encrypted; add an operator's"},
		"plain":     {map[string]string{"pods/web.yaml": pod, "pods/db.yaml": someSecret}, "pods/db.yaml:1: this Secret can be read by all who see the repository; `collie secret encrypt` makes a file of it that not all can read"},
	} {
		notes, mistakes := Validate(encrypted(t, one, row.files), "")
		if len(mistakes) > 0 || !strings.Contains(strings.Join(notes, "\n"), row.want) {
			t.Errorf("%s: notes %q, mistakes %q, want %s", name, notes, mistakes, row.want)
		}
	}
}

func TestManyEncryptedFilesAreTooMuch(t *testing.T) {
	all := fstest.MapFS{}
	for i := range 9 {
		all[fmt.Sprintf("secrets/%d.yaml.age", i)] = &fstest.MapFile{Data: make([]byte, secrets.MostEncrypted)}
	}
	files, mistakes := viewOn(t, all).sealed()
	if len(files) > 0 || len(mistakes) != 1 || mistakes[0].Error() != "secrets/: together its files have more than 16 MiB" {
		t.Errorf("%q, %v", files, mistakes)
	}
}

// A commit with a mistake of each kind has all of them reported at once, each once, with its place, and what follows from one isn't
// reported beside it.
func TestMistakesOfAllKindsAreReportedTogether(t *testing.T) {
	keys, own := machineKeys(t)
	_, other := machineKeys(t)
	repository := encrypted(t, other, map[string]string{
		"channels.scm":             "(list (channel (name 'guix)))",
		"collie.yaml":              "laeve: true\nsecrets:\n  wg.kay: {}\n",
		"secrets/recipients":       other + "\nhunter2\n",
		"secrets/db.yaml.age":      someSecret,
		"secrets/files/wg.key.age": "hunter2",
		"secrets/plain.yaml":       someSecret,
		"pods/web.yaml":            strings.Replace(goodPod, "image:", "imagee:", 1),
		"pods/api.yaml":            "apiVersion: v1\nkind: Pod\nmetadata: {name: Api}\nspec:\n  containers:\n    - {name: api, image: a:1, envFrom: [{secretRef: {name: db}}]}\n",
		"hosts/web/pods":           "",
		"hosts/web/modules/x.scm":  "",
		"modules":                  "",
	})
	v, err := viewOf(repository, "web")
	if err != nil {
		t.Fatal(err)
	}
	v.trees = t.TempDir()
	rev := rollout.Revision{Revision: source.Revision{ID: "abc"}, Files: v}
	_, err = v.Check()
	all := mistake.Of(err)
	for _, l := range []rollout.Layer{Secrets(keys), Pods(&podman.Podman{}, keys)} {
		all = append(all, mistake.Of(l.(interface {
			Check(context.Context, rollout.Revision) error
		}).Check(t.Context(), rev))...)
	}
	var got []string
	for _, e := range all.Sorted() {
		got = append(got, e.Text())
	}
	add := "\n  hint: add this machine's key to secrets/recipients, run `collie secret rekey`, and commit both\n  key: " + own
	want := []string{
		"channels.scm:1: channel guix has no (commit \"…\")\n  hint: pin the Guix you have with `guix describe -f channels > channels.scm`",
		"collie.yaml:1: laeve: there is no such key\n  hint: did you mean leave?",
		"collie.yaml:3: secrets.wg.kay: there is no secrets/files/wg.kay.age\n  hint: did you mean wg.key?",
		"hosts/web/modules: either it or modules is a folder, and the other isn't: give it another name",
		"hosts/web/pods: either it or pods is a folder, and the other isn't: give it another name",
		"pods/api.yaml:3: metadata.name: \"Api\" is not a name\n  hint: use lower-case letters, digits and '-', with a letter or digit at both ends",
		"pods/web.yaml:8: spec.containers[0].imagee: there is no such field\n  hint: did you mean image?",
		"secrets/db.yaml.age: it is encrypted for other keys: 1 of age (X25519)" + add,
		"secrets/files/wg.key.age: it is encrypted for other keys: 1 of age (X25519)" + add,
		"secrets/plain.yaml: isn't encrypted, and whoever sees the repository has read it: change what is secret in it, then see `collie secret encrypt`",
		"secrets/recipients:2: isn't a public key\n  hint: one begins with age1 or ssh-ed25519",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Where it isn't known which files a host has, what the others lack may be in those.
func TestWhatAHostLacksIsNotGuessed(t *testing.T) {
	files := fstest.MapFS{
		"hosts/db/pods/x.yaml": {Data: []byte("kind: Nonsense\n")},
		"secrets/db.yaml.age":  {Data: []byte("x")},
		"channels.scm":         {Data: []byte("(list")},
		"pods/web.yaml":        {Data: []byte(goodPod + "      envFrom: [{configMapRef: {name: settings}}, {secretRef: {name: db}}]\n      imagePullPolicy: always\n")},
	}
	_, got := Validate(files, "web")
	want := []string{
		"channels.scm:1: the closing parenthesis is missing\n  hint: close the list that begins in this line",
		"hosts/: there is no folder of this host, web, only of db\n  hint: make hosts/web, with at least one file, or set `host` in this machine's configuration to one of them",
		"pods/web.yaml:10: spec.containers[0].imagePullPolicy: \"always\" is not Always, IfNotPresent or Never\n  hint: upper and lower case differ: Always",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
