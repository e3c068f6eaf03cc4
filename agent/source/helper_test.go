package source

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// An ops is a bare repository, and a worktree in which a user commits and from which they push.
type ops struct {
	t          *testing.T
	bare, work string
}

func newOps(t *testing.T) *ops {
	t.Helper()
	t.Parallel()
	return newQuietOps(t)
}

// newQuietOps is for tests that alter the process: they run alone.
func newQuietOps(t *testing.T) *ops {
	t.Helper()
	dir := t.TempDir()
	o := &ops{t, filepath.Join(dir, "ops.git"), filepath.Join(dir, "work")}
	must(t, os.CopyFS(dir, os.DirFS(filepath.Join(templates, "empty"))))
	return o
}

// pushedOps has a first commit, with the file f, and is quick to make.
func pushedOps(t *testing.T) (*ops, string) {
	t.Helper()
	t.Parallel()
	dir := t.TempDir()
	o := &ops{t, filepath.Join(dir, "ops.git"), filepath.Join(dir, "work")}
	must(t, os.CopyFS(dir, os.DirFS(filepath.Join(templates, "pushed"))))
	return o, o.head()
}

// templates has both repositories, empty and pushed to: copying them is faster than running git.
var templates string

func TestMain(m *testing.M) {
	os.Exit(withTemplate(m.Run))
}

func withTemplate(run func() int) int {
	dir, err := os.MkdirTemp("", "templates-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	script := `
mkdir empty pushed
git init -q --template= -b main --bare empty/ops.git
git init -q --template= -b main empty/work
cp -R empty/* pushed
cd pushed/work
echo 1 >f
git add f
git commit -q -m first
git push -q ../ops.git HEAD:main
`
	cmd := exec.Command("sh", "-euc", script)
	cmd.Dir, cmd.Env = dir, gitEnv()
	if out, err := cmd.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("making templates: %v\n%s", err, out))
	}
	templates = dir
	return run()
}

// commit writes files (name, content, name, content…; no content: removed) and returns the commit's id.
func (o *ops) commit(subject string, files ...string) string {
	o.t.Helper()
	for i := 0; i+1 < len(files); i += 2 {
		path := filepath.Join(o.work, files[i])
		if files[i+1] == "" {
			must(o.t, os.Remove(path))
			continue
		}
		must(o.t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(o.t, os.WriteFile(path, []byte(files[i+1]), 0o644))
	}
	if len(files) > 0 {
		git(o.t, o.work, "add", "-A")
	}
	git(o.t, o.work, "commit", "-q", "--allow-empty", "-m", subject)
	return o.head()
}

func (o *ops) head() string {
	o.t.Helper()
	dir := filepath.Join(o.work, ".git")
	head, err := os.ReadFile(filepath.Join(dir, "HEAD"))
	must(o.t, err)
	ref, _ := strings.CutPrefix(strings.TrimSpace(string(head)), "ref: ")
	id, err := os.ReadFile(filepath.Join(dir, ref))
	must(o.t, err)
	return strings.TrimSpace(string(id))
}

// push commits and pushes.
func (o *ops) push(subject string, files ...string) string {
	o.t.Helper()
	id := o.commit(subject, files...)
	git(o.t, o.work, "push", "-q", o.bare, "HEAD:main")
	return id
}

// commits makes n empty commits on top.
func (o *ops) commits(n int) string {
	o.t.Helper()
	var in strings.Builder
	for i := range n {
		fmt.Fprintf(&in, "commit refs/heads/main\ncommitter Bob <bob@example.org> %d +0000\ndata 4\nmore\n", 1715000000+i)
		if i == 0 {
			in.WriteString("from refs/heads/main^0\n")
		}
	}
	cmd := exec.Command("git", "fast-import", "--quiet")
	cmd.Dir, cmd.Env, cmd.Stdin = o.work, gitEnv(), strings.NewReader(in.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		o.t.Fatalf("git fast-import: %v\n%s", err, out)
	}
	return o.git("rev-parse", "HEAD")
}

func (o *ops) git(args ...string) string {
	o.t.Helper()
	return git(o.t, o.work, args...)
}

func git(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = gitEnv()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func gitEnv() []string {
	return append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_COUNT=3", "GIT_CONFIG_KEY_0=gc.auto", "GIT_CONFIG_VALUE_0=0", "GIT_CONFIG_KEY_1=receive.autoGC", "GIT_CONFIG_VALUE_1=false",
		"GIT_CONFIG_KEY_2=core.fsync", "GIT_CONFIG_VALUE_2=none",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.org",
		"GIT_COMMITTER_NAME=Bob", "GIT_COMMITTER_EMAIL=bob@example.org", "GIT_COMMITTER_DATE=2024-05-06T07:08:09Z")
}

// backend is git's own server behind HTTP.
func (o *ops) backend() http.Handler {
	path, err := exec.LookPath("git")
	must(o.t, err)
	return &cgi.Handler{
		Path: path, Args: []string{"http-backend"}, Stderr: io.Discard,
		Env: append(gitEnv(), "GIT_PROJECT_ROOT="+filepath.Dir(o.bare), "GIT_HTTP_EXPORT_ALL=1"),
	}
}

// serve offers a repository over HTTP on loopback, and counts nothing but passes on to real git.
func (o *ops) serve() string {
	server := httptest.NewServer(o.backend())
	o.t.Cleanup(server.Close)
	return server.URL + "/ops.git"
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// open follows url with a clone in a new directory, or in the one that cfg names.
func open(t *testing.T, url string, change ...func(*Config)) *Source {
	t.Helper()
	cfg := Config{Repository: Repository{URL: url}, Dir: filepath.Join(t.TempDir(), "repo.git"), Log: quiet()}
	for _, c := range change {
		c(&cfg)
	}
	s, err := Open(cfg)
	must(t, err)
	return s
}

func openAt(t *testing.T, at Repository, change ...func(*Config)) *Source {
	t.Helper()
	return open(t, at.URL, append([]func(*Config){func(c *Config) { c.Repository = at }}, change...)...)
}

func inDir(dir string) func(*Config) { return func(c *Config) { c.Dir = dir } }

// poll expects the commit id to be the newest revision.
func poll(t *testing.T, s *Source, id string) {
	t.Helper()
	rev, err := s.Poll(t.Context())
	must(t, err)
	if rev.ID != id {
		t.Fatalf("polled %s, want %s", rev.ID, id)
	}
	if got, ok := s.Accepted(); !ok || got.ID != id {
		t.Fatalf("accepted %v %v, want %s", got, ok, id)
	}
	if st := s.Status(); st.Error != "" || st.LastPoll.IsZero() {
		t.Fatalf("status %+v after a good poll", st)
	}
}

// fails expects a poll to end in an error with all of words.
func fails(t *testing.T, s *Source, words ...string) {
	t.Helper()
	rev, err := s.Poll(t.Context())
	if err == nil {
		t.Fatalf("polled %+v, want an error with %q", rev, words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q doesn't say %q", err, w)
		}
	}
	if st := s.Status(); st.Error != err.Error() {
		t.Errorf("status says %q, want %q", st.Error, err)
	}
}

// aged waits until the refs are older than a step of the file system's clock, as they are at most polls.
func aged(s *Source) {
	for s.places[0].stamp() == "" {
		runtime.Gosched()
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
