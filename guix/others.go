package guix

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"example.org/collie/agent/cmdline"
	"example.org/collie/agent/statefile"
	"example.org/collie/agent/waits"
)

// An Other is a guix that someone else runs and that changes what Collie changes too. Guix has no lock for that, and two
// switches at once were seen to hang.
type Other struct {
	PID   int
	UID   uint32
	Since time.Time
	Runs  string // guix system reconfigure config.scm
	does  string
}

// Kinds of Others, and the switches that wait for them:
//
//	what it is                                       whose    waits
//	guix system reconfigure, switch-generation, …    root's   each switch
//	a step of a `guix deploy` to this machine        root's   each switch
//	guix home reconfigure, switch-generation, …      USER's   a switch of that user's home
//	guix pull, guix time-machine                     root's   a time-machine: both write to one cache of channels
//
// A user's process delays nobody else's switch: anyone can have a process of that name.
const (
	doesSystem   = "system"
	doesHome     = "home"
	doesChannels = "channels"
)

// betweenSteps is how long nothing of a `guix deploy` may run here before it is over. Between two steps it evaluates where
// it was started, for a second or two (seen in the lab).
const betweenSteps = 10 * time.Second

// DefaultPatience is how long a switch waits for others.
const DefaultPatience = 20 * time.Minute

// Switches reports whether a switch of the system or, of a user, the home waits for o.
func (o Other) Switches(home *User) bool {
	return o.does == doesSystem && o.UID == 0 || o.does == doesHome && home != nil && o.UID == home.UID
}

func (o Other) deploys() bool {
	return strings.HasPrefix(o.Runs, deployStep) || strings.HasPrefix(o.Runs, deployTalk)
}

func (o Other) fetches() bool { return o.does == doesChannels && int(o.UID) == os.Geteuid() }

// Owner is whose it is, by name if there is one.
func (o Other) Owner() string {
	id := strconv.Itoa(int(o.UID))
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

func (o Other) String() string {
	return fmt.Sprintf("`%s` of %s (process %d, since %s)", o.Runs, o.Owner(), o.PID, o.Since.Format(time.TimeOnly))
}

// Others are those that run now, by /proc. What can't be read there has ended, or doesn't want to be read.
func (r *Runner) Others() []Other {
	proc := r.proc
	if proc == "" {
		proc = "/proc"
	}
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil
	}
	ours := r.sessions()
	var found []Other
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, err := cmdline.System.Read(filepath.Join(proc, e.Name()), longestCommand)
		if err != nil || !bytes.Contains(line, []byte("gui")) { // neither guix nor guile
			continue
		}
		does, runs := recognize(strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00"))
		if does == "" {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(proc, e.Name(), "stat"))
		if err != nil {
			continue
		}
		status, err := os.ReadFile(filepath.Join(proc, e.Name(), "status"))
		if err != nil {
			continue
		}
		if namespace("pid", proc, e.Name()) != namespace("pid", proc, "self") {
			continue // it is at work in a container, which is another machine
		}
		session, ticks, ok := readStat(string(stat))
		uid := realUID.FindSubmatch(status)
		if !ok || uid == nil || slices.Contains(ours, session) {
			continue
		}
		number, err := strconv.ParseUint(string(uid[1]), 10, 32)
		if err != nil {
			continue
		}
		found = append(found, Other{PID: pid, UID: uint32(number), Since: bootTime(proc).Add(time.Duration(ticks) * time.Second / 100),
			Runs: runs, does: does})
	}
	found = r.deploys.bridge(found, time.Now())
	slices.SortFunc(found, func(a, b Other) int { return a.Since.Compare(b.Since) })
	return found
}

// Deploys remember the last step of a `guix deploy` to this machine.
type deploys struct {
	mu   sync.Mutex
	last Other
	seen time.Time
}

// bridge adds to those that run the deploy that is between two of its steps.
func (d *deploys) bridge(found []Other, now time.Time) []Other {
	d.mu.Lock()
	defer d.mu.Unlock()
	if i := slices.IndexFunc(found, Other.deploys); i >= 0 {
		d.last, d.seen = found[i], now
	} else if now.Sub(d.seen) < betweenSteps {
		found = append(found, d.last)
	}
	return found
}

const longestCommand = 16 << 10 // of a command line as much is read; it can be megabytes

func namespace(kind, proc, process string) string {
	name, _ := os.Readlink(filepath.Join(proc, process, "ns", kind))
	return name
}

// sessions are those of each guix that this life of the agent started, or one before.
func (r *Runner) sessions() []int {
	var all []int
	notes, _ := filepath.Glob(filepath.Join(r.Logs, "*.running"))
	for _, note := range notes {
		if of, err := statefile.Read[running](note); err == nil {
			all = append(all, of.Process.PID)
		}
	}
	return all
}

// Seen with guix 1.5.0: guile, `\` or --no-auto-compile, the file of the script, then what was typed. The script is
// guix, .guix-real where a package wraps it, and a store item …-guix-command after `guix pull`. A `guix deploy` from
// elsewhere speaks with this machine's store by `guix repl -t machine`, also between its steps, and each step is
// guile -c '(… (primitive-load "/gnu/store/…-remote-exp.scm") …)'.
var (
	guixScript = regexp.MustCompile(`^(\.?guix(-real|\.real)?|[0-9a-z]{32}-guix-command)$`)
	remoteStep = regexp.MustCompile(`\(primitive-load "/gnu/store/[0-9a-z]{32}-remote-exp\.scm"\)`)
	realUID    = regexp.MustCompile(`(?m)^Uid:\s+(\d+)`)
	deployStep = "guix deploy"
	deployTalk = "guix repl -t machine"
	switches   = []string{"reconfigure", "switch-generation", "roll-back", "delete-generations"}
)

// recognize tells what the guix of a command line does that matters here, and how a person calls it; nothing if nothing.
func recognize(line []string) (does, runs string) {
	program := filepath.Base(line[0])
	if program != "guix" && !strings.HasPrefix(program, "guile") {
		return "", ""
	}
	for i, word := range line[:min(len(line), 12)] {
		if remoteStep.MatchString(word) {
			return doesSystem, deployStep
		}
		if guixScript.MatchString(filepath.Base(word)) && (i == 0 || line[i-1] != "-c") {
			if does := deed(line[i+1:]); does != "" {
				args := strings.ReplaceAll(strings.Join(line[i+1:], " "), "\r", " ") // of a log, what a return writes over is dropped
				return does, oneLine("guix " + args)
			}
		}
	}
	return "", ""
}

func deed(args []string) string {
	if len(args) > 0 && args[0] == "time-machine" {
		i := slices.Index(args, "--")
		if i < 0 {
			return doesChannels
		}
		if does := deed(args[i+1:]); does != "" { // it becomes that
			return does
		}
		return doesChannels
	}
	switch {
	case len(args) == 0 || slices.Contains(args, "--dry-run") || slices.Contains(args, "-n"):
	case args[0] == "pull":
		return doesChannels
	case args[0] == "repl" && slices.Contains(args, "machine"):
		return doesSystem
	case args[0] == doesSystem || args[0] == doesHome:
		if slices.ContainsFunc(args[1:], func(arg string) bool { return slices.Contains(switches, arg) }) {
			return args[0]
		}
	}
	return ""
}

// readStat finds session and start, in clock ticks since the boot, in /proc/PID/stat. The command's name may hold
// anything, so they are counted from its end.
func readStat(stat string) (session int, start int64, ok bool) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 || fields[0] == "Z" {
		return 0, 0, false
	}
	session, err := strconv.Atoi(fields[3])
	if err != nil {
		return 0, 0, false
	}
	start, err = strconv.ParseInt(fields[19], 10, 64)
	return session, start, err == nil
}

func bootTime(proc string) time.Time {
	text, _ := os.ReadFile(filepath.Join(proc, "stat"))
	_, rest, _ := strings.Cut(string(text), "\nbtime ")
	line, _, _ := strings.Cut(rest, "\n")
	seconds, _ := strconv.ParseInt(line, 10, 64)
	return time.Unix(seconds, 0)
}

// waitForOthers waits until no clashing guix runs, and reports for whom it waits. If one still runs after a while, it returns an error: two
// never run at once.
func (r *Runner) waitForOthers(ctx context.Context, clashes func(Other) bool, watch Watch) error {
	patience := time.NewTimer(or(r.Patience, DefaultPatience))
	defer patience.Stop()
	tick := time.NewTicker(looks)
	defer tick.Stop()
	defer waits.For(ctx, "a guix that someone else runs, to end")()
	for {
		all := r.Others()
		i := slices.IndexFunc(all, clashes)
		if i < 0 {
			return nil
		}
		if watch.Tell != nil {
			watch.Tell(Progress{Item: "waiting for " + all[i].String()})
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-patience.C:
			return asTransient(fmt.Errorf("%s hasn't ended after %v, and two at once can hang: end it, or wait for it", all[i], or(r.Patience, DefaultPatience)))
		case <-tick.C:
		}
	}
}
