package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"example.org/collie/manifests/forward"
	"example.org/collie/manifests/podman"
)

func checkUser(_ context.Context, m *machine) (string, error) {
	u, err := m.user()
	switch {
	case err != nil:
		return "", err
	case u.UID == 0:
		return "", ill("set user to an account with no rights", "%s is root: pods must be rootless", u.Name)
	}
	info, err := os.Lstat(m.at(u.Home))
	if err != nil {
		return "", ill("make it, and give it to "+u.Name, "%s has no home directory: %s", u.Name, err)
	}
	if uid := info.Sys().(*syscall.Stat_t).Uid; uid != u.UID {
		return "", ill(fmt.Sprintf("chown %s %s", u.Name, u.Home), "%s belongs to the user %d, not to %s", u.Home, uid, u.Name)
	}
	return fmt.Sprintf("%s, %d", u.Name, u.UID), nil
}

// A span is one line of /etc/subuid.
type span struct {
	owner       string
	first, many uint64
}

func spans(file string) (all []span, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Split(strings.TrimSpace(line), ":")
		if len(words) != 3 {
			continue
		}
		first, err1 := strconv.ParseUint(words[1], 10, 32)
		many, err2 := strconv.ParseUint(words[2], 10, 32)
		if err1 == nil && err2 == nil {
			all = append(all, span{words[0], first, many})
		}
	}
	return all, nil
}

func checkSubordinates(_ context.Context, m *machine) (string, error) {
	const wanted = 65536 // what images use: nobody is 65534
	u, err := m.user()
	if err != nil {
		return "", err
	}
	var says []string
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		all, err := spans(m.at(file))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		var has uint64
		for _, s := range all {
			if s.owner != u.Name && s.owner != strconv.Itoa(int(u.UID)) {
				continue
			}
			has += s.many
			for _, other := range all {
				if other.owner != s.owner && other.first < s.first+s.many && s.first < other.first+other.many {
					return "", ill("give them ranges of their own", "%s: the ranges of %s and %s overlap", file, s.owner, other.owner)
				}
			}
		}
		if has < wanted {
			return "", ill("let collie-configuration give them (subordinate-ids), or add a subid-range to subids-service-type", "%s gives %s %d, and containers want %d", file, u.Name, has, wanted)
		}
		says = append(says, fmt.Sprintf("%d in %s", has, file))
	}
	return strings.Join(says, ", "), nil
}

// checkMapper looks for the programs that may give a user its subordinate ids.
func checkMapper(_ context.Context, m *machine) (string, error) {
	var says []string
	for _, name := range []string{"newuidmap", "newgidmap"} {
		found := ""
		for _, dir := range []string{"/run/privileged/bin", "/run/setuid-programs", "/usr/bin"} {
			path := filepath.Join(dir, name)
			info, err := os.Stat(m.at(path))
			if err == nil && info.Mode()&fs.ModeSetuid != 0 && info.Sys().(*syscall.Stat_t).Uid == m.root {
				found = path
				break
			}
		}
		if found == "" {
			return "", ill("add rootless-podman-service-type to the system", "there is no %s that is setuid root", name)
		}
		says = append(says, found)
	}
	return strings.Join(says, ", "), nil
}

func checkCgroups(_ context.Context, m *machine) (string, error) {
	const add = "add rootless-podman-service-type to the system, and (supplementary-groups '(\"cgroup\")) to the user"
	u, err := m.user()
	if err != nil {
		return "", err
	}
	dir := m.at("/sys/fs/cgroup")
	if _, err := os.Stat(filepath.Join(dir, "cgroup.controllers")); errors.Is(err, fs.ErrNotExist) {
		return "", ill("mount cgroup2 at /sys/fs/cgroup: %base-file-systems of Guix 1.5 does", "/sys/fs/cgroup isn't cgroups v2")
	}
	for _, name := range []string{"", "cgroup.procs", "cgroup.subtree_control"} {
		file := filepath.Join(dir, name)
		info, err := os.Stat(file)
		if err != nil {
			return "", err
		}
		sys := info.Sys().(*syscall.Stat_t)
		groups := append([]uint32{u.GID}, u.Groups...)
		if !(sys.Uid == u.UID && info.Mode()&0o200 != 0) && !(slices.Contains(groups, sys.Gid) && info.Mode()&0o020 != 0) {
			return "", ill(add, "%s can't write %s, which has mode %o and group %d", u.Name, file, info.Mode().Perm(), sys.Gid)
		}
	}
	on, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
	if err != nil {
		return "", err
	}
	for _, name := range []string{"cpu", "memory", "pids"} {
		if !slices.Contains(strings.Fields(string(on)), name) {
			return "", risk("start it with `herd start cgroups2-limits`", "the controller %s is off: limits of pods don't hold", name)
		}
	}
	return strings.TrimSpace(string(on)), nil
}

func checkRuntime(_ context.Context, m *machine) (string, error) {
	const again = "make it with `herd restart podman-runtime-directory`"
	u, err := m.user()
	if err != nil {
		return "", err
	}
	info, err := os.Lstat(m.at(u.Runtime))
	switch {
	case err != nil:
		return "", ill(again, "%s", err)
	case !info.IsDir():
		return "", ill("remove it, and "+again, "%s is no directory", u.Runtime)
	case info.Sys().(*syscall.Stat_t).Uid != u.UID:
		return "", ill("chown "+u.Name+" "+u.Runtime, "%s belongs to the user %d, not to %s", u.Runtime, info.Sys().(*syscall.Stat_t).Uid, u.Name)
	case info.Mode().Perm()&0o077 != 0:
		return "", ill("chmod 700 "+u.Runtime, "%s has mode %o", u.Runtime, info.Mode().Perm())
	}
	return u.Runtime, nil
}

func checkLinger(_ context.Context, m *machine) (string, error) {
	u, err := m.user()
	if err != nil {
		return "", err
	}
	dirs := []string{"/var/lib/elogind/linger", "/var/lib/systemd/linger"}
	for _, dir := range dirs {
		_, err := os.Lstat(m.at(dir, u.Name))
		switch {
		case err == nil:
			return filepath.Join(dir, u.Name), nil
		case errors.Is(err, fs.ErrPermission):
			return "", err
		}
	}
	file := filepath.Join(dirs[0], u.Name)
	return "", ill("touch "+file, "there is no %s: elogind removes %s when %s logs out, and the network of the pods with it", file, u.Runtime, u.Name)
}

func checkPodman(ctx context.Context, m *machine) (string, error) {
	socket := m.at(m.cfg.podmanSocket(m.runtime))
	if _, err := m.owned(filepath.Dir(socket), 0o077); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if _, err := podman.Connect(socket).Live(ctx); err != nil {
		return "", ill("restart it with `herd restart podman-api`; what it says is in /var/log/podman-api.log", "%s", err)
	}
	return "it answers at " + socket, nil
}

// checkVolumes reports volumes whose claim left the repository: only a person removes them.
func checkVolumes(ctx context.Context, m *machine) (string, error) {
	p := podman.Connect(m.at(m.cfg.podmanSocket(m.runtime)))
	if err := p.ReadInventory(m.at(m.cfg.State, inventoryFile)); err != nil {
		return "", ill(putBack, "%s", err)
	}
	unused, err := p.Unused(ctx)
	switch {
	case err != nil:
		return "", risk("see podman", "%s", err)
	case len(unused) == 0:
		return "each has its claim", nil
	}
	return fmt.Sprintf("no claim has %s any more; if nobody needs what is in it, remove it as the user %s with `podman volume rm %s`",
		strings.Join(unused, ", "), m.cfg.User, strings.Join(unused, " ")), nil
}

func checkForwarder(ctx context.Context, m *machine) (string, error) {
	says, err := forward.NewClient(m.at(m.runtime, forwardSocket)).Describe(ctx)
	if err != nil {
		return "", risk("pods with collie.io/handover need it: `herd start collie-forward`; what it says is in /var/log/collie-forward.log", "%s", err)
	}
	return says, nil
}
