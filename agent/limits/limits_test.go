package limits

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// What the agent starts has an ordinary score, be it from several goroutines at once, and the agent has its own again afterwards.
// To raise a score takes no rights, and nor does to take that back: so this one is above the ordinary one.
func TestAChildIsNotSpared(t *testing.T) {
	const own = "300"
	g := guard{score: "/proc/self/oom_score_adj", to: own}
	check(t, g.spare())
	t.Cleanup(func() { check(t, os.WriteFile(g.score, []byte(ordinary), 0o644)) })
	said := make(chan string)
	for range 20 {
		go func() {
			cmd := exec.Command("sh", "-c", "cat /proc/self/oom_score_adj") // a grandchild
			var out strings.Builder
			cmd.Stdout = &out
			if err := g.start(cmd); err != nil {
				said <- err.Error()
				return
			}
			_ = cmd.Wait()
			said <- strings.TrimSpace(out.String())
		}()
	}
	for range 20 {
		if got := <-said; got != ordinary {
			t.Errorf("the child's score is %s", got)
		}
	}
	if now := read(t, g.score); now != own {
		t.Errorf("the agent's own is %s", now)
	}
}

// A process that can't set its score isn't spared, and starts children all the same.
func TestWhoMayNotIsNotSpared(t *testing.T) {
	g := guard{score: filepath.Join(t.TempDir(), "gone", "score")}
	if g.spare() == nil || g.spares {
		t.Fatal("it is spared")
	}
	if err := g.start(exec.Command("true")); err != nil {
		t.Error(err)
	}
}

func TestAGroupOfItsOwn(t *testing.T) {
	for _, row := range []struct {
		name  string
		files map[string]string // below the folder of groups; nil: none
		in    string
		theirs,
		open bool // who else can write the group
		says string
	}{
		{"it is made", map[string]string{"cgroup.controllers": "cpu memory pids\n"}, "0::/\n", false, false, ""},
		{"below another", map[string]string{"cgroup.controllers": "memory", "init/x": ""}, "4:memory:/x\n0::/init\n", false, false, ""},
		{"no cgroup2", map[string]string{"memory/x": ""}, "0::/\n", false, false, "is no cgroup2"},
		{"memory isn't controlled", map[string]string{"cgroup.controllers": "hugetlb\n"}, "0::/\n", false, false, "doesn't control memory"},
		{"in no cgroup2", map[string]string{"cgroup.controllers": "memory"}, "4:memory:/x\n", false, false, "names no cgroup2"},
		{"there already", map[string]string{"cgroup.controllers": "memory"}, "0::/collie\n", false, false, "its own group"},
		{"another may write it", map[string]string{"cgroup.controllers": "memory"}, "0::/\n", false, true, "others than root can write"},
		{"it is another's", map[string]string{"cgroup.controllers": "memory"}, "0::/\n", true, false, "others than root can write"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.theirs && os.Getuid() != 0 {
				t.Log("only root can give a folder away; the row before it has the same check")
				return
			}
			dir := t.TempDir()
			own := filepath.Join(dir, "own")
			write(t, own, row.in)
			groups := filepath.Join(dir, "groups")
			for name, text := range row.files {
				write(t, filepath.Join(groups, name), text)
			}
			for _, name := range []string{"memory.max", "cgroup.procs"} { // the kernel makes these
				write(t, filepath.Join(groups, groupName, name), "")
			}
			if row.open {
				check(t, os.Chmod(filepath.Join(groups, groupName), 0o775))
			}
			if row.theirs {
				check(t, os.Chown(filepath.Join(groups, groupName), 1000, 0))
			}
			g := guard{groups: groups, own: own}
			err := g.confine(1 << 30)
			if row.says != "" {
				if err == nil || !strings.Contains(err.Error(), row.says) || g.began != nil || read(t, filepath.Join(groups, groupName, "cgroup.procs")) != "" {
					t.Errorf("it says %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range map[string]string{"cgroup.subtree_control": "+memory", "collie/memory.max": "1073741824", "collie/cgroup.procs": strconv.Itoa(os.Getpid())} {
				if got := read(t, filepath.Join(groups, name)); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			_, in, _ := strings.Cut(strings.TrimSpace(row.in), "0::")
			if g.began.Name() != filepath.Join(groups, in) {
				t.Errorf("children begin in %s", g.began.Name())
			}
			cmd := exec.Command("true")
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			_ = g.start(cmd) // a plain folder is no group, so the kernel refuses it
			if a := cmd.SysProcAttr; !a.UseCgroupFD || a.CgroupFD != int(g.began.Fd()) || !a.Setsid {
				t.Errorf("a child begins with %+v", a)
			}
		})
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	check(t, err)
	return strings.TrimSpace(string(text))
}

func write(t *testing.T, file, text string) {
	t.Helper()
	check(t, os.MkdirAll(filepath.Dir(file), 0o755))
	check(t, os.WriteFile(file, []byte(text), 0o644))
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
