package source

import (
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

// BenchmarkManyPushes tells how a clone that saw 300 pushes, one at a time, compares with a fresh one: its packs, what it
// takes to look whether there is news, and to read all files.
func BenchmarkManyPushes(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "ops.git")
	git(b, "/", "init", "-q", "--bare", "-b", "main", dir)
	push := func(first, n int) {
		var in strings.Builder
		for i := first; i < first+n; i++ {
			fmt.Fprintf(&in, "commit refs/heads/main\ncommitter Bob <bob@example.org> %d +0000\ndata 4\nmore\n", 1715000000+i)
			if i > 0 && i == first {
				in.WriteString("from refs/heads/main^0\n")
			}
			for f := range 100 {
				if i == 0 || f == i%100 {
					text := fmt.Sprintf("version %d\n%s", i, strings.Repeat("some text\n", 100))
					fmt.Fprintf(&in, "M 100644 inline dir/%02d\ndata %d\n%s\n", f, len(text), text)
				}
			}
		}
		cmd := exec.Command("git", "fast-import", "--quiet")
		cmd.Dir, cmd.Env, cmd.Stdin = dir, gitEnv(), strings.NewReader(in.String())
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("git fast-import: %v\n%s", err, out)
		}
	}
	follow := func() *Source {
		s, err := Open(Config{Repository: Repository{URL: dir}, Dir: filepath.Join(b.TempDir(), "repo.git"), Log: quiet()})
		if err != nil {
			b.Fatal(err)
		}
		return s
	}
	look := func(s *Source) string {
		rev, err := s.Poll(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		return rev.ID
	}

	old, most := follow(), 0
	for i := range 300 {
		push(i, 1)
		look(old)
		packs, _ := filepath.Glob(filepath.Join(old.clone.dir, "objects/pack/*.pack"))
		most = max(most, len(packs))
	}
	fresh := follow()
	look(fresh)
	poll := func(s *Source) {
		s.places[0].seen, s.whole = "", plumbing.ZeroHash // nothing is remembered of the last one
		look(s)
	}
	read := func(s *Source) {
		files, err := s.Tree(b.Context(), look(s))
		if err == nil {
			err = fs.WalkDir(files, ".", func(path string, e fs.DirEntry, err error) error {
				if err == nil && !e.IsDir() {
					_, err = fs.ReadFile(files, path)
				}
				return err
			})
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(most), "packs")
	b.ReportMetric(ratio(old, fresh, poll), "poll/fresh")
	b.ReportMetric(ratio(old, fresh, read), "read/fresh")
}

// ratio compares the medians of what takes time for two sources, in turns.
func ratio(a, b *Source, do func(*Source)) float64 {
	var times [2][]time.Duration
	for range 31 {
		for i, s := range []*Source{a, b} {
			began := time.Now()
			do(s)
			times[i] = append(times[i], time.Since(began))
		}
	}
	for i := range times {
		slices.Sort(times[i])
	}
	return times[0][15].Seconds() / times[1][15].Seconds()
}
