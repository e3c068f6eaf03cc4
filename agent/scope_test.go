package agent

import (
	"os"
	"strings"
	"testing"
)

func TestFoldersOfUser(t *testing.T) {
	for _, row := range []struct {
		name string
		env  map[string]string
		want UserFolders
		err  string
	}{
		{"as usual", map[string]string{"HOME": "/home/ann", "XDG_RUNTIME_DIR": "/run/user/1000"},
			UserFolders{"/home/ann/.config/collie.yaml", "/run/user/1000/collie", "/home/ann/.local/state/collie"}, ""},
		{"elsewhere", map[string]string{"HOME": "/home/ann", "XDG_RUNTIME_DIR": "/run/user/1000", "XDG_CONFIG_HOME": "/c", "XDG_STATE_HOME": "/s"},
			UserFolders{"/c/collie.yaml", "/run/user/1000/collie", "/s/collie"}, ""},
		{"not logged in", map[string]string{"HOME": "/home/ann"}, UserFolders{}, "XDG_RUNTIME_DIR and HOME"},
		{"a relative folder", map[string]string{"HOME": "/home/ann", "XDG_RUNTIME_DIR": "run"}, UserFolders{}, "XDG_RUNTIME_DIR and HOME"},
	} {
		t.Run(row.name, func(t *testing.T) {
			for _, name := range []string{"HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME"} {
				t.Setenv(name, row.env[name])
			}
			got, err := FoldersOfUser()
			if got != row.want || (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestForUser(t *testing.T) {
	at := UserFolders{State: "/s/collie"}
	cfg, err := Config{System: true, State: stateFolder}.ForUser(at)
	if os.Geteuid() == 0 {
		if err == nil || !strings.Contains(err.Error(), "without root") {
			t.Errorf("root: %v", err)
		}
		return
	}
	if err != nil || cfg.System || cfg.User == "" || cfg.State != "/s/collie" || cfg.podUser() != "" || cfg.podmanSocket("/run/user/1/collie") != "/run/user/1/podman/podman.sock" {
		t.Errorf("got %+v, %v", cfg, err)
	}
	if cfg, err = (Config{State: "/mine"}).ForUser(at); err != nil || cfg.State != "/mine" {
		t.Errorf("got %+v, %v", cfg, err)
	}
	for _, wrong := range []Config{{Homes: []string{"ann"}}, {User: "nobody-else"}} {
		if _, err := wrong.ForUser(at); err == nil || !strings.Contains(err.Error(), "leave it out") {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
}

func TestOneMachineIsTheUsual(t *testing.T) {
	cfg := Config{User: "podman"}
	if cfg.podUser() != "podman" || cfg.podmanSocket("/run/collie") != "/run/collie/podman/podman.sock" {
		t.Errorf("%s, %s", cfg.podUser(), cfg.podmanSocket("/run/collie"))
	}
}
