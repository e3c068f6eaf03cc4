package podman

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

// The log is the pod user's: whatever is in it, it only makes Collie look.
func FuzzEventsLog(f *testing.F) {
	for _, line := range []string{
		`{"ID":"87","Name":"t1","Status":"died","Time":"2026-11-25T05:04:55Z","Type":"container","ContainerExitCode":137}`,
		`{"Status":"refresh","Type":"system","Attributes":null}`,
		`{"Type":"container","Status":"exec"}`, `{"Type":"container","Type":"network"}`, `[]`, `{`, "",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		var e struct{ Type, Status string }
		err := json.Unmarshal([]byte(line), &e)
		if !tells([]byte(line)) && (err != nil || e.Status == "died" && (e.Type == "container" || e.Type == "pod")) {
			t.Errorf("%q wakes nobody", line)
		}
	})
}

// Command lines are what a process wants to be taken for; one that isn't the account's has no role.
func FuzzRole(f *testing.F) {
	f.Add("/usr/bin/conmon\x00-c\x00"+strings.Repeat("a", 64)+"\x00--exit-dir\x00/run/user/1000/libpod/tmp/exits", true)
	f.Add("rootlessport", true)
	f.Add("conmon\x00-c", true)
	f.Add("", false)
	f.Fuzz(func(t *testing.T, line string, own bool) {
		p := process{own: own, args: strings.Split(line, "\x00")}
		role := p.role("/run/user/1000")
		if role != "" && (!own || !strings.Contains(filepath.Base(p.args[0]), role)) {
			t.Errorf("%q has the role %s", line, role)
		}
		if role == "conmon" && !containerID.MatchString(p.container()) {
			t.Errorf("%q minds %q", line, p.container())
		}
	})
}
