package guix

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"example.org/collie/agent/crash"
	"example.org/collie/agent/limits"
	"example.org/collie/agent/statefile"
	"example.org/collie/agent/waits"
)

const (
	keptLogs   = 50
	longestLog = 64 << 20 // a guix that prints more is ended
	readLog    = 1 << 20  // as much of a log's end is read
	grace      = 10 * time.Second
	looks      = 200 * time.Millisecond // between two looks at a log, or at a process that isn't ours

	hurriedLooks = 20 * time.Millisecond
)

// A Runner runs the guix command. Each guix has a session of its own, so that it outlives the agent, and writes to a
// log file, never to a pipe that would die with the agent. One that runs as a user has a pipe that doesn't (see transcript). Next to
// the log is a note of the process (LOG.running), by which the agent's next life knows it.
type Runner struct {
	Command       string        // the guix to run: "guix", or a file
	Logs          string        // directory with a log for each attempt; the newest 50 are kept
	BuildTimeout  time.Duration // 2 h if 0
	SwitchTimeout time.Duration // 20 min if 0
	Patience      time.Duration // with a guix that someone else runs; DefaultPatience if 0

	dir       string     // where a test has its /gnu/store
	proc      string     // /proc if empty
	switching sync.Mutex // Guix has no lock of its own, and two switches at once were seen to hang
	pinning   sync.Mutex // the guix that one layer looks for is that of the others
	seats     seats
	deploys   deploys // to this machine, by others

	valid func(context.Context, string) error // nil: guix-daemon is asked
}

// An attempt is one run of guix.
type attempt struct {
	what    string // "system-build": in the name of the log
	args    []string
	command string // instead of guix: what guix would run
	as      *User  // nil: as the agent itself
	by      *User  // whose rights it has instead, in the environment of as: what comes of it is the same; nil: it has those of as
	env     []string
	build   bool // may be ended at any time: it changes nothing
	frees   bool // and needs neither a seat nor room
	watch   Watch
}

// who is whose rights it has.
func (a attempt) who() *User {
	if a.by != nil {
		return a.by
	}
	return a.as
}

// environment is that of as; only what guix keeps for itself is elsewhere for by, which can't write there (guix 1.5.0).
func (a attempt) environment() []string {
	env := append(environment(a.as), a.env...)
	if a.by != nil {
		env = append(env, "XDG_CACHE_HOME="+filepath.Join(a.by.Home, ".cache"), "GUIX_STATE_DIRECTORY="+filepath.Join(a.by.Home, "guix"),
			"GUIX_DAEMON_SOCKET="+daemonAt())
	}
	return env
}

// dir is the folder that it runs in.
func (a attempt) dir() string {
	if a.as == nil || a.by != nil {
		return "/"
	}
	return a.as.Home
}

// An outcome is what a guix that ended by itself said.
type outcome struct {
	what string
	code int
	log  string // its file
	text string // stdout and stderr, without progress bars
}

// run runs guix to its end. It fails if guix couldn't be run or was ended early; a guix that itself says that
// something is wrong is an outcome.
func (r *Runner) run(ctx context.Context, a attempt) (outcome, error) {
	limit := or(r.SwitchTimeout, 20*time.Minute)
	if a.build {
		limit = or(r.BuildTimeout, 2*time.Hour)
	}
	ctx, stop := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it took longer than %v", limit))
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if a.build && !a.frees {
		stand, err := r.seats.take(ctx)
		if err != nil {
			return outcome{}, err
		}
		defer stand()
		if err := r.room(0, 0); err != nil {
			return outcome{}, err
		}
	}
	log, err := r.newLog(ctx, a.what)
	if err != nil {
		return outcome{}, asTransient(err)
	}
	defer log.Close()

	if a.command == "" {
		a.command = r.Command
	}
	out := outcome{what: a.what, log: log.Name()}
	answered := waits.For(ctx, "guix, for "+a.what+" (see "+log.Name()+")")
	err = r.watch(ctx, cancel, a, log)
	answered()
	if err != nil {
		var exit *exec.ExitError
		cause := context.Cause(ctx)
		wait, space := (*WaitError)(nil), (*SpaceError)(nil)
		switch {
		case errors.As(cause, &wait), errors.As(cause, &space):
			return out, cause // it was ended for what it said that it will do
		case cause != nil:
			out.text, _ = readClean(log.Name())
			return out, fmt.Errorf("guix %s was ended: %w (see %s)", a.what, cause, log.Name())
		case !errors.As(err, &exit):
			return out, asTransient(err)
		case exit.ExitCode() < 0:
			return out, asTransient(fmt.Errorf("guix %s was killed by someone else: %v (see %s)", a.what, exit, log.Name()))
		case (a.command == r.Command || strings.HasSuffix(a.command, "/bin/guix")) && (exit.ExitCode() == 126 || exit.ExitCode() == 127): // the shell's
			return out, asTransient(fmt.Errorf("%s can't be run: %s; set the agent's PATH, or say where guix is", a.command, shorten(last(tail(log.Name())))))
		}
		out.code = exit.ExitCode()
	}
	out.text, err = readClean(log.Name())
	return out, asTransient(err)
}

// watch starts guix and waits for it, ending its whole session if ctx ends. The process is noted before guix starts:
// the shell that becomes guix waits for the message that the note is written, and ends if the sender has died.
func (r *Runner) watch(ctx context.Context, cancel context.CancelCauseFunc, a attempt, log *os.File) error {
	gate, open, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("starting guix: %w", err)
	}
	defer open.Close()
	defer gate.Close()
	args := append([]string{"-c", `read -r go <&3 && exec "$@" 3<&-`, "sh", a.command}, a.args...)
	cmd := exec.CommandContext(ctx, "/bin/sh", args...)
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, []*os.File{gate}
	cmd.Env, cmd.Dir = a.environment(), a.dir()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: a.who().credential()}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = grace
	var said *transcript // nil: it writes the log by itself
	if a.who() != nil {
		if said, err = newTranscript(ctx, log, !a.build); err != nil {
			return asTransient(fmt.Errorf("starting guix: %w", err))
		}
		defer said.close()
		cmd.Stdout, cmd.Stderr = said.into, said.into
	}
	if err := limits.Start(cmd); err != nil {
		return fmt.Errorf("starting guix: %w", err)
	}
	if said != nil {
		said.begin(func(err error) {
			if a.build {
				cancel(asTransient(fmt.Errorf("writing its log: %w", err)))
			}
		})
	}
	note := log.Name() + ".running"
	until, _ := ctx.Deadline()
	err = statefile.WriteJSON(note, running{What: a.what, Process: identify(cmd.Process.Pid), Until: until, Build: a.build})
	if err == nil {
		_, err = open.WriteString("go\n")
	}
	open.Close() // without the word, the shell ends here
	gate.Close()
	if a.build {
		crash.At("build.started")
	} else {
		crash.At("switch.started")
	}

	var followed sync.WaitGroup
	ended := make(chan struct{})
	var full error
	followed.Go(func() { full = r.follow(log.Name(), a, ended, cancel) })
	awaitEnd(cmd.Process.Pid)
	if ctx.Err() != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // the processes of its session that ignored TERM
	}
	waited := cmd.Wait()
	var unsaid error
	if said != nil {
		unsaid = said.finish()
	}
	close(ended)
	followed.Wait()
	if full == nil && unsaid != nil {
		full = asTransient(fmt.Errorf("writing its log: %w", unsaid))
	}
	if full != nil && (waited != nil || unsaid != nil) {
		waited = full // it couldn't say what it did
	}
	return errors.Join(err, waited, os.Remove(note))
}

// awaitEnd waits for the end of a child, and leaves it its number: until cmd.Wait, no other group has that.
func awaitEnd(pid int) {
	for {
		if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// newLog makes the log of an attempt, and removes the oldest.
func (r *Runner) newLog(ctx context.Context, what string) (*os.File, error) {
	if err := os.MkdirAll(r.Logs, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder for Guix's logs: %w", err)
	}
	logs, _ := filepath.Glob(filepath.Join(r.Logs, "*.log")) // sorted: the name begins with the time
	for _, old := range logs[:max(0, len(logs)-keptLogs+1)] {
		if _, err := os.Lstat(old + ".running"); errors.Is(err, fs.ErrNotExist) {
			_ = os.Remove(old)
		}
	}
	name := filepath.Join(r.Logs, nameLog(ctx, what, time.Now()))
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("making a log for guix: %w", err)
	}
	return f, nil
}

// follow tells how far guix is by looking at its log, until ended. It ends a guix that fills the disk, or that is about
// to do more than it may. It hurries until guix has said what it will do, as guix then begins at once. It returns an error if
// the disk of the log had no room for another word meanwhile: guix fails then, whatever it was at.
func (r *Runner) follow(log string, a attempt, ended <-chan struct{}, cancel context.CancelCauseFunc) (full error) {
	file, err := os.Open(log)
	if err != nil {
		return nil // only no progress is shown
	}
	defer file.Close()
	f := follower{dir: r.dir}
	var told Progress
	for over, first := false, true; ; first = false {
		select {
		case <-ended:
			over = true // what it did is its own outcome
		default:
		}
		if info, err := file.Stat(); err == nil && info.Size() > longestLog {
			cancel(fmt.Errorf("it said more than %d MiB", longestLog>>20))
		}
		if left := free(r.Logs); left < int64(os.Getpagesize()) {
			full = &SpaceError{r.Logs, mountOf(r.Logs), left, stateMinimum}
		}
		f.read(file)
		now := f.look()
		if err := r.forbids(f, a.watch.MaxBuilds); a.build && !a.frees && !over && err != nil {
			cancel(err)
		}
		if a.watch.Tell != nil && (now != told || first) {
			a.watch.Tell(now)
			told = now
		}
		if over {
			return full
		}
		pause := looks
		if a.build && now.Builds.Total+now.Downloads.Total == 0 {
			pause = hurriedLooks
		}
		select {
		case <-ended:
		case <-time.After(pause):
		}
	}
}

// forbids says what is wrong with what guix said that it will do.
func (r *Runner) forbids(f follower, most int) error {
	if len(f.heavy) > most {
		return &WaitError{f.heavy, most}
	}
	return r.room(f.lacks, max(0, f.bytes-f.got))
}

// A running is the note of a guix underway.
type running struct {
	What    string
	Process process
	Until   time.Time // its own deadline, which holds for a later life of the agent too
	Build   bool
}

// A process is known by more than its number, which is given again.
type process struct {
	PID   int
	Start string // field 22 of /proc/PID/stat: clock ticks since the boot
	Boot  string
}

func identify(pid int) process {
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	stat, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	p := process{PID: pid, Boot: strings.TrimSpace(string(boot))}
	if _, start, there := readStat(string(stat)); there {
		p.Start = strconv.FormatInt(start, 10)
	}
	return p
}

func (p process) alive() bool { return p.PID > 1 && p.Start != "" && identify(p.PID) == p }

// Await deals with the guix that a former life of the agent left running, before anything else is run: one that only
// builds is ended, a switch is waited for until its deadline. It returns when none is left.
func (r *Runner) Await(ctx context.Context) error {
	notes, _ := filepath.Glob(filepath.Join(r.Logs, "*.running"))
	for _, note := range notes {
		left, err := statefile.Read[running](note)
		if err != nil {
			left = running{} // cut short as it was written: guix was never told to start
		}
		if err := left.await(ctx); err != nil {
			return fmt.Errorf("waiting for the guix of %s, process %d: %w", strings.TrimSuffix(note, ".running"), left.Process.PID, err)
		}
		if err := os.RemoveAll(note); err != nil {
			return fmt.Errorf("forgetting a guix that has ended: %w", err)
		}
	}
	return nil
}

func (n running) await(ctx context.Context) error {
	until := time.Until(n.Until)
	if n.Build {
		until = 0
	}
	tick := time.NewTicker(looks)
	defer tick.Stop()
	term, kill := time.NewTimer(until), time.NewTimer(until+grace)
	defer term.Stop()
	defer kill.Stop()
	for n.Process.alive() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-term.C:
			_ = syscall.Kill(-n.Process.PID, syscall.SIGTERM)
		case <-kill.C:
			_ = syscall.Kill(-n.Process.PID, syscall.SIGKILL)
		case <-tick.C:
		}
	}
	return nil
}

// environment is all that a guix gets from the agent's own.
func environment(as *User) []string {
	keep := []string{"PATH", "SSL_CERT_DIR", "SSL_CERT_FILE", "GIT_SSL_CAINFO", "CURL_CA_BUNDLE", "TZDIR", "GUIX_LOCPATH",
		"GUIX_DAEMON_SOCKET", "GUIX_BUILD_OPTIONS", "GUILE_LOAD_PATH", "GUILE_LOAD_COMPILED_PATH",
		"http_proxy", "https_proxy", "no_proxy"}
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return !slices.Contains(keep, name)
	})
	env = append(env, "LANG=C.UTF-8") // what Guix says is read by us, so in English; LC_ALL would reach all that a user's Shepherd starts
	if as != nil {
		return append(env, "HOME="+as.Home, "USER="+as.Name, "LOGNAME="+as.Name, "XDG_RUNTIME_DIR="+as.Runtime)
	}
	return append(env, "HOME="+ownHome())
}

func ownHome() string {
	if home := os.Getenv("HOME"); home != "" {
		return home
	}
	return "/root" // a service has none
}

// said reports whether something like that is in the newest log of its kind.
func (r *Runner) said(what string, like *regexp.Regexp) bool {
	logs, _ := Logs(r.Logs) // without one, nothing was said
	for _, log := range slices.Backward(logs) {
		if log.What == what {
			text, _ := readClean(log.File)
			return like.MatchString(text)
		}
	}
	return false
}

// known says what keeps an item from being one that guix-daemon has in the store, whole.
func (r *Runner) known(ctx context.Context, item string) error {
	if r.valid != nil {
		return r.valid(ctx, item)
	}
	return known(ctx, item)
}

func readClean(log string) (string, error) {
	f, err := os.Open(log)
	if err != nil {
		return "", fmt.Errorf("reading what guix said: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > readLog {
		_, _ = f.Seek(-readLog, io.SeekEnd)
	}
	text, err := io.ReadAll(io.LimitReader(f, readLog))
	if err != nil {
		return "", fmt.Errorf("reading what guix said: %w", err)
	}
	return clean(string(text)), nil
}

func or(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}
