package podman

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.org/collie/manifests"
)

func newFakeWorld(t *testing.T) *world {
	t.Helper()
	f := newFake(t)
	w := &world{Podman: Connect(f.socket), t: t, fake: f}
	w.alive, w.steady = f.alive, 0
	return w
}

// A tag that moved is another pod where the policy asks for it, and nowhere else.
func TestATagThatMoves(t *testing.T) {
	for _, c := range []struct {
		policy, name string
		diff         []string
		moves        bool
	}{
		{"Always", imageOne, []string{"replace pod web"}, true},
		{"Always", "127.0.0.1:5000/web@sha256:" + strings.Repeat("1", 64), nil, false},
		{"IfNotPresent", imageOne, nil, false},
	} {
		t.Run(c.policy+" "+c.name, func(t *testing.T) {
			w := newFakeWorld(t)
			w.fake.registry[c.name] = strings.Repeat("a", 64)
			pod := func() *manifests.Pod { return newPod("web", image(c.name, c.policy)) }
			one := w.deploy("r1", pod())
			if one.Moves() != c.moves {
				t.Errorf("moves: %t", one.Moves())
			}
			if got, want := one.Digests()[c.name], "sha256:"+strings.Repeat("d", 63)+"a"; got != want {
				t.Errorf("digest: %q, want %q", got, want)
			}
			same := w.prepare("r1", pod())
			if same.ID() != one.ID() {
				t.Error("asked again, with nothing new, it is another target")
			}
			if c.moves || c.policy != "Always" {
				w.fake.registry[c.name] = strings.Repeat("b", 64)
			}
			two := w.prepare("r1", pod())
			w.same("diff", w.diff(two), c.diff)
			if c.diff == nil {
				return
			}
			w.switchTo(two)
			w.switchTo(one) // the old image is still there: without the registry
			w.fake.deaf = true
			if three := w.prepare("r1", pod()); three.ID() != two.ID() {
				t.Error("the tag leads to the newest image here, whose pod doesn't run, but is kept") // it was pulled
			}
		})
	}
}

// Where the tag has moved on, what was prepared is fetched by its digest.
func TestAnImageThatIsGoneIsFetchedByItsDigest(t *testing.T) {
	w := newFakeWorld(t)
	one := w.prepare("r1", newPod("web"))
	delete(w.fake.images, imageOne)
	w.fake.registry[imageOne] = strings.Repeat("c", 64)
	err := w.Switch(t.Context(), one)
	if err == nil || !strings.Contains(err.Error(), "is gone from this machine, and the registry has another under that name") {
		t.Fatalf("switching without the image: %v", err)
	}
	w.fake.registry["127.0.0.1:5000/web@sha256:"+strings.Repeat("d", 63)+"a"] = strings.Repeat("a", 64)
	w.switchTo(one)
}

func TestAnImageWithoutADigestIsRefused(t *testing.T) {
	w := newFakeWorld(t)
	w.Rules.RequireDigest = true
	const pinned = "127.0.0.1:5000/web:1@sha256:1111111111111111111111111111111111111111111111111111111111111111"
	w.fake.registry[pinned] = strings.Repeat("a", 64)
	w.fake.images[imageOne] = strings.Repeat("a", 64)
	_, err := w.Prepare(t.Context(), &manifests.Manifests{Pods: []*manifests.Pod{newPod("api", image(pinned, "IfNotPresent")), newPod("web")}}, "r1", func(string) {})
	want := `pods/web.yaml:7: spec.containers[0].image: image "127.0.0.1:5000/web:1" has no digest, and this machine's configuration asks for one (images.requireDigest)` +
		"\n    hint: write 127.0.0.1:5000/web@sha256:" + strings.Repeat("d", 63) + "a for the one that is here"
	if blamed := new(ImageError); !errors.As(err, &blamed) || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// Only what the registry says isn't there is worth waiting for.
func TestWhatARegistrySays(t *testing.T) {
	for says, want := range map[string]string{
		"reading manifest 9 in x: manifest unknown":                                                              "waits",
		"pinging container registry x: dial tcp: connection refused":                                             "transient",
		"Source image rejected: A signature was required, but no signature exists":                               "refused by this machine's policy.json",
		"copying system image from manifest list: Source image rejected: Running image x is rejected by policy.": "refused by this machine's policy.json",
		"writing blob: no space left on device":                                                                  "transient",
	} {
		w := newFakeWorld(t)
		w.fake.answers["POST /images/pull"] = func(rw http.ResponseWriter, _ *http.Request) {
			answer(rw, 200, map[string]string{"error": says})
		}
		_, err := w.Prepare(t.Context(), &manifests.Manifests{Pods: []*manifests.Pod{newPod("web")}}, "r1", func(string) {})
		blamed := new(ImageError)
		is := errors.As(err, &blamed)
		switch {
		case err == nil, want == "transient" && is, want == "waits" && !blamed.Retriable:
			t.Errorf("%s: %v", says, err)
		case want != "transient" && want != "waits" && (blamed.Retriable || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "pods/web.yaml:7: ")):
			t.Errorf("%s: %v", says, err)
		}
	}
}

func TestCredentialsGoToTheirRegistryAlone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "auth.json")
	secret := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	text := fmt.Sprintf(`{"auths": {"registry.example.org": {"auth": %q}, "registry.example.org/ops": {"auth": %q}, "https://index.docker.io/v1/": {"auth": %q}}}`,
		secret("all:one"), secret("ops:two:three"), secret("hub:four"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"registry.example.org/web:1":                  "all one",
		"registry.example.org/ops/web@sha256:00":      "ops two:three",
		"registry.example.org/opsy/web":               "all one",
		"registry.example.org:5000/web:1":             "",
		"127.0.0.1:5000/web:1":                        "",
		"registry.example.org.evil.example.com/web:1": "",
		"nginx":                     "hub four",
		"library/nginx:1":           "hub four",
		"docker.io/library/nginx:1": "hub four",
	} {
		header, err := credentials(file, name)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if h := header.Get("X-Registry-Auth"); h != "" {
			raw, err := base64.URLEncoding.DecodeString(h)
			var login struct{ Username, Password string }
			if err != nil || json.Unmarshal(raw, &login) != nil {
				t.Fatalf("header %q", h)
			}
			got = login.Username + " " + login.Password
		}
		if got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}

	w := newFakeWorld(t)
	w.Rules.AuthFile = file
	w.fake.registry["registry.example.org/web:1"] = strings.Repeat("a", 64)
	sent := ""
	pull := func(rw http.ResponseWriter, r *http.Request) {
		sent = r.Header.Get("X-Registry-Auth")
		answer(rw, 200, map[string]string{"error": "unauthorized"})
	}
	w.fake.answers["POST /images/pull"] = pull
	_, err := w.Prepare(t.Context(), &manifests.Manifests{Pods: []*manifests.Pod{newPod("web", image("registry.example.org/web:1", "Always"))}}, "r1", func(string) {})
	if sent == "" || err == nil || strings.Contains(err.Error(), "one") {
		t.Errorf("sent %q, error %v", sent, err)
	}

	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := credentials(file, "x"); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a file for all to read: %v", err)
	}
	for _, text := range []string{`{"auths": {"x": {"auth": "hunter2"}}}`, `{"auths": ["hunter2"]}`, `hunter2`} {
		if _, err := parseLogins([]byte(text)); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", text, err)
		}
	}
	if l := (login{"user", "hunter2", "hunter2"}); strings.Contains(fmt.Sprintf("%v %+v %#v", l, l, l), "hunter2") {
		t.Error("a login is shown")
	}
}

func FuzzLogins(f *testing.F) {
	f.Add([]byte(`{"auths": {"x": {"auth": "dXNlcjpwYXNz"}}}`), "x/y:1")
	f.Add([]byte(`{"auths": {"https://x/": {"identitytoken": "t"}}}`), "x/y@sha256:0")
	f.Fuzz(func(t *testing.T, text []byte, name string) {
		logins, err := parseLogins(text)
		if err != nil {
			return
		}
		for _, key := range registryKeys(name) {
			_ = logins[key]
		}
	})
}

// What Collie pulled goes once neither the good revision, nor the ones before it that are kept, nor a container needs it;
// what others pulled or named stays.
func TestImagesThatNothingNeedsGo(t *testing.T) {
	w := newFakeWorld(t)
	w.Rules.Record, w.Rules.Keep = filepath.Join(t.TempDir(), "images.json"), 1
	name := func(i int) string { return fmt.Sprintf("127.0.0.1:5000/app:%d", i) }
	for i := range 5 {
		w.fake.registry[name(i)] = strings.Repeat(fmt.Sprint(i), 64)
	}
	w.fake.images["127.0.0.1:5000/theirs:1"] = strings.Repeat("f", 64)
	have := func() []string {
		var names []string
		for n := range w.fake.images {
			names = append(names, strings.TrimPrefix(n, "127.0.0.1:5000/"))
		}
		slices.Sort(names)
		return names
	}
	good := func(i int) Rendered {
		r := w.deploy(fmt.Sprint("r", i), newPod("web", image(name(i), "IfNotPresent")))
		w.must(w.Keep(t.Context(), []Rendered{r}))
		return r
	}
	good(0)
	w.same("after one", have(), []string{"app:0", "theirs:1"})
	good(1)
	w.same("after two", have(), []string{"app:0", "app:1", "theirs:1"})
	w.fake.images["localhost/mine:1"] = w.fake.registry[name(1)] // somebody likes it
	three := good(2)
	w.same("after three", have(), []string{"app:1", "app:2", "localhost/mine:1", "theirs:1"})
	w.must(w.Keep(t.Context(), []Rendered{three})) // once more is no other revision
	w.same("once more", have(), []string{"app:1", "app:2", "localhost/mine:1", "theirs:1"})
	good(3)
	w.same("after four", have(), []string{"app:1", "app:2", "app:3", "localhost/mine:1", "theirs:1"})
	w.prepare("bad", newPod("web", image(name(4), "IfNotPresent"))) // pulled for what never became good
	w.must(w.Keep(t.Context(), []Rendered{w.prepare("r3", newPod("web", image(name(3), "IfNotPresent")))}))
	w.same("after a bad one", have(), []string{"app:1", "app:2", "app:3", "localhost/mine:1", "theirs:1"})
}

// A file of logins that is none holds nobody.
func TestLoginsAreARegularFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "auth.json")
	if err := syscall.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, "/dev/zero", filepath.Dir(file)} {
		done := make(chan error, 1)
		go func() { _, err := readLogins(path); done <- err }()
		select {
		case err := <-done:
			if err == nil {
				t.Errorf("%s was read", path)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("reading %s doesn't end", path)
		}
	}
}
