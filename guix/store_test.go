package guix

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What a plan reads in the store is read as Guix 1.5.0 wrote it, in the lab's guest.
func TestStoreAsGuixWroteIt(t *testing.T) {
	dir := "testdata/store"
	text := func(file string) string {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if b, ok := bootOf(dir); !ok || b.root != `"none"` || storeName(b.kernel) != "no-kernel-none" || !slices.Equal(b.arguments, []string{"modprobe.blacklist=usbmouse,usbkbd", "quiet"}) {
		t.Errorf("parameters: %+v, %v", b, ok)
	}
	all, err := readManifest(text("manifest"))
	if got := slices.Sorted(maps.Keys(all)); err != nil || fmt.Sprint(got) != "[guix lab-collie openssh podman shepherd]" || all["podman"].version != "5.8.6" {
		t.Errorf("manifest: %v, %v", got, err)
	}
	a := scripts{known: true, privileged: map[string]privilege{}}
	for _, script := range strings.Split("\n"+text("scripts"), "\n#!")[1:] {
		a.read("#!" + script)
	}
	var users []string
	for _, u := range a.users {
		users = append(users, u.name)
	}
	if got := fmt.Sprint(a.known, users[:6], len(a.users), len(a.groups), slices.Sorted(maps.Keys(a.privileged)), len(a.others)); got !=
		"true [root nobody podman ops sshd guixbuilder01] 15 23 [chfn fusermount fusermount3 mount newgidmap newgrp newuidmap passwd ping ping6 sg su sudo sudoedit umount unix_chkpwd] 7" {
		t.Errorf("scripts: %s", got)
	}
	if su := a.privileged["su"]; su.may != "set-uid root" || !strings.HasSuffix(su.file, "/bin/su") {
		t.Errorf("su: %+v", su)
	}
	if got := readExports([]byte(text("setup-environment"))); len(got) != 5 || got["XDG_STATE_HOME"] != `"$HOME/.local/state"` {
		t.Errorf("setup-environment: %q", got)
	}
	d, err := parseDerivation(text("shepherd.conf.drv"))
	if err != nil || !d.local || len(d.outputs) != 1 || storeName(d.outputs[0]) != "shepherd.conf" {
		t.Errorf("shepherd.conf.drv: %+v, %v", d, err)
	}
}
