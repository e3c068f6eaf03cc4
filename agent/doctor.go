package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"example.org/collie/agent/api"
	"example.org/collie/agent/foreign"
	"example.org/collie/guix"
)

// A Finding is what one check of `collie doctor` found.
type Finding struct {
	Check string `json:"check"`
	Level string `json:"level"` // ok, warn, fail
	Says  string `json:"says"`
	Do    string `json:"do,omitempty"` // what to do about it

	NeedsRoot bool `json:"needsRoot,omitempty"` // nothing was seen, for want of rights
}

// The levels of a Finding.
const (
	levelOK   = "ok"
	levelWarn = "warn" // Collie works, but something will be missed
	levelFail = "fail"
)

// A Diagnosis is all that was found.
type Diagnosis []Finding

// Ill reports whether a check failed.
func (d Diagnosis) Ill() bool {
	for _, f := range d {
		if f.Level == levelFail {
			return true
		}
	}
	return false
}

// Text is the diagnosis as a person reads it.
func (d Diagnosis) Text() string {
	var b strings.Builder
	rows := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	for _, f := range d {
		fmt.Fprintf(rows, "%s\t%s\t%s\n", f.Level, f.Check, strings.ReplaceAll(f.Says, "\n", "\n\t\t"))
		if f.Do != "" {
			fmt.Fprintf(rows, "\t\t%s\n", strings.ReplaceAll(f.Do, "\n", "\n\t\t"))
		}
	}
	rows.Flush() // into memory: it doesn't fail
	return b.String()
}

// A machine is what the checks read: as root sees it, without changing anything.
type machine struct {
	cfg     Config
	runtime string // folder of the control socket, and of Podman's
	dir     string // where a test has its /etc, /run and /var
	root    uint32 // who root is in a test
	me      uint32 // who looks
	now     time.Time
	user    func() (guix.User, error) // who runs the pods
	status  func(ctx context.Context) (api.Status, error)
	space   func(dir string) (unix.Statfs_t, error)
}

// at is where path is.
func (m *machine) at(path ...string) string {
	return filepath.Join(append([]string{m.dir}, path...)...)
}

// A check checks one thing, and returns in a few words what is well, or an error.
type check struct {
	name  string
	needs func(Config) bool // nil: it is for all machines
	look  func(ctx context.Context, m *machine) (string, error)
}

// An illness is an error with what to do about it.
type illness struct {
	level, says, do string
	cause           error // if there is one
}

func (e *illness) Error() string { return e.says }

func (e *illness) Unwrap() error { return e.cause }

// ill is what keeps Collie from working.
func ill(do, format string, args ...any) error {
	return &illness{levelFail, fmt.Sprintf(format, args...), do, causeIn(args)}
}

// risk is what Collie works without, but not well.
func risk(do, format string, args ...any) error {
	return &illness{levelWarn, fmt.Sprintf(format, args...), do, causeIn(args)}
}

func causeIn(args []any) error {
	for _, a := range args {
		if err, is := a.(error); is {
			return err
		}
	}
	return nil
}

// checkTime is for one check.
const checkTime = 15 * time.Second

// Examine checks the machine that the configuration in file is for.
func Examine(ctx context.Context, file, runtime string, status func(context.Context) (api.Status, error)) Diagnosis {
	cfg, err := ReadConfig(file)
	m := thisMachine(cfg, runtime)
	m.status = status
	if err != nil {
		return Diagnosis{m.find("configuration", "", ill("mend the fields of collie-configuration, and reconfigure", "%s", err))}
	}
	return append(Diagnosis{m.find("configuration", file, nil)}, m.examine(ctx, checks)...).withRights()
}

func thisMachine(cfg Config, runtime string) *machine {
	return &machine{cfg: cfg, runtime: runtime, dir: "/", me: uint32(os.Geteuid()), now: time.Now(),
		user:  func() (guix.User, error) { return guix.Find(cfg.User) },
		space: func(dir string) (s unix.Statfs_t, err error) { return s, unix.Statfs(dir, &s) }}
}

// withRights begins with how much wasn't seen for want of rights, if anything was.
func (d Diagnosis) withRights() Diagnosis {
	unseen := 0
	for _, f := range d {
		if f.NeedsRoot {
			unseen++
		}
	}
	if unseen == 0 {
		return d
	}
	first := Finding{Check: "rights", Level: levelWarn, Says: fmt.Sprintf("%d of %d checks need root, and saw nothing", unseen, len(d)), Do: "run `collie doctor` as root"}
	return append(Diagnosis{first}, d...)
}

// examine makes all checks that the machine needs, in parallel: some wait for the network.
func (m *machine) examine(ctx context.Context, checks []check) Diagnosis {
	checks = slices.DeleteFunc(slices.Clone(checks), func(c check) bool { return c.needs != nil && !c.needs(m.cfg) })
	found := make(Diagnosis, len(checks))
	var looking sync.WaitGroup
	for i, c := range checks {
		looking.Go(func() {
			ctx, cancel := context.WithTimeoutCause(ctx, checkTime, fmt.Errorf("no answer within %v", checkTime))
			defer cancel()
			says, err := c.look(ctx, m)
			found[i] = m.find(c.name, says, err)
		})
	}
	looking.Wait()
	return found
}

// find makes a finding of what a check says.
func (m *machine) find(name, says string, err error) Finding {
	f := Finding{Check: name, Level: levelOK, Says: says}
	known := (*illness)(nil)
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrPermission) && m.me != m.root:
		f.Level, f.Says, f.NeedsRoot = levelWarn, "needs root: "+err.Error(), true
	case errors.As(err, &known):
		f.Level, f.Says, f.Do = known.level, known.says, known.do
	default:
		f.Level, f.Says = levelFail, err.Error()
	}
	f.Says = foreign.Text(f.Says) // what servers say is in it
	return f
}
