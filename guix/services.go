package guix

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"example.org/collie/shepherd"
)

// A Change is one difference between what is wanted and what is live.
type Change struct {
	Does    string // switch, link, register, start, stop, restart, run; or one of those that wait
	Subject string // service nginx
	Says    string
}

// What a Change does that no switch can make, because it would take down what runs the machine.
const (
	nextBoot = "next boot"  // takes effect then
	OwnExit  = "agent exit" // of the agent's own service: Shepherd starts the new definition once the agent has ended
)

// Waits tells whether c is none that a switch makes: a target is live although such a change is left.
func (c Change) Waits() bool { return c.Does == nextBoot || c.Does == OwnExit }

// A Problem is something that isn't well.
type Problem struct {
	Subject string // service nginx
	Says    string
}

// services makes the services of one Shepherd those of a system or home item.
//
//	a service                                   what happens
//	file unchanged, runs                        nothing; its process stays
//	file changed, runs                          restarted, with what depends on it
//	file changed, one-shot                      run again
//	file changed, essential or below such       "next boot"
//	file changed, the agent's own               "agent exit"
//	should run and doesn't                      started; first enabled, if the file changed or Shepherd had given up
//	ran before, and was stopped on the way      started
//	left the configuration                      stopped and unloaded, unless it is essential
//	disabled, failing, dies; file unchanged     a problem, no change
//
// Services depend on each other by what Shepherd says of those that run, not by what a file will say.
type services struct {
	shepherd    *shepherd.Client
	started     string                                   // file that keeps from which file each service was started
	self        string                                   // the agent's own service
	definitions func(item string) ([]ServiceFile, error) // of a system, or of a home
	live        func() (string, error)                   // the item that is current
	booted      func() (string, error)                   // the item whose services Shepherd began with; the current one, for a user's
	whole       bool                                     // Shepherd has no other services: those of unknown origin leave as well. A user may have some
}

// essential services aren't restarted or stopped in a machine that runs.
var essential = []string{
	"root", "shepherd", // PID 1 itself
	"root-file-system", "file-systems", "user-file-systems", // all depends on them
	"user-processes", // to stop it kills every process
	"udev", "pam",    // all that logs in, or looks for a device, needs them
	"dbus-system", "elogind", // to restart them ends sessions and what holds their connection
}

// occupied services aren't restarted either, as somebody may be using them: but one that left is stopped, as Guix does.
var occupied = []string{"file-system-", "device-mapping-", "swap-", "term-", "xorg-server", "gdm", "sddm", "lightdm", "slim", "greetd"}

func isEssential(name string) bool { return slices.Contains(essential, name) }

func isOccupied(name string) bool {
	return slices.ContainsFunc(occupied, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// A step is one thing to do with one service.
type step struct {
	Change
	name, file string // the service's
}

// diff says what converge would do, for one question to Shepherd; it changes nothing.
func (s *services) diff(ctx context.Context, item string) ([]Change, error) {
	files, all, kept, err := s.survey(ctx, item)
	if err != nil {
		return nil, err
	}
	var changes []Change
	if kept.Coming != "" { // Shepherd may hold any of two definitions of what hasn't started since
		changes = append(changes, Change{"register", "services", "a switch to " + hash(kept.Coming) + " is under way, or was cut short"})
	}
	for _, st := range s.plan(files, all, kept) {
		changes = append(changes, st.Change)
	}
	return changes, nil
}

// survey reads what the item wants, what Shepherd has, and from which files it has it.
func (s *services) survey(ctx context.Context, item string) ([]ServiceFile, []shepherd.Service, started, error) {
	files, err := s.definitions(item)
	if err != nil {
		return nil, nil, started{}, err
	}
	all, err := s.shepherd.Services(ctx)
	if errors.Is(err, shepherd.ErrUnreachable) && len(files) == 0 {
		return nil, nil, started{}, nil // a home without services: its user's Shepherd isn't needed
	}
	if err != nil {
		return nil, nil, started{}, err
	}
	kept, err := s.look(all)
	return files, all, kept, err
}

// plan compares: it does nothing and asks nobody. Steps are in the order in which they can be made.
func (s *services) plan(files []ServiceFile, all []shepherd.Service, kept started) []step {
	return slices.Concat(s.leaving(files, all, kept), s.changed(files, all, kept), s.missing(files, all, kept))
}

// leaving are the services that files don't define any more; what depends on another of them comes before it.
func (s *services) leaving(files []ServiceFile, all []shepherd.Service, kept started) []step {
	var steps []step
	for _, live := range slices.Backward(inOrder(all)) {
		if live.Transient || live.Name == "root" || fileOf(files, live) != "" {
			continue
		}
		if e, _ := kept.of(live.Name); e.File == "" && !s.whole {
			continue // the user's own
		}
		does, says := "stop", "it left the configuration"
		if reason := s.holds(live, all); reason != "" {
			does, says = nextBoot, says+"; "+reason
		}
		steps = append(steps, step{Change{does, "service " + live.Name, says}, live.Name, ""})
	}
	return steps
}

// changed are the services whose file isn't the one they were started from; what another requires comes before it.
func (s *services) changed(files []ServiceFile, all []shepherd.Service, kept started) []step {
	var steps []step
	for _, live := range inOrder(all) {
		file := fileOf(files, live)
		e, _ := kept.of(live.Name)
		if file == "" || live.Name == "root" || e.File == file {
			continue
		}
		subject, says := "service "+live.Name, "its definition changed"
		switch {
		case live.Name == s.self && live.Status == "running":
			steps = append(steps, step{Change{OwnExit, subject, says}, live.Name, file})
		case live.OneShot && wanted(files, live) && !failed(live):
			steps = append(steps, step{Change{"run", subject, says}, live.Name, file})
		case live.Status != "running" || live.OneShot:
		case s.holds(live, all) != "":
			steps = append(steps, step{Change{nextBoot, subject, says + "; " + s.holds(live, all)}, live.Name, file})
		case isOccupied(live.Name):
			steps = append(steps, step{Change{nextBoot, subject, says + "; somebody may be using it"}, live.Name, file})
		default:
			if below := dependents(live, all); len(below) > 0 {
				says += "; restarted too, as they require it: " + strings.Join(namesOf(below), ", ")
			}
			steps = append(steps, step{Change{"restart", subject, says}, live.Name, file})
		}
	}
	return steps
}

// missing are the services that files start, and that don't run for no reason that is known.
func (s *services) missing(files []ServiceFile, all []shepherd.Service, kept started) []step {
	var steps []step
	for _, f := range files {
		live, known := find(all, f)
		e, _ := kept.of(live.Name)
		says := "it doesn't run"
		switch {
		case !f.Starts:
			continue
		case !known:
			says = "new"
		case live.OneShot || live.Status != "stopped":
			continue
		case e.File != f.File && e.File != "":
			says = "it doesn't run, and its definition changed"
		case !live.Enabled || live.Died() || failed(live):
			continue // a problem
		}
		steps = append(steps, step{Change{"start", "service " + f.Name, says}, f.Name, f.File})
	}
	return steps
}

// holds says why a service can't be stopped while the machine runs; nothing if it can.
func (s *services) holds(live shepherd.Service, all []shepherd.Service) string {
	switch {
	case isEssential(live.Name):
		return "the machine can't run without it"
	case live.Name == s.self:
		return "the agent doesn't stop itself"
	}
	for _, d := range dependents(live, all) { // to stop a service stops them first
		if isEssential(d.Name) || isOccupied(d.Name) || d.Name == s.self {
			return d.Name + " requires it"
		}
	}
	return ""
}

// expect keeps what runs now, and that the files of item are about to be registered. It comes before guix is run to
// switch: afterwards nobody could tell which services are still those of before.
func (s *services) expect(ctx context.Context, item string) error {
	_, all, kept, err := s.survey(ctx, item)
	if err != nil || all == nil {
		return err
	}
	if all, err = s.settle(ctx, all); err != nil {
		return err
	}
	if kept, err = s.look(all); err != nil {
		return err
	}
	kept.Coming = item
	return s.save(kept)
}

// settle waits for services that are just being started or stopped: one that is replaced in that moment would go on
// beside its replacement (Shepherd 1.0.9).
func (s *services) settle(ctx context.Context, all []shepherd.Service) ([]shepherd.Service, error) {
	waited := false
	for _, live := range all {
		var refused *shepherd.Error
		var err error
		switch live.Status {
		case "starting":
			err = s.shepherd.Start(ctx, live.Name)
		case "stopping":
			err = s.shepherd.Stop(ctx, live.Name)
		default:
			continue
		}
		if waited = true; err != nil && !errors.As(err, &refused) { // that it failed to start shows later
			return nil, err
		}
	}
	if !waited {
		return all, nil
	}
	return s.shepherd.Services(ctx)
}

// converge makes the running services those of item. Its error says what it couldn't do; a service that should run and
// doesn't is no error but one of the problems, as it may be none of item's making.
func (s *services) converge(ctx context.Context, item string) error {
	if err := s.expect(ctx, item); err != nil {
		return err
	}
	files, before, kept, err := s.survey(ctx, item)
	if err != nil || before == nil {
		return err
	}
	faults := []error{s.register(ctx, files)}
	all, err := s.shepherd.Services(ctx)
	if err != nil {
		return errors.Join(append(faults, err)...)
	}
	why := map[string]string{} // what Shepherd said of a service that didn't start
	for _, st := range s.leaving(files, all, kept) {
		if !st.Waits() {
			faults = append(faults, s.unload(ctx, st.name))
		}
	}
	ran := map[string]bool{}
	for _, st := range s.changed(files, all, kept) {
		if st.Waits() {
			continue
		}
		done, err := s.again(ctx, st, all)
		if err != nil && !refusal(err, st.name, why) {
			return errors.Join(append(faults, err)...)
		}
		ran[st.name] = done
	}
	if err := s.start(ctx, files, before, kept, ran, why); err != nil {
		return errors.Join(append(faults, err)...)
	}
	fault := errors.Join(faults...)
	if fault == nil {
		kept.Coming = ""
	}
	return errors.Join(fault, s.note(ctx, files, kept, ran, why))
}

// register makes Shepherd know all files, and not only those that changed: another system's may wait for their turn.
func (s *services) register(ctx context.Context, files []ServiceFile) error {
	paths := make([]string, len(files))
	for i, f := range files {
		paths[i] = f.File
	}
	err := s.shepherd.Register(ctx, paths...)
	if refused := (*shepherd.Error)(nil); err == nil || !errors.As(err, &refused) {
		return err
	}
	var faults []error // one that can't be loaded mustn't keep the others away
	for _, f := range files {
		if err := s.shepherd.Register(ctx, f.File); err != nil {
			faults = append(faults, fmt.Errorf("service %s: %w", f.Name, err))
		}
	}
	return errors.Join(faults...)
}

// again restarts a service, or runs a one-shot, unless that happened since all was seen: with another that requires it,
// or is required by it. It tells whether the new definition was started.
func (s *services) again(ctx context.Context, st step, all []shepherd.Service) (bool, error) {
	now, err := s.shepherd.Service(ctx, st.name)
	if err != nil {
		return false, err
	}
	i := slices.IndexFunc(all, func(live shepherd.Service) bool { return live.Name == st.name })
	switch {
	case st.Does == "run" && !startOf(now).Equal(startOf(all[i])):
		return !failed(now), nil
	case st.Does == "restart" && now.Status == "running" && !now.Pending:
		return true, nil // all was registered anew: what has no definition waiting runs the new one
	}
	if !now.Enabled {
		if err := s.shepherd.Enable(ctx, st.name); err != nil {
			return false, err
		}
	}
	if st.Does == "run" {
		err = s.shepherd.Start(ctx, st.name)
		return err == nil, err
	}
	if err = s.shepherd.Restart(ctx, st.name); err == nil {
		return true, nil
	}
	// A stop that raises ends a restart half-way: the service is stopped, and its old definition would be started again.
	if now, again := s.shepherd.Service(ctx, st.name); again == nil && now.Status == "stopped" && now.Pending {
		err = errors.Join(err, s.shepherd.Register(ctx, st.file))
	}
	return false, err
}

// unload stops a service and makes Shepherd forget it. If its stop raises it is stopped all the same, so that it can be
// unloaded then.
func (s *services) unload(ctx context.Context, name string) error {
	err := s.shepherd.Unload(ctx, name)
	if refused := (*shepherd.Error)(nil); errors.As(err, &refused) {
		err = s.shepherd.Unload(ctx, name)
	}
	if errors.Is(err, shepherd.ErrNotFound) {
		return nil
	}
	return err
}

// start starts what should run and doesn't: all that files start, and what ran before the switch. One service that
// fails keeps none of the others from being started.
func (s *services) start(ctx context.Context, files []ServiceFile, before []shepherd.Service, kept started, ran map[string]bool, why map[string]string) error {
	all, err := s.shepherd.Services(ctx)
	if err != nil {
		return err
	}
	for _, f := range files {
		live, known := find(all, f)
		old, _ := find(before, f)
		e, _ := kept.of(old.Name)
		if !known || live.OneShot && e.File == f.File || live.Status != "stopped" || !f.Starts && !e.Running {
			continue
		}
		now, err := s.shepherd.Service(ctx, live.Name) // another may have required it
		if err != nil {
			return err
		}
		if now.Status != "stopped" || !startOf(now).IsZero() && (now.OneShot || failed(now)) {
			continue // done, or in vain already
		}
		if _, tried := ran[live.Name]; tried && !now.Enabled {
			continue // it ran, and died
		}
		if !now.Enabled && (e.File != f.File || len(old.Respawns) > 0) { // not what a person disabled
			if err := s.shepherd.Enable(ctx, live.Name); err != nil {
				return err
			}
		}
		if err := s.shepherd.Start(ctx, live.Name); err != nil && !refusal(err, live.Name, why) {
			return err
		}
	}
	return nil
}

// note keeps from which files the services run now.
func (s *services) note(ctx context.Context, files []ServiceFile, kept started, ran map[string]bool, why map[string]string) error {
	all, err := s.shepherd.Services(ctx)
	if err != nil {
		return err
	}
	now := started{Boot: kept.Boot, Coming: kept.Coming}
	for _, live := range all {
		if live.Transient || live.Name == "root" {
			continue
		}
		e, _ := kept.of(live.Name)
		at := startOf(live) // since everything was registered anew, if it didn't run then
		switch file := fileOf(files, live); {
		case file == "", live.Status == "running" && live.Pending: // as it was
		case live.OneShot && failed(live):
			e.File = "" // see look
		case live.OneShot && at.IsZero() && !ran[live.Name]: // as it was
		default:
			e.File = file
		}
		e.Name, e.Running, e.Why = live.Name, live.Status == "running", why[live.Name]
		if !at.IsZero() {
			e.Since = at
		}
		if len(live.LogFiles) > 0 {
			e.Log = live.LogFiles[0]
		}
		now.Services = append(now.Services, e)
	}
	return s.save(now)
}

// refusal notes what Shepherd said of a service; it is false for an error of another kind.
func refusal(err error, name string, why map[string]string) bool {
	refused := new(shepherd.Error)
	if !errors.As(err, &refused) {
		return false
	}
	why[name] = refused.Says
	return true
}

// problems says which services of item should run and don't, and which died since then and were started again.
func (s *services) problems(ctx context.Context, item string, since time.Time) ([]Problem, error) {
	files, all, kept, err := s.survey(ctx, item)
	if err != nil {
		return nil, err
	}
	var found []Problem
	for _, f := range files {
		live, known := find(all, f)
		e, _ := kept.of(live.Name)
		says := ""
		switch {
		case !known && f.Starts:
			says = "Shepherd doesn't know it: its definition couldn't be loaded"
		case !known:
		case live.OneShot:
			if f.Starts && failed(live) {
				says = "didn't succeed"
			}
		case f.Starts && live.Status != "running":
			says = "is " + live.Status
		case since.IsZero():
		default:
			if n := count(live.Respawns, since); n > 0 {
				says = fmt.Sprintf("died %d times since %s and was started again", n, since.Format(time.TimeOnly))
				if len(live.Exits) > 0 {
					says += ", " + live.Exits[0].String()
				}
			}
		}
		if says == "" {
			continue
		}
		for _, more := range []string{reason(live, e), s.lastWords(live, e, all)} {
			if known && more != "" {
				says += ": " + more
			}
		}
		found = append(found, Problem{"service " + f.Name, says})
	}
	return found, nil
}

// reason is why a service doesn't run: what Shepherd answered when it was to start, or else what its status tells.
func reason(live shepherd.Service, e startedService) string {
	switch {
	case live.Status == "running":
		return ""
	case e.Why != "":
		return shorten(e.Why)
	}
	return live.Trouble()
}

// lastWords is the last that is known of what a service wrote.
func (s *services) lastWords(live shepherd.Service, e startedService, all []shepherd.Service) string {
	if len(live.Messages) > 0 {
		return shorten(live.Messages[len(live.Messages)-1])
	}
	if s.whole && e.Log != "" { // root's own log: a user's could lead anywhere
		if line := lastLine(e.Log); line != "" {
			return shorten(line) + " (" + e.Log + ")"
		}
	}
	// Without a log of its own it wrote to Shepherd's, after its process: sh[309] text.
	if i := slices.IndexFunc(all, func(s shepherd.Service) bool { return s.Name == "root" }); i >= 0 {
		return shorten(ownLine(all[i].Messages, live.Name))
	}
	return ""
}

var processEnd = regexp.MustCompile(`^Service (\S+) \(PID (\d+)\) `)

// ownLine is the last line that the last process of a service wrote into Shepherd's own log.
func ownLine(lines []string, name string) string {
	process := ""
	for _, line := range slices.Backward(lines) {
		if end := processEnd.FindStringSubmatch(line); end != nil && end[1] == name && process == "" {
			process = "[" + end[2] + "]"
		}
		program, text, _ := strings.Cut(line, " ")
		if process != "" && strings.HasSuffix(program, process) {
			return text
		}
	}
	return ""
}

// lastLine is the last line of a log.
func lastLine(file string) string {
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	tail := make([]byte, min(info.Size(), 4096))
	n, _ := f.ReadAt(tail, info.Size()-int64(len(tail)))
	text := strings.TrimSpace(strings.ToValidUTF8(string(tail[:n]), ""))
	return strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
}

func count(times []time.Time, since time.Time) int {
	n := 0
	for _, t := range times {
		if !t.Before(since.Truncate(time.Second)) { // Shepherd counts in seconds
			n++
		}
	}
	return n
}

// failed tells whether the last try to start a service was in vain.
func failed(s shepherd.Service) bool {
	return s.Status == "stopped" && len(s.StartupFailures) > 0 && !s.StartupFailures[0].Before(startOf(s))
}

// wanted tells whether files start live by themselves.
func wanted(files []ServiceFile, live shepherd.Service) bool {
	return slices.ContainsFunc(files, func(f ServiceFile) bool { return f.Starts && f.defines(live) })
}

func find(all []shepherd.Service, f ServiceFile) (shepherd.Service, bool) {
	if i := slices.IndexFunc(all, f.defines); i >= 0 {
		return all[i], true
	}
	return shepherd.Service{}, false
}

func namesOf(all []shepherd.Service) []string {
	var names []string
	for _, s := range all {
		names = append(names, s.Name)
	}
	return names
}

// byName finds services by each of their names.
func byName(all []shepherd.Service) map[string]shepherd.Service {
	index := make(map[string]shepherd.Service, len(all))
	for _, s := range all {
		for _, name := range s.Provides {
			index[name] = s
		}
	}
	return index
}

// dependents are the running services that stop if s does, the nearest first.
func dependents(s shepherd.Service, all []shepherd.Service) []shepherd.Service {
	index, require := byName(all), map[string][]shepherd.Service{}
	for _, other := range all {
		if other.Status != "running" {
			continue
		}
		for _, name := range other.Requires {
			if below, known := index[name]; known {
				require[below.Name] = append(require[below.Name], other)
			}
		}
	}
	found, seen := []shepherd.Service{}, map[string]bool{s.Name: true}
	for queue := []string{s.Name}; len(queue) > 0; queue = queue[1:] {
		for _, other := range require[queue[0]] {
			if !seen[other.Name] {
				seen[other.Name] = true
				found, queue = append(found, other), append(queue, other.Name)
			}
		}
	}
	return found
}

// inOrder puts what is required before what requires it.
func inOrder(all []shepherd.Service) []shepherd.Service {
	index, seen := byName(all), map[string]bool{}
	ordered := make([]shepherd.Service, 0, len(all))
	var add func(shepherd.Service)
	add = func(s shepherd.Service) {
		if seen[s.Name] {
			return
		}
		seen[s.Name] = true
		for _, name := range s.Requires {
			if other, known := index[name]; known {
				add(other)
			}
		}
		ordered = append(ordered, s)
	}
	for _, s := range all {
		add(s)
	}
	return ordered
}
