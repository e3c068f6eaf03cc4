package guix

import (
	"context"
	_ "embed" // of the script
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"example.org/collie/agent/limits"
)

// A Weather is what substitute servers have of the items that an operating system is made of, as `guix weather` finds it.
// What each machine builds for itself, as profiles and generated files, and the sources aren't among them.
type Weather struct {
	Items   int // in all
	Lacks   []string
	Servers []Server
}

// A Server is a substitute server that guix-daemon asks.
type Server struct {
	URL    string
	Lacks  []string // of the items
	Silent string   // why what it has doesn't count; "": it counts
}

// A weatherman asks `guix weather`.
type weatherman struct {
	channels string // the file that says by which guix
	dir      string // for what guix says, and is asked
}

//go:embed weather.scm
var weatherScript string

// AskWeather asks what substitute servers have of the system that tree describes, by the guix of its channels, which Guix makes
// first if need be. A server that says nothing costs no more than patience.
//
// Each server is asked by a `guix weather` of its own, since that ends at the first one to which it can't connect. It takes
// packages, not an operating system; so the manifest for it has what [weatherScript] finds in the system's derivation.
func AskWeather(ctx context.Context, tree string, patience time.Duration) (Weather, error) {
	dir, err := os.MkdirTemp("", "collie-weather-")
	if err != nil {
		return Weather{}, err
	}
	defer os.RemoveAll(dir)
	m := weatherman{filepath.Join(tree, channelsFile), dir}
	w, err := m.needs(ctx, tree)
	if err != nil {
		return Weather{}, err
	}
	var asked sync.WaitGroup
	for i := range w.Servers {
		asked.Go(func() {
			ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no answer within %v", patience))
			defer cancel()
			m.ask(ctx, fmt.Sprint("server-", i), &w.Servers[i], w.Items)
		})
	}
	asked.Wait()
	return w, ctx.Err()
}

const mostServers = 16

// needs evaluates the system, and writes the manifest.
func (m weatherman) needs(ctx context.Context, tree string) (Weather, error) {
	script, needs := filepath.Join(m.dir, "weather.scm"), filepath.Join(m.dir, "needs")
	if err := os.WriteFile(script, []byte(weatherScript), 0o600); err != nil {
		return Weather{}, err
	}
	args, err := load(tree, "system.scm")
	if err != nil {
		return Weather{}, err
	}
	system := len(args) - 1
	args = slices.Concat([]string{"repl"}, args[:system], []string{"--", script, args[system], m.manifest(), needs})
	if _, says, err := m.guix(ctx, "needs", args...); err != nil {
		return Weather{}, fmt.Errorf("finding what the system is made of: %w%s", err, lastWords(says))
	}
	text, err := readSome(needs)
	if err != nil {
		return Weather{}, err
	}
	return readNeeds(text), nil
}

func (m weatherman) manifest() string { return filepath.Join(m.dir, "manifest.scm") }

// readNeeds reads what the script writes: lines "server URL", "has ITEM" and "lacks ITEM", of what is in the store, or isn't.
func readNeeds(text string) Weather {
	var w Weather
	for line := range strings.Lines(text) {
		switch kind, what, _ := strings.Cut(strings.TrimSpace(clean(line)), " "); kind {
		case "server":
			if len(w.Servers) < mostServers {
				w.Servers = append(w.Servers, Server{URL: what})
			}
		case "lacks":
			w.Lacks = append(w.Lacks, what)
			w.Items++
		case "has":
			w.Items++
		}
	}
	return w
}

// ask asks one server.
func (m weatherman) ask(ctx context.Context, name string, s *Server, items int) {
	out, says, err := m.guix(ctx, name, "weather", "--display-missing", "--substitute-urls="+s.URL, "-m", m.manifest())
	if ctx.Err() != nil {
		s.Silent = err.Error()
		return
	}
	s.Lacks, s.Silent = readWeather(out, says, items)
}

var (
	available   = regexp.MustCompile(`(?m)^ +[0-9.]+% substitutes available \(([0-9,]+) out of ([0-9,]+)\)$`)
	lacking     = regexp.MustCompile(`(?m)^  (/gnu/store/[a-z0-9]{32}-[0-9A-Za-z+._?=-]+)(?: .*)?$`)
	silent      = regexp.MustCompile(`warning: \S+: ((?:TLS )?connection failed: .*|host not found: .*)`)
	distrusted  = regexp.MustCompile(`warning: substitutes from '.*' are unauthorized`)
	weatherFail = regexp.MustCompile(`guix [a-z-]+: error: (.*)`)
)

// readWeather reads what `guix weather --display-missing` says of one server: which items it lacks, or why that isn't known.
// The exit code says nothing: it is 1 where the server lacks one item, too. What couldn't be asked counts as lacking there.
func readWeather(out, says string, items int) (lacks []string, why string) {
	out, says = clean(out), clean(says)
	if m := silent.FindStringSubmatch(says); m != nil {
		return nil, m[1]
	}
	if distrusted.MatchString(says) {
		return nil, "guix-daemon takes nothing of it, since its key isn't authorized: see `guix archive --authorize`"
	}
	for _, m := range lacking.FindAllStringSubmatch(out, -1) {
		lacks = append(lacks, m[1])
	}
	m := available.FindStringSubmatch(out)
	if m != nil && int(number(m[1]))+len(lacks) == items && int(number(m[2])) == items {
		return lacks, ""
	}
	if m := weatherFail.FindStringSubmatch(says); m != nil {
		return nil, m[1]
	}
	return nil, "guix weather says nothing of it that can be read" + lastWords(says)
}

// lastWords is the error, or the end, of what guix said, to be put behind an error.
func lastWords(says string) string {
	lines := strings.Split(strings.TrimSpace(clean(says)), "\n")
	last := strings.TrimSpace(lines[len(lines)-1])
	for _, line := range lines {
		if m := weatherFail.FindStringSubmatch(line); m != nil {
			last = m[1]
			break
		}
	}
	if last == "" {
		return ""
	}
	return ": " + shorten(last)
}

// guix runs the guix of the channels, in English.
func (m weatherman) guix(ctx context.Context, name string, args ...string) (out, says string, err error) {
	args = append([]string{"time-machine", "-C", m.channels, "--"}, args...)
	cmd := exec.CommandContext(ctx, "guix", args...)
	cmd.Dir, cmd.WaitDelay = m.dir, time.Second
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { // of `guix shell', and of a person's own
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains([]string{"GUIX_PACKAGE_PATH", "GUILE_LOAD_PATH", "GUILE_LOAD_COMPILED_PATH", "LANGUAGE"}, name)
	})
	cmd.Env = append(cmd.Env, "LC_ALL=C.UTF-8")
	var files [2]*os.File
	for i, end := range []string{".out", ".err"} {
		if files[i], err = os.Create(filepath.Join(m.dir, name+end)); err != nil {
			return "", "", err
		}
		defer files[i].Close()
	}
	cmd.Stdout, cmd.Stderr = files[0], files[1]
	err = limits.Run(cmd)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	out, errOut := readSome(files[0].Name())
	says, errSays := readSome(files[1].Name())
	return out, says, errors.Join(err, errOut, errSays)
}

// readSome reads the beginning of a file, which is all that matters of it.
func readSome(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	const most = 16 << 20
	text, err := io.ReadAll(io.LimitReader(f, most))
	return string(text), err
}

// Lines say it to a person, in one line if no server counts.
func (w Weather) Lines() []string {
	if len(w.Servers) == 0 {
		return []string{"guix-daemon asks no server for substitutes: " + w.builds(w.Lacks)}
	}
	nowhere := map[string]int{} // by how many servers an item is lacked
	var each, whys []string
	counting := 0
	for _, s := range w.Servers {
		if s.Silent != "" {
			whys = append(whys, s.URL+": "+shorten(s.Silent))
			each = append(each, s.URL+": not known: "+shorten(s.Silent))
			continue
		}
		counting++
		each = append(each, s.URL+": "+share(w.Items-len(s.Lacks), w.Items))
		for _, item := range s.Lacks {
			nowhere[item]++
		}
	}
	if counting == 0 {
		return []string{"not known: " + strings.Join(whys, "; ")}
	}
	without := 0
	for _, n := range nowhere {
		if n == counting {
			without++
		}
	}
	builds := slices.DeleteFunc(slices.Clone(w.Lacks), func(item string) bool { return nowhere[item] < counting })
	return append([]string{fmt.Sprintf("for %s of the %d items that the system is made of; %s", share(w.Items-without, w.Items), w.Items, w.builds(builds))}, each...)
}

// builds says what has to be built here.
func (w Weather) builds(items []string) string {
	if len(items) == 0 {
		return "none to build here"
	}
	const told = 5
	var names []string
	for _, item := range items[:min(told, len(items))] {
		names = append(names, nameOf(item))
	}
	if more := len(items) - told; more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return fmt.Sprintf("at least %d to build here: %s", len(items), strings.Join(names, ", "))
}

func share(n, of int) string {
	if of == 0 {
		return "100%"
	}
	tenths := n * 1000 / of // 99.9% isn't all
	return fmt.Sprintf("%d.%d%%", tenths/10, tenths%10)
}
