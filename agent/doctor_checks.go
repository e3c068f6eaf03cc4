package agent

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"example.org/collie/agent/cmdline"
	"example.org/collie/agent/layers"
	"example.org/collie/agent/rollout"
	"example.org/collie/agent/secrets"
	"example.org/collie/agent/source"
	"example.org/collie/manifests/podman"
	"example.org/collie/shepherd"
)

func hasPods(cfg Config) bool { return cfg.User != "" }

func hasGuix(cfg Config) bool { return cfg.System || len(cfg.Homes) > 0 }

// checks are all checks of `collie doctor`, in the order in which it shows them.
var checks = []check{
	{"agent", nil, checkAgent},
	{"control socket", nil, checkControl},
	{"state folder", nil, checkState},
	{"key", hasPods, checkKey},
	{"repository", nil, checkRepository},
	{"clock", nil, checkClock},
	{"disk", nil, checkDisk},
	{"shepherd", func(cfg Config) bool { return cfg.System }, checkShepherd},
	{"guix-daemon", hasGuix, checkDaemon},
	{"substitutes", hasGuix, checkSubstitutes},
	{"pod user", hasPods, checkUser},
	{"subordinate ids", hasPods, checkSubordinates},
	{"newuidmap", hasPods, checkMapper},
	{"cgroups", hasPods, checkCgroups},
	{"run-time directory", hasPods, checkRuntime},
	{"linger", hasPods, checkLinger},
	{"podman", hasPods, checkPodman},
	{"volumes", hasPods, checkVolumes},
	{"forwarder", hasPods, checkForwarder},
}

func checkAgent(ctx context.Context, m *machine) (string, error) {
	const look = "see `collie status`"
	s, err := m.status(ctx)
	if err != nil {
		return "", ill("start it with `herd start collie`; why it ended is in /var/log/collie.log", "%s", err)
	}
	switch {
	case s.Phase == "stuck":
		return "", ill("push a commit that mends it, or mend it by hand and run `collie retry`", "the machine is stuck: %s", s.Wanted.Because)
	case len(s.Problems) > 0:
		return "", risk(look, "%d problems, as %s", len(s.Problems), s.Problems[0])
	case s.Suspended != nil:
		return "", risk("deploy again with `collie resume`", "%s", strings.TrimSuffix("suspended: "+s.Suspended.Why, ": "))
	}
	return s.Version + ", " + s.Phase, nil
}

// owned reports whether path is root's, and has none of the rights in never. Links aren't followed.
func (m *machine) owned(path string, never fs.FileMode) (fs.FileInfo, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return nil, ill("remove it", "%s is a link", path)
	}
	if uid := info.Sys().(*syscall.Stat_t).Uid; uid != m.root {
		return nil, ill("chown root "+path, "%s belongs to the user %d", path, uid)
	}
	if perm := info.Mode().Perm(); perm&never != 0 {
		return nil, ill(fmt.Sprintf("chmod %o %s", perm&^never, path), "%s has mode %o", path, perm)
	}
	return info, nil
}

func checkControl(_ context.Context, m *machine) (string, error) {
	dir := m.at(m.runtime)
	if _, err := m.owned(dir, 0o022); err != nil {
		return "", err
	}
	socket := filepath.Join(dir, "collie.sock")
	if _, err := m.owned(socket, 0o007); errors.Is(err, fs.ErrNotExist) {
		return "", ill("start the agent with `herd start collie`", "there is no %s", socket)
	} else if err != nil {
		return "", err
	}
	return socket, nil
}

// putBack is what to do about a file of the state that can't be read.
const putBack = "put back a copy of that file, or move it away: until then nothing is deployed"

func checkState(_ context.Context, m *machine) (string, error) {
	dir := m.at(m.cfg.State)
	if _, err := m.owned(dir, 0o022); errors.Is(err, fs.ErrNotExist) {
		return "", ill("start the agent, which makes it", "there is no %s", dir)
	} else if err != nil {
		return "", err
	}
	inside, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	for _, e := range inside {
		never := fs.FileMode(0o077)
		if e.Name() == treesDir || e.Name() == buildDir {
			never = 0o022 // Guix reads there for users, too, and who evaluates has a folder there
		}
		if _, err := m.owned(filepath.Join(dir, e.Name()), never); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	_, err = rollout.Folder(dir).Load()
	if err == nil {
		err = podman.Connect(m.at(m.cfg.podmanSocket(m.runtime))).Remember(filepath.Join(dir, jobsFile)) // reads it only
	}
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		return "", ill(putBack, "%s", err)
	}
	return dir, nil
}

// checkKey looks whether the machine can decrypt, and nobody else with its key.
func checkKey(_ context.Context, m *machine) (string, error) {
	dir := m.at(m.cfg.State, layers.KeysDir)
	file := filepath.Join(dir, secrets.IdentityFile)
	if _, err := m.owned(file, 0o077); errors.Is(err, fs.ErrNotExist) {
		return "", risk("make it with `collie key`", "there is no %s", file)
	} else if err != nil {
		return "", err
	}
	id, err := secrets.Read(file)
	if err != nil {
		return "", err
	}
	return id.Public, nil
}

func checkRepository(ctx context.Context, m *machine) (string, error) {
	if owner := m.cfg.Source.Owner; owner != "" && m.me != m.root && !m.is(owner) {
		return "", fmt.Errorf("git runs as the repository's owner, %s: %w", owner, fs.ErrPermission)
	}
	all, err := source.Check(ctx, m.sourceConfig())
	if err != nil {
		return "", err
	}
	var well, not []string
	empty := false
	for _, c := range all {
		if empty = empty || c.Empty; c.Err != nil {
			not = append(not, c.Err.Error())
		} else {
			well = append(well, c.URL)
		}
	}
	switch {
	case len(well) == 0 && !empty:
		return "", ill("", "%s", strings.Join(not, "\n"))
	case len(not) > 0:
		return "", risk("", "%s", strings.Join(not, "\n"))
	}
	return strings.Join(well, ", "), nil
}

// is reports whether a user of that name looks.
func (m *machine) is(name string) bool {
	u, err := user.Lookup(name)
	return err == nil && u.Uid == strconv.Itoa(int(m.me))
}

func (m *machine) sourceConfig() source.Config {
	s := m.cfg.Source
	return source.Config{Repository: s.Repository, Mirrors: s.Mirrors, Branch: s.Branch, PodUser: m.cfg.User}
}

// checkClock compares with what can't be in the future: certificates aren't valid then, and builds fail.
func checkClock(_ context.Context, m *machine) (string, error) {
	const set, drift = "set it, for example with `ntpd -q -g`", 10 * time.Minute
	profile := m.at(guixProfiles, "system")
	if link, err := os.Readlink(profile); err == nil {
		made, err := os.Lstat(filepath.Join(filepath.Dir(profile), filepath.Base(link)))
		if err == nil && m.now.Before(made.ModTime().Add(-time.Minute)) {
			return "", ill(set, "it says %s, but the running system was made later, at %s", m.now.UTC().Format(time.DateTime), made.ModTime().UTC().Format(time.DateTime))
		}
	}
	if s, err := rollout.Folder(m.at(m.cfg.State)).Peek(); err == nil && m.now.Before(s.Newest.Time.Add(-drift)) {
		return "", risk(set, "it says %s, but the newest commit was made later, at %s", m.now.UTC().Format(time.DateTime), s.Newest.Time.UTC().Format(time.DateTime))
	}
	return m.now.UTC().Format(time.DateTime) + " UTC", nil
}

func checkDisk(_ context.Context, m *machine) (string, error) {
	const little, some = 256 << 20, 2 << 30
	dirs := []string{m.cfg.State}
	if hasGuix(m.cfg) {
		dirs = append(dirs, "/gnu/store")
	}
	if u, err := m.user(); err == nil && hasPods(m.cfg) {
		dirs = append(dirs, u.Home)
	}
	var says []string
	for _, dir := range dirs {
		s, err := m.space(m.at(dir))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("%s: %w", dir, err)
		}
		const free = "free some, for example with `guix gc` or `podman image prune`"
		left := s.Bavail * uint64(s.Bsize)
		switch {
		case left < little:
			return "", ill(free, "%s has %d MiB left", dir, left>>20)
		case s.Files > 0 && s.Ffree < s.Files/100:
			return "", ill("remove files there", "%s has %d inodes left", dir, s.Ffree)
		case left < some:
			return "", risk(free, "%s has %d MiB left", dir, left>>20)
		}
		says = append(says, fmt.Sprintf("%s %d GiB", dir, left>>30))
	}
	return "free: " + strings.Join(says, ", "), nil
}

func checkShepherd(ctx context.Context, m *machine) (string, error) {
	services, err := shepherd.At(m.at(shepherdSocket)).Services(ctx)
	if err != nil {
		return "", ill("look at `herd status`, and at the end of /var/log/messages", "%s", err)
	}
	for _, s := range services {
		if trouble := s.Trouble(); trouble != "" && s.Status != "running" && !s.OneShot {
			return "", risk("see `herd status "+s.Name+"`", "service %s: %s", s.Name, trouble)
		}
	}
	return fmt.Sprintf("%d services", len(services)), nil
}

const daemonSocket = "/var/guix/daemon-socket/socket"

// checkDaemon says the first word of the daemon's protocol, and wants the answer (guix/store.scm).
func checkDaemon(ctx context.Context, m *machine) (string, error) {
	const start = "start it with `herd start guix-daemon`"
	conn, err := new(net.Dialer).DialContext(ctx, "unix", m.at(daemonSocket))
	if err != nil {
		return "", ill(start, "%s", err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second)) // a socket has deadlines
	const hello, answer = 0x6e697863, 0x6478696f
	var word [8]byte
	binary.LittleEndian.PutUint64(word[:], hello)
	if _, err = conn.Write(word[:]); err == nil {
		_, err = io.ReadFull(conn, word[:])
	}
	if err != nil {
		return "", ill("restart it with `herd restart guix-daemon`", "it doesn't answer at %s: %s", daemonSocket, err)
	}
	if got := binary.LittleEndian.Uint64(word[:]); got != answer {
		return "", ill(start, "%s isn't guix-daemon's: it answers %#x", daemonSocket, got)
	}
	return "it answers", nil
}

func checkSubstitutes(ctx context.Context, m *machine) (string, error) {
	urls, off := m.substituteURLs()
	if off {
		return "", risk("", "guix-daemon runs with --no-substitutes: all is built here")
	}
	client := http.Client{Timeout: 5 * time.Second}
	var answer, silent []string
	for _, url := range urls {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(url, "/")+"/nix-cache-info", nil)
		if err != nil {
			return "", err
		}
		resp, err := client.Do(req)
		if err != nil {
			silent = append(silent, url)
			continue
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			silent = append(silent, url)
			continue
		}
		answer = append(answer, url)
	}
	if len(answer) == 0 {
		return "", risk("is the network there? until then all is built on this machine", "no answer from %s", strings.Join(silent, ", "))
	}
	return strings.Join(answer, ", "), nil
}

// substituteURLs are those of the daemon that runs, or of one without options (guix 1.5.0).
func (m *machine) substituteURLs() (urls []string, off bool) {
	processes, _ := filepath.Glob(m.at("/proc/[0-9]*"))
	for _, dir := range processes {
		line, err := cmdline.System.Read(dir, 64<<10)
		words := strings.Split(strings.TrimRight(string(line), "\x00"), "\x00")
		if err != nil || filepath.Base(words[0]) != "guix-daemon" {
			continue
		}
		for i, word := range words {
			if word == "--no-substitutes" {
				return nil, true
			}
			if value, ok := strings.CutPrefix(word, "--substitute-urls="); ok {
				urls = strings.Fields(value)
			} else if word == "--substitute-urls" && i+1 < len(words) {
				urls = strings.Fields(words[i+1])
			}
		}
	}
	if len(urls) == 0 {
		urls = []string{"https://bordeaux.guix.gnu.org", "https://ci.guix.gnu.org"}
	}
	return urls, false
}
