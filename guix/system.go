package guix

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.org/collie/agent/crash"
	"example.org/collie/shepherd"
)

// A System is the operating system of this machine.
type System struct {
	Runner   *Runner
	Shepherd *shepherd.Client
	Profiles string   // /var/guix/profiles
	Roots    Roots    // /var/guix/gcroots/collie
	Started  string   // file: from which file each service was started
	Begun    string   // file: the switch that was begun, until it is done
	Self     string   // the agent's own service, which it never restarts
	Options  []string // more options of `guix system reconfigure`, as --no-bootloader

	dir string // where a test has its /run, /etc and /gnu
}

// Build builds the system that tree describes, and keeps it by a GC root of that name. Nothing live changes.
func (s *System) Build(ctx context.Context, tree, root string, tell func(string)) (string, error) {
	if err := unpinned(ctx, s.Runner, tree, s.current()); err != nil {
		return "", err
	}
	if err := os.MkdirAll(string(s.Roots), 0o755); err != nil {
		return "", fmt.Errorf("making the folder of GC roots: %w", err)
	}
	link := filepath.Join(string(s.Roots), filepath.Base(root)+".build") // Guix makes it in time; it must not be there before
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("building the system: %w", err)
	}
	// Without --save-provenance the path isn't the one that reconfigure makes.
	args := append([]string{"system", "build", "--save-provenance", "--root=" + link}, load(tree, "system.scm")...)
	out, err := s.Runner.run(ctx, attempt{what: "system-build", args: args, build: true, tell: tell})
	if err != nil {
		return "", err
	}
	if out.code != 0 {
		return "", out.failure(tree, "system.scm")
	}
	defer os.Remove(link)
	item, err := os.Readlink(link)
	if err != nil || !systemItem.MatchString(item) {
		return "", fmt.Errorf("guix system build named no system, but %q (see %s)", item, out.log)
	}
	return item, s.Roots.Keep(root, item)
}

// load is how Guix finds tree's file, and tree's own modules.
func load(tree, file string) []string {
	if modules := filepath.Join(tree, "modules"); isDir(modules) {
		return []string{"-L", modules, filepath.Join(tree, file)}
	}
	return []string{filepath.Join(tree, file)}
}

// Live is the system that the machine runs.
func (s *System) Live(context.Context) (string, error) {
	item, err := filepath.EvalSymlinks(s.current())
	if err != nil {
		return "", fmt.Errorf("finding the running system: %w", err)
	}
	if !systemItem.MatchString(item) {
		return "", fmt.Errorf("the running system is %s, which Guix didn't make", item)
	}
	return item, nil
}

// Diff compares what is live with the system item, and runs no guix.
func (s *System) Diff(ctx context.Context, item string) ([]Change, error) {
	changes, err := s.differs(ctx, item)
	if err != nil {
		return nil, err
	}
	services, err := s.services().diff(ctx, item)
	return append(changes, services...), err
}

// differs is Diff without the services.
func (s *System) differs(ctx context.Context, item string) ([]Change, error) {
	if _, err := os.Stat(item); err != nil {
		return nil, fmt.Errorf("the system %s is gone from the store: %w", item, err)
	}
	live, err := s.Live(ctx)
	if err != nil {
		return nil, err
	}
	_, next, err := s.profile().live()
	if err != nil {
		return nil, err
	}
	var changes []Change
	if live != item {
		changes = append(changes, Change{"switch", "system", "from " + hash(live) + " to " + hash(item)})
	}
	if next != item && live == item {
		changes = append(changes, Change{"switch", "system profile", "the next boot would be into " + hash(next)})
	}
	if begun := underway(s.Begun); begun != "" {
		changes = append(changes, Change{"activate", "system", "a switch to " + hash(begun) + " was cut short"})
	}
	etc, err := s.etc(item, live)
	return append(changes, etc...), err
}

// etc compares /etc with the item's: activation makes a link for each file there, but copies two.
func (s *System) etc(item, live string) ([]Change, error) {
	entries, err := os.ReadDir(filepath.Join(item, "etc"))
	if err != nil {
		return nil, fmt.Errorf("reading what /etc should be: %w", err)
	}
	var changes []Change
	for _, e := range entries {
		wanted, here := filepath.Join(item, "etc", e.Name()), filepath.Join(s.dir, "/etc", e.Name())
		if e.Name() == "hosts" || e.Name() == "sudoers" { // copies; programs may write to hosts
			want, err := os.ReadFile(filepath.Join(live, "etc", e.Name()))
			have, err2 := os.ReadFile(wanted)
			if (err == nil) != (err2 == nil) || !bytes.Equal(want, have) {
				changes = append(changes, Change{"link", "/etc/" + e.Name(), "changed"})
			}
			continue
		}
		want, err := filepath.EvalSymlinks(wanted)
		if err != nil {
			continue // a link to what isn't there: Guix makes the same
		}
		switch have, err := os.Readlink(here); {
		case errors.Is(err, fs.ErrNotExist):
			changes = append(changes, Change{"link", "/etc/" + e.Name(), "new"})
		case err != nil:
			changes = append(changes, Change{"link", "/etc/" + e.Name(), "isn't the link that the system made"})
		case have != want:
			changes = append(changes, Change{"link", "/etc/" + e.Name(), "changed"})
		}
	}
	return changes, nil
}

// Switch makes item live, which Build made from tree: forward, or back. A system that a generation names is switched
// to without evaluating anything; another is reconfigured to from tree or, if there is no tree, made a generation of.
// Where nothing differs no guix runs. A service that doesn't run afterwards is an error, if it wasn't ill before. Only
// ctx's deadline should end a switch, and the Runner's does.
func (s *System) Switch(ctx context.Context, item, tree string) error {
	s.Runner.switching.Lock()
	defer s.Runner.switching.Unlock()
	changes, err := s.differs(ctx, item)
	if err != nil {
		return err
	}
	live, err := s.Live(ctx)
	if err != nil {
		return err
	}
	switching := func() error { return s.activate(ctx, live, item, tree) }
	if len(changes) == 0 {
		switching = nil
	}
	return s.services().make(ctx, live, item, switching)
}

// activate makes item the live system, services aside.
func (s *System) activate(ctx context.Context, live, item, tree string) error {
	number, _, err := s.profile().find(item)
	if err != nil {
		return err
	}
	before, err := begin(s.Begun, live, item)
	if err != nil {
		return err
	}
	a := attempt{what: "system-switch"}
	if number == 0 && tree != "" {
		crash.At("switch.begun")
		a.scm, a.what, a.args = true, "system-reconfigure", slices.Concat([]string{"system", "reconfigure"}, s.Options, load(tree, "system.scm"))
	} else {
		crash.At("goback.begun")
		if number, err = s.profile().add(item); err != nil {
			return err
		}
		// Without the variable, /run/current-system would be the system that was booted (guix 1.5.0).
		a.args, a.env = []string{"system", "switch-generation", strconv.Itoa(number)}, []string{"GUIX_NEW_SYSTEM=" + s.profile().link(number)}
	}
	out, err := s.Runner.run(ctx, a)
	if err != nil {
		return err
	}
	crash.At("switch.activated")
	if err := out.switched(tree, "system.scm"); err != nil {
		return err
	}
	if err := s.activated(ctx, item, before, out); err != nil {
		return err
	}
	return forget(s.Begun)
}

// activated finds what went wrong though guix ended with 0.
func (s *System) activated(ctx context.Context, item, before string, out outcome) error {
	live, err := s.Live(ctx)
	if err != nil {
		return err
	}
	_, next, err := s.profile().live()
	if err != nil {
		return err
	}
	if live != item || next != item {
		return fmt.Errorf("guix ended well, but the running system is %s and the next boot's %s, not %s (see %s)", hash(live), hash(next), hash(item), out.log)
	}
	if faults := failedActivation(out.text, item, before); len(faults) > 0 {
		return fmt.Errorf("activation of the system: %s (see %s)", strings.Join(faults, "; "), out.log)
	}
	etc, err := s.etc(item, item)
	if err == nil && len(etc) > 0 {
		err = fmt.Errorf("guix ended well, but %s %s, and so with %d more (see %s)", etc[0].Subject, etc[0].Says, len(etc)-1, out.log)
	}
	return err
}

var activation = regexp.MustCompile(`(?m)^(.*)\n.*warning: failed to activate '(/gnu/store/[^']+)'`)

// failedActivation is what the scripts said that failed. Guix goes on after each, and ends with 0. A script that the
// system of before has as well isn't blamed: it may have failed there, too.
func failedActivation(text, item, before string) []string {
	old, _ := os.ReadFile(filepath.Join(before, "activate"))
	var faults []string
	for _, m := range activation.FindAllStringSubmatch(text, -1) {
		if before == item || !bytes.Contains(old, []byte(m[2])) {
			faults = append(faults, shorten(strings.TrimSpace(thrown(m[1])))+" ("+m[2]+")")
		}
	}
	return faults
}

var message = regexp.MustCompile(`message: "((?:[^"\\]|\\.)*)"(?:.*irritants: \(([^()]*)\))?`)

// thrown finds the words in how Guile prints an exception: #<&compound-exception components: (… message: "boom" …)>.
func thrown(exception string) string {
	if m := message.FindStringSubmatch(exception); m != nil {
		return strings.TrimSpace(m[1] + " " + m[2])
	}
	return exception
}

// Problems says what of item isn't well; since is when it was switched to.
func (s *System) Problems(ctx context.Context, item string, since time.Time) ([]Problem, error) {
	return s.services().problems(ctx, item, since)
}

func (s *System) services() *services {
	return &services{
		shepherd: s.Shepherd, started: s.Started, self: s.Self, whole: true,
		definitions: systemDefinitions,
		live:        func() (string, error) { return s.Live(context.Background()) },
		booted: func() (string, error) {
			item, err := filepath.EvalSymlinks(filepath.Join(s.dir, "/run/booted-system"))
			if err != nil {
				return "", fmt.Errorf("finding the system that was booted: %w", err)
			}
			return item, nil
		},
	}
}

func (s *System) current() string { return filepath.Join(s.dir, "/run/current-system") }

func (s *System) profile() profile { return profile{s.Profiles, "system", systemItem} }
