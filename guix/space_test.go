package guix

import (
	"errors"
	"os"
	"strings"
	"testing"
)

func TestTooFullADiskIsNamed(t *testing.T) {
	m := newMachine(t)
	space := (*SpaceError)(nil)
	if err := m.runner().room(0, 0); err != nil {
		t.Skip("this machine's own disk is too full:", err)
	}
	err := m.runner().room(0, 1<<60)
	if !errors.As(err, &space) || space.Path != m.path("gnu/store") || space.Mount != mountOf(m.root) || space.Need != 1<<60+storeMinimum || space.Free <= 0 {
		t.Errorf("a download: %+v, %v", space, err)
	}
	if err := m.runner().room(5e6, 0); !errors.As(err, &space) || space.Need != space.Free+5e6 {
		t.Errorf("by Guix's word: %+v, %v", space, err)
	}
	want := "the disk mounted on / is too full for /gnu/store: 1.5 MB are free, and 100.0 MB needed; free some, for example with `guix gc`"
	if got := (&SpaceError{"/gnu/store", "/", 1.5e6, 100e6}).Error(); got != want {
		t.Error(got)
	}
	if err := (&Runner{Logs: "/no/such/logs", dir: "/no/such"}).room(0, 0); err != nil {
		t.Error("what isn't known is in the way:", err)
	}
}

// Guix's own warning ends its build before it downloads anything.
func TestGuixsWordOnSpace(t *testing.T) {
	log, err := os.ReadFile("testdata/progress/nospace.log")
	if err != nil {
		t.Fatal(err)
	}
	said, _, _ := strings.Cut(string(log), "building ")
	m := newMachine(t)
	m.now("early", "cat <<'END' >&2\n"+said+"END\nexec sleep 1000")
	_, err = m.runner().run(t.Context(), attempt{what: "test", build: true, watch: Watch{MaxBuilds: AnyNumber}})
	if space := (*SpaceError)(nil); !errors.As(err, &space) || space.Need-space.Free != 2_887_724_400_000 {
		t.Errorf("error: %v", err)
	}
}

func TestMountOf(t *testing.T) {
	for path, want := range map[string]string{"/": "/", "/proc/self": "/proc", "/proc": "/proc", "LOG": "LOG", "": "."} {
		if got := mountOf(path); got != want && path != "" {
			t.Errorf("%s is on %s, want %s", path, got, want)
		}
	}
}
