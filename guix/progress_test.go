package guix

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// testdata/progress has what guix 1.5.0 really said to a file; beside it, what it promised, and what it was at.
func TestPromises(t *testing.T) {
	logs, err := filepath.Glob("testdata/progress/*.log")
	if err != nil || len(logs) == 0 {
		t.Fatal("no samples", err)
	}
	for _, log := range logs {
		t.Run(filepath.Base(log), func(t *testing.T) {
			file, err := os.Open(log)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			f := follower{dir: t.TempDir()}
			var at []string
			text, err := readClean(log)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(text) {
				if f.promise.read(strings.TrimSuffix(line, "\n")); f.item != "" && (len(at) == 0 || at[len(at)-1] != f.item) {
					at = append(at, f.item)
				}
			}
			var got strings.Builder
			for _, drv := range f.builds {
				fmt.Fprintf(&got, "build %s\n", nameOf(drv))
			}
			for _, item := range f.downloads {
				fmt.Fprintf(&got, "download %s\n", nameOf(item))
			}
			fmt.Fprintf(&got, "%d bytes to download, %d lack; %d downloads without a name, %d of them received\n", f.bytes, f.lacks, f.unnamed, len(f.received))
			fmt.Fprintf(&got, "at:\n  %s\n", strings.Join(at, "\n  "))
			golden := strings.TrimSuffix(log, ".log") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got.String(), want)
			}
		})
	}
}

func FuzzPromise(f *testing.F) {
	logs, _ := filepath.Glob("testdata/progress/*.log")
	for _, log := range logs {
		text, _ := os.ReadFile(log)
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		whole, torn := follower{dir: t.TempDir()}, follower{dir: t.TempDir()}
		whole.read(strings.NewReader(text))
		torn.read(strings.NewReader(text[:len(text)/2]))
		torn.read(strings.NewReader(text[len(text)/2:]))
		if !reflect.DeepEqual(whole.promise, torn.promise) {
			t.Errorf("read at once %+v, and in two parts %+v", whole.promise, torn.promise)
		}
		p := whole.look()
		for _, c := range []Count{p.Builds, p.Downloads, p.Bytes} {
			if c.Done < 0 || c.Done > c.Total {
				t.Errorf("%+v", p)
			}
		}
	})
}

const (
	hash1 = "yvz9w413hhl9l4aypgr6z9ij9h03z1zq"
	hash2 = "92x5q45dgl6qynlxy66vyxdz6rk7ammd"
	hash3 = "34063mvq157yy8jcl1n9942akx82bik5"
)

// drv puts a derivation into the store, with what is in its environment, and names it and what it makes.
func (m *machine) drv(hash, name string, environment ...string) (string, string) {
	m.t.Helper()
	file, output := "/gnu/store/"+hash+"-"+name+".drv", "/gnu/store/"+strings.Repeat("0", 32)+"-"+name
	m.write(file, fmt.Sprintf(`Derive([("out","%s","","")],[("/gnu/store/x.drv",["out"])],["/gnu/store/y"],"x86_64-linux","/gnu/store/z/bin/guile",["-C","a \"b\"\n"],[("out","%s")%s])`,
		output, output, strings.Join(environment, "")))
	return file, output
}

// done makes an item as guix-daemon leaves it.
func (m *machine) done(item string) {
	m.t.Helper()
	m.write(item, "")
	if err := os.Chtimes(m.path(item), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		m.t.Fatal(err)
	}
}

const preferred = `,("preferLocalBuild","1")`

func TestFollowerCountsWhatIsInTheStore(t *testing.T) {
	m := newMachine(t)
	trivial, made := m.drv(hash1, "etc", preferred)
	heavy, compiled := m.drv(hash2, "linux")
	small, large := "/gnu/store/"+hash2+"-hello-2.12", "/gnu/store/"+hash3+"-chromium-1.0"
	m.write("var/guix/substitute/cache/server/"+hash3, `(narinfo (version 2) (value "StorePath: `+large+`\nFileSize: 9000000\nURL: b\nFileSize: 7000000\n"))`)
	f := follower{dir: m.root}
	says := func(text string) { f.read(strings.NewReader(text)) }
	want := func(when string, builds, downloads, bytes Count, item string) {
		t.Helper()
		if got, want := f.look(), (Progress{item, builds, downloads, bytes}); got != want {
			t.Errorf("%s: %+v, want %+v", when, got, want)
		}
	}
	want("at first", Count{}, Count{}, Count{}, "")
	says("The following derivations will be built:\n  " + trivial + "\n  " + heavy + "\n8.0 MB will be downloaded:\n  " + small + "\n  " + large[:20])
	want("before the end of a line", Count{0, 2}, Count{0, 1}, Count{0, 8e6}, "")
	says(large[20:] + "\nbuilding " + trivial + "...\n")
	want("once all is said", Count{0, 2}, Count{0, 2}, Count{0, 8e6}, "building etc")
	if len(f.heavy) != 1 || f.heavy[0] != "linux" {
		t.Errorf("not trivial: %q", f.heavy)
	}
	m.write(made, "half of it")
	m.write(large, "half of it")
	want("halfway", Count{0, 2}, Count{0, 2}, Count{0, 8e6}, "building etc")
	m.done(made)
	m.done(large)
	want("one of each", Count{1, 2}, Count{1, 2}, Count{7e6, 8e6}, "building etc")
	m.done(compiled)
	m.link("/usr", small) // as the lab's are: no link has the time of another
	want("at the end", Count{2, 2}, Count{2, 2}, Count{8e6, 8e6}, "building etc")
	says("The following derivation will be built:\n  /gnu/store/" + hash3 + "-gone.drv\n  " + heavy + "\n")
	want("in another turn", Count{2, 3}, Count{2, 2}, Count{8e6, 8e6}, "building etc")
	if len(f.heavy) != 2 || f.heavy[1] != "gone" {
		t.Errorf("what can't be read is taken for trivial: %q", f.heavy)
	}
}

func TestQuietGuixIsCountedByItsWords(t *testing.T) {
	f := follower{dir: t.TempDir()}
	f.read(strings.NewReader("3 items will be downloaded\nsubstitution of /gnu/store/" + hash1 + "-a complete\n"))
	if got := f.look().Downloads; got != (Count{1, 3}) {
		t.Error(got)
	}
	f.read(strings.NewReader("1,234.5 MB will be downloaded\n"))
	if got := f.look().Bytes; got != (Count{0, 1_234_500_000}) {
		t.Error(got)
	}
}

// announce lets the fake guix say that it will build so many packages, and then do what script says.
func (m *machine) announce(builds int, script string) {
	says := "The following derivations will be built:\n"
	for i := range builds {
		file, _ := m.drv(hash1, fmt.Sprint("package", i))
		says += "  " + file + "\n"
	}
	trivial, _ := m.drv(hash2, "profile", preferred)
	m.now("early", "cat <<'END' >&2\n"+says+"  "+trivial+"\nEND\n"+script)
}

func TestTooManyBuildsAreEnded(t *testing.T) {
	m := newMachine(t)
	m.announce(3, `echo $$ >"$me/pid"; sleep 1000 & echo $! >"$me/builder"; wait`)
	_, err := m.runner().run(t.Context(), attempt{what: "test", build: true, watch: Watch{MaxBuilds: 2}})
	wait := (*WaitError)(nil)
	if !errors.As(err, &wait) || strings.Join(wait.Builds, " ") != "package0 package1 package2" || wait.Most != 2 {
		t.Fatalf("error: %v", err)
	}
	if err.Error() != "no substitutes yet for package0, package1, package2, and at most 2 may be built here" {
		t.Error(err)
	}
	eventually(t, "its builder is gone", func() bool { return !identify(readPID(m.path("fake/builder"))).alive() })
}

func TestAsManyBuildsAsMayBe(t *testing.T) {
	for _, most := range []int{3, AnyNumber} {
		m := newMachine(t)
		m.announce(3, "sleep 0.5")
		var told Progress
		out, err := m.runner().run(t.Context(), attempt{what: "test", build: true, watch: Watch{MaxBuilds: most, Tell: func(p Progress) { told = p }}})
		if err != nil || out.code != 0 || told.Builds != (Count{0, 4}) {
			t.Errorf("%d: %+v, %v, told %+v", most, out, err, told)
		}
	}
}

// A guix that has ended before its list was read has done what it did.
func TestBuildThatEndsBeforeItIsRead(t *testing.T) {
	m := newMachine(t)
	m.announce(3, `echo "guix system: error: build failed" >&2; exit 1`)
	for range 20 {
		out, err := m.runner().run(t.Context(), attempt{what: "test", build: true, watch: Watch{MaxBuilds: 0}})
		if wait := (*WaitError)(nil); err != nil && !errors.As(err, &wait) || err == nil && out.code != 1 {
			t.Fatalf("%+v, %v", out, err)
		}
	}
}

// A switch isn't ended, whatever it builds.
func TestSwitchMayBuildAnything(t *testing.T) {
	m := newMachine(t)
	m.announce(3, "sleep 0.3")
	if out, err := m.runner().run(t.Context(), attempt{what: "test"}); err != nil || out.code != 0 {
		t.Errorf("%+v, %v", out, err)
	}
}
