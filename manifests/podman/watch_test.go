package podman

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// A runtimeDir is a run-time directory with Podman's files in it.
type runtimeDir struct {
	t   *testing.T
	dir string
	*Podman
}

func newRuntimeDir(t *testing.T) *runtimeDir {
	d := &runtimeDir{t, t.TempDir(), Connect("/nowhere")}
	d.Account = func() (Account, error) { return Account{UID: os.Getuid(), Runtime: d.dir}, nil }
	return d
}

// follow watches until the test is over.
func (d *runtimeDir) follow() {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		d.Run(ctx)
		close(done)
	}()
	d.t.Cleanup(func() {
		stop()
		<-done
	})
}

func (d *runtimeDir) at(name string) string { return filepath.Join(d.dir, name) }

func (d *runtimeDir) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *runtimeDir) mkdirs() {
	d.t.Helper()
	for _, name := range []string{exitsDir, eventsDir} {
		d.must(os.MkdirAll(d.at(name), 0o700))
	}
	d.must(os.WriteFile(d.at(eventsLog), nil, 0o600))
}

// event appends a line to the log.
func (d *runtimeDir) event(kind, status string) {
	d.t.Helper()
	f, err := os.OpenFile(d.at(eventsLog), os.O_APPEND|os.O_WRONLY, 0)
	d.must(err)
	_, err = fmt.Fprintf(f, "{\"Type\":%q,\"Status\":%q}\n", kind, status)
	d.must(err)
	d.must(f.Close())
}

// death is what conmon writes.
func (d *runtimeDir) death(name string) {
	d.t.Helper()
	d.must(os.WriteFile(d.at(name), []byte("137"), 0o600))
	d.must(os.Rename(d.at(name), d.at(exitsDir+"/"+name)))
}

// wakes waits for the keeper to be woken.
func (d *runtimeDir) wakes(why string) {
	d.t.Helper()
	select {
	case <-d.Woken():
	case <-time.After(10 * time.Second):
		d.t.Fatalf("%s: nobody is woken", why)
	}
}

// sleeps sees that nobody was woken by now: what comes after in the same file has been read.
func (d *runtimeDir) sleeps(why string) {
	d.t.Helper()
	time.Sleep(50 * time.Millisecond)
	select {
	case <-d.Woken():
		d.t.Fatalf("%s: the keeper is woken", why)
	default:
	}
}

// sees waits until the watch is, or isn't, complete.
func (d *runtimeDir) sees(want bool) {
	d.t.Helper()
	for range 1000 {
		if (d.Sees() == nil) == want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	d.t.Fatalf("the watch: %v", d.Sees())
}

func TestADeathWakesAndAProbeDoesNot(t *testing.T) {
	d := newRuntimeDir(t)
	d.mkdirs()
	d.follow()
	d.wakes("the watch is there")
	d.sees(true)
	d.death("a")
	d.wakes("a death")
	d.event("container", "died")
	d.wakes("the first line") // from here on the log is known
	for _, noise := range [][2]string{{"container", "exec"}, {"container", "exec_died"}, {"container", "health_status"}, {"container", "create"},
		{"network", "create"}, {"image", "pull"}, {"volume", "create"}, {"system", "refresh"}} {
		d.event(noise[0], noise[1])
		d.sleeps(noise[0] + " " + noise[1])
	}
	for _, news := range [][2]string{{"container", "died"}, {"container", "remove"}, {"container", "rename"}, {"pod", "stop"}, {"pod", "remove"}} {
		d.event(news[0], news[1])
		d.wakes(news[0] + " " + news[1])
	}
	d.must(os.Truncate(d.at(eventsLog), 0)) // Podman starts it anew when it is large
	d.wakes("the log is shorter")
	d.event("container", "exec")
	d.sleeps("noise in the new log")
	f, err := os.OpenFile(d.at(eventsLog), os.O_APPEND|os.O_WRONLY, 0)
	d.must(err)
	defer f.Close()
	_, err = f.WriteString("not JSON\n")
	d.must(err)
	d.wakes("what can't be read")
}

func TestTheWatchFollowsDirectoriesThatComeAndGo(t *testing.T) {
	d := newRuntimeDir(t)
	d.dir = d.at("1000") // as before the first login
	d.follow()
	d.sees(false)
	d.must(os.Mkdir(d.dir, 0o700))
	d.mkdirs()
	d.sees(true)
	d.wakes("Podman's first pod")
	d.must(os.RemoveAll(d.dir)) // a logout
	d.sees(false)
	d.must(os.Mkdir(d.dir, 0o700))
	d.mkdirs()
	d.sees(true)
	d.wakes("the next login")
	d.must(os.Rename(d.at("libpod"), d.at("old")))
	d.sees(false)
	d.mkdirs()
	d.sees(true)
	d.wakes("another libpod")
	d.death("a")
	d.wakes("a death in the new one")
	d.must(os.WriteFile(d.at("old/tmp/exits/b"), nil, 0o600))
	d.sleeps("a death in the old one")
}

// Root would watch, and read, whatever the user likes.
func TestTheWatchFollowsNoLink(t *testing.T) {
	for _, swapped := range []string{"libpod", "libpod/tmp", exitsDir, eventsDir} {
		t.Run(swapped, func(t *testing.T) {
			d := newRuntimeDir(t)
			d.mkdirs()
			elsewhere := filepath.Join(t.TempDir(), "elsewhere")
			d.must(os.Rename(d.at(swapped), elsewhere))
			d.must(os.Symlink(elsewhere, d.at(swapped)))
			d.follow()
			time.Sleep(50 * time.Millisecond)
			d.sees(false)
		})
	}
	d := newRuntimeDir(t)
	d.mkdirs()
	secret := filepath.Join(t.TempDir(), "secret")
	d.must(os.WriteFile(secret, []byte(`{"Type":"network"}`+"\n"), 0o600))
	d.must(os.Remove(d.at(eventsLog)))
	d.must(os.Symlink(secret, d.at(eventsLog)))
	var log tail
	for range 3 {
		if !log.tells(d.dir) {
			t.Error("a link is read")
		}
	}
}

func TestMoreThanInotifyKeepsIsSurvived(t *testing.T) {
	d := newRuntimeDir(t)
	d.mkdirs()
	d.follow()
	d.sees(true)
	for i := range 20_000 { // more than inotify keeps
		d.death(fmt.Sprint(i))
	}
	d.wakes("a storm")
	d.sees(true)
	time.Sleep(100 * time.Millisecond)
	select {
	case <-d.Woken():
	default:
	}
	d.death("last")
	d.wakes("after the storm")
}

// Whoever kills conmon and what it minds leaves no file.
func TestAProcessThatVanishesWakes(t *testing.T) {
	d := newRuntimeDir(t)
	d.mkdirs()
	child := exec.Command("sleep", "1000")
	d.must(child.Start())
	d.noteRunning([]container{{State: "running", Pid: child.Process.Pid, Labels: map[string]string{labelOwner: owner}}})
	d.follow()
	d.wakes("the watch is there")
	d.must(child.Process.Kill())
	_ = child.Wait()
	d.wakes("its process is gone")
	time.Sleep(watchAgain)
	d.sleeps("it is told once")
}
