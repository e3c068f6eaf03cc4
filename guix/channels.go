package guix

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"example.org/collie/agent/mistake"
	"example.org/collie/agent/statefile"
)

// Which guix builds a tree, the first that there is:
//
//	channels.scm in the tree             by `guix time-machine', which builds it, or has it in its cache
//	channels.scm of the running system   likewise: the machine keeps the Guix that it has
//	none of them                         the guix on the agent's PATH: "unpinned"
//
// A channel brings code that runs while the guix is made of it. The channels of a plan are made by the plan's Evaluator,
// and what comes of that is used for plans alone. All others are made by the agent itself, with its clones of them, which
// `guix system reconfigure` uses as well.

const channelsFile = "channels.scm"

// pinHint shows how to get a correct file.
const pinHint = "pin the Guix you have with `guix describe -f channels > channels.scm`"

// Pin finds the guix that builds tree: its profile in the store, kept by a GC root, or nothing where no channels are
// named. current is the running system. A list of channels whose guix was found before needs no guix.
// For a plan, as makes it; the agent makes it if as is nil.
func (r *Runner) Pin(ctx context.Context, tree, current string, as *Evaluator, roots Roots, watch Watch) (string, error) {
	file := filepath.Join(tree, channelsFile)
	text, err := readChannels(file)
	if errors.Is(err, fs.ErrNotExist) {
		return r.stay(ctx, current, roots, watch)
	}
	if err == nil {
		err = CheckChannels(text)
	}
	if err != nil {
		return "", err
	}
	profile, out, err := r.travel(ctx, file, text, as, roots, watch)
	if err == nil && out.code != 0 {
		err = out.failure(tree, channelsFile)
	}
	return profile, err
}

// stay is the guix that built the running system. A guix without channels would silently take the machine back by months, so it is
// only for a machine that has no other.
func (r *Runner) stay(ctx context.Context, current string, roots Roots, watch Watch) (string, error) {
	file := filepath.Join(current, channelsFile)
	text, err := readChannels(file)
	if err != nil || len(channelsOf(text)) == 0 {
		return "", nil
	}
	profile, out, err := r.travel(ctx, file, text, nil, roots, watch)
	if err == nil {
		err = out.fault()
	}
	if err != nil {
		return "", fmt.Errorf("making the guix of the running system again, as there is no channels.scm: %w", err)
	}
	return profile, nil
}

// travel makes the guix of the channels in file.
func (r *Runner) travel(ctx context.Context, file, text string, as *Evaluator, roots Roots, watch Watch) (string, outcome, error) {
	r.pinning.Lock()
	defer r.pinning.Unlock()
	sum := sha256.Sum256([]byte(text))
	root := fmt.Sprintf("%s%x", pinRoot, sum[:8])
	kept, err := roots.List()
	if err != nil {
		return "", outcome{}, err
	}
	if profile := kept[root]; profile != "" && isDir(profile) {
		return profile, outcome{}, nil
	}
	u, err := as.who()
	if err != nil {
		return "", outcome{}, err
	}
	if u != nil {
		root = planRoot + strings.TrimPrefix(root, pinRoot)
		if profile := kept[root]; profile != "" && isDir(profile) {
			return profile, outcome{}, nil
		}
	}
	if err := r.waitForOthers(ctx, Other.fetches, watch); err != nil {
		return "", outcome{}, err
	}
	// Without a command it prints the profile (guix 1.5.0). With all commits cached it is offline.
	u, end, err := as.fetches()
	if err != nil {
		return "", outcome{}, err
	}
	defer end()
	out, err := r.run(ctx, attempt{what: "time-machine", args: []string{"time-machine", "-C", file}, as: u, build: true, watch: watch})
	if err != nil || out.code != 0 {
		return "", out, err
	}
	entries := cacheEntry.FindAllString(out.text, -1)
	if len(entries) == 0 {
		return "", out, fmt.Errorf("guix time-machine named no profile (see %s)", out.log)
	}
	profile, err := filepath.EvalSymlinks(entries[len(entries)-1])
	if err != nil {
		return "", out, fmt.Errorf("finding the guix that guix time-machine made: %w", err)
	}
	if !Store(r.dir).holds(profile) {
		return "", out, fmt.Errorf("guix time-machine made %s, which isn't in the store (see %s)", profile, out.log)
	}
	if u != nil {
		if err := r.known(ctx, profile); err != nil {
			return "", out, fmt.Errorf("guix time-machine made %s: %w (see %s)", profile, err, out.log)
		}
	}
	return profile, out, roots.Keep(root, profile)
}

const (
	pinRoot  = "guix:"
	planRoot = pinRoot + "plan-"
)

var (
	cacheEntry = regexp.MustCompile(`(?m)^/\S+/inferiors/[a-z0-9]{52}$|^/\S*gnu/store/[a-z0-9]{32}-\S+$`)
)

// KeepPins drops the GC roots of all that Pin found but these profiles.
func (r Roots) KeepPins(profiles map[string]bool) error {
	all, err := r.List()
	for name, profile := range all {
		if strings.HasPrefix(name, pinRoot) && !profiles[profile] {
			err = errors.Join(err, r.Drop(name))
		}
	}
	return err
}

// guixOf is the command of a profile that Pin found; nothing stands for the Runner's.
func guixOf(profile string) string {
	if profile == "" {
		return ""
	}
	return filepath.Join(profile, "bin/guix")
}

const channelsLimit = 64 << 10 // bytes; a channel has some 400

func readChannels(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, channelsLimit+1))
	if err != nil {
		return "", fmt.Errorf("reading which channels to use: %w", err)
	}
	if len(text) > channelsLimit {
		return "", mistake.List{{File: channelsFile, Line: 1, Says: fmt.Sprintf("is larger than %d KiB", channelsLimit>>10), Hint: writeOut}}
	}
	return string(text), nil
}

// CheckChannels refuses a channels.scm whose text alone doesn't say the commit of each channel: another day it would
// build another machine. Its error is a [mistake.List].
func CheckChannels(text string) error {
	var all mistake.List
	wrong := func(line int, says, hint string) {
		all = append(all, &mistake.Error{File: channelsFile, Line: line, Says: strings.TrimSpace(clean(says)), Hint: hint})
	}
	forms, err := readScheme(text)
	if syntax := (*schemeError)(nil); errors.As(err, &syntax) {
		wrong(syntax.line, syntax.says, syntax.hint)
		return all
	}
	seen := 0
	for _, f := range forms {
		f.unpinned(&seen, func(line int, says string) { wrong(line, says, pinHint) })
	}
	if seen == 0 && len(all) == 0 {
		wrong(1, "names no channel", pinHint)
	}
	return all.Err()
}

var (
	fullCommit = regexp.MustCompile(`^[0-9a-f]{40}$`)
	plainHeads = []string{"list", "cons", "cons*", "append", "channel", "name", "url", "branch", "commit", "introduction",
		"make-channel-introduction", "openpgp-fingerprint"}
)

// unpinned reports the parts of f that keep its channels from being known. seen counts them.
func (f form) unpinned(seen *int, wrong func(line int, says string)) {
	head := f.head()
	switch {
	case f.quoted, f.str, head == "use-modules":
		return
	case !f.isList && strings.HasPrefix(f.atom, "%default"):
		wrong(f.line, f.atom+" isn't pinned: it is the newest commit, another one each day")
		return
	case !f.isList:
		wrong(f.line, fmt.Sprintf("%.60s isn't a channel written out with its commit", f.atom))
		return
	case !slices.Contains(plainHeads, head):
		wrong(f.line, fmt.Sprintf("(%.60s …) isn't a channel written out with its commit", head))
		return
	case head == "channel":
		*seen++
		switch c := f.channel(); {
		case c.Commit == "":
			wrong(f.line, fmt.Sprintf("channel %s has no (commit \"…\")", or2(c.Name, "without a name")))
			return
		case !fullCommit.MatchString(c.Commit):
			wrong(f.line, fmt.Sprintf("channel %s: %.60q isn't a full commit of 40 digits", c.Name, c.Commit))
			return
		}
	}
	for _, part := range f.list[1:] {
		part.unpinned(seen, wrong)
	}
}

func or2(name, otherwise string) string {
	if name == "" {
		return otherwise
	}
	return name
}

// A pinned is a channel and the commit it is at.
type pinned struct{ Name, Commit string }

// channel reads (channel (name 'guix) … (commit "…")).
func (f form) channel() (c pinned) {
	for _, field := range f.list[1:] {
		if len(field.list) != 2 {
			continue
		}
		switch value := field.list[1]; field.head() {
		case "name":
			c.Name = value.atom
		case "commit":
			if value.str {
				c.Commit = value.atom
			}
		}
	}
	return c
}

// channelsOf are the channels in a text, by name, with their commits; none if it can't be read.
func channelsOf(text string) map[string]string {
	all := map[string]string{}
	forms, _ := readScheme(text)
	for len(forms) > 0 {
		f := forms[0]
		forms = append(forms[1:], f.list...)
		if f.head() == "channel" {
			c := f.channel()
			all[c.Name] = c.Commit
		}
	}
	return all
}

// builtFrom are the channels that a system or home says it was built from, or a tree that it is to be.
func builtFrom(item string) map[string]string {
	text, err := readChannels(filepath.Join(item, channelsFile))
	if err != nil {
		return nil
	}
	return channelsOf(text)
}

// compares is how guix fails where it can't compare the channels.
var compares = regexp.MustCompile(`\(check-forward-update |Git error: `)

// CheckForward asks how the channels that tree names lie to those of the running system, unless that is known. Where a
// channel goes back, and Downgrades is off, it refuses with a [mistake.List]: unless it goes back to where it was when it built
// one of the good systems, as a revert does.
func (s *System) CheckForward(ctx context.Context, tree string, good []string, watch Watch) error {
	next := builtFrom(tree)
	if len(next) == 0 {
		return nil // it keeps its channels
	}
	live, err := s.Live(ctx)
	if err != nil {
		return err
	}
	known := s.relations()
	moves := movesOf(builtFrom(live), next, known)
	if slices.ContainsFunc(moves, func(m move) bool { return m.is == changed }) {
		// It compares the commits in its clones of the channels, and fetches what it lacks now rather than in the switch.
		as, end, err := s.Fetcher.fetches()
		if err != nil {
			return err
		}
		out, err := s.Runner.run(ctx, attempt{what: "system-check", command: guixOf(s.Guix), as: as, build: true, watch: watch,
			args: []string{"system", "reconfigure", "--dry-run", "-e", asksRelations}})
		end()
		if err = errors.Join(err, out.fault()); err != nil {
			return err
		}
		moves = s.learn(known, moves, out.text)
		if as == nil { // what a plan's guix says goes for the plan alone
			if err := statefile.WriteJSON(s.Channels, known); err != nil {
				return err
			}
		}
	}
	if s.Downgrades {
		return nil
	}
	built := func(m move) func(string) bool {
		return func(system string) bool { return builtFrom(system)[m.name] == m.to }
	}
	var back mistake.List
	for _, m := range moves {
		if (m.is == Downgrade || m.is == Sidestep) && !slices.ContainsFunc(good, built(m)) {
			back = append(back, &mistake.Error{File: channelsFile, Line: s.lineOf(tree, m.to), Hint: "pin " + m.from + " or a commit after it",
				Says: fmt.Sprintf("channel %s goes from %s to %s, which doesn't descend from it and built no system that is kept as a good one; "+
					"the guest's configuration has downgrades: false", m.name, m.from, m.to)})
		}
	}
	return back.Err()
}

// asksRelations has guix say how its channels lie to those of the running system, as a reconfigure does (guix 1.5.0), and evaluate
// nothing else. It prints what Git refuses as Guix does; `-e` alone can't print that.
const asksRelations = `(catch #t
  (lambda ()
    ((@ (guix scripts system reconfigure) check-forward-update)
     (@ (guix scripts system reconfigure) warn-about-backward-reconfigure))
    (flush-all-ports)
    (primitive-exit 0))
  (lambda (key . args)
    (format (current-error-port) "guix system: error: ~a~%"
            (if (eq? key 'git-error)
                (string-append "Git error: " ((@ (git) git-error-message) (car args)))
                (call-with-output-string (lambda (port) (print-exception port #f key args)))))
    (flush-all-ports)
    (primitive-exit 1)))`

func (s *System) lineOf(tree, commit string) int {
	text, _ := readChannels(filepath.Join(tree, channelsFile))
	before, _, found := strings.Cut(text, commit)
	if !found {
		return 1
	}
	return strings.Count(before, "\n") + 1
}

// A move is a channel whose commit another system changes.
type move struct {
	name, from, to string // no commit: the channel isn't there
	is             string
}

// Kinds of changes of a channel.
const (
	Downgrade = "downgrade"
	Sidestep  = "move" // to a commit that is neither before nor after
	advance   = "update"
	changed   = "change" // not known which
)

// relations is what is known of commits: what "FROM TO" is.
func (s *System) relations() map[string]string {
	known, err := statefile.Load[map[string]string](s.Channels)
	if err != nil || known == nil {
		return map[string]string{} // what isn't known is asked again
	}
	return known
}

func movesOf(from, to, known map[string]string) []move {
	if len(from) == 0 || len(to) == 0 {
		return nil
	}
	all := map[string]string{}
	maps.Copy(all, from)
	maps.Copy(all, to)
	var moves []move
	for _, name := range slices.Sorted(maps.Keys(all)) {
		m := move{name, from[name], to[name], changed}
		switch is := known[m.from+" "+m.to]; {
		case m.from == m.to:
			continue
		case m.from == "":
			m.is = "add"
		case m.to == "":
			m.is = "remove"
		case is != "":
			m.is = is
		}
		moves = append(moves, m)
	}
	return moves
}

var wentBack = regexp.MustCompile(`(rolling back|moving) channel '([^']+)' from ([0-9a-f]{40}) to (?:unrelated commit )?([0-9a-f]{40})`)

// learn adds what guix said of the moves to what is known.
func (s *System) learn(known map[string]string, moves []move, says string) []move {
	const most = 200
	if len(known) > most {
		clear(known)
	}
	for i, m := range moves {
		if m.is != changed {
			continue
		}
		moves[i].is = advance // guix warns of all else
		for _, w := range wentBack.FindAllStringSubmatch(says, -1) {
			if w[2] == m.name && w[3] == m.from && w[4] == m.to {
				moves[i].is = map[string]string{"rolling back": Downgrade, "moving": Sidestep}[w[1]]
			}
		}
		known[m.from+" "+m.to] = moves[i].is
		known[m.to+" "+m.from] = map[string]string{advance: Downgrade, Downgrade: advance, Sidestep: Sidestep}[moves[i].is]
	}
	return moves
}

// channelChanges are the channels whose commits item changes.
func (s *System) channelChanges(live, item string) []Change {
	short := func(commit string) string { return commit[:min(12, len(commit))] }
	var changes []Change
	for _, m := range movesOf(builtFrom(live), builtFrom(item), s.relations()) {
		says := short(m.from) + " → " + short(m.to)
		if m.from == "" || m.to == "" {
			says = short(m.from + m.to)
		}
		changes = append(changes, Change{m.is, "channel " + m.name, says})
	}
	return changes
}
