package guix

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.org/collie/agent/crash"
	"example.org/collie/agent/statefile"
	"example.org/collie/shepherd"
)

// A Home is the home environment of one user. The user may not exist yet: then it can be built, and no more.
type Home struct {
	Runner   *Runner
	User     string            // by name
	File     string            // in the tree: home.scm, home/USER.scm
	Helper   []string          // a command line that runs AsUser, without the verb
	Profiles string            // /var/guix/profiles
	Roots    Roots             // /var/guix/gcroots/collie
	Started  string            // file: from which file each service was started
	Begun    string            // file: the note of the last switch
	Made     string            // file: which generations Collie made
	Backups  string            // file: which of the user's own files Guix moved
	Self     string            // the agent's own service, if the user's Shepherd runs it
	Idle     []string          // services that end well when nobody asks them anything; Shepherd listens for them
	Timeout  time.Duration     // within which a service stops, or starts; 2 min if 0
	Silence  time.Duration     // how long Shepherd may say nothing within a switch; 30 s if 0
	Policies map[string]Policy // of services, where they aren't the usual ones
	Vigil    *Vigil            // over the user's Shepherd; nil: none
	Guix     string            // the profile whose guix evaluates, as Pin found it; empty: the Runner's
	As       *Evaluator        // with whose rights, for a plan, or where the user doesn't exist yet; nil: the user's, or the agent's

	find func(string) (User, error) // nil: Find
	dir  string                     // where a test has its /gnu
}

// empty is a home with nothing in it but what each has.
const empty = "(begin (use-modules (gnu home)) (home-environment))"

// Build builds the home that tree describes, and keeps it by a GC root of that name. Nothing live changes.
func (h *Home) Build(ctx context.Context, tree, root string, watch Watch) (string, error) {
	what, err := load(tree, h.File)
	if err != nil {
		return "", err
	}
	return h.build(ctx, tree, root, what, watch)
}

// BuildEmpty builds an empty home, to return to where there was none.
func (h *Home) BuildEmpty(ctx context.Context, root string, watch Watch) (string, error) {
	return h.build(ctx, "", root, []string{"-e", empty}, watch)
}

func (h *Home) build(ctx context.Context, tree, root string, what []string, watch Watch) (string, error) {
	a := attempt{what: "home-" + h.User + "-build", command: guixOf(h.Guix), args: append([]string{"home", "build"}, what...), build: true, watch: watch}
	a.as, a.env = h.evaluator()
	if a.as == nil || h.As.forPlans() {
		by, end, err := h.As.evaluates()
		if err != nil {
			return "", err
		}
		defer end()
		a.by = by
	}
	out, err := h.Runner.evaluate(ctx, a, tree, h.File)
	if err != nil {
		return "", err
	}
	if out.code != 0 {
		return "", out.failure(tree, h.File)
	}
	item := h.named(out.text)
	if item == "" {
		return "", fmt.Errorf("guix home build named no home (see %s)", out.log)
	}
	if err := h.Runner.known(ctx, item); err != nil { // the user may have had anything printed
		return "", fmt.Errorf("guix home build named %s: %w (see %s)", item, err, out.log)
	}
	return item, errors.Join(h.Roots.Keep(root, item), settleStore())
}

// named is the home that guix home build named: it is the last line of stdout, and the log has all else in it, too.
func (h *Home) named(says string) string {
	for _, line := range slices.Backward(strings.Split(says, "\n")) {
		if h.store().holdsA("home")(line) {
			return line
		}
	}
	return ""
}

// evaluator is who evaluates the home, and with what more in the environment. As root, the path is the same.
func (h *Home) evaluator() (*User, []string) {
	if u, err := h.who(); err == nil && isDir(u.Home) {
		return &u, nil
	}
	return nil, []string{"USER=" + h.User}
}

// Live is the home that the user's profile names; nothing if there was never one, or if the user made it lead elsewhere, which
// Problems says.
func (h *Home) Live(context.Context) (string, error) {
	_, item, err := h.profile().liveOrAstray()
	return item, err
}

// Diff compares what is live with the home item, and runs no guix.
func (h *Home) Diff(ctx context.Context, item string) ([]Change, error) {
	u, err := h.who()
	if missing := (*MissingUserError)(nil); errors.As(err, &missing) {
		files, err := h.store().homeDefinitions(item)
		changes := []Change{{"switch", "home of " + h.User, "the user doesn't exist yet"}}
		for _, f := range files {
			if f.Starts {
				changes = append(changes, Change{"start", "service " + f.Name, "new"})
			}
		}
		return changes, err
	}
	if err != nil {
		return nil, err
	}
	changes, seen, err := h.differs(ctx, u, item)
	if err != nil || !seen.Shepherd {
		return changes, err
	}
	services, err := h.services(u).diff(ctx, item)
	return append(changes, services...), err
}

// differs is Diff without the services, and how the home looks.
func (h *Home) differs(ctx context.Context, u User, item string) ([]Change, homeLook, error) {
	if err := h.store().there(item); err != nil {
		return nil, homeLook{}, fmt.Errorf("the home %s is gone from the store: %w", item, err)
	}
	live, err := h.Live(ctx)
	if err != nil {
		return nil, homeLook{}, err
	}
	wants, err := h.store().homeDefinitions(item)
	if err != nil {
		return nil, homeLook{}, err
	}
	var seen homeLook
	if err := u.ask(ctx, h.Helper, &seen, "look", u.Home, u.socket()); err != nil {
		return nil, homeLook{}, err
	}
	var changes []Change
	switch {
	case live != item:
		changes = append(changes, Change{"switch", "home of " + h.User, "from " + hash(live) + " to " + hash(item)})
	case seen.Home != item:
		changes = append(changes, Change{"link", "home of " + h.User, "~/.guix-home isn't the link that Guix made"})
	}
	changes = append(changes, readNote(h.Begun).changes("home of "+h.User)...)
	left, err := h.left(seen)
	if err != nil {
		return nil, homeLook{}, err
	}
	changes = append(changes, orphans(left)...)
	if len(wants) > 0 && !seen.Shepherd {
		changes = append(changes, Change{"start", "Shepherd of " + h.User, "it doesn't run"})
	}
	return changes, seen, nil
}

// left is what still runs after the user's Shepherd died, or can't be reached any more, as the last look saw it.
func (h *Home) left(seen homeLook) ([]family, error) {
	if !seen.Stale && !seen.Gone {
		return nil, nil
	}
	kept, err := readStarted(h.Started)
	return kept.left(family{}), err
}

// Resumes reports whether a change starts the user's Shepherd, ends what a dead one left, or goes on with a switch that was
// cut short: of all three only a boot, or a death, is the cause.
func (h *Home) Resumes(does, subject string) bool {
	return does == ends || does == "start" && subject == "Shepherd of "+h.User || does == "activate" && subject == "home of "+h.User
}

// Switch makes item live, which Build made from tree, as System.Switch does.
func (h *Home) Switch(ctx context.Context, item, tree string) error {
	h.Runner.switching.Lock()
	defer h.Runner.switching.Unlock()
	return h.makeLive(ctx, item, tree)
}

// Heal is Switch, unless something else is switched just then.
func (h *Home) Heal(ctx context.Context, item, tree string) error {
	if !h.Runner.switching.TryLock() {
		return errBusy()
	}
	defer h.Runner.switching.Unlock()
	return h.makeLive(ctx, item, tree)
}

func (h *Home) makeLive(ctx context.Context, item, tree string) (err error) {
	u, err := h.who()
	if err != nil {
		return err
	}
	if !isDir(u.Home) {
		return fmt.Errorf("the user %s has no home directory %s yet: the system's activation makes it", h.User, u.Home)
	}
	if err := h.Runner.waitForOthers(ctx, func(o Other) bool { return o.Switches(&u) }, Watch{}); err != nil {
		return err
	}
	changes, seen, err := h.differs(ctx, u, item)
	if err != nil {
		return err
	}
	live, err := h.Live(ctx)
	if err != nil {
		return err
	}
	services := h.services(u).patient(h.Silence)
	defer func() { err = services.excuse(err) }()
	left, err := h.left(seen)
	if err == nil && seen.Shepherd {
		left, err = services.left(ctx)
	}
	if err == nil {
		err = h.endOrphans(ctx, u, left)
	}
	if err != nil {
		return err
	}
	activate := func() error { return h.activate(ctx, u, services, live, item, tree) }
	switch {
	case len(changes) == 0:
		err = services.make(ctx, live, item, h.Begun, nil)
	case seen.Shepherd: // Guix loads all services into it, both ways
		if err := services.checkClashes(ctx, item, h.File); err != nil {
			return err
		}
		err = services.make(ctx, live, item, h.Begun, activate)
	default:
		err = h.begin(ctx, services, item, activate)
	}
	for range mostBeginnings - 1 {
		of, is := services.stillborn(ctx)
		if !is {
			break
		}
		if err := h.endOrphans(ctx, u, []family{of}); err != nil {
			return err
		}
		err = h.begin(ctx, services, item, activate)
	}
	return err
}

// begin has activate start a Shepherd, with the services of item.
func (h *Home) begin(ctx context.Context, services *services, item string, activate func() error) error {
	putBack := remember(h.Begun)
	err := activate()
	if idle := (*untouchedError)(nil); errors.As(err, &idle) {
		return errors.Join(idle.error, putBack())
	}
	if err != nil {
		return err
	}
	if err := services.begun(ctx); err != nil {
		return err
	}
	return services.follow(ctx, item, nil)
}

// activate makes item the live home of u, services aside; it starts the user's Shepherd if that isn't there.
func (h *Home) activate(ctx context.Context, u User, services *services, live, item, tree string) error {
	number, _, err := h.profile().find(item)
	if err != nil {
		return &untouchedError{err}
	}
	n, err := begin(h.Begun, note{Item: item, Before: live, New: number == 0, Forward: number == 0 && tree != ""})
	if err != nil {
		return err
	}
	if err := u.makeRuntime(); err != nil {
		return &untouchedError{err}
	}
	var done struct{}
	if err := u.ask(ctx, h.Helper, &done, "tidy", u.Home, u.socket()); err != nil {
		return &untouchedError{err}
	}
	if err := h.expectBackups(ctx, u, live); err != nil {
		return &untouchedError{err}
	}
	crash.At("switch.begun")
	var out outcome
	if live == "" && h.profile().astray() == nil && number == 0 && tree != "" { // guix makes the folder of the user's generations, too
		var what []string
		if what, err = load(tree, h.File); err != nil {
			return &untouchedError{err}
		}
		out, err = services.heard(ctx, func(ctx context.Context) (outcome, error) {
			return h.Runner.run(ctx, attempt{what: "home-" + h.User + "-reconfigure", command: guixOf(h.Guix), as: &u,
				args: append([]string{"home", "reconfigure"}, what...)})
		})
		if err == nil && out.code != 0 {
			err = out.failure(tree, h.File)
		}
	} else {
		out, err = h.generation(ctx, u, services, number, item)
	}
	if n.New { // also if guix failed after that
		err = errors.Join(err, ledger(h.Made).note(h.profile(), item))
	}
	_, _ = h.followBackups(ctx, u) // also if guix failed after it moved something; what can't be seen now is looked for again
	if err != nil {
		if now, _ := h.Live(ctx); now != live || now == item {
			return err
		}
		return &untouchedError{err}
	}
	crash.At("switch.activated")
	changes, _, err := h.differs(ctx, u, item)
	if err != nil {
		return err
	}
	for _, c := range changes {
		if c.Does != "activate" { // the note of this very switch
			return fmt.Errorf("guix ended well, but %s: %s (see %s)", c.Subject, c.Says, out.log)
		}
	}
	n.Done = true
	return statefile.WriteJSON(h.Begun, n)
}

// generation makes a home live that is in the store, forward or back: `guix home reconfigure' would evaluate it once more,
// and perhaps clone its channels for the user to compare them, and then do the same (guix 1.5.0). Where guix can't, as it
// needs its daemon, it is done by hand.
func (h *Home) generation(ctx context.Context, u User, services *services, number int, item string) (outcome, error) {
	if number == 0 {
		if err := u.ask(ctx, h.Helper, &number, "generation", h.profile().dir, item); err != nil {
			return outcome{}, err
		}
	}
	out, err := services.heard(ctx, func(ctx context.Context) (outcome, error) {
		return h.Runner.run(ctx, attempt{what: "home-" + h.User + "-switch", as: &u, args: []string{"home", "switch-generation", strconv.Itoa(number)}})
	})
	if err = errors.Join(err, out.fault()); err == nil || ctx.Err() != nil || errors.Is(err, shepherd.ErrSilent) {
		return out, err
	}
	hand, failed := h.Runner.run(ctx, attempt{what: "home-" + h.User + "-activate", as: &u, command: filepath.Join(item, "activate"), env: []string{"GUIX_NEW_HOME=" + item}})
	if failed = errors.Join(failed, hand.fault()); failed == nil {
		var done struct{}
		failed = u.ask(ctx, h.Helper, &done, "point", h.profile().dir, strconv.Itoa(number))
	}
	if failed != nil {
		return hand, errors.Join(err, failed)
	}
	return hand, nil
}

// Problems returns what isn't well in item; since is when it was switched to.
func (h *Home) Problems(ctx context.Context, item string, since time.Time) ([]Problem, error) {
	u, err := h.who()
	if err != nil {
		return nil, err
	}
	problems, err := h.services(u).problems(ctx, item, since)
	if unreachable(err) {
		problems, err = []Problem{{Subject: "Shepherd of " + h.User, Says: "doesn't run"}}, nil
	}
	return append(h.unreadable(ctx, item), problems...), err
}

// unreadable says what can't be read of the live home, if the user has it in place of item.
func (h *Home) unreadable(ctx context.Context, item string) []Problem {
	if astray := h.profile().astray(); astray != nil {
		return []Problem{{Subject: "home of " + h.User, Says: oneLine(astray.Error())}}
	}
	live, err := h.Live(ctx)
	if err != nil || live == item {
		return nil
	}
	for _, name := range []string{"files/.config/shepherd/init.scm", "setup-environment", "profile/manifest"} {
		f, _, err := h.store().open(filepath.Join(live, name))
		if err == nil {
			f.Close()
		} else if !errors.Is(err, fs.ErrNotExist) {
			says := strings.ReplaceAll(err.Error(), live+"/", "")
			return []Problem{{Subject: "home of " + h.User, Says: oneLine(h.profile().called(live) + ", which is live: " + says)}}
		}
	}
	return nil
}

func (h *Home) services(u User) *services {
	live := func() (string, error) { return h.Live(context.Background()) }
	return &services{
		shepherd: &shepherd.Client{Dial: DialAs(u, h.Helper, u.socket())},
		started:  h.Started, roots: h.Roots, self: h.Self, idle: h.Idle, policies: h.Policies, timeout: h.Timeout,
		definitions: h.store().homeDefinitions, store: h.store(), theirs: true,
		former: func() (all []ServiceFile) {
			for _, item := range h.profile().items() {
				files, _ := h.store().homeDefinitions(item) // one that Guix has collected tells nothing
				all = append(all, files...)
			}
			return all
		},
		tail: func(ctx context.Context, log string) (lines []string) {
			_ = u.ask(ctx, h.Helper, &lines, "tail", log) // a problem is reported without them, too
			return lines
		},
		live:   live,
		booted: live,
		vigil:  h.Vigil,
	}
}

func (h *Home) who() (User, error) {
	if h.find != nil {
		return h.find(h.User)
	}
	return Find(h.User)
}

func (h *Home) store() Store { return Store(h.dir) }

func (h *Home) profile() profile {
	return profile{filepath.Join(h.Profiles, "per-user", h.User), "guix-home", h.store().holdsA("home")}
}

// ownProfile is that of a user for the user's own process, which has no more rights than who made the profile.
func ownProfile(dir string) profile {
	return profile{dir, "guix-home", func(item string) bool { return itemName.MatchString(filepath.Base(item)) && nameOf(item) == "home" }}
}
