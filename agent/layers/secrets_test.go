package layers

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/collie/agent/layertest"
	"example.org/collie/agent/rollout"
	"example.org/collie/agent/source"
)

// deliverer is a layer whose files go to a folder, where there is one user but root: this test's.
func deliverer(t *testing.T, keys string) secretsLayer {
	return secretsLayer{
		keys: keys, dir: filepath.Join(t.TempDir(), "secrets"),
		own: func(dir string) error { return os.MkdirAll(dir, 0o711) },
		ids: func(d delivery) (int, int, error) {
			if d.Owner != "root" {
				return 0, 0, fmt.Errorf("there is no user %s", d.Owner)
			}
			return os.Getuid(), os.Getgid(), nil
		},
	}
}

// holds tells what is in a folder: its files with mode and content.
func holds(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%s %04o %s", e.Name(), info.Mode().Perm(), text))
	}
	return strings.Join(all, ", ")
}

func TestSecretsOfServices(t *testing.T) {
	keys, own := machineKeys(t)
	l := deliverer(t, keys)
	prepare := func(id string, files map[string]string) rollout.Target {
		t.Helper()
		files["secrets/recipients"] = own
		got, err := l.Prepare(t.Context(), rollout.Revision{Revision: source.Revision{ID: id}, Files: viewOn(t, encrypted(t, own, files))}, quiet)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(got.Data), "hunter2") {
			t.Error("the target has a secret in it")
		}
		return got
	}
	step := func(what string, to rollout.Target, changes, then string) {
		t.Helper()
		diff, err := l.Diff(t.Context(), to)
		var says []string
		for _, c := range diff {
			says = append(says, strings.TrimRight(fmt.Sprintf("%s %s: %s", c.Does, c.Subject, c.Says), ": "))
		}
		if got := strings.Join(says, "; "); err != nil || got != changes {
			t.Errorf("%s: changes %q (%v), want %q", what, got, err, changes)
		}
		if err := l.Switch(t.Context(), to); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got := holds(t, l.dir); got != then {
			t.Errorf("%s: the folder has %q, want %q", what, got, then)
		}
		if diff, err := l.Diff(t.Context(), to); err != nil || len(diff) > 0 {
			t.Errorf("%s, afterwards: %v (%v)", what, diff, err)
		}
	}
	_, err := l.Prepare(t.Context(), rollout.Revision{Revision: source.Revision{ID: "none"}, Files: viewOn(t, encrypted(t, own, map[string]string{"system.scm": ""}))}, quiet)
	if !errors.Is(err, rollout.ErrAbsent) {
		t.Errorf("a repository without: %v", err)
	}
	before, err := l.Prepare(t.Context(), rollout.Revision{Revision: source.Revision{ID: rollout.Baseline}}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	one := prepare("a", map[string]string{"secrets/files/wg.key.age": "hunter2", "secrets/files/README.md": "x"})
	two := prepare("b", map[string]string{"secrets/files/wg.key.age": "hunter22\x00\xff", "secrets/files/tls.age": "pem", "collie.yaml": "secrets:\n  tls: {mode: 0440}\n"})
	step("the first", one, "create secret wg.key: root's, mode 0400", "wg.key 0400 hunter2")
	step("the next", two, "create secret tls: root's, mode 0440; update secret wg.key: its content changed", "tls 0440 pem, wg.key 0400 hunter22\x00\xff")
	step("the way back", one, "update secret wg.key: its content changed; delete secret tls", "wg.key 0400 hunter2")

	path := filepath.Join(l.dir, "wg.key")
	if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(filepath.Join(l.dir, "other"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	step("others' work", one, "update secret wg.key: mode 0600 → 0400; delete secret other", "wg.key 0400 hunter2")
	if err := errors.Join(os.Remove(path), os.Symlink("/etc/passwd", path)); err != nil {
		t.Fatal(err)
	}
	step("a link", one, "update secret wg.key: it is no file", "wg.key 0400 hunter2")

	// Before its owner is there, it is root's alone.
	three := prepare("c", map[string]string{"secrets/files/wg.key.age": "hunter2", "collie.yaml": "secrets: {wg.key: {owner: vpn, mode: 0640}}"})
	step("an owner that is to come", three, "", "wg.key 0400 hunter2")
	problems, err := l.Problems(t.Context(), three, time.Time{})
	if err != nil || len(problems) != 1 || !problems[0].Transient || problems[0].String() != "secret wg.key: is root's alone for now: there is no user vpn (collie.yaml, secrets/files/wg.key.age)" {
		t.Errorf("its problem: %v (%v)", problems, err)
	}
	l.ids = func(delivery) (int, int, error) { return os.Getuid(), os.Getgid(), nil }
	step("and came", three, "update secret wg.key: mode 0400 → 0640", "wg.key 0640 hunter2")
	step("as before Collie", before, "delete secret wg.key", "")

	// Without the machine's key nothing is touched.
	step("once more", one, "create secret wg.key: root's, mode 0400", "wg.key 0400 hunter2")
	l.keys, _ = machineKeys(t)
	if err := l.Switch(t.Context(), two); err == nil || !strings.HasPrefix(err.Error(), "secrets/files/tls.age: it is encrypted for other keys") || holds(t, l.dir) != "wg.key 0400 hunter2" {
		t.Errorf("with another key: %v, and %q", err, holds(t, l.dir))
	}
}

func TestSecretsOfServicesForOthers(t *testing.T) {
	keys, own := machineKeys(t)
	_, other := machineKeys(t)
	files := encrypted(t, other, map[string]string{"secrets/files/a.age": "hunter2", "secrets/files/b.age": "hunter2", "secrets/recipients": other})
	_, err := deliverer(t, keys).Prepare(t.Context(), rollout.Revision{Revision: source.Revision{ID: "a"}, Files: viewOn(t, files)}, quiet)
	bad := new(rollout.BadError)
	if !errors.As(err, &bad) || strings.Count(err.Error(), "add this machine's key to secrets/recipients") != 2 || !strings.Contains(err.Error(), own) {
		t.Errorf("%v", err)
	}
}

func TestWhatCanBeSaidOfSecretsOfServices(t *testing.T) {
	_, one := machineKeys(t)
	for name, row := range map[string]struct {
		files map[string]string
		want  string
	}{
		"a host's own":          {map[string]string{"hosts/db/secrets/files/tls.age": "x", "hosts/web/x": "", "collie.yaml": "secrets: {tls: {}}"}, ""},
		"no file":               {map[string]string{"collie.yaml": "secrets: {tsl: {}}"}, "collie.yaml:1: secrets.tsl: there is no secrets/files/tsl.age"},
		"no user":               {map[string]string{"secrets/files/tls.age": "x", "collie.yaml": "secrets: {tls: {owner: a b}}"}, `collie.yaml:1: secrets.tls.owner: "a b" is no name of a user or group`},
		"for all":               {map[string]string{"collie.yaml": "secrets:\n  tls: {mode: 0644}"}, `collie.yaml:2: secrets.tls.mode: "0644" is no mode of a secret: write 0400, 0440 or 0640; others than owner and group never may`},
		"in plain":              {map[string]string{"secrets/files/tls.pem": "x"}, "secrets/files/tls.pem: isn't encrypted"},
		"a folder":              {map[string]string{"secrets/files/more/tls.age": "x"}, "secrets/files/more: is a folder"},
		"a name for mischief":   {map[string]string{"secrets/files/..age": "x", "secrets/files/a b.age": "x"}, "secrets/files/a b.age: is no name for a file of a service"},
		"a host's in its place": {map[string]string{"secrets/files/tls.age": "x", "hosts/web/secrets/files/tls.age": "y"}, ""},
		"too much":              {map[string]string{"secrets/files/tls.age": strings.Repeat("x", mostTogether)}, "secrets/files/: together its files have more than 1024 KiB"},
	} {
		row.files["secrets/recipients"] = one
		v := viewOn(t, encrypted(t, one, row.files))
		var says []string
		for _, err := range unsupported(v) {
			says = append(says, err.Error())
		}
		if got := strings.Join(says, "\n"); (got == "") != (row.want == "") || !strings.HasPrefix(got, row.want) {
			t.Errorf("%s: got %q, want %q", name, got, row.want)
		}
	}
	v := viewOn(t, encrypted(t, one, map[string]string{"secrets/files/tls.age": "x", "hosts/web/secrets/files/tls.age": "y"}))
	if files, _ := v.secretFiles(); len(files) != 1 || files["tls"] != "hosts/web/secrets/files/tls.age" {
		t.Errorf("a host's in its place: %v", files)
	}
}

// Shepherd runs `collie deliver` for a service that it starts, while the agent puts the folder right.
func TestTwoDeliverAtOnce(t *testing.T) {
	keys, own := machineKeys(t)
	l := deliverer(t, keys)
	files := map[string]string{"secrets/recipients": own, "secrets/files/token.age": "hunter2"}
	target, err := l.Prepare(t.Context(), rollout.Revision{Revision: source.Revision{ID: "a"}, Files: viewOn(t, encrypted(t, own, files))}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			for range 200 {
				if err := errors.Join(os.RemoveAll(filepath.Join(l.dir, "token")), l.Switch(t.Context(), target)); err != nil {
					t.Error(err)
					return
				}
				changes, err := l.Diff(t.Context(), target)
				for _, c := range changes {
					if c.Subject != "secret token" {
						t.Errorf("a look sees %v", c)
					}
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	both.Wait()
}

func TestSecretsKeepTheContract(t *testing.T) {
	keys, own := machineKeys(t)
	l := deliverer(t, keys)
	prepare := func(id, text string) rollout.Target {
		t.Helper()
		files := encrypted(t, own, map[string]string{"secrets/recipients": own, "secrets/files/tls.age": text, "secrets/files/" + id + ".age": "x"})
		got, err := l.Prepare(t.Context(), rollout.Revision{Revision: source.Revision{ID: id}, Files: viewOn(t, files)}, quiet)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	nothing, err := Repository{}.Open(t.Context(), rollout.Baseline, "web")
	if err != nil {
		t.Fatal(err)
	}
	layertest.Test(t, l, nothing, prepare("a", "one"), prepare("b", "two"))
}
