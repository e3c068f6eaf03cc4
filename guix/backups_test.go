package guix

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// moves has the fake guix do what Guix's symlink manager does with a file that is in the way, each time it switches to an item.
const moves = `case "$2" in reconfigure|switch-generation)
    home=$root/home/me; item=$(readlink "$home/.guix-home"); stamp=$(cat "$me/stamp")
    for f in $(cd "$item/files" 2>/dev/null && find . -type f | cut -c3-); do
        [ -L "$home/$f" ] && rm "$home/$f"
        if [ -e "$home/$f" ]; then
            mkdir -p "$(dirname "$home/$stamp-guix-home-legacy-configs-backup/$f")"
            mv "$home/$f" "$home/$stamp-guix-home-legacy-configs-backup/$f"
        fi
        mkdir -p "$(dirname "$home/$f")"; ln -s "/gnu/store/x/$f" "$home/$f"
    done
    for f in $(cd "$home" && find . -type l -lname '/gnu/store/x/*' | cut -c3-); do
        [ -e "$item/files/$f" ] || { rm "$home/$f"; rmdir -p "$(dirname "$home/$f")" 2>/dev/null; }
    done;;
esac; true
`

// atHome is a home whose guix moves files, with items that have some of their own.
func atHome(t *testing.T, items map[string][]string) (*machine, *Home, func(letter string)) {
	m := newMachine(t)
	h := m.home()
	h.Backups = m.path("var/lib/collie/backups.json")
	m.now("late", moves)
	quietListener(t, m.path("runtime/shepherd/socket"))
	made := map[string]string{}
	for letter, files := range items {
		made[letter] = m.item(letter, "home")
		for _, name := range files {
			m.write("gnu/store/"+strings.Repeat(letter, 32)+"-home/files/"+name, "of home "+letter)
		}
	}
	stamp := 170
	return m, h, func(letter string) {
		t.Helper()
		stamp++
		m.now("stamp", strconv.Itoa(stamp))
		if err := h.Switch(t.Context(), made[letter], m.tree(made[letter])); err != nil {
			t.Fatalf("switching to %s: %v", letter, err)
		}
	}
}

func (m *machine) sees(name, want string) {
	m.t.Helper()
	text, err := os.ReadFile(m.path(name))
	if got := string(text); err != nil || got != want {
		m.t.Errorf("%s: %q, %v; want %q", name, got, err, want)
	}
}

func (m *machine) backupsLeft() []string {
	all, _ := filepath.Glob(m.path("home/me/*-guix-home-legacy-configs-backup"))
	for i := range all {
		all[i] = filepath.Base(all[i])
	}
	return all
}

func says(t *testing.T, h *Home, want ...string) {
	t.Helper()
	if got := h.MovedAside(); !slices.Equal(got, want) {
		t.Errorf("it says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A file of the user's own comes back when the home that took its place goes.
func TestPutBackWhatAHomeReplaced(t *testing.T) {
	m, h, to := atHome(t, map[string][]string{"a": nil, "b": {".bashrc", ".config/x/y.conf"}})
	to("a")
	m.write("home/me/160-guix-home-legacy-configs-backup/.older", "from before Collie")
	m.write("home/me/.bashrc", "my own")
	m.write("home/me/.config/x/y.conf", "mine, too")
	if err := os.Chmod(m.path("home/me/.config/x/y.conf"), 0o600); err != nil {
		t.Fatal(err)
	}
	to("b")
	says(t, h, "me's own ~/.bashrc, ~/.config/x/y.conf are in ~/172-guix-home-legacy-configs-backup: moved there by Guix, as the home has a file in its place")
	to("a")
	for range 2 { // asking again changes nothing
		if err := h.PutBack(t.Context()); err != nil {
			t.Fatal(err)
		}
		m.sees("home/me/.bashrc", "my own")
		m.sees("home/me/.config/x/y.conf", "mine, too")
		says(t, h, "me's own ~/.bashrc, ~/.config/x/y.conf were put back from ~/172-guix-home-legacy-configs-backup")
	}
	if info, err := os.Stat(m.path("home/me/.config/x/y.conf")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("rights: %v, %v", info.Mode(), err)
	}
	if got := m.backupsLeft(); !slices.Equal(got, []string{"160-guix-home-legacy-configs-backup"}) {
		t.Errorf("left: %q", got)
	}
	m.sees("home/me/160-guix-home-legacy-configs-backup/.older", "from before Collie")
	if err := h.Settle(); err != nil {
		t.Fatal(err)
	}
	says(t, h)
}

func TestPutBackAfterTheVerdict(t *testing.T) {
	m, h, to := atHome(t, map[string][]string{"a": nil, "b": {".bashrc"}, "c": {".bashrc", ".profile"}})
	to("a")
	m.write("home/me/.bashrc", "my own")
	to("b")
	if err := h.Settle(); err != nil { // b is good
		t.Fatal(err)
	}
	m.write("home/me/.profile", "mine, too")
	to("c")
	to("b")
	if err := h.PutBack(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.sees("home/me/.profile", "mine, too")
	m.sees("home/me/172-guix-home-legacy-configs-backup/.bashrc", "my own")
	says(t, h, "me's own ~/.profile was put back from ~/173-guix-home-legacy-configs-backup")
}

// A commit that a newer one overtook in its soak has no verdict.
func TestPutBackOfTwoCommits(t *testing.T) {
	m, h, to := atHome(t, map[string][]string{"a": nil, "b": {".bashrc"}, "c": {".bashrc", ".profile"}})
	to("a")
	m.write("home/me/.bashrc", "my own")
	m.write("home/me/.profile", "mine, too")
	to("b")
	to("c")
	to("a")
	if err := h.PutBack(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.sees("home/me/.bashrc", "my own")
	m.sees("home/me/.profile", "mine, too")
}

// Killed before it noted what was moved, the agent finds it in its next life.
func TestPutBackAfterAKill(t *testing.T) {
	m, h, to := atHome(t, map[string][]string{"a": nil, "b": {".bashrc"}})
	to("a")
	m.write("home/me/160-guix-home-legacy-configs-backup/.older", "from before Collie")
	m.write("home/me/.bashrc", "my own")
	m.now("late", moves+"cp $root/var/lib/collie/backups.json $root/killed\n")
	to("b")
	killed, err := os.ReadFile(m.path("killed"))
	if err != nil {
		t.Fatal(err)
	}
	for _, next := range []string{"a", "b"} { // the next life goes back, or on
		m.write("var/lib/collie/backups.json", string(killed))
		to(next)
		says(t, h, "me's own ~/.bashrc is in ~/172-guix-home-legacy-configs-backup: moved there by Guix, as the home has a file in its place")
	}
	to("a")
	if err := h.PutBack(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.sees("home/me/.bashrc", "my own")
	m.sees("home/me/160-guix-home-legacy-configs-backup/.older", "from before Collie")
}

func TestPutBackLeavesWhatIsThere(t *testing.T) {
	m, h, to := atHome(t, map[string][]string{"a": nil, "b": {".bashrc", ".config/x.conf"}})
	to("a")
	m.write("home/me/.bashrc", "my own")
	m.write("home/me/.config/x.conf", "mine, too")
	to("b")
	if err := os.Remove(m.path("home/me/.bashrc")); err != nil {
		t.Fatal(err)
	}
	m.write("home/me/.bashrc", "anew")
	to("a")
	if err := h.PutBack(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.sees("home/me/.bashrc", "anew")
	m.sees("home/me/.config/x.conf", "mine, too")
	m.sees("home/me/172-guix-home-legacy-configs-backup/.bashrc", "my own")
	says(t, h, "me's own ~/.bashrc stays in ~/172-guix-home-legacy-configs-backup: another file is in its place")
}

// Where there was no home, what is returned to is an empty one, which has some files as well.
func TestPutBackWhereThereWasNoHome(t *testing.T) {
	m, h, to := atHome(t, map[string][]string{"f": {".profile"}, "b": {".profile", ".bashrc"}})
	m.write("home/me/.profile", "my own")
	m.write("home/me/.bashrc", "mine, too")
	to("b")
	to("f")
	if err := h.PutBack(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.sees("home/me/.profile", "my own")
	m.sees("home/me/.bashrc", "mine, too")
	if changes, err := h.Diff(t.Context(), m.path("gnu/store/"+strings.Repeat("f", 32)+"-home")); err != nil || len(changes) > 0 {
		t.Errorf("diff: %v, %v", changes, err)
	}
}

// A record that makes no sense names nothing that is put back.
func TestPutBackWithoutARecord(t *testing.T) {
	for _, record := range []string{"", "{", "null", "[]", `{"Moved":[{"Folder":"../x"}]}`, `{"Underway":null}`} {
		m, h, to := atHome(t, map[string][]string{"a": nil, "b": {".bashrc"}})
		to("a")
		m.write("home/me/.bashrc", "my own")
		to("b")
		m.write("var/lib/collie/backups.json", record)
		to("a")
		_ = h.PutBack(t.Context())
		m.sees("home/me/172-guix-home-legacy-configs-backup/.bashrc", "my own")
		if _, err := os.Lstat(m.path("home/me/.bashrc")); err == nil {
			t.Errorf("with the record %q it is put back", record)
		}
	}
}

// The user can have links anywhere, and none that leads out of the home is followed.
func TestPutBackAndLinks(t *testing.T) {
	const folder = "170-guix-home-legacy-configs-backup"
	tests := []struct {
		name  string
		setup func(m *machine)
		back  bool
	}{
		{"a folder out of the home", func(m *machine) { m.link(m.path("elsewhere"), "home/me/.config") }, false},
		{"a folder in the home", func(m *machine) {
			m.write("home/me/dotfiles/keep", "")
			m.link("dotfiles", "home/me/.config")
		}, true},
		{"a link to nowhere in its place", func(m *machine) {
			m.write("home/me/.config/keep", "")
			m.link("/nowhere", "home/me/.config/x.conf")
		}, false},
		{"a link to the store in its place", func(m *machine) {
			m.write("home/me/.config/keep", "")
			m.link("/gnu/store/x", "home/me/.config/x.conf")
		}, false},
		{"a folder in its place", func(m *machine) { m.write("home/me/.config/x.conf/y", "") }, false},
		{"a file where its folder was", func(m *machine) { m.write("home/me/.config", "") }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			m.write("elsewhere/keep", "")
			m.write("home/me/"+folder+"/.config/x.conf", "my own")
			tt.setup(m)
			answer, err := putBack(m.path("home/me"), folder, "none")
			if err != nil || answer.Back != tt.back || (answer.Why == "") != tt.back {
				t.Fatalf("%+v, %v", answer, err)
			}
			if !tt.back {
				m.sees("home/me/"+folder+"/.config/x.conf", "my own")
			} else {
				m.sees("home/me/.config/x.conf", "my own")
			}
			if all, _ := os.ReadDir(m.path("elsewhere")); len(all) != 1 {
				t.Errorf("elsewhere: %v", all)
			}
		})
	}
	m := newMachine(t)
	m.write("elsewhere/.bashrc", "not the user's")
	m.link(m.path("elsewhere"), "home/me/"+folder)
	if answer, err := putBack(m.path("home/me"), folder, "none"); err == nil {
		t.Errorf("a link for a folder: %+v", answer)
	}
	m.sees("elsewhere/.bashrc", "not the user's")
}

// A file that lies on another file system is copied.
func TestPutBackAcrossFileSystems(t *testing.T) {
	shm, err := os.MkdirTemp("/dev/shm", "collie")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(shm)
	root, err := os.OpenRoot("/")
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	from := strings.TrimPrefix(filepath.Join(t.TempDir(), "from"), "/")
	to := strings.TrimPrefix(filepath.Join(shm, "to"), "/")
	if err := os.WriteFile("/"+from, []byte("my own"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := putBackFile(root, from, to, false); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat("/" + to)
	if text, _ := os.ReadFile("/" + to); err != nil || string(text) != "my own" || info.Mode().Perm() != 0o640 {
		t.Errorf("%q, %v, %v", text, info, err)
	}
	if all, _ := os.ReadDir(shm); len(all) != 1 {
		t.Errorf("left beside it: %v", all)
	}
	if _, err := os.Stat("/" + from); err == nil {
		t.Error("it is still in its old place")
	}
	if err := os.WriteFile("/"+from, []byte("another"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := putBackFile(root, from, to, false); err == nil {
		t.Error("it is written over what is there")
	}
	if text, _ := os.ReadFile("/" + to); string(text) != "my own" {
		t.Errorf("%q", text)
	}
}
