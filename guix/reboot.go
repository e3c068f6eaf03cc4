package guix

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A boot has the changes of a system that only a boot activates.
type boot struct {
	kernel, modules, initrd, root, shepherd string
	arguments                               []string
}

var shepherdProgram = regexp.MustCompile(`"(/gnu/store/[0-9a-z]{32}-[^"/]+)/bin/shepherd"`)

// bootOf reads what a system is booted with.
func bootOf(item string) (boot, bool) {
	text, err := readBounded(filepath.Join(item, "parameters"))
	if err != nil {
		return boot{}, false
	}
	forms, err := readStore(string(text))
	if err != nil || len(forms) != 1 {
		return boot{}, false
	}
	var b boot
	for _, field := range forms[0].list {
		if len(field.list) != 2 {
			continue
		}
		switch value := field.list[1]; field.head() {
		case "kernel":
			b.kernel = filepath.Dir(value.text()) // without /bzImage
		case "kernel-arguments":
			b.arguments = value.atoms()
		case "root-device":
			b.root = string(value.write(nil, 200)) // a name, or (uuid ext4 #vu8(…))
		}
	}
	b.modules, _ = os.Readlink(filepath.Join(item, "kernel"))
	b.initrd, _ = os.Readlink(filepath.Join(item, "initrd"))
	script, _ := readBounded(filepath.Join(item, "boot"))
	if found := shepherdProgram.FindSubmatch(script); found != nil {
		b.shepherd = string(found[1])
	}
	return b, b.kernel != "" && b.kernel != "."
}

// atBoot compares item with the system that was booted: that one's kernel runs, whatever was switched to since.
func (s *System) atBoot(item, live string) []Change {
	booted, err := filepath.EvalSymlinks(filepath.Join(s.dir, "/run/booted-system"))
	if err != nil || booted == item {
		return nil
	}
	was, ok := bootOf(booted)
	is, ok2 := bootOf(item)
	if !ok || !ok2 {
		return nil
	}
	now, _ := bootOf(live)
	var all []Change
	add := func(what, old, pending, next string) {
		if old == next {
			return
		}
		says := fmt.Sprintf("%s → %s", storeName(old), storeName(next))
		if storeName(old) == storeName(next) {
			says = "rebuilt"
		}
		if pending == next {
			says += ", since an earlier switch"
		}
		all = append(all, Change{nextBoot, what, says})
	}
	add("kernel", was.kernel, now.kernel, is.kernel)
	if was.kernel == is.kernel {
		add("kernel modules", was.modules, now.modules, is.modules)
	}
	add("initrd", was.initrd, now.initrd, is.initrd)
	add("root file system", was.root, now.root, is.root)
	add("shepherd", was.shepherd, now.shepherd, is.shepherd)
	if !slices.Equal(was.arguments, is.arguments) {
		add("boot arguments", strings.Join(was.arguments, " "), strings.Join(now.arguments, " "), strings.Join(is.arguments, " "))
	}
	return all
}
