package guix

import (
	"bytes"
	"cmp"
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
	"example.org/collie/agent/statefile"
	"example.org/collie/shepherd"
)

// A System is the operating system of this machine.
type System struct {
	Runner   *Runner
	Shepherd *shepherd.Client
	Profiles string            // /var/guix/profiles
	Roots    Roots             // /var/guix/gcroots/collie
	Started  string            // file: from which file each service was started
	Begun    string            // file: the note of the last switch
	Made     string            // file: which generations Collie made
	Commits  string            // file: which commit made which system, for the boot menu
	Self     string            // the agent's own service, which it never restarts
	Idle     []string          // services that end well when nobody asks them anything; Shepherd listens for them
	Timeout  time.Duration     // within which a service stops, or starts; 2 min if 0
	Silence  time.Duration     // how long Shepherd may say nothing within a switch; 30 s if 0
	Policies map[string]Policy // of services, where they aren't the usual ones
	Options  []string          // more options of `guix system reconfigure`, as --no-bootloader

	Guix       string     // the profile whose guix evaluates, as Pin found it; empty: the Runner's
	As         *Evaluator // with whose rights what is only prepared is evaluated; nil: the agent's
	Fetcher    *Evaluator // who compares channels for that; nil: the agent itself
	Channels   string     // file: how commits of channels lie to each other
	Downgrades bool       // whether channels may go back

	Store Store // empty, but in a test

	dir string // where a test has its /run, /etc and /gnu
}

// Build builds the system that tree describes, and keeps it by a GC root of that name. Nothing live changes.
func (s *System) Build(ctx context.Context, tree, root string, watch Watch) (string, error) {
	if err := os.MkdirAll(string(s.Roots), 0o755); err != nil {
		return "", fmt.Errorf("making the folder of GC roots: %w", err)
	}
	by, end, err := s.As.evaluates()
	if err != nil {
		return "", err
	}
	defer end()
	link := filepath.Join(string(s.Roots), filepath.Base(root)+".build") // Guix makes it in time; it must not be there before
	if by != nil {
		link = filepath.Join(by.Home, ".build") // the daemon makes a root of it, too
	}
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("building the system: %w", err)
	}
	// Without --save-provenance the path isn't the one that reconfigure makes.
	what, err := load(tree, "system.scm")
	if err != nil {
		return "", err
	}
	args := append([]string{"system", "build", "--save-provenance", "--root=" + link}, what...)
	out, err := s.Runner.evaluate(ctx, attempt{what: "system-build", command: guixOf(s.Guix), args: args, by: by, build: true, watch: watch}, tree, "system.scm")
	if err != nil {
		return "", err
	}
	if out.code != 0 {
		return "", out.failure(tree, "system.scm")
	}
	defer os.Remove(link)
	item, err := os.Readlink(link)
	if err != nil || !s.store().holdsA("system")(item) {
		return "", fmt.Errorf("guix system build named no system, but %q (see %s)", item, out.log)
	}
	if by != nil { // who made the link itself
		if err := s.Runner.known(ctx, item); err != nil {
			return "", fmt.Errorf("guix system build named %s: %w (see %s)", item, err, out.log)
		}
	}
	return item, errors.Join(s.Roots.Keep(root, item), settleStore())
}

// Live is the system that the machine runs.
func (s *System) Live(context.Context) (string, error) {
	item, err := filepath.EvalSymlinks(s.current())
	if err != nil {
		return "", fmt.Errorf("finding the running system: %w", err)
	}
	if !s.store().holdsA("system")(item) {
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
		changes = append(changes, s.channelChanges(live, item)...)
	}
	if next != item && live == item {
		changes = append(changes, Change{"switch", "system profile", "the next boot would be into " + hash(next)})
	}
	if boots, err := s.NextBoot(); err == nil && boots != item && live == item && next == item {
		changes = append(changes, Change{nextBoot, bootLoader, "its menu begins " + s.profile().called(boots)})
	}
	changes = append(changes, s.atBoot(item, live)...)
	changes = append(changes, readNote(s.Begun).changes("system")...)
	etc, err := s.etc(item, live)
	return slices.Concat(changes, etc, s.stale(item, live)), err
}

// stale are the links in /etc that the system live made and item wouldn't: Guix leaves them behind.
func (s *System) stale(item, live string) []Change {
	entries, _ := os.ReadDir(filepath.Join(live, "etc"))
	var changes []Change
	for _, e := range entries {
		if _, err := os.Lstat(filepath.Join(item, "etc", e.Name())); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		made, err := filepath.EvalSymlinks(filepath.Join(live, "etc", e.Name()))
		if have, _ := os.Readlink(filepath.Join(s.dir, "/etc", e.Name())); err == nil && have == made {
			changes = append(changes, Change{"unlink", "/etc/" + e.Name(), "it left the configuration"})
		}
	}
	return changes
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
	return s.makeLive(ctx, item, tree)
}

// Heal is Switch, unless something else is switched just then: that may take minutes, for which a look can't wait.
func (s *System) Heal(ctx context.Context, item, tree string) error {
	if !s.Runner.switching.TryLock() {
		return errBusy()
	}
	defer s.Runner.switching.Unlock()
	return s.makeLive(ctx, item, tree)
}

func errBusy() error {
	return asTransient(errors.New("healing it waits until the switch of another layer has ended"))
}

func (s *System) makeLive(ctx context.Context, item, tree string) error {
	if err := s.Runner.waitForOthers(ctx, func(o Other) bool { return o.Switches(nil) }, Watch{}); err != nil {
		return err
	}
	changes, err := s.differs(ctx, item)
	if err != nil {
		return err
	}
	live, err := s.Live(ctx)
	if err != nil {
		return err
	}
	services := s.services().patient(s.Silence)
	activate := func() error { return s.activate(ctx, services, live, item, tree) }
	if !pending(changes) {
		activate = nil
	}
	if err := services.make(ctx, live, item, s.Begun, activate); err != nil {
		return services.excuse(err)
	}
	return s.bootLoader(ctx, item)
}

// activate makes item the live system, services aside.
func (s *System) activate(ctx context.Context, services *services, live, item, tree string) error {
	number, _, err := s.profile().find(item)
	if err != nil {
		return err
	}
	_, next, err := s.profile().live()
	if err != nil {
		return err
	}
	n, err := begin(s.Begun, note{Item: item, Before: live, New: number == 0, Forward: number == 0 && tree != ""})
	if err != nil {
		return err
	}
	leaves, err := s.Drops(live, item)
	if err != nil {
		return err
	}
	_ = s.KeepMenu(live) // without it, Guix makes one on the way back
	var out outcome
	if number == 0 && tree != "" && !leaves { // a reconfigure would stop the agent in the midst of it
		out, err = s.forward(ctx, services, live, item, tree)
		if err != nil && compares.MatchString(out.text) {
			out, n.Boot, err = s.back(ctx, services, item) // the clones that CheckForward made are gone, and so is the network
		}
	} else {
		out, n.Boot, err = s.back(ctx, services, item)
	}
	if n.New { // also if guix failed after that
		err = errors.Join(err, ledger(s.Made).note(s.profile(), item))
	}
	if err != nil {
		if now, _ := s.Live(ctx); now != live || now == item {
			return err
		}
		if _, now, _ := s.profile().live(); now != next {
			return err
		}
		return &untouchedError{err}
	}
	crash.At("switch.activated")
	if err := s.activated(ctx, item, out); err != nil {
		return err
	}
	n.Failed = failedActivation(out.text, item, n.Before)
	if len(n.Failed) > 0 && n.Forward { // it doesn't bar the way back
		return fmt.Errorf("activation of the system: %s (see %s)", strings.Join(n.Failed, "; "), out.log)
	}
	for _, c := range s.stale(item, n.Before) {
		if err := os.Remove(filepath.Join(s.dir, c.Subject)); err != nil {
			return fmt.Errorf("removing what the last system left: %w", err)
		}
	}
	n.Done = true
	return statefile.WriteJSON(s.Begun, n)
}

// forward makes what tree describes live, evaluating it again.
func (s *System) forward(ctx context.Context, services *services, live, item, tree string) (outcome, error) {
	if err := services.checkClashes(ctx, item, "system.scm"); err != nil { // other services may run than when it was prepared
		return outcome{}, err
	}
	if err := s.makeRoom(); err != nil {
		return outcome{}, err
	}
	system, err := load(tree, "system.scm")
	if err != nil {
		return outcome{}, err
	}
	crash.At("switch.begun")
	args := []string{"system", "reconfigure"}
	if len(s.channelChanges(live, item)) > 0 { // CheckForward has judged them, and a return mustn't be refused
		args = append(args, "--allow-downgrades")
	}
	const what = "system-reconfigure"
	speaks := func() bool { return s.Runner.said(what, shepherdSays) } // by then the boot loader is set up
	out, err := services.attended(ctx, item, speaks, func(ctx context.Context) (outcome, error) {
		return s.Runner.run(ctx, attempt{what: what, command: guixOf(s.Guix),
			args: slices.Concat(args, s.Options, system)})
	})
	if err == nil && out.code != 0 {
		err = out.failure(tree, "system.scm")
	}
	_ = s.KeepMenu(item) // TidyMenu tries that again, and says so
	return out, err
}

var shepherdSays = regexp.MustCompile(`(?m)^shepherd: `)

// back makes a system live that is in the store, by guix or, if that can't, by hand: guix needs its daemon, and perhaps
// the network to set up the boot loader, both of which the system that is left may have broken. Then it says what
// became of the boot loader.
func (s *System) back(ctx context.Context, services *services, item string) (out outcome, boot string, err error) {
	crash.At("goback.begun")
	number, err := s.profile().add(item)
	if err != nil {
		return outcome{}, "", err
	}
	if _, kept := s.menuOf(item); kept {
		return s.byHand(ctx, item, number)
	}
	out, err = services.heard(ctx, func(ctx context.Context) (outcome, error) { return s.Runner.run(ctx, s.generation(number)) })
	if err = errors.Join(err, out.fault()); err == nil || ctx.Err() != nil || errors.Is(err, shepherd.ErrSilent) {
		return out, "", err
	}
	hand, _, failed := s.byHand(ctx, item, number)
	if failed != nil {
		return hand, "", errors.Join(err, failed)
	}
	return hand, shorten(err.Error()), nil
}

// byHand is what `guix system switch-generation` does, with the menu that was kept, if there is one, in place of a new one. It
// comes first: whatever happens then, the next boot is into item.
func (s *System) byHand(ctx context.Context, item string, number int) (out outcome, boot string, err error) {
	if m, kept := s.menuOf(item); kept {
		if err := s.install(m); err != nil {
			boot = shorten(err.Error())
		}
	}
	out, err = s.Runner.run(ctx, attempt{what: "system-switch", command: filepath.Join(item, "activate"), env: s.generation(number).env})
	if err = errors.Join(err, out.fault()); err == nil {
		err = s.profile().point(number)
	}
	return out, boot, err
}

// generation is `guix system switch-generation`. Without the variable, /run/current-system would become the system
// that was booted (guix 1.5.0).
func (s *System) generation(number int) attempt {
	return attempt{what: "system-switch", args: []string{"system", "switch-generation", strconv.Itoa(number)},
		env: []string{"GUIX_NEW_SYSTEM=" + s.profile().link(number)}}
}

// bootLoader tries again, once the services are item's, what guix couldn't do on the way back. It remains a change that
// waits if that fails.
func (s *System) bootLoader(ctx context.Context, item string) error {
	n := readNote(s.Begun)
	number, _, err := s.profile().find(item)
	if n.Boot == "" || number == 0 || err != nil {
		return err
	}
	if m, kept := s.menuOf(item); kept {
		err = s.install(m)
	} else {
		var out outcome
		out, err = s.Runner.run(ctx, s.generation(number))
		err = errors.Join(err, out.fault())
	}
	if err != nil {
		n.Boot = shorten(err.Error())
	} else {
		n.Boot = ""
	}
	return statefile.WriteJSON(s.Begun, n)
}

// activated looks whether all is where it should be: that guix ended with 0 doesn't say so.
func (s *System) activated(ctx context.Context, item string, out outcome) error {
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

var (
	messageRE = regexp.MustCompile(`message: "((?:[^"\\]|\\.)*)"(?:.*irritants: \(([^()]*)\))?`)
	irritant  = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|\S+`)
	directive = regexp.MustCompile(`~[AaSs]`)
)

// thrown finds the words in how Guile prints an exception: #<&compound-exception components: (… message: "~A" …)>.
func thrown(exception string) string {
	m := messageRE.FindStringSubmatch(exception)
	if m == nil {
		return exception
	}
	words := irritant.FindAllString(m[2], -1)
	says := directive.ReplaceAllStringFunc(shepherd.StringText(m[1]), func(d string) string {
		if len(words) > 0 {
			d, words = words[0], words[1:]
		}
		if text, isString := strings.CutPrefix(d, `"`); isString {
			return shepherd.StringText(strings.TrimSuffix(text, `"`))
		}
		return d
	})
	return strings.TrimSpace(says + " " + strings.Join(words, " "))
}

// Problems returns what isn't well in item; since is when it was switched to.
func (s *System) Problems(ctx context.Context, item string, since time.Time) ([]Problem, error) {
	problems, err := s.services().problems(ctx, item, since)
	return append(readNote(s.Begun).problems(item), problems...), err
}

func (s *System) services() *services {
	return &services{
		shepherd: s.Shepherd, started: s.Started, roots: s.Roots, self: s.Self, idle: s.Idle, whole: true,
		policies: s.Policies, timeout: s.Timeout,
		tail:        func(_ context.Context, log string) []string { return tail(log) },
		definitions: s.store().systemDefinitions, store: s.store(),
		live: func() (string, error) { return s.Live(context.Background()) },
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

func (s *System) profile() profile {
	return profile{s.Profiles, "system", s.store().holdsA("system")}
}

func (s *System) store() Store { return cmp.Or(s.Store, Store(s.dir)) }
