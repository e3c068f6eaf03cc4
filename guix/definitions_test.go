package guix

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.org/collie/shepherd"
)

// store makes a store in a folder of its own, with a system and two homes as guix 1.5.0 made them, and returns the
// folder.
func store(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	put := func(path, file string) {
		t.Helper()
		text, err := os.ReadFile(filepath.Join("testdata/services", file))
		if err != nil {
			t.Fatal(err)
		}
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("/gnu/store/a04l37ikg6m17fnhl0xrpwpm849saig3-system/boot", "boot")
	put("/gnu/store/wk38h8syd55z29klb2makagj2nb174yx-shepherd.conf", "system.conf")
	put("/gnu/store/g617834r0gx7b93cy4nbmsldj46n1ahr-shepherd.conf", "home.conf")
	links := map[string]string{
		"/gnu/store/islmaa25iih4fcjjj9dkzyrgyx5bb6f9-home/files/.config/shepherd/init.scm": "/gnu/store/g617834r0gx7b93cy4nbmsldj46n1ahr-shepherd.conf",
		"/gnu/store/m69qfjlp6g4177nv7krsw8spardg5nzd-home/files/.hello":                    "/gnu/store/fmv8zh1vaczmq1g9bi1h3grzgaivaqs0-hello",
		"/gnu/store/zqjm9p72hx7j2f1a60g7ayjggi8y4ivy-home/files/.config/shepherd/init.scm": "/gnu/store/fmv8zh1vaczmq1g9bi1h3grzgaivaqs0-init.scm", // the user's own
	}
	for path, target := range links {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestDefinitions(t *testing.T) {
	root := store(t)
	tests := []struct {
		name string
		read func(string) ([]ServiceFile, error)
		item string
		want []string // name, ! if it isn't started, file
	}{
		{"a system", Store(root).systemDefinitions, "a04l37ikg6m17fnhl0xrpwpm849saig3-system", []string{
			"file-systems 5px27nz2wn7l24hxg1yi9fba7acmhcgi-shepherd-file-systems.go",
			"user-file-systems g98dd5cx8998wbrni6a1iq5l950hy746-shepherd-user-file-systems.go",
			"root-file-system mdj8rf6cm9ff6hdfm61nvyj4lm3w2wcs-shepherd-root-file-system.go",
			"user-processes rsljmljgv6dgqd2k8605kl23s0nhhj68-shepherd-user-processes.go",
			"host-name 14gws3aqp2bkgrbcfqjpmjrk3vk9s33b-shepherd-host-name.go",
			"user-homes hzwjpwim6nayg9r1l1nshhgx0hiysbcp-shepherd-user-homes.go",
			"pam xfqq2lbgnjzyz2liv2cl6b7vp559lj9r-shepherd-pam.go",
			"web rczjjpykryc9gp30m3m8c7rhygk7m57c-shepherd-web.go",
			"db lmrbjx4ra52zqv66d81vjgh9mv59cbik-shepherd-db.go",
			"front 2lr6gwksf3f3cj1jn9z2wjxi6lyszsf9-shepherd-front.go",
			"old k2c5ryhznmjhjygkmxbnfssfq2dpsfn7-shepherd-old.go",
			"once l9q2khn7a3rqd55vvzzparpmln2pc07z-shepherd-once.go",
			"ssh-daemon,ssh,sshd 1grmng3wzjvy0xzdjxhyqn03a7nl8qck-shepherd-ssh-daemon-ssh-sshd.go",
			"probe qq00ifz6l4ixnyzf4f6h98hm1lb0gy7l-shepherd-probe.go",
			"guix-ownership r3byn23imcqk13v51d5y249dfk9hspnw-shepherd-guix-ownership.go",
			"guix-daemon d001fl1d2w5ls7v1lsphnng1jan78xb3-shepherd-guix-daemon.go",
		}},
		{"a home", Store(root).homeDefinitions, "islmaa25iih4fcjjj9dkzyrgyx5bb6f9-home", []string{
			"beep xx31ikkni1gczb2cq0g63zw0rwmd4rnk-shepherd-beep.scm",
			"boop aydncmig260kcaf7jhn8j82lsr2fanxi-shepherd-boop.scm",
		}},
		{"a home without services", Store(root).homeDefinitions, "m69qfjlp6g4177nv7krsw8spardg5nzd-home", nil},
		{"a home with a Shepherd of its own making", Store(root).homeDefinitions, "zqjm9p72hx7j2f1a60g7ayjggi8y4ivy-home", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			files, err := test.read(root + "/gnu/store/" + test.item)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range files {
				got = append(got, strings.Join(f.Provides, ",")+" "+strings.TrimPrefix(f.File, "/gnu/store/"))
				if !f.Starts || f.Name != f.Provides[0] {
					t.Errorf("%+v", f)
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
	if files, err := Store("").homeDefinitions(""); err != nil || files != nil {
		t.Errorf("no home at all: %v, %v", files, err)
	}
	if _, err := Store(root).systemDefinitions(root + "/gnu/store/m69qfjlp6g4177nv7krsw8spardg5nzd-home"); err == nil {
		t.Error("a home passed for a system")
	}
}

const confFile = "/gnu/store/g617834r0gx7b93cy4nbmsldj46n1ahr-shepherd.conf"

func TestServiceFiles(t *testing.T) {
	path := func(name string) string { return "/gnu/store/" + strings.Repeat("0", 32) + "-shepherd-" + name }
	quoted := func(names ...string) string {
		var words []string
		for _, name := range names {
			words = append(words, `"`+path(name)+`"`)
		}
		return "(quote (" + strings.Join(words, " ") + "))"
	}
	tests := []struct {
		name, text string
		want       []ServiceFile
		err        string
	}{
		{"nothing", quoted() + "(services-to-start (quote ()))", nil, ""},
		{"one that isn't started", quoted("a.go", "by-hand.go", "b.go") + "(services-to-start (quote (a b)))", []ServiceFile{
			{"a", path("a.go"), []string{"a"}, true}, {"by-hand", path("by-hand.go"), nil, false}, {"b", path("b.go"), []string{"b"}, true}}, ""},
		{"several names, and what files can't be called", quoted("file-system--mnt-my-disk-x.go") + "(services-to-start\n '(file-system-/mnt/my-disk x))", []ServiceFile{
			{"file-system-/mnt/my-disk", path("file-system--mnt-my-disk-x.go"), []string{"file-system-/mnt/my-disk", "x"}, true}}, ""},
		{"a name that begins as another", quoted("a-b.go", "a.go") + "(services-to-start (quote (a-b a)))", []ServiceFile{
			{"a-b", path("a-b.go"), []string{"a-b"}, true}, {"a", path("a.go"), []string{"a"}, true}}, ""},
		{"no list", quoted("a.go"), nil, "doesn't say which services are started"},
		{"a service without a file", quoted("a.go") + "(services-to-start (quote (a b)))", nil, `starts "b", which no file of it defines`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t)
			m.write(confFile, test.text)
			got, err := Store(m.root).serviceFiles(confFile)
			if err == nil && test.err != "" || err != nil && (test.err == "" || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("got error %v, want %q", err, test.err)
			}
			if !slices.EqualFunc(got, test.want, func(a, b ServiceFile) bool {
				return a.Name == b.Name && a.File == b.File && a.Starts == b.Starts && slices.Equal(a.Provides, b.Provides)
			}) {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
		})
	}
	m := newMachine(t)
	large := m.write(confFile, string(make([]byte, maxDefinitions+1)))
	if _, err := Store(m.root).serviceFiles(large); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a configuration without an end: %v", err)
	}
}

func TestAFileDefinesAService(t *testing.T) {
	tests := []struct {
		file ServiceFile
		live []string
		want bool
	}{
		{ServiceFile{Name: "web", Provides: []string{"web"}, Starts: true}, []string{"web"}, true},
		{ServiceFile{Name: "web", Provides: []string{"web"}, Starts: true}, []string{"webs"}, false},
		{ServiceFile{Name: "ssh", Provides: []string{"ssh", "sshd"}, Starts: true}, []string{"ssh-daemon", "sshd"}, true},
		{ServiceFile{Name: "term-tty1-console"}, []string{"term-tty1", "console"}, true},
		{ServiceFile{Name: "file-system--mnt"}, []string{"file-system-/mnt"}, true},
		{ServiceFile{Name: "term"}, []string{"term-tty1"}, false},
	}
	for _, test := range tests {
		if got := test.file.defines(shepherd.Service{Name: test.live[0], Provides: test.live}); got != test.want {
			t.Errorf("%+v, %q: %v", test.file, test.live, got)
		}
	}
}

func TestAnEmptyBootScriptIsDamage(t *testing.T) {
	item := filepath.Join(store(t), "gnu/store/a04l37ikg6m17fnhl0xrpwpm849saig3-system")
	if err := os.Truncate(filepath.Join(item, "boot"), 0); err != nil {
		t.Fatal(err)
	}
	root := strings.TrimSuffix(item, "/gnu/store/"+filepath.Base(item))
	if _, err := Store(root).systemDefinitions(item); err == nil || !strings.Contains(err.Error(), "`guix build --repair "+item+"`") {
		t.Errorf("it says %v, and not how to repair it", err)
	}
}
