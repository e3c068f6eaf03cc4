package bootstrap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"example.org/collie/guix"
)

// Where Guix keeps the texts of what runs. Only the store's own files are read: other folders can be a user's.
const (
	runningSystem = "/run/current-system/configuration.scm"
	usualSystem   = "/etc/config.scm"
	runningHome   = "/var/guix/profiles/per-user/" + podUser + "/guix-home/configuration.scm"
	store         = "/gnu/store/"
)

const textLimit = 4 << 20 // bytes of a file that is taken

// place is where a file of this machine is in the clone: below hosts/, where there are folders of hosts.
func (m *Machine) place(name string) string {
	if info, err := os.Stat(filepath.Join(m.Dir, "hosts")); err == nil && info.IsDir() {
		if host, err := os.Hostname(); err == nil {
			return filepath.Join("hosts", host, name)
		}
	}
	return name
}

// file is the name of a file of this machine, if the clone has it: its own, or that of all hosts.
func (m *Machine) file(name string) (string, bool) {
	for _, file := range []string{m.place(name), name} {
		if exists(filepath.Join(m.Dir, file)) {
			return file, true
		}
	}
	return m.place(name), false
}

func readText(file string) (string, error) {
	info, err := os.Stat(file)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || info.Size() > textLimit {
		return "", fmt.Errorf("%s is no text of at most %d bytes", file, textLimit)
	}
	text, err := os.ReadFile(file)
	return string(text), err
}

func (m *Machine) hasChannels(ctx context.Context) (string, bool, error) {
	if file, is := m.file("channels.scm"); is {
		return file, true, nil
	}
	text, err := m.command(ctx, "/", "guix", "describe", "-f", "channels")
	if err != nil {
		return "", false, err
	}
	if err := guix.CheckChannels(text); err != nil {
		return "left out: this guix is of no pinned channels; after a `guix pull` run this again, or the machine keeps the Guix that it has", true, nil
	}
	return "", false, nil
}

func (m *Machine) writeChannels(ctx context.Context) (string, error) {
	text, err := m.command(ctx, "/", "guix", "describe", "-f", "channels")
	if err != nil {
		return "", err
	}
	file := m.place("channels.scm")
	return file, writeNew(filepath.Join(m.Dir, file), text, 0o644)
}

func (m *Machine) hasSystem(context.Context) (string, bool, error) {
	file, is := m.file("system.scm")
	if is {
		return file, true, nil
	}
	_, _, err := m.running() // else a dry run would promise what can't be done
	return "", false, err
}

// running is the text that the running system was made from, and the folder in which it was, if that is known.
func (m *Machine) running() (text, folder string, err error) {
	if m.System != "" {
		text, err = readText(m.System)
		return text, filepath.Dir(m.System), err
	}
	text, err = readText(m.at(runningSystem))
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", fmt.Errorf("there is no %s: name the file that this machine was made from by --system; without Guix System there is `collie --scope user` (docs/install.md)", runningSystem)
	}
	if usual, usualErr := readText(m.at(usualSystem)); usualErr == nil && usual == text {
		folder = filepath.Dir(m.at(usualSystem))
	}
	return text, folder, err
}

// writeSystem writes what the running system was made from. The file itself comes last: where it is, all else is.
func (m *Machine) writeSystem(context.Context) (string, error) {
	text, folder, err := m.running()
	if err != nil {
		return "", err
	}
	file := m.place("system.scm")
	if err := m.copyLoaded("system.scm", text, folder, filepath.Dir(file), map[string]bool{}); err != nil {
		return "", err
	}
	if err := m.copyModules(text, map[string]bool{}); err != nil {
		return "", err
	}
	says := file + ", with the service"
	if line, err := m.line(); err != nil {
		return "", err
	} else if guix.Uses(text, serviceType) {
		says = file + ", which has the service"
	} else if more, err := guix.AddService(text, line, serviceModule); err == nil {
		text = more
	} else {
		says = file + ", as it is: " + err.Error()
	}
	return says, writeNew(filepath.Join(m.Dir, file), text, 0o644)
}

// copyLoaded copies the files that text names in its own folder, and those that they name.
func (m *Machine) copyLoaded(of, text, folder, into string, seen map[string]bool) error {
	for _, l := range guix.Loads(text) {
		name := filepath.Clean(l.Name)
		if seen[name] {
			continue
		}
		seen[name] = true
		switch {
		case !filepath.IsLocal(name):
			return fmt.Errorf("%s:%d: %q leads out of the folder: copy it into %s, and mend that line", of, l.Line, l.Name, m.Dir)
		case folder == "":
			return fmt.Errorf("%s:%d: %q is in the folder of the file that the system was made from, and Guix doesn't keep where that is: name that file by --system", of, l.Line, l.Name)
		}
		if err := m.copyTree(filepath.Join(folder, name), filepath.Join(into, name)); err != nil {
			return fmt.Errorf("%s:%d: %q: %w", of, l.Line, l.Name, err)
		}
		if !l.Scheme {
			continue
		}
		loaded, err := readText(filepath.Join(folder, name))
		if err != nil {
			return fmt.Errorf("%s:%d: %q: %w", of, l.Line, l.Name, err)
		}
		// Guile finds what a file loads in the folder of that file.
		if err := m.copyLoaded(name, loaded, filepath.Join(folder, filepath.Dir(name)), filepath.Join(into, filepath.Dir(name)), map[string]bool{}); err != nil {
			return err
		}
		if err := m.copyModules(loaded, seen); err != nil {
			return err
		}
	}
	return nil
}

// copyTree copies a file, or a folder of files, unless it is there.
func (m *Machine) copyTree(from, to string) error {
	return filepath.WalkDir(from, func(at string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := readText(at)
		if err != nil {
			return err
		}
		rest, err := filepath.Rel(from, at)
		if err != nil {
			return err
		}
		target := filepath.Join(m.Dir, to, rest)
		if exists(target) {
			return nil
		}
		return writeNew(target, text, 0o644)
	})
}

// copyModules copies the modules in LoadPath that text uses, and those that they use, to modules/.
func (m *Machine) copyModules(text string, seen map[string]bool) error {
	for _, module := range guix.Modules(text) {
		name := module + ".scm"
		if seen["module "+name] || !filepath.IsLocal(name) {
			continue
		}
		seen["module "+name] = true
		for _, folder := range m.LoadPath {
			used, err := readText(filepath.Join(folder, name))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			if err := m.copyTree(filepath.Join(folder, name), filepath.Join("modules", name)); err != nil {
				return err
			}
			if err := m.copyModules(used, seen); err != nil {
				return err
			}
			break
		}
	}
	return nil
}

// beside are the files in the clone that system.scm loads or uses.
func (m *Machine) beside() (all []string) {
	system, is := m.file("system.scm")
	if !is {
		return nil
	}
	seen := map[string]bool{}
	var look func(file string)
	look = func(file string) {
		if seen[file] || len(seen) > 1000 {
			return
		}
		seen[file] = true
		text, err := readText(filepath.Join(m.Dir, file))
		if err != nil {
			return // what derives it says so
		}
		for _, l := range guix.Loads(text) {
			if name := filepath.Join(filepath.Dir(file), l.Name); filepath.IsLocal(name) {
				all = append(all, name)
				if l.Scheme {
					look(name)
				}
			}
		}
		for _, module := range guix.Modules(text) {
			if name := filepath.Join("modules", module+".scm"); filepath.IsLocal(name) && exists(filepath.Join(m.Dir, name)) {
				all = append(all, name)
				look(name)
			}
		}
	}
	look(system)
	return all
}

const (
	serviceType   = "collie-service-type"
	serviceModule = "(collie services)"
)

// line is the service, as system.scm has it.
func (m *Machine) line() (string, error) {
	r, err := m.followed()
	if err != nil {
		return "", err
	}
	fields := []string{}
	for _, f := range [][2]string{{"url", r.URL}, {"branch", m.Branch}, {"owner", r.Owner}, {"token-file", r.TokenFile}, {"token-user", r.TokenUser},
		{"ca-file", r.CAFile}, {"key-file", r.KeyFile}, {"known-hosts", r.KnownHosts}} {
		if f[1] != "" && f != [2]string{"branch", "main"} {
			fields = append(fields, "("+f[0]+" "+schemeString(f[1])+")")
		}
	}
	lines := []string{"(source (collie-source\n         " + strings.Join(fields, "\n         ") + "))"}
	if len(fields) == 1 {
		lines = []string{"(source " + schemeString(r.URL) + ")"}
	}
	if m.hasUser(podUser) { // an account twice is a mistake
		lines = append(lines, "(create-user? #f)")
	}
	fieldsText := strings.ReplaceAll(strings.Join(lines, "\n"), "\n", "\n          ")
	return "(service collie-service-type\n         (collie-configuration\n          " + fieldsText + "))", nil
}

// hasUser reports whether the machine has a user of that name.
func (m *Machine) hasUser(name string) bool {
	text, err := readText(m.at("/etc/passwd"))
	return err == nil && strings.Contains("\n"+text, "\n"+name+":")
}

func schemeString(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}

// hasService looks whether the system of the clone has the service, by name or by what it derives.
func (m *Machine) hasService(ctx context.Context) (string, bool, error) {
	file, is := m.file("system.scm")
	if !is {
		return "", false, nil
	}
	text, err := readText(filepath.Join(m.Dir, file))
	if err != nil {
		return "", false, err
	}
	if guix.Uses(text, serviceType) {
		return file + " has it", true, nil
	}
	graph, err := m.guix(ctx, nil, "system", "shepherd-graph", file)
	if err != nil {
		return "", false, err
	}
	if collieNode.MatchString(graph) {
		return "it is in what " + file + " loads", true, nil
	}
	return "", false, nil
}

var collieNode = regexp.MustCompile(`(?m)^ *"collie[" ]`)

// placeService says where the line goes.
func (m *Machine) placeService(ctx context.Context) (string, error) {
	if says, is, err := m.hasService(ctx); err != nil || is {
		return says, err
	}
	line, err := m.line()
	if err != nil {
		return "", err
	}
	file, _ := m.file("system.scm")
	text, err := readText(filepath.Join(m.Dir, file))
	if err != nil {
		return "", err
	}
	why := "it was in the repository already, and may be another machine's"
	if _, err := guix.AddService(text, line, serviceModule); err != nil {
		why = err.Error()
	}
	return "", fmt.Errorf("%s has no service of Collie's, and none is added: %s.\nAdd this to the services of the operating-system, and %s to its use-modules; then run this again:\n\n%s",
		filepath.Join(m.Dir, file), why, serviceModule, line)
}

func (m *Machine) hasHome(context.Context) (string, bool, error) {
	for _, name := range []string{"home.scm", "home/" + podUser + ".scm"} {
		if file, is := m.file(name); is {
			return file, true, nil
		}
	}
	text, err := m.home()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", true, nil // there is none
	case err != nil:
		return "left out: " + err.Error(), true, nil
	}
	for _, l := range guix.Loads(text) {
		return fmt.Sprintf("left out: that of %s names the file %q in its folder: write home.scm by hand, with what it needs", podUser, l.Name), true, nil
	}
	return "", false, nil
}

// home is what the home of the pod user was made from. Its profile is the user's own, and could lead anywhere.
func (m *Machine) home() (string, error) {
	file, err := filepath.EvalSymlinks(m.at(runningHome))
	if err != nil {
		return "", err
	}
	text, err := guix.Store(m.root).Read(file, textLimit)
	if outside := (*guix.OutsideError)(nil); errors.As(err, &outside) {
		return "", fmt.Errorf("%s leads out of the store", runningHome)
	}
	return string(text), err
}

func (m *Machine) writeHome(context.Context) (string, error) {
	text, err := m.home()
	if err != nil {
		return "", err
	}
	file := m.place("home.scm")
	return file, writeNew(filepath.Join(m.Dir, file), text, 0o644)
}

// guixTime is for one command of Guix's. On a slow machine a reconfigure builds and downloads much.
const guixTime = 4 * time.Hour

// guix runs guix on a file of the clone as the agent will: by the channels of the clone, and with no modules but the clone's.
// Its output is also written to says, unless that is nil.
func (m *Machine) guix(ctx context.Context, says *os.File, words ...string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, guixTime, fmt.Errorf("no end within %v", guixTime))
	defer cancel()
	verb, file := words[:len(words)-1], words[len(words)-1]
	args := slices.Clone(verb)
	links, err := os.MkdirTemp("", "collie-modules-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(links)
	top, err := guix.LinkModules(m.Dir, links)
	if err != nil {
		return "", err
	}
	if top {
		args = append(args, "-L", links)
	}
	if modules := filepath.Join(m.Dir, "modules"); exists(modules) {
		args = append(args, "-L", modules)
	}
	args = append(args, filepath.Join(m.Dir, file))
	if channels, is := m.file("channels.scm"); is {
		pinned, err := readText(filepath.Join(m.Dir, channels))
		if err != nil {
			return "", err
		}
		if here, _ := m.command(ctx, "/", "guix", "describe", "-f", "channels"); here != pinned {
			args = append([]string{"time-machine", "-C", filepath.Join(m.Dir, channels), "--"}, args...)
		}
	}
	command, err := exec.LookPath("guix")
	if err != nil {
		return "", errors.New("there is no guix on PATH")
	}
	var out, fault bytes.Buffer
	cmd := exec.CommandContext(ctx, command, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", &out, &fault
	if says != nil {
		cmd.Stdout, cmd.Stderr = says, says
	}
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { // of `guix shell', and of a person's own
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains([]string{"GUIX_PACKAGE_PATH", "GUILE_LOAD_PATH", "GUILE_LOAD_COMPILED_PATH"}, name)
	})
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return "", fmt.Errorf("guix %s %s: %w\n%s", strings.Join(verb, " "), file, err, strings.TrimSpace(fault.String()))
	}
	return out.String(), nil
}

// derive has Guix evaluate what was written, before anybody else sees it.
func (m *Machine) derive(ctx context.Context) (string, error) {
	system, _ := m.file("system.scm")
	if _, err := m.guix(ctx, nil, "system", "build", "--dry-run", system); err != nil {
		return "", fmt.Errorf("%w\nmend it in %s, and run this again", err, m.Dir)
	}
	home, is := m.file("home.scm")
	if !is {
		return system, nil
	}
	if _, err := m.guix(ctx, nil, "home", "build", "--dry-run", home); err != nil {
		return "", fmt.Errorf("%w\nmend it in %s, or remove it there, and run this again", err, m.Dir)
	}
	return system + ", " + home, nil
}
