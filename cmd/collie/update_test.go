package main

import (
	"context"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/collie/agent/api"
	"example.org/collie/guix"
)

// commits makes a repository with a commit for each list of files, NAME=TEXT, and names them.
func commits(t *testing.T, dir string, each ...[]string) (ids []string) {
	t.Helper()
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=ann", "-c", "user.email=ann@example.org"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	git("init", "-q", "-b", "main")
	for _, files := range each {
		for _, f := range files {
			name, text, _ := strings.Cut(f, "=")
			if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(text, "LAST", strings.Join(ids, " "))), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		git("add", ".")
		git("commit", "-q", "--allow-empty", "-m", "a commit")
		ids = append(ids, git("rev-parse", "HEAD"))
	}
	return ids
}

func TestMessageOfAnUpdate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "channel")
	const news = `(channel-news (version 0) (entry (commit "LAST") (title (en "Title %s")) (body (en "x"))))`
	ids := commits(t, dir, []string{`.guix-channel=(channel (version 0) (news-file "news.scm"))`}, []string{"news.scm=" + strings.Replace(news, "%s", "of the first", 1)})
	ids = append(ids, commits(t, dir, []string{`news.scm=(channel-news (version 0) (entry (commit "` + ids[1] + `") (title (en "Better")) (body (en "x"))) (entry (commit "` + ids[0] + `") (title (en "Old")) (body (en "x"))))`})...)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	m := moved{Channel: guix.Channel{Name: "mine", URL: "file://" + dir, Branch: "main", Commit: ids[0]}, to: ids[2]}
	m.news = newsOf(context.Background(), m)
	plan := api.Plan{Layers: []api.PlanLayer{
		{Name: "system", Changes: []api.Change{{Does: "update", Subject: "package git", Old: "2.1", New: "2.2"}, {Does: "size", Subject: "closure", Says: "+312.0 MiB, 900.0 MiB in all: postgresql-16 +300.0 MiB"},
			{Does: "update", Subject: "channel mine", Says: "a → b"}, {Does: "restart", Subject: "service sshd", Diff: "+a\n"}}, Work: api.Work{Downloads: 3, Bytes: 5 << 20}},
		{Name: "home:ann"},
	}}
	want := `Update mine to ` + ids[2][:12] + `

channel mine: ` + ids[0][:12] + ` → ` + ids[2][:12] + `
  2 commits
  * Better

substitutes:
  for 97.8% of the 47 items
  u: 97.8%

system:
  update package git: 2.1 → 2.2
  size closure: +312.0 MiB, 900.0 MiB in all: postgresql-16 +300.0 MiB
  ` + api.Work{Downloads: 3, Bytes: 5 << 20}.String() + `
  and 1 more: see ` + "`collie plan update`" + `

home:ann:
  nothing changes
`
	if got := messageOf(subjectOf([]moved{m}), []moved{m}, []string{"for 97.8% of the 47 items", "u: 97.8%"}, plan); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// The news of a channel of which there is no clone on this machine come from its repository, over the network; the history
// between two commits doesn't.
func TestNewsFromTheChannelsRepository(t *testing.T) {
	root := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("TMPDIR", t.TempDir())
	dir := filepath.Join(root, "channel")
	entry := func(commit, title string) string {
		return `(entry (commit "` + commit + `") (title (en "` + title + `")) (body (en "x")))`
	}
	ids := commits(t, dir, []string{`.guix-channel=(channel (version 0) (news-file "news.scm"))`, "large=" + strings.Repeat("x", 100)})
	old := entry(ids[0], "Old")
	ids = append(ids, commits(t, dir, []string{"news.scm=(channel-news (version 0) " + old + ")"})...)
	ids = append(ids, commits(t, dir, []string{"between=1"}, []string{"news.scm=(channel-news (version 0) " + entry(ids[1], "Late") + entry(strings.Repeat("b", 40), "Better \x1b[2J") + `(entry (tag "v2") (title (en "A release")))` + old + ")"})...)
	path, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	backend := &cgi.Handler{Path: filepath.Join(strings.TrimSpace(string(path)), "git-http-backend"),
		Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"}, InheritEnv: []string{"PATH", "HOME"}}
	server := httptest.NewServer(backend)
	defer server.Close()
	m := moved{Channel: guix.Channel{Name: "mine", URL: server.URL + "/channel/.git", Branch: "main", Commit: ids[1]}, to: ids[3]}
	for _, filters := range []string{"false", "true"} {
		if out, err := exec.Command("git", "-C", dir, "config", "uploadpack.allowFilter", filters).CombinedOutput(); err != nil {
			t.Fatal(err, string(out))
		}
		want := []string{"* Better", "* A release"} // "Late" is of a commit that is there already
		if says := newsOf(t.Context(), m); !slices.Equal(says, want) {
			t.Errorf("with filters %s: %q, want %q", filters, says, want)
		}
		c, err := fetched(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		if count, err := c.git(t.Context(), "rev-list", "--count", m.to); err != nil || count != "1" {
			t.Errorf("with filters %s: %s commits came, %v", filters, count, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "collie-channel-*")); len(left) != 2 { // those of this test
		t.Errorf("%d clones are left", len(left)-2)
	}
	server.Close()
	if says := newsOf(t.Context(), m); len(says) != 1 || !strings.HasPrefix(says[0], "its news aren't known: git fetch: ") {
		t.Errorf("of a repository that doesn't answer: %q", says)
	}
}

// The clone's files, its index and its branches stay as they are.
func TestTheTreeOfAnUpdateTouchesNoFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "clone")
	ids := commits(t, dir, []string{"channels.scm=old", "system.scm=1"})
	if err := os.WriteFile(filepath.Join(dir, "system.scm"), []byte("being written"), 0o644); err != nil {
		t.Fatal(err)
	}
	u := updater{dir: dir, file: "channels.scm"}
	ctx := context.Background()
	status := func() string {
		t.Helper()
		out, err := u.git(ctx, "", "status", "--porcelain")
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	before := status()
	tree, err := u.tree(ctx, ids[0], "new\n")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"channels.scm": "new", "system.scm": "1"} {
		if got, err := u.git(ctx, "", "show", tree+":"+name); err != nil || got != want {
			t.Errorf("%s is %q (%v), want %q", name, got, err, want)
		}
	}
	if after := status(); after != before {
		t.Errorf("status %q, was %q", after, before)
	}
	if _, err := u.git(ctx, "", "show", "none:none"); err == nil || !strings.Contains(err.Error(), "git show: ") {
		t.Errorf("what git can't do: %v", err)
	}
}

// guix weather is asked for the system of the host whose channels change, as that host's agent sees the files; where that can't be, a
// line says so.
func TestTheWeatherIsThatOfTheHost(t *testing.T) {
	fake := t.TempDir()
	const guix = `#!/bin/sh
shift 4
while [ "$1" != -- ]; do shift; done
cat "$3" >"$FAKE/system"
: >"$4"
echo has /gnu/store/00000000000000000000000000000000-x >"$5"
`
	if err := os.WriteFile(filepath.Join(fake, "guix"), []byte(guix), 0o755); err != nil {
		t.Fatal(err)
	}
	git, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(git, filepath.Join(fake, "git")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("FAKE", fake)
	t.Setenv("PATH", fake+":"+os.Getenv("PATH"))
	dir := filepath.Join(t.TempDir(), "clone")
	if err := os.MkdirAll(filepath.Join(dir, "hosts/web1"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "hosts/web2"), 0o755); err != nil {
		t.Fatal(err)
	}
	ids := commits(t, dir, []string{"pods.yaml=none"}, []string{"system.scm=of all", "hosts/web1/system.scm=of web1", "hosts/web1/channels.scm=()", "hosts/web2/x=1"})
	none := []string{"guix-daemon asks no server for substitutes: none to build here"}
	for _, row := range []struct {
		file, host, commit string
		want               []string
		system             string
	}{
		{"channels.scm", "web2", ids[1], none, "of all"},
		{"channels.scm", "web1", ids[1], none, "of web1"},
		{"hosts/web1/channels.scm", "web2", ids[1], none, "of web1"},
		{"channels.scm", "web1", ids[0], nil, ""},
		{"channels.scm", "other", ids[1], []string{"not known: hosts/: there is no folder of this host, other, "}, ""},
	} {
		_ = os.Remove(filepath.Join(fake, "system"))
		u := updater{dir: dir, file: row.file, timeout: time.Minute}
		got, err := u.weather(t.Context(), row.host, row.commit+"^{tree}")
		system, _ := os.ReadFile(filepath.Join(fake, "system"))
		if err != nil || string(system) != row.system || len(got) != len(row.want) || len(got) > 0 && !strings.HasPrefix(got[0], row.want[0]) {
			t.Errorf("%s on %s: %q of %q (%v), want %q of %q", row.file, row.host, got, system, err, row.want, row.system)
		}
	}
	if err := os.Remove(filepath.Join(fake, "guix")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", fake)
	u := updater{dir: dir, file: "channels.scm", timeout: time.Minute}
	if got, err := u.weather(t.Context(), "web1", ids[1]+"^{tree}"); err != nil || len(got) != 1 || !strings.HasPrefix(got[0], "not known: ") || !strings.Contains(got[0], "guix") {
		t.Errorf("without guix: %q (%v)", got, err)
	}
}
